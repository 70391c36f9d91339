"""A sampler, compressors and a budget on a loaded model: neutral is bit-identical, counts are exact, reasons named."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import nn

import reelm
from model.films import Calls, lively
from reelm import registry
from reelm.errors import BudgetError, CheckpointError, UsageError
from reelm.model.checkpoints import load_folder
from reelm.model.compose import compose, spelt, system
from reelm.model.front import VideoLM
from reelm.parts.base import Compressor, CompressorConfig, Sampler
from reelm.types import Clip, Frames, Image, Tokens


def composed(**parts: Any) -> VideoLM:
    lm = lively(which="")
    return VideoLM(lm.model, compose(lm.model, lm.processor, "lively", fresh=True, **parts), "lively")


class First(Compressor):
    """The first tokens, weighted by a learnt number; how many depends on the question's length, up to `keep`.

    Source: made for these tests.
    """

    class Config(CompressorConfig):
        """No settings of its own."""

    tiny: ClassVar[dict[str, Any]] = {}
    guided = True
    settings: Config

    def __init__(self, settings: Config) -> None:
        super().__init__(settings)
        self.scale = nn.Parameter(torch.ones(()))

    @classmethod
    def shape_of(cls, settings: Any, n: int, grid: Any, keep: int | None = None) -> Any:
        return min(n, 5 if keep is None else keep), None

    def reduce(self, tokens: Tokens, keep: int | None, question: str) -> Tokens:
        out = tokens.take(torch.arange(self.n_out(len(tokens), tokens.grid, keep)))
        return out.with_x(out.x * self.scale * len(question))


@pytest.fixture
def first(monkeypatch: pytest.MonkeyPatch) -> None:
    """`First` is a registered part for one test."""
    registry.discover("reelm.parts")
    monkeypatch.setitem(registry._parts, ("compressor", "first"), First)


# -- composing ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("compressors", [["pool"], ["before:pool", "drop"], ["pool", {"kind": "drop", "share": 1.0}]])
def test_neutral_compressors_are_bit_identical_to_none(films: Path, compressors: list) -> None:
    clip = Clip(films / "a.mp4")
    plain, same = lively(), composed(compressors=compressors)
    one, other = plain.encode(clip), same.encode(clip)
    assert torch.equal(one.x, other.x) and torch.equal(one.at_s, other.at_s) and one.grid == other.grid
    assert same.answer(clip, "What?", max_tokens=6).text == plain.answer(clip, "What?", max_tokens=6).text


@pytest.mark.parametrize(("compressors", "count"), [(["pool,h=2,w=1"], 10), (["before:pool,t=4"], 27),
                                                    (["drop,share=0.1"], 4)])
def test_a_compressor_acts_on_a_loaded_model_as_counted(films: Path, compressors: list, count: int) -> None:
    lm, clip = composed(compressors=compressors), Clip(films / "a.mp4")
    answer = lm.answer(clip, "What?", max_tokens=2)
    assert answer.tokens["vision"] == lm.processor.vision_count(8) == lm.plan(clip, "What?")["vision"]
    assert abs(answer.tokens["vision"] - count) <= 1
    tokens = lm.encode(clip)
    assert len(tokens) == answer.tokens["vision"] and (tokens.at_s >= 0).all() and tokens.at_s.max() <= 4


def test_a_model_with_compressors_is_saved_and_loaded_whole(films: Path, tmp_path: Path, first: None) -> None:
    lm = composed(compressors=["first"])
    lm.model.after[0].scale.data.fill_(0.5)
    lm.model.save_pretrained(tmp_path)
    lm.processor.save_pretrained(tmp_path)
    again = VideoLM(*load_folder(tmp_path, dtype="float32"))
    assert torch.equal(again.model.after[0].scale, lm.model.after[0].scale)
    clip = Clip(films / "a.mp4")
    assert torch.equal(again.encode(clip, question="a").x, lm.encode(clip, question="a").x)
    kept = compose(again.model, again.processor, "again", sampler="fps,fps=2", compressors=["first", "drop"])
    assert float(again.model.after[0].scale) == 0.5 and [one["kind"] for one in kept.vision["after"]] == [
        "first", "drop"]


def test_parts_are_spelt_as_text_or_settings() -> None:
    assert spelt("pool") == {"kind": "pool"}
    assert spelt("before:pool,h=12, as_released=true") == {"kind": "pool", "place": "before", "h": 12,
                                                          "as_released": True}
    assert spelt({"kind": "fps", "fps": 2}) == {"kind": "fps", "fps": 2}
    for bad in ("pool,h", "pool,=3"):
        with pytest.raises(UsageError, match="no setting"):
            spelt(bad)


def test_what_cannot_be_composed_is_refused_with_the_reason(first: None, tmp_path: Path) -> None:
    lm = lively()
    with pytest.raises(CheckpointError, match=r"'first' has 1 numbers that must be trained.*brings none"):
        compose(lm.model, lm.processor, "lively", compressors=["first"])
    for parts, reason in (({"compressors": ["poool"]}, "no compressor of kind"), ({"sampler": "fps,fbs=2"}, "fbs"),
                          ({"compressors": ["beside:pool"]}, "before, after"),
                          ({"compressors": ["before:drop,share=0.5"]}, "regular grid")):
        with pytest.raises(UsageError, match=reason):
            compose(lm.model, lm.processor, "lively", **parts)
    assert len(lm.model.before) == len(lm.model.after) == 0, "nothing changed"
    with pytest.raises(UsageError, match="has its own compressor"):
        reelm.load("random", system="pllava", compressor="drop")
    with pytest.raises(UsageError, match="no system"):
        reelm.load("random", system="pullava")
    (tmp_path / "mine.yaml").write_text("name: mine\nprompt: no place\n")
    with pytest.raises(UsageError, match="place for the question"):
        system(tmp_path / "mine.yaml")


# -- one number of tokens ----------------------------------------------------------------------------------------------

@pytest.mark.parametrize("compressors", [[], ["pool"], ["before:pool,per_frame=4"], ["drop,per_frame=2"]])
@pytest.mark.parametrize("tokens", [40, 100, 400])
def test_a_budget_is_never_exceeded_and_known_before_decoding(films: Path, compressors: list, tokens: int) -> None:
    lm = composed(compressors=compressors)
    parts = (Clip(films / "a.mp4"), "And?", Clip(films / "mute.mp4", 1.0), "What?")
    try:
        plan = lm.plan(*parts, tokens=tokens)
    except BudgetError as error:
        least = int(str(error).split("at least ")[1].split(" ")[0])
        assert not compressors and least > tokens
        assert lm.plan(*parts, tokens=least)["vision"] == least, "the least that would do does"
        return
    answer = lm.answer(*parts, tokens=tokens, max_tokens=1)
    assert plan["exact"] and plan["vision"] == answer.tokens["vision"]
    assert 0.5 * min(tokens, lm.plan(*parts, frames=40)["vision"]) <= plan["vision"] <= tokens
    assert [medium["at_s"] for medium in plan["media"]] == [list(times) for times in answer.used_s]


def test_more_budget_means_more_frames_and_never_more_than_the_clip_has(films: Path) -> None:
    lm, clip = composed(compressors=["pool,per_frame=1"]), Clip(films / "a.mp4")
    frames = [lm.plan(clip, "?", tokens=tokens)["media"][0]["frames"] for tokens in (2, 5, 10, 20, 1000)]
    assert frames == sorted(frames) and frames[0] < frames[2] and frames[-1] == 40


def test_a_clip_that_stands_twice_is_taken_in_once_and_paid_twice(films: Path) -> None:
    lm, clip = composed(compressors=["drop"]), Clip(films / "a.mp4")
    plan, answer = lm.plan(clip, clip, "?", tokens=71), lm.answer(clip, clip, "?", tokens=71, max_tokens=1)
    assert plan["vision"] == answer.tokens["vision"] == 70


def test_sound_is_paid_from_the_same_number(films: Path, hearing: VideoLM) -> None:
    clip = Clip(films / "a.mp4")
    sound = hearing.plan(clip, "?")["audio"]
    with pytest.raises(BudgetError, match=f"sound of .*a.mp4 {sound}"):
        hearing.plan(clip, "?", tokens=sound)
    answer = hearing.answer(clip, "?", tokens=sound + 50, max_tokens=1)
    assert answer.tokens["audio"] == sound and 0 < answer.tokens["vision"] <= 50
    assert hearing.answer(clip, "?", tokens=50, audio=False, max_tokens=1).tokens["vision"] <= 50


def test_frames_that_were_asked_for_stay_and_only_a_compressor_can_help(films: Path) -> None:
    clip, plain, pooled = Clip(films / "a.mp4"), lively(), composed(compressors=["pool"])
    with pytest.raises(BudgetError, match="compressor"):
        plain.plan(clip, "?", frames=20, tokens=30)
    plan = pooled.plan(clip, "?", frames=20, tokens=30)
    assert plan["media"][0]["frames"] == 20 and plan["vision"] <= 30
    image = Image(np.zeros((3, 40, 40), np.uint8))
    assert pooled.plan(image, "?", tokens=3)["vision"] <= 3
    with pytest.raises(BudgetError):
        plain.plan(image, "?", tokens=3)
    spread = plain.answer(clip, "?", fps=10, tokens=60, max_tokens=1)
    assert any("fit into 60 tokens" in note for note in spread.notes) and spread.used_s[0][-1] > 3.5
    with pytest.raises(UsageError, match="tokens must be above 0"):
        plain.plan(clip, "?", tokens=0)


# -- what is kept between questions ------------------------------------------------------------------------------------

def test_a_budget_belongs_to_what_is_kept(films: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lm = composed(compressors=["pool"])
    calls, clip, other = Calls(lm, monkeypatch), Clip(films / "a.mp4"), Clip(films / "b.mp4")
    wide = lm.answer(clip, other, "What?", tokens=60, max_tokens=4)
    calls.reset()
    again = lm.answer(clip, other, "Who?", tokens=60, max_tokens=1)
    assert calls.media == (0, 0, 0, 0) and again.tokens["reused"] > again.tokens["vision"]
    narrow = lm.answer(clip, other, "What?", tokens=20, max_tokens=4)
    assert calls.encoded == 2 and narrow.tokens["vision"] <= 20 < wide.tokens["vision"]
    fresh = composed(compressors=["pool"]).answer(clip, other, "What?", tokens=20, max_tokens=4)
    assert (fresh.text, fresh.tokens["vision"]) == (narrow.text, narrow.tokens["vision"])


def test_a_part_that_looks_at_the_question_looks_again_at_another(films: Path, first: None,
                                                                monkeypatch: pytest.MonkeyPatch) -> None:
    lm = composed(compressors=["first"])
    calls, clip = Calls(lm, monkeypatch), Clip(films / "a.mp4")
    lm.answer(clip, "What?", max_tokens=1)
    lm.answer(clip, "What?", max_tokens=1)
    assert calls.encoded == 1
    lm.answer(clip, "What else?", max_tokens=1)
    assert calls.encoded == 2
    assert torch.allclose(lm.encode(clip, question="abcd").x, 4 * lm.encode(clip, question="a").x)


def test_a_sampler_may_put_frames_together_and_the_answer_names_their_times(films: Path) -> None:
    lm = composed(sampler="grid,frames=4")
    answer = lm.answer(Clip(films / "a.mp4"), "What?", max_tokens=1)
    assert len(answer.used_s[0]) == 4 and len(answer.thumbnails()) == 4
    assert answer.tokens["vision"] == lm.processor.vision_count(1)
    assert lm.processor.vision["image"] == {"repeat": 8}, "a still is repeated as the connector was trained"


def test_every_sampler_arranges_as_many_pictures_as_it_says() -> None:
    frames = Frames(np.zeros((5, 3, 8, 8), np.uint8), np.arange(5.0), np.zeros(5, bool))
    for row in registry.rows():
        if row.family == "sampler":
            cls: type[Sampler] = registry.find("sampler", row.kind)
            sampler = registry.build("sampler", {"kind": row.kind, **cls.tiny})
            assert len(sampler.arrange(frames)) == sampler.pictures(5), row.kind
            assert cls.length in ("free", "at most", "fixed")
