"""The `stp` connector: as `stc_v35`, with average pooling in place of the 3-D convolution."""

from __future__ import annotations

from reelm.parts.connectors.volume import VolumeConnector
from reelm.registry import part


@part("connector", "stp")
class Stp(VolumeConnector):
    """Spatial-temporal pooling between two RegNet stages; the sampler has no weights.

    Shapes: x [B,T,h,w,D] to [B,T//2,h//2,w//2,D'] at the default stride (2,2,2).
    Source: VideoLLaMA 2, `stp_connector`; agrees to 1e-5, tests/parts/test_connectors.py.
    """
