"""The `spatial_conv` connector: a convolution over rows and columns, without stages."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from reelm.parts.connectors.volume import ConvVolumeConnector, Stride, VolumeConfig
from reelm.registry import part


@part("connector", "spatial_conv")
class SpatialConv(ConvVolumeConnector):
    """A convolution that halves rows and columns; the border of zeros also lies on time, so two slices are added.

    Shapes: x [B,T,h,w,D] to [B,T+2,h//2+1,w//2+1,D] at the default stride (1,2,2); D' = D while depth is 0.
    Source: VideoLLaMA 2, `spatial_conv`; agrees to 1e-5, tests/parts/test_connectors.py.
    """

    class Config(VolumeConfig):
        depth: int = Field(default=0, ge=0)
        downsample: Stride = (1, 2, 2)

    padding: ClassVar[int] = 1
    tiny: ClassVar[dict[str, Any]] = {"in_width": 8, "out_width": 8}
