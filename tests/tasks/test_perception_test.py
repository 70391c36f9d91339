"""Perception Test: what is asked, the validation part's answers, and the file the server takes."""

from __future__ import annotations

import json

import pytest

from reelm.tasks.base import Scored, find
from tasks.miniatures import perception_test as miniature


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("perception_test")
    miniature.make(folder)
    return folder


def test_what_is_asked(root):
    items = list(find("perception_test").items(root))
    assert [item.id for item in items] == ["video_10909/0", "video_10909/3", "video_5810/1"]
    assert items[0].text == ("Question: Is the camera moving?\nOptions:\n(A) moving\n(B) still\n(C) both\nAnswer with "
                             "the option's letter from the given choices directly and only give the best option.")
    assert items[1].facts["area"] == "Memory" and items[1].answer == ""


def test_the_validation_part_has_answers(root):
    assert [item.answer for item in find("perception_test_validation").items(root)] == ["B", "B", "B"]


def test_the_server_file_of_each_reader(root, tmp_path):
    task = find("perception_test")
    replies = ("still", "The ANSWER is (B)", "hard to say")
    rows = [Scored(item, reply, {}) for item, reply in zip(task.items(root), replies, strict=True)]
    careful, official = (json.loads(path.read_text()) for path in task.submission(rows, tmp_path))
    assert careful == {
        "video_10909": [{"id": 0, "answer_id": 1, "answer": "still"}, {"id": 3, "answer_id": 1, "answer": "a box"}],
        "video_5810": [{"id": 1, "answer_id": -1, "answer": ""}]}
    assert official == {
        "video_10909": [{"id": 0, "answer_id": 1, "answer": "still"}, {"id": 3, "answer_id": 0, "answer": "A cup"}],
        "video_5810": [{"id": 1, "answer_id": 2, "answer": "four"}]}
