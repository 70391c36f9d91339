"""MMBench: tables with and without turns, pictures inside, circular scoring, the sheet for the server."""

from __future__ import annotations

import json
from pathlib import Path

import openpyxl
import pyarrow
import pytest
from pyarrow import parquet

from reelm import media
from reelm.cli.eval import eval_
from reelm.errors import UsageError
from reelm.tasks.base import Item, Scored, find
from reelm.tasks.mmbench import MMBenchReader
from reelm.types import Clip
from tasks.miniatures import mmbench
from tasks.miniatures.pictures import content

OPTIONS = ("wheel", "car door", "lamp")


@pytest.mark.parametrize(("reply", "read"), [
    ("B", 1), ("b.", 1), (". B .", 1), ("The answer is B.", 1), ("so the answer is b. or c.", 1), ("F", None),
    ("The answer is B", None), ("door", 1), ("CAR DOOR", 1), ("the door", None), ("a", 0), ("", None),
    ("(B)", None), ("D", 1)])  # of three options only one has a d in it
def test_replies_as_the_published_script_reads_them(reply: str, read: int | None) -> None:
    assert MMBenchReader().read(reply, OPTIONS) == read


@pytest.fixture
def items(tmp_path: Path) -> list[Item]:
    mmbench.make(tmp_path)
    return list(find("mmbench").items(tmp_path))


def test_what_is_asked(items: list[Item]) -> None:
    assert [item.id for item in items] == ["241", "1000241", "2000241", "3000241", "252", "1000252"]
    assert items[1].text == ("Look at the\tedge.\nWhich part is missing?\nA. door\nB. lamp\nC. seat\nD. wheel\n"
                             "Answer with the option's letter from the given choices directly.")
    assert items[4].text.startswith('Is the "cup" full?\nA. yes\nB. no\n')
    assert [item.answer for item in items] == ["C", "B", "A", "D", "A", "B"]


def test_a_table_without_turns_gives_the_same_items(items: list[Item], tmp_path: Path) -> None:
    later = tmp_path / "later"
    later.mkdir()
    mmbench.write(later / "MMBench_DEV_EN.tsv", mmbench.rows(turns=False))
    assert list(find("mmbench").items(later)) == items


def test_parquet_with_pictures_as_bytes_gives_the_same_items(items: list[Item], tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    rows = [row | {"image": {"bytes": content(place), "path": None}, "C": row["C"] or None, "D": row["D"] or None}
            for place, row in enumerate(mmbench.rows(turns=False))]
    parquet.write_table(pyarrow.Table.from_pylist(rows), other / "dev-00000-of-00001.parquet")
    assert list(find("mmbench").items(other)) == items


def test_the_pictures_open(items: list[Item]) -> None:
    for item in items:
        picture, = item.media
        assert isinstance(picture, Clip) and picture.source == content(0 if item.video == "241" else 1)
        with media.open(picture) as reader:
            assert (reader.info().kind, reader.info().width_px) == ("image", 32)


def test_a_question_counts_when_all_of_its_turns_are_right(items: list[Item]) -> None:
    task = find("mmbench")
    replies = ["C", "B", "A", "D"] + ["A", "A"]  # whoever always says A is right in one turn
    rows = [Scored(item, reply, task.score(item, reply)) for item, reply in zip(items, replies, strict=True)]
    told = task.summary(rows)
    assert (told["circular"], told["vanilla"]) == (0.5, 1.0) and told["circular official"] == 0.5
    assert told["circular: attribute_reasoning"] == 0 and task.rotations(items[0]) == (items[0],)
    assert "circular" not in task.summary(rows[:3])  # a limit that cuts a question leaves no figure
    assert task.summary(rows[:5])["circular"] == 1.0


def test_the_sheet_for_the_server(items: list[Item], tmp_path: Path) -> None:
    task = find("mmbench")
    path, = task.submission([Scored(item, reply, {}) for item, reply in zip(
        items, ("C", "=1+1", "bell\x07", "D", "yes", "B"), strict=True)], tmp_path)
    rows = list(openpyxl.load_workbook(path).active.iter_rows(values_only=True))
    assert rows[0] == ("index", "question", "A", "B", "C", "D", "prediction", "answer")
    assert rows[2] == (1000241, "Which part is missing?", "door", "lamp", "seat", "wheel", "=1+1", "B")
    assert rows[3][6] == "bell\ufffd" and rows[5][:6] == (252, 'Is the "cup" full?', "yes", "no", None, None)


@pytest.mark.parametrize(("change", "said"), [
    ({"image": "no picture"}, "'image' holds no picture in base64"), ({"image": ""}, "'image' holds no picture"),
    ({"index": "x"}, "'index' is 'x', not a number"), ({"B": "nan"}, "1 options with the answer 'C'"),
    ({"D": "", "answer": "D"}, "3 options with the answer 'D'")])
def test_an_entry_of_another_form_is_named(tmp_path: Path, change: dict[str, str], said: str) -> None:
    rows = mmbench.rows(turns=False)
    mmbench.write(tmp_path / "a.tsv", [rows[0] | change])
    with pytest.raises(UsageError, match=f"a.tsv, row 0: {said}"):
        list(find("mmbench").items(tmp_path))


def test_a_number_that_stands_twice(tmp_path: Path) -> None:
    mmbench.write(tmp_path / "a.tsv", mmbench.rows(turns=False)[:1] * 2)
    with pytest.raises(UsageError, match="a.tsv: 'index' 241 stands more than once"):
        list(find("mmbench").items(tmp_path))


def test_one_table_at_a_time(tmp_path: Path) -> None:
    for name in ("a.tsv", "b.parquet"):
        (tmp_path / name).touch()
    with pytest.raises(UsageError, match="2 tables"):
        list(find("mmbench").items(tmp_path))


def test_a_model_sees_the_pictures_of_a_table(items: list[Item], tmp_path: Path) -> None:
    """From the table to the sheet, with a model that answers noise."""
    eval_(["mmbench"], model="random", data=tmp_path, out=tmp_path / "out", max_tokens=2, device="cpu")
    told = json.loads((tmp_path / "out" / "mmbench.random.json").read_text("utf-8"))
    assert (told["items"], told["videos"], told["failed"]) == (len(items), 2, [])
    assert {"circular", "vanilla", "circular official"} <= set(told["scores"])
    assert (tmp_path / "out" / "mmbench.random" / "mmbench.xlsx").is_file()
