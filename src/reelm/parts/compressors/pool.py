"""The `pool` compressor: means over windows of time, rows and columns, as large as a budget asks."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor

from reelm.errors import UsageError
from reelm.kernels.pooling import adaptive_pool, stretched
from reelm.parts.base import Compressor, CompressorConfig, Grid, Shape
from reelm.registry import part
from reelm.types import Tokens


@part("compressor", "pool")
class Pool(Compressor):
    """The mean over windows that cover the grid evenly, down to `t` slices of `h` by `w` tokens.

    An axis without a number stays as it comes in, and no axis grows. A budget shrinks rows and columns first, in step,
    and time only where even one token per slice is too much. Windows overlap where sizes do not divide; the `size` of a
    token in two windows is split between them.

    Shapes: x [T·h·w, D] to [T'·h'·w', D].
    Source: PLLaVA, pooling after its perceptron; agrees with the recorded projector to 2e-5,
    tests/systems/test_pllava.py.
    Differs: the released code enlarges a smaller grid and stretches a clip of fewer than `frames` slices by repeating
    each int(frames / T) + 1 times and cutting at `frames`, which can lose the last ones; `as_released` does so too.
    """

    class Config(CompressorConfig):
        t: int | None = Field(default=None, ge=1)
        h: int | None = Field(default=None, ge=1)
        w: int | None = Field(default=None, ge=1)
        as_released: bool = False
        frames: int | None = Field(default=None, ge=1)

        @model_validator(mode="after")
        def _frames_stretch(self) -> Pool.Config:
            if self.frames is not None and not self.as_released:
                raise ValueError("frames is what as_released stretches a clip to, and does nothing without it")
            return self

    tiny: ClassVar[dict[str, Any]] = {"h": 2, "w": 2}
    neutral: ClassVar[dict[str, Any]] = {}
    merges: ClassVar[bool] = True
    settings: Config

    @classmethod
    def shape_of(cls, settings: Config, n: int, grid: Grid | None, keep: int | None = None) -> Shape:
        if grid is None:
            raise UsageError("pool needs tokens on a regular grid", remedy="Put it before what drops or merges tokens")
        wanted = (settings.t, settings.h, settings.w)
        have = (max(grid[0], settings.frames or 0), grid[1], grid[2])
        t, h, w = (there if want is None else want if settings.as_released else min(there, want)
                   for there, want in zip(have, wanted, strict=True))
        if keep is not None and t * h * w > keep:
            t, h, w = (t, *area_within(h, w, keep // t)) if keep >= t else (keep, 1, 1)
        return t * h * w, (t, h, w)

    def reduce(self, tokens: Tokens, keep: int | None, question: str) -> Tokens:
        grid = tokens.grid
        _, out = self.shape_of(self.settings, len(tokens), grid, keep)
        assert grid is not None and out is not None  # shape_of refuses anything else
        order = stretched(grid[0], max(grid[0], self.settings.frames or 0), as_released=True).to(tokens.x.device)
        if out == grid and len(order) == grid[0]:
            return tokens
        x = tokens.x.reshape(*grid, -1)[order]
        pooled = adaptive_pool(x[None], out)[0].flatten(0, 2)
        slice_s = tokens.at_s.reshape(grid[0], -1)[:, 0][order]
        made = Tokens.of_grid(pooled, out, F.adaptive_avg_pool1d(slice_s[None], out[0])[0], kind=int(tokens.kind[0]),
                              source=int(tokens.source[0]))
        copies = torch.bincount(order, minlength=grid[0])[order].to(tokens.size)
        made.size = shared(tokens.size.reshape(grid)[order] / copies[:, None, None], out)
        made.score = F.adaptive_max_pool3d(tokens.score.reshape(1, *grid)[:, order], out).flatten()
        return made


def area_within(h: int, w: int, most: int) -> tuple[int, int]:
    """The largest (rows, columns) within h by w of at most `most` cells, near the proportion of h by w."""
    pairs = [(rows, cols) for rows in range(1, h + 1) for cols in range(rows * w // h - 1, rows * w // h + 3)
             if 1 <= cols <= w and rows * cols <= most]
    fitting = pairs or [(1, min(w, most))]
    return max(fitting, key=lambda pair: (pair[0] * pair[1], -abs(pair[0] / h - pair[1] / w)))


def shared(size: Tensor, out: Grid) -> Tensor:
    """Sizes [T,h,w] after pooling to `out` [T'·h'·w']: what stands in several windows is split evenly between them."""
    for axis, count in enumerate(out):
        n = size.shape[axis]
        starts = torch.arange(count, device=size.device)
        low, high = starts * n // count, -(-(starts + 1) * n // count)
        places = torch.arange(n, device=size.device)
        inside = ((places >= low[:, None]) & (places < high[:, None])).to(size)
        size = torch.tensordot(inside / inside.sum(0), size, dims=([1], [axis])).movedim(0, axis)
    return size.flatten()
