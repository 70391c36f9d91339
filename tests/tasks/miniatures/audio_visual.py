"""Two questions as the task itself makes them."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from reelm.tasks.audio_visual import AudioVisual


def make(root: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        shutil.copytree(AudioVisual().of(Path(scratch), 0, 1, kinds=("agree", "next")).root, root, dirs_exist_ok=True)
