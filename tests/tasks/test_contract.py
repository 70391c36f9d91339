"""Every registered task keeps what a task promises, on its own miniature; new tasks are found by themselves."""

from __future__ import annotations

import importlib
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from reelm.errors import UsageError
from reelm.tasks.base import Task, find, task, tasks
from reelm.types import Clip, Image

NAMES = list(tasks())


@pytest.fixture(scope="session")
def miniature(tmp_path_factory: pytest.TempPathFactory):
    """Gives the folder of a task's miniature data set, made once by tests/tasks/miniatures/<module of the task>.py."""
    made: dict[str, Path] = {}

    def of(task: Task) -> Path:
        module = type(task).__module__.rpartition(".")[2]
        if module not in made:
            made[module] = tmp_path_factory.mktemp(module)
            importlib.import_module(f"tasks.miniatures.{module}").make(made[module])
        return made[module]

    return of


@pytest.mark.parametrize("name", NAMES)
def test_items_are_whole_and_told_apart(name, miniature):
    task = find(name)
    items = list(task.items(miniature(task)))
    assert len(items) >= 2
    assert len({item.id for item in items}) == len(items)
    for item in items:
        assert item.text.strip() and item.video and item.media
        assert all(isinstance(part, Clip | Image) for part in item.media)
        assert set(task.splits) <= set(item.facts)
        assert all(isinstance(value, str) for value in item.facts.values())
        *media, text = task.ask(item)
        assert tuple(media) == item.media and text.endswith(item.text)
        assert item.blind().media == () and item.blind().id == item.id
        assert 0 <= task.chance(item) <= 1
        assert task.rotations(item)[0] == item
    assert items == list(task.items(miniature(task)))


@pytest.mark.parametrize("name", NAMES)
def test_the_control_that_knows_everything_reaches_the_top(name, miniature):
    task = find(name)
    if task.judged:
        pytest.skip("its scores come from a judge; see its own test")
    known = [item for item in task.items(miniature(task)) if task.oracle(item)]
    for item in known:
        scores = task.score(item, task.oracle(item))
        assert scores[task.headline] == 1
        assert all(math.isfinite(value) for value in scores.values())
    assert known or task.answers_with_server, "no item has an answer, and the task does not say a server keeps them"


@pytest.mark.parametrize("name", NAMES)
def test_no_medium_is_missing_until_one_is_taken_away(name, miniature, tmp_path):
    task = find(name)
    root = tmp_path / "data"
    shutil.copytree(miniature(task), root)
    assert task.missing(root) == []
    assert all(path.is_file() for path in task.annotations(root))
    media = [part.source for item in task.items(root) for part in item.media
             if isinstance(part, Clip) and isinstance(part.source, str | Path)]
    if media:
        gone = Path(str(media[0]))
        shutil.rmtree(gone) if gone.is_dir() else os.remove(gone)
        lost = task.missing(root)
        assert len(lost) == 1 and Path(lost[0]).stem == gone.stem


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_folder_is_an_error_that_names_the_file_to_place(name, tmp_path):
    task = find(name)
    with pytest.raises(UsageError) as error:
        list(task.items(tmp_path))
    assert str(tmp_path) in str(error.value) and error.value.remedy


def test_listing_tasks_loads_no_torch():
    code = "import sys; from reelm.tasks.base import tasks; print(len(tasks()), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(len(NAMES)), "False"]


def test_a_name_is_given_once():
    with pytest.raises(UsageError, match="'egoschema' is already reelm.tasks.egoschema.EgoSchema"):
        task("egoschema")(type("Other", (Task,), {}))


def test_an_unknown_task_is_answered_with_the_known_ones():
    with pytest.raises(UsageError, match="no task 'egoschemo'") as error:
        find("egoschemo")
    assert all(name in str(error.value) for name in NAMES)
