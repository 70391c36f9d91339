"""Reading reference vectors: one file of a system as tensors, weights and settings."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from safetensors import safe_open
from torch import Tensor

from parity_root import parity_dir


@dataclass(frozen=True)
class Recorded:
    """The tensors of a file without its weights, the weights without their prefix, the settings of its metadata."""

    tensors: dict[str, Tensor]
    weights: dict[str, Tensor]
    settings: dict[str, Any]

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    def named(self, prefix: str) -> dict[str, Tensor]:
        """Tensors whose names begin with `prefix`, without it; there must be some."""
        found = {name.removeprefix(prefix): t for name, t in self.tensors.items() if name.startswith(prefix)}
        assert found, f"no tensor named {prefix}*"
        return found


def recorded(system: str, file: str) -> Recorded:
    with safe_open(parity_dir(system) / f"{file}.safetensors", "pt") as stored:
        tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
        settings = {key: _value(text) for key, text in (stored.metadata() or {}).items()}
    weights = {name.removeprefix("weight."): t for name, t in tensors.items() if name.startswith("weight.")}
    return Recorded({k: t for k, t in tensors.items() if not k.startswith("weight.")}, weights, settings)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def apart(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference; shapes must agree."""
    assert ours.shape == theirs.shape, (tuple(ours.shape), tuple(theirs.shape))
    return float((ours.double() - theirs.double()).abs().max()) if ours.numel() else 0.0


def worst(cases: dict[str, float], record_property: Callable[[str, object], None], limit: float) -> None:
    """Records the largest difference of every case, and fails above `limit`."""
    assert cases, "no case was compared"
    for name, value in cases.items():
        record_property(name, value)
        print(f"{name}: {value:.2e}")
    assert max(cases.values()) <= limit, cases
