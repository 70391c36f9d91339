"""The `stc_v35` connector of VideoLLaMA 2.1: as `stc`, without the border of zeros."""

from __future__ import annotations

from reelm.parts.connectors.volume import ConvVolumeConnector
from reelm.registry import part


@part("connector", "stc_v35")
class StcV35(ConvVolumeConnector):
    """Spatial-temporal convolution without border: 16 frames of 27×27 become 8·13·13, an odd last cell is not seen.

    Shapes: x [B,T,h,w,D] to [B,T//2,h//2,w//2,D'] at the default stride (2,2,2).
    Source: VideoLLaMA 2.1, `stc_connector_v35`; agrees to 1e-5, tests/parts/test_connectors.py.
    """
