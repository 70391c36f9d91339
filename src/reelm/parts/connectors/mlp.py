"""The `mlp` connector: one or more linear layers with GELU between them, on every token alone."""

from __future__ import annotations

from typing import Any, ClassVar

import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from reelm.config import PartConfig
from reelm.parts.base import Connector, Grid
from reelm.registry import part


@part("connector", "mlp")
class Mlp(Connector):
    """A perceptron on every token; its layers are named 0, 2, 4, … as in the published checkpoints.

    `average_time` takes the mean over the time axis first, as VideoLLaMA 2 does for pictures (and not for sound).
    Depth 0 passes features through, for equal widths.

    Shapes: x [B,T,h,w,D] to [B,T,h,w,D'], or [B,1,h,w,D'] with `average_time`.
    Source: VideoLLaMA 2, the `mlpNx_gelu` and `identity` projectors; agrees to 1e-5, tests/parts/test_connectors.py.
    """

    class Config(PartConfig):
        in_width: int = Field(gt=0)
        out_width: int = Field(gt=0)
        depth: int = Field(default=2, ge=0)
        average_time: bool = False

        @model_validator(mode="after")
        def _depth_zero_keeps_width(self) -> Mlp.Config:
            if self.depth == 0 and self.in_width != self.out_width:
                raise ValueError(f"depth 0 changes nothing, so {self.in_width} cannot become {self.out_width}")
            return self

    tiny: ClassVar[dict[str, Any]] = {"in_width": 6, "out_width": 8}
    settings: Config

    def __init__(self, settings: Config) -> None:
        super().__init__(settings)
        for index in range(settings.depth):
            in_width = settings.in_width if index == 0 else settings.out_width
            self.add_module(str(2 * index), nn.Linear(in_width, settings.out_width))

    @classmethod
    def grid_of(cls, settings: Config, grid: Grid) -> Grid:
        return (1, *grid[1:]) if settings.average_time else grid

    def project(self, x: Tensor) -> Tensor:
        if self.settings.average_time:
            x = x.mean(dim=1, keepdim=True)
        for index, layer in enumerate(self.children()):
            x = layer(F.gelu(x) if index else x)
        return x
