"""The `slots` connector: any length of sound as a fixed number of tokens, equal shares of its time."""

from __future__ import annotations

from typing import Any, ClassVar

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from reelm.config import PartConfig
from reelm.parts.base import Connector, Grid
from reelm.registry import part


@part("connector", "slots")
class Slots(Connector):
    """The mean over height and width, then over `slots` equal shares of time, then a perceptron of two layers.

    A medium with fewer slices than slots keeps its slices. Neighbouring shares overlap where slots do not divide the
    slices, so that nothing between two of them is lost.

    Shapes: x [B,T,h,w,D] to [B,min(T, slots),1,1,D'].
    Source: our own; the perceptron is the `mlp2x_gelu` of VideoLLaMA 2's audio branch.
    """

    class Config(PartConfig):
        in_width: int = Field(gt=0)
        out_width: int = Field(gt=0)
        slots: int = Field(default=16, ge=1)

    tiny: ClassVar[dict[str, Any]] = {"in_width": 6, "out_width": 8, "slots": 2}
    settings: Config

    def __init__(self, settings: Config) -> None:
        super().__init__(settings)
        self.widen = nn.Linear(settings.in_width, settings.out_width)
        self.out = nn.Linear(settings.out_width, settings.out_width)

    @classmethod
    def grid_of(cls, settings: Config, grid: Grid) -> Grid:
        return min(grid[0], settings.slots), 1, 1

    def project(self, x: Tensor) -> Tensor:
        count = min(x.shape[1], self.settings.slots)
        pooled = F.adaptive_avg_pool1d(x.mean(dim=(2, 3)).transpose(1, 2), count).transpose(1, 2)
        return self.out(F.gelu(self.widen(pooled)))[:, :, None, None]
