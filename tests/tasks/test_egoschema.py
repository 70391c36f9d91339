"""EgoSchema: what is asked, which answers are known, and the file its server takes."""

from __future__ import annotations

import json

import pytest

from reelm.errors import UsageError
from reelm.tasks.base import Scored, find
from tasks.miniatures import egoschema as miniature


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("egoschema")
    miniature.make(folder)
    return folder


def test_what_is_asked_and_which_answers_are_known(root):
    first, second, third = find("egoschema").items(root)
    assert first.text == (
        "Select the best answer to the following multiple-choice question based on the video.\n"
        "What does C do in scene 0?\nOptions:\n(A) C does thing 0 in a way of 0\n(B) C does thing 1 in a way of 0\n"
        "(C) C does thing 2 in a way of 0\n(D) C does thing 3 in a way of 0\n(E) C does thing 4 in a way of 0\n"
        "Answer with the option's letter from the given choices directly and only give the best option. "
        "The best answer is: ")
    assert (first.answer, second.answer, third.answer) == ("", "D", "")
    assert [item.media[0].source.suffix for item in (first, second, third)] == [".mp4", ".mkv", ".mov"]


def test_the_server_file_of_each_reader(root, tmp_path):
    task = find("egoschema")
    items = list(task.items(root))
    replies = ("(E)", "I cannot tell", "Based on the video: D")
    rows = [Scored(item, reply, task.score(item, reply)) for item, reply in zip(items, replies, strict=True)]
    careful, official = task.submission(rows, tmp_path)
    names = [item.id for item in items]
    assert careful.name == "egoschema_careful.csv" and official.name == "egoschema_official.csv"
    assert careful.read_text() == f"q_uid, answer\n{names[0]}, 4\n{names[1]}, -1\n{names[2]}, 3\n"
    assert official.read_text() == f"q_uid, answer\n{names[0]}, 4\n{names[1]}, 2\n{names[2]}, 1\n"


@pytest.mark.parametrize(("change", "said"), [
    ({"option 3": None}, "'option 3' must be a str, found None"),
    ({"question": 7}, "'question' must be a str, found 7")])
def test_an_entry_of_another_form_is_named(tmp_path, change, said):
    entry = {"q_uid": "x", "question": "What?", **{f"option {n}": "-" for n in range(5)}} | change
    (tmp_path / "questions.json").write_text(json.dumps([entry]))
    with pytest.raises(UsageError, match="questions.json, entry 0: " + said):
        list(find("egoschema").items(tmp_path))
    (tmp_path / "questions.json").write_text("[")
    with pytest.raises(UsageError, match="is not JSON"):
        list(find("egoschema").items(tmp_path))
    (tmp_path / "questions.json").write_text("{}")
    with pytest.raises(UsageError, match="holds a dict, not a list"):
        list(find("egoschema").items(tmp_path))
