"""Names of connectors in published configurations, both ways.

The published code fixes depth, read-out depth and stride; only the name and the two widths are in its config.json.

Source: `mm_projector_type` of the published VideoLLaMA 2 configurations.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from reelm.errors import UsageError

_NAMES = {
    "stc_connector": "stc", "stc_connector_v35": "stc_v35", "stp_connector": "stp",
    "spatial_conv": "spatial_conv", "spatial_pool": "spatial_pool",
}
#: What the published code has as constants: (depth, mlp_depth, downsample).
_FIXED: dict[str, tuple[int, int, tuple[int, int, int]]] = {
    "stc": (4, 2, (2, 2, 2)), "stc_v35": (4, 2, (2, 2, 2)), "stp": (4, 2, (2, 2, 2)),
    "spatial_conv": (0, 2, (1, 2, 2)), "spatial_pool": (0, 2, (1, 2, 2)),
}


def from_official_name(name: str, in_width: int, out_width: int, *, audio: bool = False) -> dict[str, Any]:
    """Our settings for a published `mm_projector_type` (or `mm_projector_a_type`, then `audio=True`).

    For pictures, `linear` and `mlpNx_gelu` average over frames first; for sound they do not.

    Raises: UsageError for a name the published code does not know.
    """
    widths = {"in_width": in_width, "out_width": out_width}
    flat = {**widths, "average_time": not audio}
    if name == "linear":
        return {"kind": "linear", **flat}
    if name == "identity":
        return {"kind": "mlp", **flat, "depth": 0}
    if match := re.fullmatch(r"mlp([1-9]\d*)x_gelu", name):
        return {"kind": "mlp", **flat, "depth": int(match[1])}
    if name in _NAMES:
        kind = _NAMES[name]
        depth, mlp_depth, downsample = _FIXED[kind]
        return {"kind": kind, **widths, "depth": depth, "mlp_depth": mlp_depth, "downsample": downsample}
    raise UsageError(f"unknown connector name {name!r}",
                     remedy=f"Known: linear, identity, mlpNx_gelu, {', '.join(_NAMES)}")


def official_name(kind: str, settings: Mapping[str, Any]) -> str:
    """The published name of our connector `kind` with `settings` (a dict or a model dump, defaults may be absent).

    Raises: UsageError when the published code has no such connector, or fixes a setting to another value.
    """
    if kind == "linear":
        return "linear"
    if kind == "mlp":
        depth = settings.get("depth", 2)
        return f"mlp{depth}x_gelu" if depth else "identity"
    for name, known in _NAMES.items():
        if known == kind:
            for key, fixed in zip(("depth", "mlp_depth", "downsample"), _FIXED[kind], strict=True):
                value = settings.get(key, fixed)
                if (tuple(value) if key == "downsample" else value) != fixed:
                    raise UsageError(f"{name} has {key} {fixed} fixed, not {value}", where=f"connector {kind!r}",
                                     remedy="Save in the native format, which keeps every setting")
            return name
    raise UsageError(f"connector {kind!r} has no published name", remedy="Save in the native format")
