"""Kept work: the key-value cache of a beginning that several questions share, and a store with a limit in bytes."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

import torch
from transformers import DynamicCache

from reelm.errors import UsageError


def fork(cache: DynamicCache, length: int) -> DynamicCache:
    """An independent cache with the first `length` positions of `cache`.

    Cost: no copy of tensors. Dynamic layers grow by concatenation into new tensors, so the original stays as it is.
    """
    twin = copy.copy(cache)
    twin.layers = [copy.copy(layer) for layer in cache.layers]
    twin.crop(-(cache.get_seq_length() - length))
    return twin


def cache_bytes(cache: DynamicCache) -> int:
    """Bytes of the keys and values that `cache` can reach (views count as what they show)."""
    return sum(t.numel() * t.element_size() for layer in _filled(cache) for t in (layer.keys, layer.values))


def _filled(cache: DynamicCache) -> list[Any]:
    """The layers that hold states (one that shares another's holds none)."""
    return [layer for layer in cache.layers if getattr(layer, "is_initialized", False)]


@dataclass(frozen=True)
class Prefix:
    """A prefilled beginning of a prompt: `length` positions, each described by one `marks` entry (see `shared`)."""

    cache: DynamicCache = field(repr=False)
    length: int
    marks: tuple[Hashable, ...] = field(default=(), repr=False)

    def fork(self) -> DynamicCache:
        """A cache to continue from; this prefix stays as it is."""
        return fork(self.cache, self.length)

    def head(self, length: int) -> Prefix:
        """The same prefix, ended after `length` positions.

        Raises: UsageError if it has fewer.
        """
        if not 0 < length <= self.length:
            raise UsageError(f"a prefix of {self.length} positions has no head of {length}")
        return self if length == self.length else Prefix(fork(self.cache, length), length, self.marks[:length])

    @property
    def bytes(self) -> int:
        return cache_bytes(self.cache)

    def shared(self, marks: tuple[Hashable, ...]) -> int:
        """How many first positions of a prompt described by `marks` this prefix already holds."""
        equal = 0
        for mine, other in zip(self.marks, marks, strict=False):
            if mine != other:
                break
            equal += 1
        return equal


class Sized(Protocol):
    """A thing that knows its bytes."""

    @property
    def bytes(self) -> int: ...


S = TypeVar("S", bound=Sized)


class Shelf(Generic[S]):
    """Keeps things up to a limit in bytes: the one unused for longest goes first; one above the limit is not kept."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._things: OrderedDict[Hashable, S] = OrderedDict()

    def __len__(self) -> int:
        return len(self._things)

    @property
    def bytes(self) -> int:
        return sum(thing.bytes for thing in self._things.values())

    def get(self, key: Hashable) -> S | None:
        """The thing under `key`, now the most recently used, or None."""
        if key not in self._things:
            return None
        self._things.move_to_end(key)
        return self._things[key]

    def items(self) -> list[tuple[Hashable, S]]:
        """All that is kept, the most recently used last."""
        return list(self._things.items())

    def put(self, key: Hashable, thing: S) -> None:
        self._things[key] = thing
        self._things.move_to_end(key)
        while self._things and self.bytes > self.limit_bytes:
            self._things.popitem(last=False)

    def drop(self, key: Hashable) -> None:
        self._things.pop(key, None)

    def clear(self) -> None:
        self._things.clear()


def merge(caches: list[DynamicCache]) -> DynamicCache:
    """One cache with the rows of all, shorter ones padded on the left with zeros (to be masked).

    Shapes: keys and values [B_i, heads, S_i, D] to [sum B_i, heads, max S_i, D].
    """
    width = max(cache.get_seq_length() for cache in caches)
    merged = caches[0]
    for layer, *others in zip(*map(_filled, caches), strict=True):
        layer.keys = torch.cat([_widen(one.keys, width) for one in (layer, *others)])
        layer.values = torch.cat([_widen(one.values, width) for one in (layer, *others)])
    return merged


def select(cache: DynamicCache, rows: list[int], width: int) -> None:
    """Keeps only `rows`, and of those the last `width` positions, in place."""
    for layer in _filled(cache):
        layer.keys = layer.keys[rows, :, layer.keys.shape[2] - width:]
        layer.values = layer.values[rows, :, layer.values.shape[2] - width:]


def _widen(states: torch.Tensor, width: int) -> torch.Tensor:
    missing = width - states.shape[2]
    return torch.nn.functional.pad(states, (0, 0, missing, 0)) if missing else states
