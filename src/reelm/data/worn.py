"""Wear and tear: clean drawings as a lossy video file would give them."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image as Picture


def worn(rgb: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The frames as a lossy file would give them: JPEG blocks, halved colour, other light. uint8 [T,H,W,3]."""
    if rng.random() < 0.3:
        gain, lift = rng.uniform(0.85, 1.12), rng.uniform(-12, 12)
        rgb = np.clip(rgb.astype(np.float32) * gain + lift, 0, 255).astype(np.uint8)
    if rng.random() < 0.2:
        height, width = rgb.shape[1:3]
        small = (int(width * rng.uniform(0.5, 0.9)), int(height * rng.uniform(0.5, 0.9)))
        rgb = np.stack(
            [
                np.asarray(
                    Picture.fromarray(f)
                    .resize(small, Picture.Resampling.BILINEAR)
                    .resize((width, height), Picture.Resampling.BILINEAR)
                )
                for f in rgb
            ]
        )
    if rng.random() < 0.5:
        quality = int(rng.integers(30, 95))
        rgb = np.stack([_jpeg(f, quality) for f in rgb])
    return rgb


def _jpeg(frame: np.ndarray, quality: int) -> np.ndarray:
    with io.BytesIO() as stream:
        Picture.fromarray(frame).save(stream, "JPEG", quality=quality)
        return np.asarray(Picture.open(stream).convert("RGB"))
