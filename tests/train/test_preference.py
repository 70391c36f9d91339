"""Preferences: the loss is the formula, it looks at the video, and a few steps draw the replies apart."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from model import small
from model.films import pictures, tone
from reelm.data.collate import collate
from reelm.data.samples import Samples
from reelm.errors import UsageError
from reelm.media import write_video
from reelm.train.adapters import AdapterSettings, attach
from reelm.train.preference import dpo, dpo_loss, margins, read_reference, reply_logps, write_reference

PAIRS = (("a", "What moves?", "a red ball", "a dog"), ("b", "And here?", "it goes up", "nothing at all moves"))


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Two preferences about two real films with sound, as training reads them."""
    folder = tmp_path_factory.mktemp("films")
    for seed, (name, *_) in enumerate(PAIRS):
        write_video(folder / f"{name}.mp4", pictures(seed=seed), 10, tone())
    (folder / "pairs.jsonl").write_text("".join(json.dumps({
        "id": name, "video": f"{name}.mp4", "prompt": f"<video>\n{asked}", "chosen": yes, "rejected": no}) + "\n"
        for name, asked, yes, no in PAIRS))
    samples = Samples.read(folder / "pairs.jsonl", small.processor())
    return collate([samples[at] for at in range(len(samples))], pad_id=0)


def lively() -> Any:
    """A tiny model with weights so large that what it says depends on what it sees."""
    model = small.model(small.config(text={"initializer_range": 0.3}))
    with torch.no_grad():
        for name, parameter in model.connector.named_parameters():
            if name.startswith("readout"):
                parameter.mul_(8)
    return model


def trained() -> Any:
    """The same with a fresh adapter: still its own reference, so every margin is 0."""
    return attach(lively(), AdapterSettings(r=4, alpha=8))


def shaken(model: Any) -> Any:
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


def another_film(batch: dict[str, Any]) -> dict[str, Any]:
    return batch | {"pixel_values_videos": batch["pixel_values_videos"].flip(0)}


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_the_formula_in_float64(smoothing: float) -> None:
    torch.manual_seed(0)
    policy, reference = torch.randn(2, 2, 5, dtype=torch.float64) * 10
    found = dpo_loss(policy, reference, 0.3, smoothing)
    for pair in range(5):
        chosen, rejected = (float(policy[row, pair] - reference[row, pair]) for row in (0, 1))
        sigmoid = 1 / (1 + torch.exp(torch.tensor(-0.3 * (chosen - rejected), dtype=torch.float64)))
        by_hand = -(1 - smoothing) * torch.log(sigmoid) - smoothing * torch.log(1 - sigmoid)
        assert abs(float(found[pair]) - float(by_hand)) <= 1e-12 * max(1, float(by_hand))


def test_the_loss_of_a_batch_is_that_of_its_replies_one_by_one(batch: dict[str, Any]) -> None:
    """In float64, every reply alone, all logits, the sum over its tokens; the reference is the untrained model."""
    model, before = shaken(trained()).double(), lively().double()
    processor = small.processor()

    def alone(one: Any, at: int, reply: str) -> float:
        rows = {name: value[at:at + 1] for name, value in batch[reply].items()}
        pixels = batch["pixel_values_videos"].split(batch["video_frames"])[at]
        banks = batch["input_features"].split(batch["audio_frames"])[at]
        with torch.no_grad():
            logits = one(**{key: value for key, value in rows.items() if key != "labels"}, pixel_values_videos=pixels,
                         video_frames=[len(pixels)], input_features=banks, audio_frames=[len(banks)]).logits[0]
        logps, total, words = logits.log_softmax(-1), 0.0, []
        for position, label in enumerate(rows["labels"][0].tolist()):
            if label != -100:
                total += float(logps[position - 1, label])
                words.append(label)
        said = dict(zip(("chosen", "rejected"), PAIRS[at][2:], strict=True))[reply]
        assert processor.tokenizer.decode(words, skip_special_tokens=True).strip() == said
        return total

    by_hand = 0.0
    for at in range(2):
        (yes, no), (was_yes, was_no) = ([alone(one, at, reply) for reply in ("chosen", "rejected")]
                                        for one in (model, before))
        margin = torch.tensor(0.5 * ((yes - was_yes) - (no - was_no)), dtype=torch.float64)
        by_hand += float(-0.9 * torch.log(torch.sigmoid(margin)) - 0.1 * torch.log(torch.sigmoid(-margin)))
    found = dpo(beta=0.5, label_smoothing=0.1)(model, batch)
    assert found.count == 2 and abs(found.total.item() - by_hand) <= 1e-6 * by_hand
    print(f"\n| DPO | of the batch {found.total.item():.8f} | reply by reply in float64 {by_hand:.8f} |")


