"""Still pictures: PNG, JPEG, WebP, BMP, AVIF and one-picture GIF, by Pillow."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from PIL import Image as Pillow
from PIL import ImageOps

from reelm.errors import BudgetError, MediaError
from reelm.media.content import Content
from reelm.media.limits import Limits
from reelm.media.picture import TRANSPARENT
from reelm.media.source import PICTURES

_ORIENTATION = 0x0112


@contextmanager
def opened(content: Content, form: str) -> Iterator[Any]:
    """The picture file as Pillow's `form`, not yet decoded.

    Raises, also for what happens inside the block: MediaError if it is damaged; BudgetError if Pillow finds it too
    large.
    """
    try:
        with content.open() as file, warnings.catch_warnings():
            # Pillow warns above a size of its own; our limit decides, and raises.
            warnings.simplefilter("ignore", Pillow.DecompressionBombWarning)
            with Pillow.open(file, formats=(form,)) as picture:
                yield picture
    except Pillow.DecompressionBombError as error:
        raise BudgetError(str(error).rstrip("."), where=content.name, remedy="Scale the picture down") from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise MediaError(f"cannot be read as {form}: {error}", where=content.name,
                         remedy="Copy or download it again") from None


def size_of(content: Content, kind: str, limits: Limits) -> tuple[int, int]:
    """(width, height) of the picture when upright, from its header."""
    with opened(content, PICTURES[kind]) as picture:
        limits.check_picture(picture.width, picture.height, content.name)
        turned = picture.getexif().get(_ORIENTATION, 1) >= 5
        width, height = picture.size
        return (height, width) if turned else (width, height)


def read_still(content: Content, kind: str, limits: Limits) -> tuple[np.ndarray, list[str]]:
    """The picture as uint8 [3,H,W], upright, and what was left out of it.

    Raises: MediaError if it is damaged; BudgetError, before it is decoded, if it is too large.
    """
    notes = []
    with opened(content, PICTURES[kind]) as picture:
        limits.check_picture(picture.width, picture.height, content.name)
        if getattr(picture, "n_frames", 1) > 1:
            notes.append(f"the first of {picture.n_frames} pictures is used")
        if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
            notes.append(TRANSPARENT)
        if picture.mode.startswith("I;16") or picture.mode == "I":
            deep = np.asarray(picture, dtype=np.int64) // 257
            plain = Pillow.fromarray(deep.clip(0, 255).astype(np.uint8))
        else:
            plain = ImageOps.exif_transpose(picture)
        rgb = np.asarray(plain.convert("RGB"))
    return np.ascontiguousarray(rgb.transpose(2, 0, 1)), notes
