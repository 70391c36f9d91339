"""The `merge` compressor: tokens that are alike become one, step by step."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pydantic import Field

from reelm.kernels.merging import merge, steps_to
from reelm.parts.base import Compressor, CompressorConfig, Grid, Shape
from reelm.registry import part
from reelm.types import Tokens


@part("compressor", "merge")
class Merge(Compressor):
    """The most similar tokens averaged, half of them in a step at most, down to a `share` or a budget.

    `slices`: only tokens within so many neighbouring slices of time meet, and every such stretch keeps its part of the
    budget; without it all tokens of a clip meet. Averages weigh by how many tokens each stands for.

    Shapes: x [N,D] to [n,D], in the old order as far as merged tokens have one.
    Source: ToMe (Bolya et al. 2023) 3; the kernel is held to the recorded merges of LongVLM, AIM and B-VLLM,
    tests/kernels/test_merging.py.
    """

    class Config(CompressorConfig):
        share: float = Field(default=1.0, gt=0, le=1)
        slices: int | None = Field(default=None, ge=1)

    tiny: ClassVar[dict[str, Any]] = {"share": 0.5, "slices": 2}
    neutral: ClassVar[dict[str, Any]] = {}
    merges: ClassVar[bool] = True
    settings: Config

    @classmethod
    def least_of(cls, settings: Config, n: int, grid: Grid | None) -> int:
        return len(stretches(n, grid, settings.slices))

    @classmethod
    def shape_of(cls, settings: Config, n: int, grid: Grid | None, keep: int | None = None) -> Shape:
        wanted = max(cls.least_of(settings, n, grid), round(n * settings.share))
        count = min(wanted, n if keep is None else keep)
        return (n, grid) if count >= n else (count, None)

    def reduce(self, tokens: Tokens, keep: int | None, question: str) -> Tokens:
        n = len(tokens)
        count, _ = self.shape_of(self.settings, n, tokens.grid, keep)
        if count == n:
            return tokens
        owners, made = [], 0
        for start, end in stretches(n, tokens.grid, self.settings.slices):
            target = count * end // n - count * start // n
            owners.append(made + merge(tokens.x.detach()[None, start:end], steps_to(end - start, target)).owner[0])
            made += target
        return tokens.merge(torch.cat(owners), count)


def stretches(n: int, grid: Grid | None, slices: int | None) -> list[tuple[int, int]]:
    """Where each stretch of `slices` slices begins and ends among `n` tokens; one of all where there is no grid."""
    if grid is None or slices is None:
        return [(0, n)]
    step = slices * grid[1] * grid[2]
    return [(start, min(start + step, n)) for start in range(0, n, step)]
