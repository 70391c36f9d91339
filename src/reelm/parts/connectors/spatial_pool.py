"""The `spatial_pool` connector: average pooling over rows and columns, without stages."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from reelm.parts.connectors.volume import Stride, VolumeConfig, VolumeConnector
from reelm.registry import part


@part("connector", "spatial_pool")
class SpatialPool(VolumeConnector):
    """Average pooling that halves rows and columns and keeps every frame, then the read-out.

    Shapes: x [B,T,h,w,D] to [B,T,h//2,w//2,D] at the default stride (1,2,2); D' = D while depth is 0.
    Source: VideoLLaMA 2, `spatial_pool`; agrees to 1e-5, tests/parts/test_connectors.py.
    """

    class Config(VolumeConfig):
        depth: int = Field(default=0, ge=0)
        downsample: Stride = (1, 2, 2)

    tiny: ClassVar[dict[str, Any]] = {"in_width": 8, "out_width": 8}
