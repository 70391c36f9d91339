"""The few things training does to a disk, in one place, so that a test can make each of them fail."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path


class Disk:
    """Writing so that it lasts: what is synced and then renamed is there after a crash, whole, under its new name."""

    def make(self, folder: Path) -> None:
        """A new folder; those above it too."""
        folder.mkdir(parents=True)

    def write(self, path: Path, content: bytes | Callable[[Path], object]) -> None:
        """A file with these bytes, or whatever the function writes to the path."""
        if callable(content):
            content(path)
        else:
            path.write_bytes(content)

    def sync(self, path: Path) -> None:
        """What a file holds, or which names a folder holds, is on the disk when this returns."""
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def rename(self, old: Path, new: Path) -> None:
        """One name for another, at one stroke."""
        old.rename(new)

    def remove(self, folder: Path) -> None:
        """A folder and all in it."""
        shutil.rmtree(folder)
