"""The `linear` connector: one matrix and one bias."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from reelm.config import PartConfig
from reelm.parts.base import Connector, Grid
from reelm.registry import part


@part("connector", "linear")
class Linear(Connector):
    """One affine map on every token; `average_time` takes the mean over the time axis first.

    Shapes: x [B,T,h,w,D] to [B,T,h,w,D'], or [B,1,h,w,D'] with `average_time`.
    Source: VideoLLaMA 2, the `linear` projector; agrees to 1e-5, tests/parts/test_connectors.py.
    """

    class Config(PartConfig):
        in_width: int = Field(gt=0)
        out_width: int = Field(gt=0)
        average_time: bool = False

    tiny: ClassVar[dict[str, Any]] = {"in_width": 6, "out_width": 8}
    settings: Config

    def __init__(self, settings: Config) -> None:
        super().__init__(settings)
        # The published keys are `weight` and `bias` without a layer name, so the layer is not a child module.
        self.weight = nn.Parameter(torch.empty(settings.out_width, settings.in_width))
        self.bias = nn.Parameter(torch.empty(settings.out_width))
        bound = settings.in_width**-0.5
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    @classmethod
    def grid_of(cls, settings: Config, grid: Grid) -> Grid:
        return (1, *grid[1:]) if settings.average_time else grid

    def project(self, x: Tensor) -> Tensor:
        if self.settings.average_time:
            x = x.mean(dim=1, keepdim=True)
        return F.linear(x, self.weight, self.bias)
