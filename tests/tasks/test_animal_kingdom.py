"""Animal Kingdom: stretches as the converter reads them, graded by a judge."""

from __future__ import annotations

from pathlib import Path

import pytest

from reelm.data.convert import format_of
from reelm.data.convert.entries import Work
from reelm.errors import UsageError
from reelm.eval.judge import Judge, judged
from reelm.tasks.base import find
from reelm.tasks.judged import Judged
from reelm.types import Clip
from tasks.miniatures import animal_kingdom
from tasks.test_judged import Scripted


def test_stretches_are_those_that_training_sees(tmp_path: Path) -> None:
    animal_kingdom.make(tmp_path)
    form, work = format_of("animal-kingdom"), Work(tmp_path)
    records = [form.record(entry, work) for _, entry in form.entries(tmp_path / "test.txt")]
    items = list(find("animal_kingdom").items(tmp_path))
    assert len(items) == len(records) == 3
    for item, record in zip(items, records, strict=True):
        clip, medium = item.media[0], record["video"]
        assert isinstance(clip, Clip) and clip.source == tmp_path / medium["path"]
        assert (clip.start_s, clip.end_s, item.id) == (medium["start_s"], medium["end_s"], record["id"])
        assert [f"<video>\n{item.text}", item.answer] == [turn["value"] for turn in record["conversations"]]
    assert items[0].answer == "The heron is keeping still. The fish is swimming."


def test_accuracy_and_mean_grade_come_from_a_judge(tmp_path: Path) -> None:
    animal_kingdom.make(tmp_path)
    task = find("animal_kingdom")
    assert isinstance(task, Judged)
    still, eating, _ = task.items(tmp_path)
    speaker = Scripted(["{'pred': 'yes', 'score': 4}", "{'pred': 'no', 'score': 1}"])
    assert judged(task, [(still, "A heron stands."), (eating, "It sleeps.")], Judge(speaker)) == [
        {"accuracy": 1.0, "score": 4.0}, {"accuracy": 0.0, "score": 1.0}]
    assert "Correct answer: The heron is eating." in speaker.heard[1]


@pytest.mark.parametrize(("line", "said"), [
    ("this line is none", "line 1: cannot be read"), ("MADEAAAA 3.0 4.0##Late.", "line 1: a stretch that ends before")])
def test_a_line_that_is_no_stretch_is_named(tmp_path: Path, line: str, said: str) -> None:
    animal_kingdom.make(tmp_path)
    (tmp_path / "test.txt").write_text(f"{line}\n")
    with pytest.raises(UsageError, match=said):
        list(find("animal_kingdom").items(tmp_path))
