"""Fewer tokens on a smaller grid: by bins, by windows, by windows that a prompt guides, by groups of frames.

All functions take tokens on their grid, x [B,T,h,w,D], give tokens in time, row, column order, and are differentiable.
Each has a twin that says the grid or the count before any tensor exists.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from reelm.errors import UsageError

Grid = tuple[int, int, int]
Mode = Literal["mean", "max", "bilinear"]

_POOLS: dict[str, Callable[..., Tensor]] = {"mean": F.avg_pool3d, "max": F.max_pool3d}


def _check(name: str, grid: Grid) -> Grid:
    if min(grid) < 1:
        raise UsageError(f"the {name} {grid} has a side below 1", where="pooling",
                         remedy="Give three whole numbers (frames, rows, columns) of at least 1")
    return grid


def adaptive_pool(x: Tensor, grid: Grid) -> Tensor:
    """Means over equal shares of time, rows and columns; where they do not divide, neighbouring shares overlap.

    A share of n cells out of N runs from floor(i·N/n) to ceil((i+1)·N/n). A larger grid repeats cells. The grid it
    already has gives `x` itself.

    Shapes: x [B,T,h,w,D] to [B,T',h',w',D] for grid (T',h',w').
    Raises: UsageError for a side below 1.
    Source: PLLaVA (Xu et al. 2024) 3.3; also MERV, VideoGPT+ and VideoLLaMB. Equal to their recorded pooling to 2e-5,
    tests/kernels/test_pooling.py.
    """
    if tuple(x.shape[1:4]) == _check("pooled grid", grid):
        return x
    return F.adaptive_avg_pool3d(x.movedim(-1, 1), grid).movedim(1, -1)


def strided_grid(grid: Grid, stride: Grid, *, ceil: bool = False) -> Grid:
    """The grid `strided_pool` gives: borders that fill no whole window are left out, or kept with `ceil`.

    Raises: UsageError when nothing is left.
    """
    up = [s - 1 if ceil else 0 for s in _check("stride", stride)]
    t, h, w = ((n + more) // s for n, more, s in zip(grid, up, stride, strict=True))
    if min(t, h, w) < 1:
        raise UsageError(f"a grid of {grid} is smaller than one window of {stride}", where="pooling",
                         remedy="Give more frames or a finer grid, or a smaller stride")
    return t, h, w


def strided_pool(x: Tensor, stride: Grid, mode: Mode = "mean") -> Tensor:
    """Means or maxima over windows that do not overlap, or every frame resized bilinearly to ceil(side / stride).

    `mean` and `max` leave out a border that fills no whole window; `bilinear` is of rows and columns only.

    Shapes: x [B,T,h,w,D] to [B,T',h',w',D], grid as `strided_grid` says (`ceil` for bilinear).
    Raises: UsageError for a grid smaller than one window, or bilinear with a stride in time.
    Source: Free Video-LLM's 1-D pools, AIM's and LLaVA-OneVision's 2-D pools, LLaMA-VID's `grid:g` (stride side // g);
    equal to the recorded ones, tests/kernels/test_pooling.py.
    """
    grid = (x.shape[1], x.shape[2], x.shape[3])
    if mode == "bilinear":
        if stride[0] != 1:
            raise UsageError(f"bilinear pooling is of pictures, not of time (stride {stride})", where="pooling",
                             remedy="Use mode mean or max, or a stride of 1 in time")
        _, h, w = strided_grid(grid, stride, ceil=True)
        return _resize(x, h, w)
    strided_grid(grid, stride)
    if stride == (1, 1, 1):
        return x
    return _POOLS[mode](x.movedim(-1, 1), stride, stride=stride).movedim(1, -1)


def _resize(x: Tensor, h: int, w: int) -> Tensor:
    """Every frame of x [B,T,H,W,D] at h rows and w columns, by bilinear interpolation without aligned corners."""
    if x.shape[2:4] == (h, w):
        return x
    flat = F.interpolate(x.flatten(0, 1).movedim(-1, 1), (h, w), mode="bilinear", align_corners=False)
    return flat.movedim(1, -1).unflatten(0, x.shape[:2])


def windows_for(grid: Grid, out: Grid) -> tuple[Grid, Grid]:
    """Kernel and stride that turn `grid` into exactly `out`: stride = n // n', kernel = n - (n' - 1)·stride.

    The windows overlap only where a side does not divide.

    Raises: UsageError if a side of `out` is below 1 or above that of the grid.
    """
    if any(o > n for o, n in zip(_check("pooled grid", out), grid, strict=True)):
        raise UsageError(f"windows cannot turn a grid of {grid} into the larger {out}", where="pooling",
                         remedy="Ask for at most as many frames, rows and columns as there are")
    stride = [n // o for n, o in zip(grid, out, strict=True)]
    kernel = [n - (o - 1) * s for n, o, s in zip(grid, out, stride, strict=True)]
    return (kernel[0], kernel[1], kernel[2]), (stride[0], stride[1], stride[2])


def guided_grid(grid: Grid, kernel: Grid, stride: Grid) -> Grid:
    """The grid `guided_pool` gives; windows that do not fit whole are left out.

    Raises: UsageError when not one window fits.
    """
    _check("kernel", kernel)
    t, h, w = ((n - k) // s + 1 for n, k, s in zip(grid, kernel, _check("stride", stride), strict=True))
    if min(t, h, w) < 1:
        raise UsageError(f"a grid of {grid} is smaller than one window of {kernel}", where="pooling",
                         remedy="Give more frames or a finer grid, or a smaller kernel")
    return t, h, w


def guided_pool(x: Tensor, scores: Tensor, kernel: Grid, stride: Grid, *, temperature: float = 0.01,
                over_all_first: bool = False) -> Tensor:
    """In every window the mean weighted by softmax(scores / temperature): what the prompt asks for counts most.

    Equal scores give plain means; a temperature near 0 picks the best token of a window. `over_all_first` puts
    another softmax over all tokens of the clip before, as PPLLaVA does; with thousands of tokens that flattens the
    weights nearly to plain means.

    Shapes: x [B,T,h,w,D] and scores [B,T,h,w] to [B,T',h',w',D], grid as `guided_grid` says.
    Raises: UsageError for a temperature not above 0, or when not one window fits.
    Source: PPLLaVA (Liu et al. 2024) 3.2; equal to its recorded projector to 1e-4, tests/kernels/test_pooling.py.
    """
    if temperature <= 0:
        raise UsageError(f"a temperature of {temperature} cannot divide", where="pooling", remedy="Give one above 0")
    guided_grid((x.shape[1], x.shape[2], x.shape[3]), kernel, stride)
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    if over_all_first:
        scores = scores.flatten(1).softmax(1).view_as(scores)
    windows, marks = x, scores
    for axis, (size, step) in enumerate(zip(kernel, stride, strict=True), start=1):
        windows, marks = windows.unfold(axis, size, step), marks.unfold(axis, size, step)
    weights = (marks.flatten(4) / temperature).softmax(-1).to(x.dtype)
    return (windows.flatten(5) @ weights[..., None])[..., 0]


def progressive_count(grid: Grid, group: int, first: int, rest: int) -> int:
    """How many tokens `progressive_pool` gives for a grid."""
    _, fine_h, fine_w = strided_grid(grid, (1, first, first), ceil=True)
    _, h, w = strided_grid(grid, (1, rest, rest), ceil=True)
    leaders = -(-grid[0] // _check("group of frames", (group, 1, 1))[0])
    return leaders * fine_h * fine_w + (grid[0] - leaders) * h * w


def progressive_pool(x: Tensor, group: int, first: int = 2, rest: int = 4) -> tuple[Tensor, Tensor]:
    """The first frame of every `group` frames in fine detail, the others coarsely; bilinear, frames stay in order.

    `first` and `rest` are the strides of rows and columns. With first = rest it is `strided_pool`, bilinear.

    Shapes: x [B,T,h,w,D] to tokens [B,N,D] and the frame each is of, int64 [N]; N as `progressive_count` says.
    Raises: UsageError for a group or a stride below 1.
    Source: Visual Context Window Extension (Wei et al. 2024) 4.2, after a description, its strides unchecked.
    """
    frames = torch.arange(x.shape[1], device=x.device)
    progressive_count((x.shape[1], x.shape[2], x.shape[3]), group, first, rest)
    leads = frames % group == 0
    parts, owners = [], []
    for mask, stride in ((leads, first), (~leads, rest)):
        if bool(mask.any()):
            pooled = strided_pool(x[:, mask], (1, stride, stride), "bilinear")
            parts.append(pooled.flatten(1, 3))
            owners.append(frames[mask].repeat_interleave(pooled.shape[2] * pooled.shape[3]))
    frame_of = torch.cat(owners)
    # A stable sort by frame keeps rows and columns in order, as each frame's tokens come from one part alone.
    order = frame_of.argsort(stable=True)
    return torch.cat(parts, 1)[:, order], frame_of[order]


def stacked(x: Tensor, factor: int) -> Tensor:
    """Every block of factor × factor cells as one token that holds all of them, side by side: nothing is averaged away.

    Shapes: x [B,T,h,w,D] to [B,T,h/factor,w/factor,factor²·D]; within a token in row, column order.
    Raises: UsageError where `factor` does not divide rows and columns.
    Source: the pixel shuffle of PVC (Yang et al. 2024) and of STORM's down-sampling, before their linear layers.
    """
    _, _, h, w, _ = x.shape
    if factor < 1 or h % factor or w % factor:
        raise UsageError(f"blocks of {factor} × {factor} do not fill a frame of {h} × {w}", where="pooling",
                         remedy="Choose a factor that divides rows and columns")
    blocks = x.unflatten(3, (-1, factor)).unflatten(2, (-1, factor))
    return blocks.transpose(3, 4).flatten(4)


def two_ways(x: Tensor) -> Tensor:
    """One token for every frame, its mean, then one for every place of the picture, its mean over time.

    Shapes: x [B,T,h,w,D] to [B,T + h·w,D].
    Source: Video-ChatGPT (Maaz et al. 2023) 3.1, which RED-VILLM takes over.
    """
    return torch.cat((x.mean((2, 3)), x.mean(1).flatten(1, 2)), 1)


def stretched(count: int, to: int, *, as_released: bool = False) -> Tensor:
    """Which of `count` frames stand at `to` places, an even share of places for each, in order: int64 [to].

    Where there are at least `to` frames, each stands once: int64 [count]. `as_released` repeats every frame
    int(to / count) + 1 times and cuts at `to`, as PLLaVA does, so the last frames may be lost (5 frames at 8 places:
    0,0,1,1,2,2,3,3).

    Raises: UsageError without frames or places.
    """
    if count < 1 or to < 1:
        raise UsageError(f"cannot stretch {count} frames over {to} places", where="pooling",
                         remedy="Give at least one frame and one place")
    if count >= to:
        return torch.arange(count)
    places = torch.arange(to)
    return places // (to // count + 1) if as_released else places * count // to
