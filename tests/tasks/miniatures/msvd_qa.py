"""MSVD-QA in small: whole numbers as ids, clips without prefix."""

from __future__ import annotations

from pathlib import Path

from tasks.miniatures.open_qa import write


def make(root: Path) -> None:
    write(root, {"vid1451": "vid1451.mkv", "vid1453": "vid1453.mp4"}, "videos", [30933, 30934, 30935],
          ["someone", "slice", "man"])
