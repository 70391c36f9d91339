"""Log-probabilities of an answer and attention over media, against the plain formulas."""

from __future__ import annotations

import math

import pytest
import torch

from model import small
from reelm.errors import UsageError
from reelm.model.front import VideoLM
from reelm.model.processing import ReelmProcessor
from reelm.types import AUDIO, VISION, AudioVideo, Clip

PARTS = small.frames(8), "What colour is the ball?"


def inputs(lm: VideoLM, answer: str) -> tuple[dict, list[int]]:
    batch = lm.processor([[small.user(*PARTS)]])
    ids = lm.processor.tokenizer(answer, add_special_tokens=False)["input_ids"]
    more = torch.tensor([ids])
    batch["input_ids"] = torch.cat([batch["input_ids"], more], 1)
    for name, value in (("attention_mask", 1), ("mm_token_type_ids", 0)):
        batch[name] = torch.cat([batch[name], torch.full_like(more, value)], 1)
    return dict(batch), ids


def test_logprobs_are_those_of_the_whole_sequence(hearing: VideoLM) -> None:
    batch, ids = inputs(hearing, "a red ball")
    with torch.no_grad():
        logits = hearing.model(**batch).logits[0, -len(ids) - 1:].log_softmax(-1)
    found = hearing.logprobs(*PARTS, answer="a red ball")
    assert found.ids == (*ids, hearing.processor.tokenizer.eos_token_id)
    expected = [float(logits[step, token]) for step, token in enumerate(found.ids)]
    assert found.logprobs == pytest.approx(expected, abs=1e-4)
    assert found.total == pytest.approx(sum(expected), abs=1e-3) and found.mean == found.total / len(found.ids)
    assert hearing.logprobs(*PARTS, answer="a red ball", end=False).ids == tuple(ids)


def test_the_greedy_answer_is_likelier_than_others_of_its_length(deaf: VideoLM) -> None:
    said = deaf.answer(*PARTS, max_tokens=1)
    (token,) = deaf.logprobs(*PARTS, answer=said.text, end=False).logprobs[:1] or (0.0,)
    assert all(deaf.logprobs(*PARTS, answer=other, end=False).logprobs[0] <= token for other in "xyz")


def test_attention_is_that_of_the_eager_model(hearing: VideoLM) -> None:
    batch, ids = inputs(hearing, "a ball")
    usual = hearing.model.language_model.config._attn_implementation
    found = hearing.attention(*PARTS, answer="a ball")
    assert hearing.model.language_model.config._attn_implementation == usual == "sdpa"
    hearing.model.language_model.set_attn_implementation("eager")
    with torch.no_grad():
        full = hearing.model(**batch, output_attentions=True).attentions
    cells = (batch["mm_token_type_ids"][0] > 0).nonzero().flatten()
    expected = torch.stack([layer[0].mean(0)[-len(ids) - 1:-1][:, cells] for layer in full])
    assert torch.allclose(found.weights, expected, atol=1e-5)
    assert found.pieces == tuple(hearing.processor.tokenizer.decode([token]) for token in ids)
    assert bool((found.share > 0).all()) and bool((found.share < 1).all())


def test_attention_knows_the_second_of_every_token(films, hearing: VideoLM) -> None:
    found = hearing.attention(Clip(films / "a.mp4"), "What?", layers=[-1])
    assert found.weights.shape[:2] == (1, 1) and {VISION, AUDIO} == set(found.kind.tolist())
    seen = found.by_time(VISION)
    assert [at for at, _ in seen] == sorted(at for at, _ in seen) and 0 <= seen[0][0] < seen[-1][0] < 4
    heard = found.by_time(AUDIO)
    total = sum(weight for _, weight in seen) + sum(weight for _, weight in heard if not math.isnan(weight))
    assert total == pytest.approx(float(found.share.mean()), abs=1e-5)


def test_two_media_are_told_apart(hearing: VideoLM) -> None:
    found = hearing.attention(small.image(), small.sound(), "What?")
    assert set(found.medium[found.kind == VISION].tolist()) == {0}
    assert set(found.medium[found.kind == AUDIO].tolist()) == {1}
    assert math.isnan(found.by_time(VISION, 0)[0][0])  # a still picture has no time


def test_attention_keeps_to_its_medium_where_senses_are_interleaved() -> None:
    config = small.config(layout={"kind": "chat", "interleave": 2})
    lm = VideoLM(small.model(config), ReelmProcessor.of(config, small.tokenizer()), "small", 0, None)
    found = lm.attention(AudioVideo(small.frames(4, 4), small.sound(0.7)), "What?")
    plan = lm.processor.plan([small.user(AudioVideo(small.frames(4, 4), small.sound(0.7)), "What?")])
    assert found.kind.tolist() == sorted(found.kind.tolist()) and plan.laid.kinds != sorted(plan.laid.kinds)
    batch = lm.processor([[small.user(AudioVideo(small.frames(4, 4), small.sound(0.7)), "What?")]])
    lm.model.set_attn_implementation("eager")
    whole = lm.model(**batch, output_attentions=True).attentions[-1][0].mean(0)[-1]
    kinds = batch["mm_token_type_ids"][0]
    wanted = torch.cat([whole[kinds == VISION], whole[kinds == AUDIO]])
    torch.testing.assert_close(found.weights[-1, -1], wanted, rtol=1e-4, atol=1e-6)


def test_what_cannot_be_asked_is_explained(deaf: VideoLM) -> None:
    with pytest.raises(UsageError, match="needs a medium"):
        deaf.attention("What?")
    with pytest.raises(UsageError, match="layer 7 of 2"):
        deaf.attention(*PARTS, layers=[7])
    with pytest.raises(UsageError, match="no tokens"):
        deaf.logprobs(*PARTS, answer="", end=False)
