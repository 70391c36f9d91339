"""ScienceQA-IMG: only test questions with a picture, LLaVA's prompt, LLaVA's reader."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reelm.errors import UsageError
from reelm.tasks.base import find
from reelm.tasks.scienceqa_img import ScienceReader
from tasks.miniatures import scienceqa_img

OPTIONS = ("Ohio", "Maine", "Texas")


@pytest.mark.parametrize(("reply", "read"), [
    ("B", 1), ("B. Maine", 1), ("The answer is B.", 1), ("So: The answer is B!", 1), ("D", None), ("E. x", None),
    ("The answer is B", None), ("b", None), (" B", None), ("B)", None), ("(B)", None), ("Maine", None), ("", None),
    ("The answer is A. The answer is B.", None), ("ABC", None)])
def test_replies_as_the_published_script_reads_them(reply: str, read: int | None) -> None:
    assert ScienceReader().read(reply, OPTIONS) == read


def test_a_hint_stands_before_the_question(tmp_path: Path) -> None:
    scienceqa_img.make(tmp_path)
    state, test = find("scienceqa_img").items(tmp_path)
    assert state.text == ("Which state is farthest north?\nA. Ohio\nB. Maine\nC. Texas\nD. Utah\n"
                          "Answer with the option's letter from the given choices directly.")
    assert test.text.startswith("Context: A parachute hung in a wind tunnel.\nFigure: a parachute.\nWhat could the ")
    assert (state.answer, test.answer, test.facts["subject"]) == ("B", "A", "natural science")


def test_both_readings_where_they_differ(tmp_path: Path) -> None:
    scienceqa_img.make(tmp_path)
    task = find("scienceqa_img")
    state = next(iter(task.items(tmp_path)))
    assert task.score(state, "(B)") == {"accuracy": 1, "accuracy_official": 0, "unread": 0, "readers_differ": 1}
    assert task.score(state, "no idea") == {"accuracy": 0, "accuracy_official": 0, "unread": 1, "readers_differ": 0}


def test_a_split_that_names_a_problem_that_is_not_there(tmp_path: Path) -> None:
    scienceqa_img.make(tmp_path)
    (tmp_path / "pid_splits.json").write_text(json.dumps({"test": ["1", "99"]}))
    with pytest.raises(UsageError, match="problems.json, 99: has no such problem"):
        list(find("scienceqa_img").items(tmp_path))
