"""Batches: padded or packed, the loss is the same, and the recorded losses of VideoLLaMA 2 come out of both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from model import small
from model.official_folder import write_official_folder
from parity_root import parity_dir
from reelm.data.collate import IGNORED, Bad, apart, collate
from reelm.errors import UsageError
from reelm.model import ReelmModel, fuse
from reelm.model.checkpoints import load_folder

#: Mistral and Qwen2 look back 12 tokens only (Qwen2 in one of its two layers), which packing must keep.
KINDS = {"llama": {}, "mistral": {"sliding_window": 12},
         "qwen2": {"use_sliding_window": True, "sliding_window": 12, "max_window_layers": 1}}


def sample(number: int, text: int = 20, clips: int = 1, sounds: int = 0) -> dict[str, Any]:
    """A sample for `small.config()`: `text` words of which the last 6 learn, before them media of random content."""
    random = torch.Generator().manual_seed(number)
    processor = small.processor()
    cells = [1] * (clips * processor.counts(small.frames())["vision"])
    cells += [2] * (sounds * processor.counts(small.sound())["audio"])
    ids = torch.cat([torch.zeros(len(cells), dtype=torch.long), torch.randint(5, 300, (text,), generator=random)])
    labels = torch.where(torch.arange(len(ids)) >= len(ids) - 6, ids, IGNORED)
    made: dict[str, Any] = {"id": f"s{number}", "notes": [], "input_ids": ids, "labels": labels,
                            "mm_token_type_ids": torch.tensor(cells + [0] * text)}
    if clips:
        made |= {"pixel_values_videos": torch.randn(4 * clips, 3, 28, 28, generator=random),
                 "video_frames": [4] * clips}
    if sounds:
        banks = [processor.filter_bank(small.sound(seed=number + one)) for one in range(sounds)]
        made |= {"input_features": torch.cat(banks), "audio_frames": [len(bank) for bank in banks]}
    return made


def plain_text(number: int, text: int) -> dict[str, Any]:
    """All of it learns, from its first token on, as in the plain form without a medium."""
    made = sample(number, text, clips=0)
    return made | {"labels": made["input_ids"].clone()}


SAMPLES = [sample(0), sample(1, 35, clips=2), plain_text(2, 17), sample(3, 9, sounds=1), sample(4, 1 + 6, clips=0)]


def loss_of(model: ReelmModel, inputs: dict[str, Any], answers_only: bool = False) -> torch.Tensor:
    if answers_only:
        keep, wanted = fuse.answer_logits(inputs["labels"])
        out = model(**inputs, logits_to_keep=keep, shift_labels=wanted)
        assert out.logits.shape == (len(wanted), 300)
        return out.loss
    return model(**inputs).loss


def batched(samples: list[Any], packed: bool) -> dict[str, Any]:
    return apart(collate(samples, pad_id=0, packed=packed))[0]


@pytest.mark.parametrize("attn", ["sdpa", "eager"])
@pytest.mark.parametrize("kind", KINDS)
def test_packed_and_padded_batches_have_the_loss_and_the_gradient_of_single_samples(kind: str, attn: str) -> None:
    model = small.model(small.config(kind, text=KINDS[kind]))
    model.language_model.set_attn_implementation(attn)
    for parameter in model.language_model.parameters():
        parameter.data.mul_(4)  # so that every token matters to those after it
    learnt = [int((one["labels"][1:] != IGNORED).sum()) for one in SAMPLES]
    losses, gradients = {}, {}
    for way in ("single", "padded", "packed", "packed, answers only"):
        model.zero_grad()
        if way == "single":
            each = [loss_of(model, batched([one], False)) * count for one, count in zip(SAMPLES, learnt, strict=True)]
            loss = sum(each) / sum(learnt)
        else:
            loss = loss_of(model, batched(SAMPLES, way != "padded"), answers_only="only" in way)
        loss.backward()
        losses[way] = float(loss.detach())
        gradients[way] = [p.grad.clone() for p in model.connector.parameters()]
    print(f"\n{kind}, {attn}: " + ", ".join(f"{way} {loss:.7f}" for way, loss in losses.items()))
    for way in ("padded", "packed", "packed, answers only"):
        assert abs(losses[way] - losses["single"]) <= 1e-5
        for one, wanted in zip(gradients[way], gradients["single"], strict=True):
            assert torch.allclose(one, wanted, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_sample_of_a_pack_does_not_see_the_others(kind: str) -> None:
    model = small.model(small.config(kind, text=KINDS[kind]))
    other = [sample(9, 20), *SAMPLES[1:]]
    with torch.no_grad():
        first, second = (model(**batched(samples, packed=True)).logits for samples in (SAMPLES, other))
    border = len(SAMPLES[0]["input_ids"])
    assert not torch.allclose(first[:, :border], second[:, :border], atol=1e-3)
    assert torch.allclose(first[:, border:], second[:, border:], atol=1e-5)


def test_a_padded_batch_has_every_row_s_tensors_and_the_media_in_order() -> None:
    batch = collate([SAMPLES[1], SAMPLES[3], SAMPLES[4]], pad_id=7)
    longest = len(SAMPLES[1]["input_ids"])
    assert batch["ids"] == ["s1", "s3", "s4"] and batch["video_frames"] == [4, 4, 4]
    assert all(batch[name].shape == (3, longest) for name in ("input_ids", "labels", "mm_token_type_ids",
                                                               "attention_mask"))
    for row, one in enumerate((SAMPLES[1], SAMPLES[3], SAMPLES[4])):
        length = len(one["input_ids"])
        assert batch["attention_mask"][row].tolist() == [1] * length + [0] * (longest - length)
        for name, fill in (("input_ids", 7), ("labels", IGNORED), ("mm_token_type_ids", 0)):
            assert batch[name][row].tolist() == one[name].tolist() + [fill] * (longest - length)
    assert torch.equal(batch["pixel_values_videos"][8:], SAMPLES[3]["pixel_values_videos"])


def test_bad_samples_are_left_out_and_told_and_so_are_notes() -> None:
    bad = Bad(5, "x", "train.jsonl:6", "is damaged", "MediaError")
    inputs, beside = apart(collate([bad, SAMPLES[0] | {"notes": ["one frame twice"]}], 0, packed=True))
    assert beside == {"ids": ["s0"], "bad": [bad], "notes": [("s0", "one frame twice")]}
    assert inputs["input_ids"].shape == (1, len(SAMPLES[0]["input_ids"]))
    assert apart(collate([bad], 0)) == ({}, {"ids": [], "bad": [bad], "notes": []})


def preference(number: int) -> dict[str, Any]:
    whole, short = sample(number, 20), sample(number, 14)
    rows = ("input_ids", "labels", "mm_token_type_ids")
    return {"id": whole["id"], "notes": [], "chosen": {name: whole[name] for name in rows},
            "rejected": {name: short[name] for name in rows},
            "pixel_values_videos": whole["pixel_values_videos"], "video_frames": [4]}


@pytest.mark.parametrize("packed", [False, True])
def test_preferences_are_two_batches_that_share_their_media(packed: bool) -> None:
    batch = batched([preference(0), preference(1)], packed)
    media = {name: batch[name] for name in ("pixel_values_videos", "video_frames")}
    assert media["video_frames"] == [4, 4] and set(batch) == {*media, "chosen", "rejected"}
    model = small.model()
    with torch.no_grad():
        chosen, rejected = (model(**batch[name], **media).loss for name in ("chosen", "rejected"))
    assert chosen.isfinite() and rejected.isfinite() and chosen != rejected


def test_what_does_not_fit_together_is_refused() -> None:
    with pytest.raises(UsageError, match="1 preferences among 2 samples"):
        collate([preference(0), SAMPLES[0]], 0)
    inputs = batched(SAMPLES[:2], packed=True)
    with pytest.raises(UsageError, match="packed rows go by position_ids alone"):
        small.model()(**inputs, attention_mask=torch.ones_like(inputs["input_ids"]))


@pytest.mark.parametrize("packed", [False, True], ids=["padded", "packed"])
@pytest.mark.parametrize("folder", ["video", "audio_video"])
def test_the_recorded_losses_come_out_of_a_batch_of_all_recorded_cases(
    folder: str, packed: bool, tmp_path: Path
) -> None:
    """Labels, expanded around the media as the official code did, give the loss that it recorded, case by case."""
    (config,) = parity_dir(folder).glob("videollama2_*_config.json")
    stem = config.name.removesuffix("_config.json")
    write_official_folder(parity_dir(folder), stem, tmp_path)
    model = load_folder(tmp_path, attn="eager")[0]
    recorded = [load_file(path) for path in sorted(parity_dir(folder).glob(f"{stem}_*.safetensors"))
                if not path.stem.endswith("_weights")]
    assert len(recorded) >= 3
    made = [recorded_sample(model, one, str(number)) for number, one in enumerate(recorded)]
    counts = [int((one["labels"][1:] != IGNORED).sum()) for one in made]
    with torch.no_grad():
        loss = float(model(**batched(made, packed)).loss)
        alone = [float(model(**batched([one], packed)).loss) for one in made]
    wanted = [float(one["loss"]) for one in recorded]
    assert alone == pytest.approx(wanted, abs=1e-5)
    mean = sum(one * count for one, count in zip(wanted, counts, strict=True)) / sum(counts)
    assert loss == pytest.approx(mean, abs=1e-5)


def recorded_sample(model: ReelmModel, case: dict[str, torch.Tensor], name: str) -> dict[str, Any]:
    """A recorded case as a training sample: each placeholder becomes as many cells as its media have tokens."""
    ids: list[int] = []
    kinds: list[int] = []
    labels: list[int] = []
    pixels, banks, number = [], [], 0
    for token, label in zip(case["input_ids"][0].tolist(), case["labels"][0].tolist(), strict=True):
        cells = [0]
        if token < 0:
            cells = []
            vision = case.get(f"media{number}.video", case.get(f"media{number}.image"))
            bank = case.get(f"media{number}.audio")
            with torch.no_grad():
                if vision is not None:
                    cells += [1] * len(model.encode_vision(vision, [len(vision)])[0])
                    pixels.append(vision)
                if bank is not None:
                    cells += [2] * len(model.encode_audio(bank.flatten(0, 1), [bank.shape[-2]])[0])
                    banks.append(bank.flatten(0, 1))
            number += 1
        ids += [max(token, 0)] * len(cells)
        kinds += cells
        labels += [label] * len(cells)
    made: dict[str, Any] = {"id": name, "input_ids": torch.tensor(ids), "labels": torch.tensor(labels),
                            "mm_token_type_ids": torch.tensor(kinds)}
    if pixels:
        made |= {"pixel_values_videos": torch.cat(pixels), "video_frames": [len(one) for one in pixels]}
    if banks:
        made |= {"input_features": torch.cat(banks), "audio_frames": [len(one) for one in banks]}
    return made
