"""Real media made by code, for tests that run the command line, the README and the examples."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from reelm.media import write_video
from reelm.types import Audio


def write_media(folder: Path) -> Path:
    """Fills `folder` with clip.mp4 (2 s, 10 frames per second, a tone) and photo.png, and gives it back."""
    from PIL import Image

    frames = (np.full((64, 96, 3), 10 * i, np.uint8) for i in range(20))
    tone = np.sin(np.arange(32_000) * 0.2).astype(np.float32)[None] * 0.3
    write_video(folder / "clip.mp4", frames, 10, audio=Audio(tone, 16_000))
    Image.new("RGB", (40, 40), (200, 30, 30)).save(folder / "photo.png")
    return folder
