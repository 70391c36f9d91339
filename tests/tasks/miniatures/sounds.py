"""Tiny real sounds for miniatures: a tone of half a second."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np


def tone(path: Path, hz: float = 440.0) -> Path:
    """A real WAV file at `path`, folders made as needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = (8000 * np.sin(2 * np.pi * hz * np.arange(4000) / 8000)).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(samples.tobytes())
    return path