def test_a_fresh_adapter_is_its_own_reference(batch: dict[str, Any]) -> None:
    found = dpo()(trained(), batch)
    assert found.total.item() == pytest.approx(2 * math.log(2), abs=1e-5)
    assert found.told["margin"] == pytest.approx(0, abs=1e-5)


def test_the_loss_and_the_gradient_of_the_connector_change_with_the_video(batch: dict[str, Any]) -> None:
    model = shaken(trained())
    connector = [one for name, one in model.named_parameters() if ".connector.modules_to_save." in name]
    losses, gradients = [], []
    for given in (batch, another_film(batch)):
        model.zero_grad()
        found = dpo()(model, given)
        found.total.backward()
        losses.append(found.total.item())
        gradients.append(torch.cat([one.grad.flatten() for one in connector]))
    assert abs(losses[0] - losses[1]) > 1e-4
    assert gradients[0].norm() > 1e-4
    apart = (gradients[0] - gradients[1]).norm() / gradients[0].norm()
    assert apart > 0.1
    print(f"\n| films exchanged | loss {losses[0]:.5f} -> {losses[1]:.5f} | connector's gradient {apart:.0%} apart |")


def test_frozen_towers_run_once_for_both_replies_and_the_reference(batch: dict[str, Any]) -> None:
    model = shaken(trained())
    base = model.get_base_model()
    calls: list[str] = []
    for name in ("vision_tower", "audio_tower"):
        getattr(base, name).register_forward_hook(lambda *_, name=name: calls.append(name))
    once = dpo()(model, batch)
    assert sorted(calls) == ["audio_tower", "vision_tower"]
    learning = attach(lively(), AdapterSettings(r=4, alpha=8, beside=("vision_tower",)))
    learning.load_state_dict(model.state_dict(), strict=False)
    often = dpo()(learning, batch)  # a tower that learns is another one in the reference
    assert often.total.item() == pytest.approx(once.total.item(), abs=1e-5)
    often.total.backward()
    tower = [one for name, one in learning.named_parameters() if "vision_tower.modules_to_save" in name]
    assert tower and sum(float(one.grad.norm()) for one in tower if one.grad is not None) > 0


def test_a_few_steps_draw_the_replies_apart(batch: dict[str, Any]) -> None:
    model = trained()
    optimizer = torch.optim.AdamW([one for one in model.parameters() if one.requires_grad], lr=3e-3)
    told = []
    for _ in range(6):
        found = dpo(beta=0.5)(model, batch)
        found.total.backward()
        optimizer.step()
        optimizer.zero_grad()
        told.append((found.total.item() / 2, found.told["margin"] / 2))
    assert told[-1][0] < told[0][0] - 0.1 and told[-1][1] > 0.5 and found.told["preferred"] == 2
    (loss, margin), (last, apart) = told[0], told[-1]
    print(f"\n| DPO, 5 steps | loss {loss:.3f} -> {last:.3f} | margin {margin:.2f} -> {apart:.2f} |")


def test_what_is_computed_before_is_what_the_adapter_leaves_out(batch: dict[str, Any], tmp_path: Path) -> None:
    model = shaken(trained())
    written = write_reference(lively(), [batch, {"ids": []}], tmp_path / "reference.json")
    assert set(written) == {"a", "b"} and read_reference(tmp_path / "reference.json") == written
    live, read = dpo()(model, batch), dpo(reference=str(tmp_path / "reference.json"))(model, batch)
    assert live.total.item() == pytest.approx(read.total.item(), abs=1e-5)
    plain = lively()  # no adapter: with a reference from before, everything may learn
    assert dpo(reference=written)(plain, batch).total.item() == pytest.approx(1.3863, abs=1e-4)
    with pytest.raises(UsageError, match="nothing on sample 'b'"):
        dpo(reference={"a": (0.0, 0.0)})(plain, batch)
    with pytest.raises(UsageError, match="two samples have the id 'a'"):
        write_reference(lively(), [batch, batch], tmp_path / "again.json")
    (tmp_path / "bad.json").write_text("[1]")
    with pytest.raises(UsageError, match="bad.json"):
        dpo(reference=str(tmp_path / "bad.json"))


