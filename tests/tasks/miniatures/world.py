"""Two questions as the task itself makes them."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from reelm.data.noises import COMPUTED
from reelm.tasks.world import World


def make(root: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        made = World().of(Path(scratch), 0, 1, kinds=("object", "match"), sounds=tuple(COMPUTED))
        shutil.copytree(made.root, root, dirs_exist_ok=True)
