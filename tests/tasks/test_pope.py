"""POPE: two readings of yes and no, and the figures of a detector."""

from __future__ import annotations

from pathlib import Path

import pytest

from reelm.errors import UsageError
from reelm.tasks.base import Scored, find
from reelm.tasks.pope import careful_yes, official_yes
from tasks.miniatures import pope


@pytest.mark.parametrize(("reply", "careful", "official"), [
    ("Yes", True, True), ("no", False, False), ("No, there is not.", False, False), ("Yes. No doubt.", True, True),
    ("There is a dog.", True, True), ("There is no dog.", False, False), ("There isn't any dog", False, True),
    ("NO", False, True), ("no.", False, False), ("No!", False, True), ("I see a dog. It is not red.", None, True),
    ("yes and no", None, False), ("A dog", None, True), ("", None, True), ("Nothing", None, True)])
def test_the_two_readings(reply: str, careful: bool | None, official: bool) -> None:
    """To the script whatever has no "no" of its own in the first sentence is a yes."""
    assert (careful_yes(reply), official_yes(reply)) == (careful, official)


def test_figures_of_every_kind(tmp_path: Path) -> None:
    pope.make(tmp_path)
    task = find("pope")
    items = list(task.items(tmp_path))
    assert len(items) == 12 and items[0].text == ("Is there a snowboard in the image?\n"
                                                  "Answer the question using a single word or phrase.")
    # random: all right; popular: always yes; adversarial: one hit, one false alarm, two without an answer
    replies = ["Yes", "No", "Yes", "No"] + ["Yes"] * 4 + ["Yes", "Yes", "A photograph", "NO"]
    rows = [Scored(item, reply, task.score(item, reply)) for item, reply in zip(items, replies, strict=True)]
    told = task.summary(rows)
    assert [told[f"random {name}"] for name in ("precision", "recall", "f1", "yes rate")] == [1, 1, 1, 0.5]
    assert [told[f"popular {name}"] for name in ("precision", "recall", "f1", "yes rate")] == pytest.approx(
        [0.5, 1, 2 / 3, 1])
    assert [told[f"adversarial {name}"] for name in ("precision", "recall", "f1", "yes rate")] == [0.5] * 4
    assert told["mean f1"] == pytest.approx((1 + 2 / 3 + 0.5) / 3)
    # "A photograph" and "NO" are yes to the script
    assert [told[f"official adversarial {name}"] for name in ("precision", "recall", "yes rate")] == [0.5, 1, 1]
    assert sum(row.scores["unread"] for row in rows) == 1


def test_what_cannot_be_divided_is_left_out(tmp_path: Path) -> None:
    pope.make(tmp_path)
    task = find("pope")
    told = task.summary([Scored(item, "No", {}) for item in task.items(tmp_path)])
    assert told["random recall"] == 0 and "random precision" not in told and "mean f1" not in told


def test_a_label_that_is_neither(tmp_path: Path) -> None:
    pope.make(tmp_path)
    (tmp_path / "coco_pope_random.json").write_text(
        '{"question_id": 1, "image": "a.jpg", "text": "Is there a car?", "label": "maybe"}\n')
    with pytest.raises(UsageError, match="coco_pope_random.json, entry 0: 'label' is 'maybe'"):
        list(find("pope").items(tmp_path))
