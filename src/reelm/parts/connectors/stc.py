"""The `stc` connector of VideoLLaMA 2: two RegNet stages around a 3-D convolution with a border of zeros."""

from __future__ import annotations

from typing import ClassVar

from reelm.parts.connectors.volume import ConvVolumeConnector
from reelm.registry import part


@part("connector", "stc")
class Stc(ConvVolumeConnector):
    """Spatial-temporal convolution, with one cell of zeros around the volume: 8 frames of 24×24 become 5·13·13.

    Shapes: x [B,T,h,w,D] to [B,T//2+1,h//2+1,w//2+1,D'] at the default stride (2,2,2).
    Source: VideoLLaMA 2 (Cheng et al. 2024) 2.1, `stc_connector`; agrees to 1e-5, tests/parts/test_connectors.py.
    """

    padding: ClassVar[int] = 1
