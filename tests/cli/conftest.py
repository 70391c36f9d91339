"""One real clip with sound, a picture and a sound, made by code once for all tests of the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from reelm.media import write_video
from reelm.types import Audio


@pytest.fixture(scope="session")
def media_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with clip.mp4 (2 s, 10 frames per second, a tone) and dot.png."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("media")
    frames = (np.full((64, 96, 3), 10 * i, np.uint8) for i in range(20))
    tone = np.sin(np.arange(32_000) * 0.2).astype(np.float32)[None] * 0.3
    write_video(folder / "clip.mp4", frames, 10, audio=Audio(tone, 16_000))
    Image.new("RGB", (40, 40), (200, 30, 30)).save(folder / "dot.png")
    return folder