def test_without_a_reference_that_stays_there_is_no_loss(batch: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="no adapter and no reference"):
        dpo()(small.model(), batch)
    model = trained()
    model.base_model.model.vision_tower.requires_grad_(True)
    with pytest.raises(UsageError, match="vision_tower.* learns"):
        dpo()(model, batch)


def test_batches_and_settings_that_mean_nothing_are_refused(batch: dict[str, Any]) -> None:
    for wrong, said in (({"chosen": batch["chosen"]}, "no rejected"),
                        (batch | {"chosen": batch["chosen"] | {"packed": True}}, "cannot be packed"),
                        (batch | {"seconds": [1.0]}, "seconds in the batch would be ignored")):
        with pytest.raises(UsageError, match=said):
            reply_logps(small.model(), wrong)
    for settings in ({"beta": 0.0}, {"beta": float("nan")}, {"label_smoothing": 0.5}):
        with pytest.raises(UsageError, match="beta"):
            dpo(**settings)


def test_the_loss_is_that_of_trl() -> None:
    """Their loss function, given the token log-probabilities of our model, and our loss on the same batch."""
    trainer = pytest.importorskip("trl.trainer.dpo_trainer", exc_type=(ImportError, RuntimeError))
    from accelerate import Accelerator

    model, reference = shaken(trained()), torch.tensor([[-20.0, -31.0], [-25.0, -30.0]])
    processor = small.processor()
    rows = [processor([[small.user(asked), small.said(reply)] for _, asked, yes, no in PAIRS for reply in (
        (yes,) if which == "chosen" else (no,))], labels=True) for which in ("chosen", "rejected")]
    ours = dpo(beta=0.3, reference={"a": (-20.0, -25.0), "b": (-31.0, -30.0)})(
        model, {"ids": ["a", "b"], "chosen": dict(rows[0]), "rejected": dict(rows[1])})
    length = max(one["input_ids"].shape[1] for one in rows)

    def stacked(name: str, fill: int) -> Tensor:
        return torch.cat([torch.nn.functional.pad(one[name], (0, length - one[name].shape[1]), value=fill)
                          for one in rows])

    theirs: Any = trainer.DPOTrainer.__new__(trainer.DPOTrainer)
    vars(theirs).update(
        model=model, accelerator=Accelerator(cpu=True), aux_loss_enabled=False, ld_alpha=None, use_weighting=False,
        precompute_ref_logps=True, f_divergence_type="reverse_kl", loss_types=["sigmoid"], loss_weights=[1.0], beta=0.3,
        label_smoothing=0.0, _metrics=defaultdict(lambda: defaultdict(list)), _total_train_tokens=0, _tp_size=1)

    def fused(input_ids: Tensor, attention_mask: Tensor, labels: Tensor, **_: Any) -> Any:
        logits = model(input_ids=input_ids, attention_mask=attention_mask).logits[:, :-1]
        said = labels[:, 1:]
        logps = logits.log_softmax(-1).gather(-1, said.clamp(min=0)[..., None])[..., 0] * (said != -100)
        return SimpleNamespace(log_probs=logps, entropy=torch.zeros_like(logps), mean_logits=logits.mean(-1),
                               is_top1=logits.argmax(-1) == said)

    loss = theirs._compute_loss(fused, {
        "input_ids": stacked("input_ids", 0), "attention_mask": stacked("attention_mask", 0),
        "completion_mask": (stacked("labels", -100) != -100).long(), "ref_chosen_logps": reference[0],
        "ref_rejected_logps": reference[1]}, False)
    assert float(loss) == pytest.approx(ours.total.item() / 2, abs=1e-6)
    print(f"\n| DPO | ours {ours.total.item() / 2:.7f} | trl {float(loss):.7f} |")


def test_margins_are_of_the_preferred_reply() -> None:
    policy, reference = torch.tensor([[-1.0], [-5.0]]), torch.tensor([[-2.0], [-3.0]])
    assert margins(policy, reference).tolist() == [3.0]
