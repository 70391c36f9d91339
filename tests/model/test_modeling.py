"""The model as Hugging Face users meet it: any language model, mixed batches, saving, gradients, generate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForImageTextToText

from model import small
from reelm.errors import CheckpointError, UsageError
from reelm.model import AudioVideo, ReelmModel, ReelmProcessor
from reelm.model.fuse import answer_logits

#: A batched run against single runs differs by rounding only (padding changes the order of sums).
BATCHED = 2e-5


@pytest.fixture(scope="module")
def model() -> ReelmModel:
    return small.model()


@pytest.fixture(scope="module")
def processor() -> ReelmProcessor:
    return small.processor()


def conversations() -> list[list[Any]]:
    """Text only, picture, sound only, two clips of other lengths in two turns, a clip with sound."""
    return [
        [small.user("hello")],
        [small.user("see ", small.image(1), "what?")],
        [small.user(small.sound(0.5), "hear?")],
        [small.user(small.frames(6, 2), "first"), small.said("red"), small.user("and ", small.frames(4, 3), "then?")],
        [small.user(AudioVideo(small.frames(4, 4), small.sound(0.7)), small.sound(0.3), "both?")],
    ]


def answers(model: ReelmModel, batch: Any, count: int = 6, **kwargs: Any) -> list[list[int]]:
    out = model.generate(**batch, do_sample=False, max_new_tokens=count, eos_token_id=None, **kwargs)
    return out[:, batch["input_ids"].shape[1]:].tolist()


@pytest.mark.parametrize("kind", small.TEXT_KINDS)
def test_an_unequal_batch_answers_like_one_by_one(kind: str) -> None:
    config = small.config(kind)
    model, processor = small.model(config), small.processor(config)
    batch = processor(conversations())
    with torch.no_grad():
        together = answers(model, batch)
        logits = model(**batch, logits_to_keep=1).logits[:, -1]
        for index, conversation in enumerate(conversations()):
            single = processor([conversation])
            assert answers(model, single) == [together[index]]
            assert float((model(**single, logits_to_keep=1).logits[:, -1] - logits[index]).abs().max()) < BATCHED


def test_padding_on_either_side_gives_the_same_logits(model: ReelmModel, processor: ReelmProcessor) -> None:
    with torch.no_grad():
        left, right = (processor(conversations(), padding_side=side) for side in ("left", "right"))
        a, b = model(**left).logits, model(**right).logits
    for row in range(len(a)):
        real = a[row][left["attention_mask"][row] == 1], b[row][right["attention_mask"][row] == 1]
        assert float((real[0] - real[1]).abs().max()) < BATCHED


def test_media_and_their_order_matter(model: ReelmModel, processor: ReelmProcessor) -> None:
    def logits(*parts: Any) -> torch.Tensor:
        with torch.no_grad():
            return model(**processor([[small.user(*parts)]])).logits[0, -1]

    one, two = small.frames(4, 1), small.frames(4, 2)
    assert float((logits(one, two, "?") - logits(two, one, "?")).abs().max()) > 1e-4
    assert float((logits(small.sound(0.5, 1)) - logits(small.sound(0.5, 2))).abs().max()) > 1e-6


def test_a_still_equals_the_same_frame_encoded_often(model: ReelmModel, processor: ReelmProcessor) -> None:
    pixels = processor.pixels(small.image())
    repeat = model.config.vision_settings.repeat  # type: ignore[union-attr]
    with torch.no_grad():
        still = model.encode_vision(pixels, [1])[0]
        often = model.encode_vision(pixels.repeat(repeat, 1, 1, 1), [repeat])[0]
    assert float((still - often).abs().max()) < 1e-6


def test_clips_of_any_mixture_of_lengths_are_encoded_like_alone(model: ReelmModel, processor: ReelmProcessor) -> None:
    clips = [processor.pixels(small.frames(count, count)) for count in (4, 1, 6, 4)]
    with torch.no_grad():
        together = model.encode_vision(torch.cat(clips), [len(c) for c in clips])
        for clip, tokens in zip(clips, together, strict=True):
            assert float((model.encode_vision(clip, [len(clip)])[0] - tokens).abs().max()) < 1e-6


def test_wrong_counts_are_refused_with_both_numbers(model: ReelmModel, processor: ReelmProcessor) -> None:
    batch = processor([[small.user(small.frames(4), "what?")]])
    with pytest.raises(UsageError, match=r"8 vision cells.*\[12\]"):
        model(**{**batch, "pixel_values_videos": processor.pixels(small.frames(6)), "video_frames": [6]})
    with pytest.raises(UsageError, match="8 vision cells, but 0 media"):
        model(**{**batch, "pixel_values_videos": None, "video_frames": None})
    with pytest.raises(UsageError, match=r"4 frames given.*\[5\]"):
        model(**{**batch, "video_frames": [5]})
    with pytest.raises(UsageError, match="together"):
        model(**{**batch, "video_frames": None})


def test_media_in_another_order_than_the_prompt_are_refused(model: ReelmModel, processor: ReelmProcessor) -> None:
    batch = processor([[small.user(small.frames(4), "a", small.frames(6), "b")]])
    pixels = batch["pixel_values_videos"]
    with pytest.raises(UsageError, match="medium 0 gives 12 tokens, but its cells are not one run"):
        model(**{**batch, "pixel_values_videos": torch.cat([pixels[4:], pixels[:4]]), "video_frames": [6, 4]})


def test_conflicting_inputs_are_refused(model: ReelmModel, processor: ReelmProcessor) -> None:
    batch = processor([[small.user(small.frames(4), "what?")]])
    embeds = torch.zeros(1, 3, 32)
    with pytest.raises(UsageError, match="exactly one"):
        model(input_ids=batch["input_ids"], inputs_embeds=embeds)
    with pytest.raises(UsageError, match="exactly one"):
        model()
    with pytest.raises(UsageError, match="without attention_mask"):
        model.generate(**{name: value for name, value in batch.items() if name != "attention_mask"})
    with pytest.raises(UsageError, match="beside inputs_embeds"):
        model(inputs_embeds=embeds, pixel_values_videos=batch["pixel_values_videos"], video_frames=[4])


def test_gradients_reach_pixels_and_filter_banks(model: ReelmModel, processor: ReelmProcessor) -> None:
    asked = small.user(AudioVideo(small.frames(), small.sound()), "what?")
    batch = processor([[asked, small.said("red")]], labels=True)
    for name in ("pixel_values_videos", "input_features"):
        batch[name].requires_grad_()
    model(**batch).loss.backward()
    for name in ("pixel_values_videos", "input_features"):
        per_item = batch[name].grad.flatten(1).abs().sum(1)
        assert bool((per_item > 0).float().mean() > 0.9), name
    model.zero_grad()


def test_loss_of_answer_positions_only_is_the_loss(model: ReelmModel, processor: ReelmProcessor) -> None:
    batch = processor([[*c, small.said("the ball")] for c in conversations()], labels=True)
    keep, wanted = answer_logits(batch["labels"])
    with torch.no_grad():
        whole = model(**batch)
        part = model(**batch, logits_to_keep=keep, shift_labels=wanted)
        half = model(**batch, num_items_in_batch=2 * len(wanted))
    assert part.logits.shape == (len(wanted), 300)
    assert torch.allclose(part.loss, whole.loss, atol=1e-6)
    assert torch.allclose(part.logits, whole.logits[keep], atol=1e-6)
    assert torch.allclose(half.loss * 2, whole.loss, atol=1e-6)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("kind", small.TEXT_KINDS)
def test_saved_and_loaded_is_bit_identical(tmp_path: Path, kind: str, tied: bool, processor: ReelmProcessor) -> None:
    model = small.model(small.config(kind, text={"tie_word_embeddings": tied}))
    model.save_pretrained(tmp_path)
    batch = processor(conversations())
    with torch.no_grad():
        expected = model(**batch).logits
        for auto in (AutoModel, AutoModelForCausalLM, AutoModelForImageTextToText, ReelmModel):
            again = auto.from_pretrained(tmp_path)
            assert isinstance(again, ReelmModel)
            assert torch.equal(again(**batch).logits, expected)
    assert (again.get_output_embeddings().weight is again.get_input_embeddings().weight) == tied


def test_every_weight_and_buffer_survives(tmp_path: Path, model: ReelmModel) -> None:
    model.save_pretrained(tmp_path)
    again = ReelmModel.from_pretrained(tmp_path)
    for kind in ("named_parameters", "named_buffers"):
        before, after = dict(getattr(model, kind)()), dict(getattr(again, kind)())
        assert before.keys() == after.keys()
        assert all(torch.equal(value, after[name]) for name, value in before.items())


@pytest.mark.parametrize("prefix", ["vision_tower.", "connector.", "audio_tower.", "audio_connector.",
                                    "language_model."])
def test_a_missing_weight_of_any_part_is_named(tmp_path: Path, model: ReelmModel, prefix: str) -> None:
    model.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    gone = sorted(name for name in weights if name.startswith(prefix))[0]
    save_file({k: v for k, v in weights.items() if k != gone}, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match=f"missing.*{gone}"):
        ReelmModel.from_pretrained(tmp_path)


def test_an_extra_or_misshapen_weight_is_named(tmp_path: Path, model: ReelmModel) -> None:
    model.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    save_file({**weights, "connector.novel": torch.zeros(2)}, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match="unexpected.*connector.novel"):
        ReelmModel.from_pretrained(tmp_path)
    name = "language_model.model.norm.weight"
    save_file({**weights, name: torch.zeros(3)}, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match="misshapen.*norm.weight"):
        ReelmModel.from_pretrained(tmp_path)


def test_dtype_and_attention_reach_every_part(tmp_path: Path, model: ReelmModel, processor: ReelmProcessor) -> None:
    model.save_pretrained(tmp_path)
    batch = processor(conversations())
    with torch.no_grad():
        expected = model(**batch).logits
        eager = ReelmModel.from_pretrained(tmp_path, attn_implementation="eager")
        for part in (eager.vision_tower, eager.language_model):
            assert part.config._attn_implementation == "eager"
        real = batch["attention_mask"] == 1
        assert float((eager(**batch).logits - expected)[real].abs().max()) < BATCHED
        half = ReelmModel.from_pretrained(tmp_path, dtype=torch.bfloat16)
        assert {p.dtype for p in half.parameters()} == {torch.bfloat16}
        assert float((half(**batch).logits.float() - expected)[real].abs().max()) < 0.1
        half.save_pretrained(tmp_path / "half")
    assert ReelmModel.from_pretrained(tmp_path / "half").dtype == torch.bfloat16


def test_generate_agrees_for_ids_embeddings_and_without_cache(model: ReelmModel, processor: ReelmProcessor) -> None:
    batch = processor(conversations()[3:4])
    with torch.no_grad():
        by_ids = answers(model, batch)
        assert answers(model, batch, use_cache=False) == by_ids
        assert answers(model, batch, cache_implementation="static", disable_compile=True) == by_ids
        vision = model.encode_vision(batch["pixel_values_videos"], batch["video_frames"])
        embeds = model.embed(batch["input_ids"], batch["mm_token_type_ids"], vision)
        out = model.generate(inputs_embeds=embeds, do_sample=False, max_new_tokens=6, eos_token_id=None)
    assert out.tolist() == by_ids


def test_beams_penalties_and_several_answers_run_on_mixed_batches(model: ReelmModel, processor: ReelmProcessor) -> None:
    batch = processor(conversations())
    with torch.no_grad():
        together = answers(model, batch, num_beams=2, repetition_penalty=1.1)
        for index, conversation in enumerate(conversations()):
            assert answers(model, processor([conversation]), num_beams=2, repetition_penalty=1.1) == [together[index]]


def test_a_given_language_model_keeps_its_weights() -> None:
    language = AutoModelForCausalLM.from_config(small.text_config())
    before = {name: value.clone() for name, value in language.state_dict().items()}
    model = ReelmModel(small.config(), language_model=language)
    assert model.language_model is language
    assert all(torch.equal(before[name], value) for name, value in model.language_model.state_dict().items())


def test_gradient_checkpointing_changes_nothing(model: ReelmModel, processor: ReelmProcessor) -> None:
    batch = processor([[*conversations()[1], small.said("red")]], labels=True)
    plain = model(**batch).loss
    model.train()
    model.gradient_checkpointing_enable()
    loss = model(**batch).loss
    loss.backward()
    model.gradient_checkpointing_disable()
    model.eval()
    model.zero_grad()
    assert torch.allclose(loss, plain, atol=1e-6)


def test_embeddings_can_be_resized(processor: ReelmProcessor) -> None:
    model = small.model()
    model.resize_token_embeddings(310)
    assert model.get_output_embeddings().weight.shape[0] == model.config.text_config.vocab_size == 310
    with torch.no_grad():
        assert model(**processor(conversations()[:1])).logits.shape[-1] == 310


def test_adapters_train_the_language_model_and_keep_the_connector(tmp_path: Path, processor: ReelmProcessor) -> None:
    peft = pytest.importorskip("peft")
    base = small.model()
    base.save_pretrained(tmp_path / "base")
    lora = peft.LoraConfig(target_modules=r"language_model\..*\.(q_proj|v_proj)", modules_to_save=["connector"],
                           task_type="CAUSAL_LM", r=2)
    model = peft.get_peft_model(ReelmModel.from_pretrained(tmp_path / "base"), lora)
    batch = processor([[*conversations()[1], small.said("red")]], labels=True)
    model(**batch).loss.backward()
    learnt = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert learnt and all("lora_" in name or "connector.modules_to_save" in name for name in learnt)
    with torch.no_grad():
        for p in filter(lambda p: p.requires_grad, model.parameters()):
            p.add_(0.01)
        expected = model(**batch).logits
        model.save_pretrained(tmp_path / "adapter")
        again = ReelmModel.from_pretrained(tmp_path / "base")
        again = peft.PeftModel.from_pretrained(again, tmp_path / "adapter").eval()
        assert torch.equal(again(**batch).logits, expected)
        again.merge_and_unload().save_pretrained(tmp_path / "merged")
        merged = ReelmModel.from_pretrained(tmp_path / "merged")
        assert float((merged(**batch).logits - expected).abs().max()) < 1e-5


def test_interleaved_senses_meet_the_language_model_share_by_share() -> None:
    config = small.config(layout={"kind": "chat", "interleave": 2})
    model, processor = small.model(config), ReelmProcessor.of(config, small.tokenizer())
    batch = processor([[small.user(AudioVideo(small.frames(4, 4), small.sound(0.7)), "both?")],
                       [small.user(small.frames(4, 4), "seen?")]])
    vision = model.encode_vision(batch["pixel_values_videos"], batch["video_frames"])
    audio = model.encode_audio(batch["input_features"], batch["audio_frames"])
    embeds = model.embed(batch["input_ids"], batch["mm_token_type_ids"], vision, audio)
    kinds = batch["mm_token_type_ids"][0].tolist()
    first, last = kinds.index(1), len(kinds) - kinds[::-1].index(2)
    n, m = len(vision[0]), len(audio[0])
    wanted = torch.cat([vision[0][: n // 2], audio[0][: m // 2], vision[0][n // 2 :], audio[0][m // 2 :]])
    torch.testing.assert_close(embeds[0, first:last], wanted, rtol=0, atol=0)
    assert answers(model, batch) == [answers(model, processor([c]))[0] for c in (
        [small.user(AudioVideo(small.frames(4, 4), small.sound(0.7)), "both?")],
        [small.user(small.frames(4, 4), "seen?")])]
