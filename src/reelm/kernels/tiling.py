"""Several frames as one picture: thumbnails in rows and columns."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from reelm.errors import UsageError


def tall_grid(count: int) -> tuple[int, int]:
    """Rows and columns that hold just `count` frames, as square as that goes, rows >= columns: 6 is (3, 2), 5 (5, 1).

    Source: TS-LLaVA (Qu et al. 2024); the same, tests/kernels/test_tiling.py.
    """
    columns = next(n for n in range(math.isqrt(count), 0, -1) if count % n == 0)
    return count // columns, columns


def square_grid(count: int) -> tuple[int, int]:
    """Rows and columns for `count` frames, columns = round(sqrt(count)); the last row may be short: 5 is (3, 2).

    Source: IG-VLM (Kim et al. 2024); the same, tests/kernels/test_tiling.py.
    """
    columns = round(math.sqrt(count))
    return -(-count // columns), columns


def tiled(frames: Tensor, grid: tuple[int, int], fill: float = 0) -> Tensor:
    """Frames in rows, from left to right; cells without a frame hold `fill`.

    Shapes: frames [k,C,H,W] to [C,rows·H,columns·W].
    Raises: UsageError for more frames than cells.
    """
    rows, columns = grid
    if len(frames) > rows * columns:
        raise UsageError(f"{len(frames)} frames do not fit {rows} × {columns} cells", where="tiling",
                         remedy="Use more cells or fewer frames")
    if len(frames) < rows * columns:
        empty = torch.full_like(frames[:1], fill).expand(rows * columns - len(frames), -1, -1, -1)
        frames = torch.cat((frames, empty))
    _, c, h, w = frames.shape
    return frames.view(rows, columns, c, h, w).permute(2, 0, 3, 1, 4).reshape(c, rows * h, columns * w)


def thumbnail(frames: Tensor, side: tuple[int, int]) -> Tensor:
    """All frames squeezed into one picture of `side` (height, width), in a `tall_grid`.

    Where rows or columns do not divide the side, the picture is a few pixels smaller. A cell smaller than the frame on
    either axis is averaged over areas, else interpolated bilinearly.

    Shapes: frames [k,C,H,W], floats, to [C,rows·(height // rows),columns·(width // columns)].
    Raises: UsageError without frames, or for more rows than pixels.
    Source: TS-LLaVA 3.1; equal to its recorded thumbnails to 5e-5, tests/kernels/test_tiling.py.
    """
    if not len(frames):
        raise UsageError("no frames, so no thumbnail", where="tiling", remedy="Give at least one frame")
    rows, columns = tall_grid(len(frames))
    h, w = side[0] // rows, side[1] // columns
    if not (h and w):
        raise UsageError(f"{rows} × {columns} frames do not fit {side[0]} × {side[1]} pixels", where="tiling",
                         remedy="Use fewer frames or a larger picture")
    if h < frames.shape[2] or w < frames.shape[3]:
        cells = F.interpolate(frames, (h, w), mode="area")
    else:
        cells = F.interpolate(frames, (h, w), mode="bilinear", align_corners=False)
    return tiled(cells, (rows, columns))
