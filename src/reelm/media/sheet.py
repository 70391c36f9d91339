"""A contact sheet: the frames a model saw, on one picture, with their times."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from reelm.errors import MediaError, UsageError
from reelm.types import Frames

_TILE_PX = 240
_GAP_PX = 8
_LABEL_PX = 22
_PAPER, _INK, _REPEATED_INK = (250, 250, 250), (20, 20, 20), (190, 30, 30)


def contact_sheet(frames: Frames, path: str | Path, *, columns: int | None = None, tile_px: int = _TILE_PX) -> Path:
    """A JPEG at `path` with every frame in order, numbered from 1 and labelled with its true time.

    A repeated frame is marked "repeated" in red. `tile_px` is the longer side of a frame on the sheet. The sheet is
    JPEG whatever the suffix. Raises: UsageError if there is no frame; MediaError if the file cannot be written.
    """
    count = len(frames)
    if not count:
        raise UsageError("no frame to draw", where=str(path))
    height, width = frames.rgb.shape[2:]
    scale = tile_px / max(height, width)
    tile_w, tile_h = max(1, round(width * scale)), max(1, round(height * scale))
    across = columns or math.ceil(math.sqrt(count * tile_h / tile_w)) or 1
    across = min(max(across, 1), count)
    down = math.ceil(count / across)
    cell_w, cell_h = max(tile_w, 150) + _GAP_PX, tile_h + _LABEL_PX + _GAP_PX
    sheet = Pillow.new("RGB", (across * cell_w + _GAP_PX, down * cell_h + _GAP_PX), _PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for number in range(count):
        x, y = _GAP_PX + number % across * cell_w, _GAP_PX + number // across * cell_h
        tile = Pillow.fromarray(np.ascontiguousarray(frames.rgb[number].transpose(1, 2, 0)))
        sheet.paste(tile.resize((tile_w, tile_h), Pillow.Resampling.LANCZOS), (x, y + _LABEL_PX))
        label = f"{number + 1}" if frames.still else f"{number + 1}  {clock_text(float(frames.at_s[number]))}"
        draw.text((x, y + 2), label, _INK, font)
        if frames.repeated[number]:
            draw.text((x + draw.textlength(label + "  ", font), y + 2), "repeated", _REPEATED_INK, font)
    try:
        sheet.save(path, "JPEG", quality=90)
    except OSError as error:
        raise MediaError(f"the sheet cannot be written: {error.strerror or error}", where=str(path),
                         remedy="Check the folder and the free space") from None
    return Path(path)


def clock_text(second: float) -> str:
    """Seconds as h:mm:ss.mmm, hours only where there are any: 3.5 becomes 0:03.500."""
    milliseconds = round(second * 1000)
    sign, milliseconds = ("-", -milliseconds) if milliseconds < 0 else ("", milliseconds)
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    tail = f"{rest // 1000:02d}.{rest % 1000:03d}"
    return f"{sign}{hours}:{minutes:02d}:{tail}" if hours else f"{sign}{minutes}:{tail}"
