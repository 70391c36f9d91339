"""The `drop` compressor: random tokens are left out; what every other way of reducing has to beat."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pydantic import Field

from reelm.parts.base import Compressor, CompressorConfig, Grid, Shape
from reelm.registry import part
from reelm.types import Tokens


@part("compressor", "drop")
class Drop(Compressor):
    """A random `share` of the tokens in their old order, or as many as a budget allows; the same ones every time.

    Which ones depends on `seed` and on how many there are, not on what they hold.

    Shapes: x [N,D] to [max(1, round(N·share)), D].
    Source: ours; the baseline at equal tokens.
    """

    class Config(CompressorConfig):
        share: float = Field(default=1.0, gt=0, le=1)
        seed: int = 0

    tiny: ClassVar[dict[str, Any]] = {"share": 0.5}
    neutral: ClassVar[dict[str, Any]] = {}
    settings: Config

    @classmethod
    def shape_of(cls, settings: Config, n: int, grid: Grid | None, keep: int | None = None) -> Shape:
        count = min(max(1, round(n * settings.share)), n if keep is None else keep)
        return (n, grid) if count >= n else (count, None)

    def reduce(self, tokens: Tokens, keep: int | None, question: str) -> Tokens:
        count, _ = self.shape_of(self.settings, len(tokens), tokens.grid, keep)
        if count == len(tokens):
            return tokens
        # On the CPU whatever the device, so that every machine drops the same ones.
        chance = torch.Generator().manual_seed(self.settings.seed)
        index = torch.randperm(len(tokens), generator=chance)[:count].sort().values
        return tokens.take(index.to(tokens.x.device))
