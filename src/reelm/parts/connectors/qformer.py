"""The `qformer` connector: a few learnt queries that look at all tokens of a video and answer in their place."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from reelm.config import PartConfig
from reelm.parts.base import Connector, Grid
from reelm.parts.bert import QueryLayer
from reelm.registry import part

#: Sines and cosines per axis of a token's place (t, h, w).
_WAVES = 8


def places(grid: Grid, like: Tensor) -> Tensor:
    """Where each token of a grid is: sines and cosines of (t,h,w), [T·h·w, 3·2·8], shortest period two cells."""
    steps = torch.pi * 2.0 ** -torch.arange(_WAVES, device=like.device, dtype=torch.float64)
    at = torch.cartesian_prod(*(torch.arange(n, device=like.device, dtype=torch.float64) for n in grid)).reshape(-1, 3)
    angles = (at[..., None] * steps).flatten(1)
    return torch.cat((angles.sin(), angles.cos()), dim=1).to(like.dtype)


@part("connector", "qformer")
class QFormer(Connector):
    """`queries` learnt vectors that attend to the whole video: always that many tokens, however long it is.

    Every token first gets its place added (frame, row, column). The tokens that come out have no place of their own:
    all stand at the mean time of the video.

    Shapes: x [B,T,h,w,D] to [B,1,1,queries,D'].
    Source: BLIP-2 (Li et al. 2023) 3.1 and the video Q-Former of Video-LLaMA (Zhang et al. 2023) 2.1; equal to a loop
    over queries and heads to 1e-9 in float64, tests/parts/test_qformer.py.
    Differs: Video-LLaMA learns one vector for each of at most 32 frames; here place is sines through a learnt matrix,
    for rows and columns too, so that any number of frames fits and towers without places of their own work.
    """

    class Config(PartConfig):
        in_width: int = Field(gt=0)
        out_width: int = Field(gt=0)
        queries: int = Field(default=32, gt=0)
        depth: int = Field(default=2, gt=0)
        width: int = Field(default=768, gt=0)
        heads: int = Field(default=12, gt=0)

        @model_validator(mode="after")
        def _heads_share_the_width(self) -> QFormer.Config:
            if self.width % self.heads:
                raise ValueError(f"a width of {self.width} cannot be shared by {self.heads} heads")
            return self

    tiny: ClassVar[dict[str, Any]] = {"in_width": 6, "out_width": 8, "queries": 5, "width": 12, "heads": 3}
    settings: Config

    def __init__(self, settings: Config) -> None:
        super().__init__(settings)
        self.queries = nn.Parameter(torch.randn(settings.queries, settings.width) * 0.02)
        self.place = nn.Linear(3 * 2 * _WAVES, settings.in_width, bias=False)
        self.layers = nn.ModuleList(QueryLayer(settings.width, settings.heads, 4 * settings.width, settings.in_width)
                                    for _ in range(settings.depth))
        self.out = nn.Linear(settings.width, settings.out_width)

    @classmethod
    def grid_of(cls, settings: Config, grid: Grid) -> Grid:
        return 1, 1, settings.queries

    def project(self, x: Tensor) -> Tensor:
        seen = x.flatten(1, 3) + self.place(places((x.shape[1], x.shape[2], x.shape[3]), x))
        y = self.queries.expand(len(x), -1, -1)
        for layer in self.layers:
            y, _ = layer(y, seen)
        return self.out(y)[:, None, None]
