"""Where parts are found: one decorator to register, one call to build, no central list to edit.

A part lives in `reelm/parts/<family folder>/<kind>.py`, or in another package under the entry-point group
`reelm.parts`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from typing import Any, TypeVar

from pydantic import ValidationError

from reelm.errors import UsageError

#: family -> folder under reelm/parts; the ten kinds of part.
FAMILIES = {
    "sampler": "samplers", "encoder": "encoders", "connector": "connectors", "compressor": "compressors",
    "layout": "layouts", "policy": "policies", "cache": "caches", "adapter": "adapters", "objective": "objectives",
    "program": "programs",
}

_parts: dict[tuple[str, str], type] = {}
T = TypeVar("T", bound=type)


@dataclass(frozen=True)
class PartRow:
    """One line of `reelm parts`."""

    family: str
    kind: str
    summary: str
    source: str


def part(family: str, kind: str) -> Callable[[T], T]:
    """Registers a class as the part `kind` of `family`.

    Raises: UsageError for an unknown family, or when another class already has this name.
    """
    if family not in FAMILIES:
        raise UsageError(f"unknown family {family!r}", remedy=f"One of: {', '.join(FAMILIES)}")

    def register(cls: T) -> T:
        known = _parts.setdefault((family, kind), cls)
        if known.__qualname__ != cls.__qualname__ or known.__module__ != cls.__module__:
            raise UsageError(f"{family} {kind!r} is already {known.__module__}.{known.__qualname__}")
        return cls

    return register


@cache
def discover(package: str) -> None:
    """Imports every module of `package`, and those that others offer under the entry-point group of that name."""
    for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
        importlib.import_module(module.name)
    for entry in entry_points(group=package):
        entry.load()


def find(family: str, kind: str) -> type:
    """The class registered as `kind` of `family`.

    Raises: UsageError that lists the known kinds.
    """
    discover("reelm.parts")
    if (family, kind) not in _parts:
        known = sorted(k for f, k in _parts if f == family)
        raise UsageError(f"no {family} of kind {kind!r}",
                         remedy=f"Known: {', '.join(known) or 'none'}; see `reelm parts`")
    return _parts[family, kind]


def build(family: str, settings: Mapping[str, Any]) -> Any:
    """The part that `settings` describe: `kind` plus the fields of that part's `Config`.

    Raises: UsageError when `kind` is absent or unknown, or a field is unknown or of the wrong type.
    """
    fields = dict(settings)
    kind = fields.pop("kind", None)
    if kind is None:
        raise UsageError(f"a {family} needs a 'kind'", where=str(dict(settings)))
    cls = find(family, kind)
    try:
        config = cls.Config(**fields)  # type: ignore[attr-defined]
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(p) for p in first["loc"]) or "config"
        raise UsageError(f"{family} {kind!r}: {name}: {first['msg']}",
                         remedy=f"Fields: {', '.join(cls.Config.model_fields)}") from None  # type: ignore[attr-defined]
    return cls(config)


def rows() -> list[PartRow]:
    """Every registered part, sorted by family and kind."""
    discover("reelm.parts")
    order = list(FAMILIES)
    found = []
    for (family, kind), cls in sorted(_parts.items(), key=lambda item: (order.index(item[0][0]), item[0][1])):
        doc = (cls.__doc__ or "").strip().splitlines()
        source = next((line.split("Source:", 1)[1].strip() for line in doc if "Source:" in line), "")
        found.append(PartRow(family, kind, doc[0] if doc else "", source))
    return found
