"""What the processes run that test_kill.py kills: a module of its own, so that they can import it by name."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from reelm.train.disk import Disk
from train.toys import STAGES, toy_loop, toy_recipe

#: What a process may be at when it is killed; the place in the list is what it shares with us.
DOING = ("computing", "make", "write", "sync", "rename", "remove", "finished")
#: Every second step is saved, so that many kills fall into a save.
RECIPE = toy_recipe(*({**stage, "steps": 12, "save_every": 2} for stage in STAGES), keep=1)


class Watched(Disk):
    """The real disk; says what it is doing while it does it."""

    def __init__(self, doing: Any) -> None:
        self._doing = doing

    def _tell(self, name: str, action: Callable[..., None], *args: Any) -> None:
        self._doing.value = DOING.index(name)
        action(*args)
        time.sleep(0.002)  # as a slower disk would take, so that kills find it at work
        self._doing.value = 0

    def make(self, folder: Path) -> None:
        self._tell("make", super().make, folder)

    def write(self, path: Path, content: Any) -> None:
        self._tell("write", super().write, path, content)

    def sync(self, path: Path) -> None:
        self._tell("sync", super().sync, path)

    def rename(self, old: Path, new: Path) -> None:
        self._tell("rename", super().rename, old, new)

    def remove(self, folder: Path) -> None:
        self._tell("remove", super().remove, folder)


def run(out: Path, doing: Any) -> None:
    """A whole run, as the process that is killed makes it."""
    toy_loop(out, RECIPE, disk=Watched(doing)).run()
    doing.value = DOING.index("finished")
