"""From conversations to tensors: exact counts, prompts that text cannot forge, labels, padding."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoProcessor

from model import small
from reelm.errors import UsageError
from reelm.model import AudioVideo, ReelmProcessor, Sketch
from reelm.types import Clip


@pytest.fixture(scope="module")
def processor() -> ReelmProcessor:
    return small.processor()


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7])
def test_counts_are_known_before_any_tensor_and_are_the_cells(processor: ReelmProcessor, count: int) -> None:
    expected = processor.counts(Sketch(frames=count))["vision"]
    batch = processor([[small.user(small.frames(count), "what?")]])
    assert int((batch["mm_token_type_ids"] == 1).sum()) == expected > 0
    assert batch["video_frames"] == [count]


def test_counts_of_sound_are_exact_without_reading_it(processor: ReelmProcessor) -> None:
    for seconds in (0.3, 0.5, 1.003):
        clip = small.sound(seconds)
        expected = processor.counts(Sketch(audio_s=clip.duration_s))
        batch = processor([[small.user(clip, "what?")]])
        assert int((batch["mm_token_type_ids"] == 2).sum()) == expected["audio"] > 0
        assert expected["vision"] == 0


def test_a_clip_with_sound_is_one_place_vision_first(processor: ReelmProcessor) -> None:
    batch = processor([[small.user("see ", AudioVideo(small.frames(), small.sound()), "what?")]])
    kinds = [k for k in batch["mm_token_type_ids"][0].tolist() if k]
    assert kinds == sorted(kinds) and set(kinds) == {1, 2}


def test_plan_counts_a_conversation_without_decoding(processor: ReelmProcessor) -> None:
    plan = processor.plan([small.user(Sketch(frames=4, audio_s=0.5), "what is it?")])
    assert plan.counts["vision"] == processor.counts(Sketch(frames=4))["vision"]
    assert plan.counts["text"] > 0
    assert sum(plan.counts.values()) == len(plan.laid.ids)


def test_media_stay_where_the_user_put_them_in_any_turn(processor: ReelmProcessor) -> None:
    conversation = [small.user("first ", small.frames(4), "then ", small.image()), small.said("a ball"),
                    small.user("and ", small.frames(2), "?")]
    batch = processor([conversation])
    ids, kinds = batch["input_ids"][0], batch["mm_token_type_ids"][0]
    text = processor.tokenizer.decode([i for i, k in zip(ids.tolist(), kinds.tolist(), strict=True) if k == 0])
    assert text.startswith("<|im_start|>user\nfirst \nthen \n<|im_end|>\n")
    assert text.endswith("user\nand \n?<|im_end|>\n<|im_start|>assistant\n")
    assert batch["video_frames"] == [4, 1, 2]


def test_the_shared_prefix_ends_with_the_last_medium(processor: ReelmProcessor) -> None:
    clip = small.frames()
    first = processor.plan([small.user(clip, "what colour?")]).laid
    second = processor.plan([small.user(clip, "how many balls?")]).laid
    assert first.prefix_len == second.prefix_len > 0
    assert first.ids[: first.prefix_len] == second.ids[: first.prefix_len]
    assert first.kinds[first.prefix_len - 1] == 1
    assert set(first.kinds[first.prefix_len :]) == {0}
    assert processor.plan([small.user("no media")]).laid.prefix_len == 0


def test_labels_cover_what_the_assistant_says_and_its_end_mark(processor: ReelmProcessor) -> None:
    batch = processor([[small.user(small.frames(), "what?"), small.said("the red ball"), small.user("and?"),
                        small.said("the left")]], labels=True)
    labels = batch["labels"][0]
    assert processor.tokenizer.decode(labels[labels != -100]) == "the red ball<|im_end|>\nthe left<|im_end|>\n"
    assert torch.equal(labels[labels != -100], batch["input_ids"][0][labels != -100])


def test_padding_is_left_to_ask_and_right_to_learn(processor: ReelmProcessor) -> None:
    asked = [[small.user("hi")], [small.user(small.frames(), "what is it?")]]
    assert processor(asked)["attention_mask"][0].tolist()[0] == 0
    learnt = processor([[*c, small.said("red")] for c in asked], labels=True)
    assert learnt["attention_mask"][0].tolist()[-1] == 0
    assert learnt["labels"][0].tolist()[-1] == -100


def test_a_saved_processor_builds_the_same_batch(tmp_path: Path, processor: ReelmProcessor) -> None:
    processor.save_pretrained(tmp_path)
    again = AutoProcessor.from_pretrained(tmp_path)
    conversation = [[small.user(AudioVideo(small.frames(), small.sound()), "what?")]]
    first, second = processor(conversation), again(conversation)
    assert isinstance(again, ReelmProcessor)
    assert first.keys() == second.keys()
    for key, value in first.items():
        assert torch.equal(value, second[key]) if isinstance(value, torch.Tensor) else value == second[key]


def test_what_the_model_cannot_take_is_refused() -> None:
    deaf = small.processor(small.config(audio=False))
    with pytest.raises(UsageError, match="does not hear"):
        deaf([[small.user(small.sound(), "what?")]])
    blind = small.processor(small.config(vision=False))
    with pytest.raises(UsageError, match="does not see"):
        blind([[small.user(small.image(), "what?")]])
    with pytest.raises(UsageError, match="Clip"):
        deaf([[small.user(Clip("a.mp4"), "what?")]])
    with pytest.raises(UsageError, match="Sketch"):
        deaf([[small.user(Sketch(frames=4), "what?")]])
    with pytest.raises(UsageError, match="without a conversation"):
        deaf([])
    with pytest.raises(UsageError, match="list of conversations"):
        deaf([small.user("what?")])  # type: ignore[list-item]


def test_the_sound_of_a_video_may_be_cut_otherwise_than_sound_alone() -> None:
    settings = small.config(vision=False)
    settings.audio = {**small.AUDIO, "of_video": {"window": "official_video"}}
    processor = small.processor(settings)
    alone, with_pictures = (processor.filter_bank(small.sound(2.5), of_video=value) for value in (False, True))
    assert len(alone) < len(with_pictures) == 2998
