"""Several runs of one task side by side: each by itself, then every pair over the items that both have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from reelm.errors import UsageError
from reelm.eval.results import compared, measured
from reelm.eval.runner import Row
from reelm.tasks.base import Task

#: The head of a file of answers, its task and its rows, as `read_answers` gives them.
Read = tuple[Mapping[str, Any], Task, Sequence[Row]]


def side_by_side(paths: Sequence[Path], read: Sequence[Read]) -> list[dict[str, Any]]:
    """A result per run, then one per pair: the first minus the second, with intervals of paired draws.

    A run is called by its model, or by its file where two runs have the same model. Raises: UsageError unless all runs
    are of one task and each pair shares an item.
    """
    for path, (_, task, _) in zip(paths, read, strict=True):
        if task.name != read[0][1].name:
            raise UsageError(f"{paths[0]} is of task {read[0][1].name}, {path} of {task.name}",
                             remedy="Compare runs of one task")
    names = [str(head["model"]) for head, _, _ in read]
    if len(set(names)) < len(names):
        names = [path.name.removesuffix(".jsonl").removesuffix(".answers") for path in paths]
    told: list[dict[str, Any]] = [
        {"task": task.name, "model": {"name": name}, "headline": task.headline, "settings": head.get("settings", {}),
         **measured(task, rows)} for name, (head, task, rows) in zip(names, read, strict=True)]
    for (one, (_, task, mine)), (other, (_, _, yours)) in combinations(zip(names, read, strict=True), 2):
        told.append({"task": task.name, "model": {"name": f"{one} - {other}"}, **compared(task, mine, yours)})
    return told
