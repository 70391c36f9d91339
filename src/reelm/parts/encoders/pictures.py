"""Frames to pixel values, through PIL so that every machine gives the same numbers.

Source: the image processors of CLIP and SigLIP; held to recorded pixel values (1e-6) in tests/parts/test_towers.py.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image as PilImage
from torch import Tensor

from reelm.errors import UsageError
from reelm.types import Frames, Image


def pictures(media: Frames | Image) -> list[PilImage.Image]:
    """The pictures of a medium as PIL images, in order.

    Raises: UsageError for anything that holds no pictures.
    """
    if isinstance(media, Image):
        rgb = media.rgb[None]
    elif isinstance(media, Frames):
        rgb = media.rgb
    else:
        raise UsageError(f"expected Frames or an Image, got {type(media).__name__}", where="vision encoder",
                         remedy="Decode a Clip first")
    return [PilImage.fromarray(np.ascontiguousarray(frame.transpose(1, 2, 0))) for frame in rgb]


def on_square(picture: PilImage.Image, colour: tuple[int, int, int]) -> PilImage.Image:
    """The picture in the middle of a square of its longer side; an odd pixel of border lies at the right or below."""
    width, height = picture.size
    if width == height:
        return picture
    side = max(width, height)
    square = PilImage.new("RGB", (side, side), colour)
    square.paste(picture, ((side - width) // 2, (side - height) // 2))
    return square


def resized(images: Sequence[PilImage.Image], side_px: int) -> np.ndarray:
    """uint8 [T,side,side,3]: every picture squashed to a square, bicubic, aspect ratio not kept."""
    out = np.empty((len(images), side_px, side_px, 3), dtype=np.uint8)
    for index, image in enumerate(images):
        out[index] = np.asarray(image.resize((side_px, side_px), PilImage.Resampling.BICUBIC))
    return out


def normalise(rgb: np.ndarray, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """float32 [T,3,H,W] of (x/255 - mean) / std, from uint8 [T,H,W,3]."""
    x = torch.from_numpy(rgb).permute(0, 3, 1, 2).to(torch.float32) / 255
    return (x - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
