"""The measurement itself: items nobody trained on, honest controls, exact match after normalisation."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import reelm
from reelm.data.noises import COMPUTED
from reelm.data.world import frames
from reelm.errors import UsageError
from reelm.eval.photographs import accepted
from reelm.eval.run import fits, frozen, measure, parts_of, row, shuffled
from reelm.tasks.world_make import items
from reelm.types import Audio, AudioVideo, Frames


def test_sound_is_left_out_or_left_alone() -> None:
    item = next(i for i in items("match", 200) if i.scene.sound and i.scene.sound.events[0].name in COMPUTED)
    both, text = parts_of(item, "none")
    assert isinstance(both, AudioVideo) and text == item.question.text
    assert isinstance(parts_of(item, "mute")[0], Frames) and isinstance(parts_of(item, "dark")[0], Audio)
    assert not fits("sound", "mute") and not fits("sound", "frozen") and fits("sound", "blind")


def test_shuffling_changes_the_order_and_nothing_else() -> None:
    seen = frames(next(items("order", 1)).scene)
    mixed = shuffled(seen, 5)
    assert np.array_equal(mixed.at_s, seen.at_s) and not np.array_equal(mixed.rgb, seen.rgb)
    assert sorted(f.tobytes() for f in mixed.rgb) == sorted(f.tobytes() for f in seen.rgb)


def test_pairs_stay_together() -> None:
    seen = frames(next(items("order", 1)).scene)
    order = [next(i for i, f in enumerate(seen.rgb) if np.array_equal(f, g)) for g in shuffled(seen, 5, 2).rgb]
    assert all(a // 2 == b // 2 for a, b in zip(order[::2], order[1::2], strict=True)) and order != sorted(order)


def test_frozen_shows_one_moment_only() -> None:
    seen = frames(next(items("direction", 1)).scene)
    still = frozen(seen)
    assert len(still) == len(seen) and all(np.array_equal(f, seen.rgb[4]) for f in still.rgb)


def test_blind_gets_the_question_alone() -> None:
    item = next(items("colour", 1))
    assert parts_of(item, "blind") == (item.question.text,)
    seen, text = parts_of(item, "none")
    assert isinstance(seen, Frames) and text == item.question.text


class Scripted:
    """Says what it is told to; it stands for the model so that the count can be checked."""

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines

    def answer_many(self, asked: list[Any], **_: Any) -> list[Any]:
        return [SimpleNamespace(text=self.lines.pop(0)) for _ in asked]


def test_right_answers_are_counted_whatever_their_form() -> None:
    asked = list(items("count", 10))
    said = [f"The {i.question.answer}." for i in asked[:7]] + ["?"] * 3
    score, record = measure(Scripted(said), "count", 10, batch=4)
    assert (score.right, score.total, score.chance) == (7, 10, pytest.approx(0.2))
    assert len(record) == 10 and record[0]["said"] == f"The {asked[0].question.answer}."
    assert "70.0" in row("count", "none", score)


def test_a_real_model_is_asked() -> None:
    score, record = measure(reelm.load("random"), "object", 2, batch=2)
    assert score.total == 2 and all(r["said"] for r in record)


def test_what_cannot_be_measured_is_refused() -> None:
    for kind, control in (("smell", "none"), ("object", "loud"), ("object", "mute")):
        with pytest.raises(UsageError, match="cannot measure"):
            measure(None, kind, 1, control)


def test_a_photograph_counts_when_the_answer_is_or_ends_in_an_accepted_word() -> None:
    assert accepted("A red fox.", ("fox",)) and accepted("fox", ("fox",))
    assert not accepted("foxglove", ("fox",)) and not accepted("fox terrier", ("fox",))
