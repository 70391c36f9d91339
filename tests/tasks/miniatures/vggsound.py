"""VGGSound in small."""

from __future__ import annotations

from pathlib import Path

from tasks.miniatures.avsd import write


def make(root: Path) -> None:
    write(root / "avssd_test.json", {"videos/a_000030.mp4": ["<video>\nWhat is it?", "playing cello"],
                                     "videos/b_000010.mp4": ["<video>\nWhat is it?", "dog barking"]})
