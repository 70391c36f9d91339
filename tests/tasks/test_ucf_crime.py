"""UCF-Crime: the question of the converter, figures by class and for "does anything happen"."""

from __future__ import annotations

from pathlib import Path

import pytest

from reelm.data.convert import format_of
from reelm.data.convert.entries import Work
from reelm.errors import UsageError
from reelm.tasks.base import Item, Scored, Task, find
from tasks.miniatures import ucf_crime
from tasks.miniatures.films import film


def scored(task: Task, items: list[Item], replies: tuple[str, ...]) -> list[Scored]:
    return [Scored(item, reply, task.score(item, reply)) for item, reply in zip(items, replies, strict=True)]


def test_measuring_asks_what_training_asked(tmp_path: Path) -> None:
    ucf_crime.make(tmp_path)
    form, work = format_of("ucf-crime"), Work(tmp_path)
    records = [form.record(entry, work) for _, entry in form.entries(tmp_path / "Anomaly_Test.txt")]
    items = list(find("ucf_crime").items(tmp_path))
    assert len(items) == len(records) == 4
    for item, record in zip(items, records, strict=True):
        question, answer = record["conversations"]
        assert (f"<video>\n{item.text}", item.answer, item.id) == (question["value"], answer["value"], record["id"])


def test_the_temporal_annotation_is_a_list_too(tmp_path: Path) -> None:
    (tmp_path / "Temporal_Anomaly_Annotation.txt").write_text(
        "Arson011_x264.mp4  Arson  150  420  680  1267  \nNormal_Videos_003_x264.mp4  Normal  -1  -1  -1  -1  \n")
    film(tmp_path / "anywhere" / "Arson011_x264.mp4")
    task = find("ucf_crime")
    arson, normal = task.items(tmp_path)
    assert (arson.facts["class"], normal.facts["class"]) == ("Arson", "Normal")
    assert arson.media[0].source == tmp_path / "anywhere" / "Arson011_x264.mp4"  # type: ignore[union-attr]
    assert task.missing(tmp_path) == [str(tmp_path / "Normal_Videos_003_x264.mp4")]


def test_overall_by_class_and_binary(tmp_path: Path) -> None:
    ucf_crime.make(tmp_path)
    task = find("ucf_crime")
    items = list(task.items(tmp_path))
    rows = scored(task, items, ("C", "Arson", "N", "I do not know"))
    assert [(row.scores["accuracy"], row.scores["binary"]) for row in rows] == [(1, 1), (0, 1), (1, 1), (0, 0)]
    assert task.summary(rows) == {"mean over classes": 0.5, "anomalies found": 1.0, "false alarms": 0.0}
    alarm = scored(task, items, ("N", "M. Vandalism", "J", "Nothing unusual"))
    assert task.summary(alarm) == {"mean over classes": pytest.approx(1 / 6), "anomalies found": 0.5,
                                   "false alarms": 0.5}


@pytest.mark.parametrize(("lines", "said"), [
    ("Juggling/Juggling001_x264.mp4\n", "line 1: an unknown class: Juggling"), ("nothing\n", "line 1: cannot be read")])
def test_a_line_of_another_form_is_named(tmp_path: Path, lines: str, said: str) -> None:
    (tmp_path / "Anomaly_Test.txt").write_text(lines)
    with pytest.raises(UsageError, match=said):
        list(find("ucf_crime").items(tmp_path))


def test_two_videos_of_one_name_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "Anomaly_Test.txt").write_text("Arson/Arson011_x264.mp4\n")
    for folder in ("one", "two"):
        film(tmp_path / folder / "Arson011_x264.mp4")
    with pytest.raises(UsageError, match="several media files of that name"):
        list(find("ucf_crime").items(tmp_path))
