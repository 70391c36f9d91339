"""Still pictures: PNG, JPEG, WebP and BMP, by Pillow."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from PIL import Image as Pillow
from PIL import ImageFile, ImageOps

from reelm.errors import BudgetError, MediaError
from reelm.media.limits import Limits
from reelm.media.source import PICTURES


def _opened(path: Path, kind: str) -> ImageFile.ImageFile:
    with warnings.catch_warnings():
        # Pillow warns above a size of its own; our limit decides, and raises.
        warnings.simplefilter("ignore", Pillow.DecompressionBombWarning)
        return Pillow.open(path, formats=(PICTURES[kind],))


def read_still(path: Path, kind: str, limits: Limits) -> tuple[np.ndarray, list[str]]:
    """The picture as uint8 [3,H,W], upright, and what was left out of it.

    Raises: MediaError if it is damaged; BudgetError, before it is decoded, if it is too large.
    """
    notes = []
    try:
        with _opened(path, kind) as picture:
            limits.check_picture(*picture.size, str(path))
            if getattr(picture, "n_frames", 1) > 1:
                notes.append(f"the first of {getattr(picture, 'n_frames', 1)} pictures is used")
            if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
                notes.append("transparency is ignored")
            if picture.mode.startswith("I;16") or picture.mode == "I":
                deep = np.asarray(picture, dtype=np.int64) // 257
                plain = Pillow.fromarray(deep.clip(0, 255).astype(np.uint8))
            else:
                plain = ImageOps.exif_transpose(picture)
            rgb = np.asarray(plain.convert("RGB"))
    except Pillow.DecompressionBombError as error:
        raise BudgetError(str(error).rstrip("."), where=str(path), remedy="Scale the picture down") from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise MediaError(f"cannot be read as {PICTURES[kind]}: {error}", where=str(path),
                         remedy="Copy or download it again") from None
    return np.ascontiguousarray(rgb.transpose(2, 0, 1)), notes
