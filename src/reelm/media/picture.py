"""From a decoded frame to RGB as a viewer sees it: colours, full size, upright."""

from __future__ import annotations

from typing import Any

import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

#: Exact arithmetic: the same file gives the same pixels on every machine, without the fast path's bias of about -1.
_EXACT = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.BITEXACT
_UPRIGHT = (1, 0, 0, 1)
#: What is said of a picture that is stored with transparency.
TRANSPARENT = "transparency is ignored"


def turn_of(frame: Any) -> tuple[int, int, int, int]:
    """The display matrix as (a, b, c, d) of -1, 0, 1: x' = a x + c y, y' = b x + d y; upright if there is none."""
    sides = _sides(frame)
    a, b, c, d = (int(np.rint(side)) for side in sides)
    return (a, b, c, d) if _is_quarter(sides) else _UPRIGHT


def is_slanted(frame: Any) -> bool:
    """True where the display matrix does not turn by quarters or mirror; such a frame stays as stored."""
    return not _is_quarter(_sides(frame))


def has_alpha(frame: Any) -> bool:
    """Whether the frame is stored with transparency and uses it."""
    if not any(component.is_alpha for component in frame.format.components):
        return False
    if frame.format.name in ("bgra", "rgba", "argb", "abgr"):
        at = frame.format.name.index("a")
        plane = np.frombuffer(frame.planes[0], np.uint8).reshape(-1, frame.planes[0].line_size)
        return bool((plane[:, at:frame.width * 4:4] < 255).any())
    return True


def _sides(frame: Any) -> np.ndarray:
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return np.array(_UPRIGHT, dtype=np.float64)
    fixed = np.frombuffer(bytes(data), dtype=np.int32)[[0, 1, 3, 4]].astype(np.float64)
    return fixed / max(np.abs(fixed).max(), 1.0)


def _is_quarter(sides: np.ndarray) -> bool:
    near = np.rint(sides)
    a, b, c, d = near
    return bool(np.abs(sides - near).max() < 0.02 and abs(a * d - b * c) == 1 and np.abs(near).sum() == 2)


def shape_of(frame: Any) -> tuple[int, int]:
    """(width, height) in pixels after turning."""
    return (frame.width, frame.height) if turn_of(frame)[0] else (frame.height, frame.width)


def to_rgb(frame: Any, reformatter: VideoReformatter, width_px: int, height_px: int) -> np.ndarray:
    """The picture as uint8 [3,H,W], upright, scaled to (`width_px`, `height_px`) if the track changes its size."""
    a, b, c, d = turn_of(frame)
    inner_w, inner_h = (width_px, height_px) if a else (height_px, width_px)
    plain = reformatter.reformat(frame, width=inner_w, height=inner_h, format="rgb24", interpolation=_EXACT, threads=1)
    rgb = plain.to_ndarray()
    if not a:
        rgb = rgb.transpose(1, 0, 2)
    flip_y, flip_x = (d < 0, a < 0) if a else (b < 0, c < 0)
    return rgb[::-1 if flip_y else 1, ::-1 if flip_x else 1].transpose(2, 0, 1)
