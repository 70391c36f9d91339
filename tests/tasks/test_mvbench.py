"""MVBench: twenty tasks, stretches cut or left whole, folders of pictures, two means."""

from __future__ import annotations

import json

import pytest

from reelm import media
from reelm.errors import UsageError
from reelm.tasks.base import Scored, find
from reelm.tasks.mvbench import BOUNDED, FOLDERS, PICTURES
from tasks.miniatures import mvbench as miniature


@pytest.fixture
def root(tmp_path):
    miniature.make(tmp_path)
    return tmp_path


def test_all_twenty_tasks_are_read_and_five_are_asked_of_a_stretch(root):
    clipped, whole = (list(find(name).items(root)) for name in ("mvbench", "mvbench_unclipped"))
    assert len(FOLDERS) == 20 and [item.facts["task"] for item in clipped if item.id.endswith("/0")] == list(FOLDERS)
    bounds = {item.facts["task"]: (item.media[0].start_s, item.media[0].end_s) for item in clipped}
    assert {name for name, bound in bounds.items() if bound == (0.5, 1.5)} == set(BOUNDED)
    assert {bound for name, bound in bounds.items() if name not in BOUNDED} == {(0.0, None)}
    assert all((item.media[0].start_s, item.media[0].end_s) == (0.0, None) for item in whole)
    assert [item.text for item in clipped] == [item.text for item in whole]


def test_every_medium_opens_and_pictures_stand_a_third_of_a_second_apart(root):
    for item in find("mvbench").items(root):
        with media.open(item.media[0]) as reader:
            times = reader.info().frame_times_s
        assert len(times) > 0
        if item.facts["task"] == PICTURES:
            assert times == pytest.approx([2 / 3, 1, 4 / 3])


def test_the_overall_figure_is_over_items_and_the_mean_over_tasks_stands_beside(root):
    task = find("mvbench")
    items = list(task.items(root))
    replies = [item.answer if item.facts["task"] == "Action Count" else "none" for item in items]
    rows = [Scored(item, reply, task.score(item, reply)) for item, reply in zip(items, replies, strict=True)]
    assert sum(row.scores["accuracy"] for row in rows) / len(rows) == pytest.approx(2 / 21)
    assert task.summary(rows) == {"mean over tasks": pytest.approx(1 / 20)}


def test_an_answer_outside_the_candidates_and_a_backward_stretch_are_named(root):
    file = root / "json" / "action_sequence.json"
    entry, = json.loads(file.read_text())
    file.write_text(json.dumps([{**entry, "answer": "Maybe."}]))
    with pytest.raises(UsageError, match="action_sequence.json, entry 0: the answer 'Maybe.' stands 0 times"):
        list(find("mvbench").items(root))
    file.write_text(json.dumps([{**entry, "end": 0.5}]))
    with pytest.raises(UsageError, match="entry 0: a stretch from 0.5 s to 0.5 s"):
        list(find("mvbench").items(root))
