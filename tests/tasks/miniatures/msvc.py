"""MSVC in small: clips in a folder per source, several captions each, one clip twice."""

from __future__ import annotations

import json
from pathlib import Path

from tasks.miniatures.films import film


def make(root: Path) -> None:
    rows = [("msvd/clip_1.mp4", ["a man's dog runs", "a dog is running"]), ("vatex/clip_2.mp4", ["someone cooks"]),
            ("msvd/clip_1.mp4", ["a dog"])]
    (root / "msvc.json").write_text(json.dumps([
        {"video_path": path, "question": "Describe the video in detail.", "captions": captions}
        for path, captions in rows]))
    for path in {path for path, _ in rows}:
        film(root / path)
