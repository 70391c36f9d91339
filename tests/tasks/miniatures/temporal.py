"""One pair as the task itself makes it."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from reelm.tasks.temporal import Temporal


def make(root: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        shutil.copytree(Temporal().of(Path(scratch), 0, 1, aspects=("order",)).root, root, dirs_exist_ok=True)
