"""Tiny real videos for miniatures: a grey that brightens, two seconds, 32 px."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from reelm.media import write_video


def film(path: Path, frames: int = 8, fps: int = 4) -> Path:
    """A real video file at `path` (MP4, MOV, MKV or WebM by its suffix), folders made as needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_video(path, [np.full((32, 32, 3), 20 + 200 * frame // frames, dtype=np.uint8) for frame in range(frames)],
                fps)
    return path
