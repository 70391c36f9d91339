"""What the spatial-temporal connectors share: stage, down-sampling of the volume, stage, read-out.

Each connector file says only how its volume is down-sampled and with which border.

Source: VideoLLaMA 2, section 2.1 (STC connector); held to the recorded connectors in tests/parts/test_connectors.py.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from reelm.config import PartConfig
from reelm.errors import UsageError
from reelm.parts.base import Connector, Grid
from reelm.parts.connectors.regstage import RegStage

Stride = tuple[int, int, int]


class VolumeConfig(PartConfig):
    """Widths, blocks per stage, layers of the read-out, and the (time, row, column) stride of the down-sampling."""

    in_width: int = Field(gt=0)
    out_width: int = Field(gt=0)
    depth: int = Field(default=4, ge=0)
    mlp_depth: int = Field(default=2, ge=1)
    downsample: Stride = (2, 2, 2)


class VolumeConnector(Connector):
    """Stage s1, sampler and SiLU, stage s2, read-out MLP; tokens leave in time, row, column order.

    Shapes: x [B,T,h,w,D] to [B,T',h',w',D'], each T' = floor((T + 2·padding - stride) / stride) + 1.
    """

    Config = VolumeConfig
    tiny: ClassVar[dict[str, Any]] = {"in_width": 6, "out_width": 8, "depth": 2}
    padding: ClassVar[int] = 0
    settings: VolumeConfig

    def __init__(self, settings: VolumeConfig) -> None:
        super().__init__(settings)
        width = settings.out_width
        if settings.depth:
            self.s1 = RegStage(settings.depth, settings.in_width, width)
        elif settings.in_width != width:
            # Without a stage nothing changes the width before the sampler, which works at the output width.
            raise UsageError(f"without stages (depth 0) the widths must be equal, got {settings.in_width} and {width}",
                             where=type(self).__name__, remedy="Set depth above 0, or use equal widths")
        self._add_sampler(settings)
        if settings.depth:
            self.s2 = RegStage(settings.depth, width, width)
        self.readout = nn.Sequential()
        for index in range(settings.mlp_depth):
            if index:
                self.readout.append(nn.GELU())
            self.readout.append(nn.Linear(width, width))

    def _add_sampler(self, settings: VolumeConfig) -> None:
        """Adds the sampler's weights; none for pooling."""

    def _sample(self, x: Tensor) -> Tensor:
        """Down-samples [B,T,h,w,C]; no parameters here, average pooling."""
        pooled = F.avg_pool3d(x.movedim(-1, 1), self.settings.downsample, stride=self.settings.downsample)
        return pooled.movedim(1, -1)

    @classmethod
    def grid_of(cls, settings: VolumeConfig, grid: Grid) -> Grid:
        t, h, w = ((n + 2 * cls.padding - s) // s + 1 for n, s in zip(grid, settings.downsample, strict=True))
        if min(t, h, w) < 1:
            raise UsageError(f"a grid of {grid} is smaller than the stride {settings.downsample}", where=cls.__name__,
                             remedy="Give more frames or a finer grid, or a smaller stride")
        return t, h, w

    def project(self, x: Tensor) -> Tensor:
        self.grid_of(self.settings, (x.shape[1], x.shape[2], x.shape[3]))
        if self.settings.depth:
            x = self.s1(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        x = F.silu(self._sample(x))
        if self.settings.depth:
            x = self.s2(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        return self.readout(x)

    def slice_times(self, at_s: Tensor, count: int) -> Tensor:
        stride = self.settings.downsample[0]
        low = torch.arange(count) * stride - self.padding
        spans = [at_s[max(a, 0):a + stride] for a in low.tolist()]
        # A slice made of border alone stands at the nearest end of the clip.
        return torch.stack([s.mean() if len(s) else at_s[0 if i == 0 else -1] for i, s in enumerate(spans)])


class ConvVolumeConnector(VolumeConnector):
    """The sampler is a 3-D convolution whose kernel equals its stride, with zeros as border (`padding` on all axes)."""

    def _add_sampler(self, settings: VolumeConfig) -> None:
        width, stride = settings.out_width, settings.downsample
        self.sampler = nn.Sequential(nn.Conv3d(width, width, stride, stride=stride, padding=self.padding))

    def _sample(self, x: Tensor) -> Tensor:
        return self.sampler(x.movedim(-1, 1)).movedim(1, -1)
