"""The way of pictures, counted without weights: encoder, compressors, connector, compressors."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from reelm.errors import BudgetError, UsageError
from reelm.model.config import VisionSettings, part_of
from reelm.parts.base import Compressor, Grid, Shape, shape_within

#: Walks that are remembered: training counts every sample, and counts come again and again.
_KNOWN = 4096


@dataclass(frozen=True)
class Step:
    """A compressor on the way, and the budget that is its own: None where its settings decide."""

    shape: Shape
    keep: int | None


class Way:
    """What becomes of so many frames, step by step.

    `keep` is the most tokens that may come out of the whole way. The last compressor that obeys a budget gets it,
    turned into a budget of its own; the others do what their settings say.
    """

    def __init__(self, settings: VisionSettings) -> None:
        self.repeat = settings.repeat
        self._encoder = part_of("encoder", settings.encoder)
        self._connector = part_of("connector", settings.connector)
        self._before = [part_of("compressor", one) for one in settings.before]
        self._after = [part_of("compressor", one) for one in settings.after]
        steered = [index for index, (cls, _) in enumerate(self.compressors) if cls.steered]
        self._steered = steered[-1] if steered else None
        self._known: dict[tuple[int, int | None], list[Step]] = {}

    @property
    def compressors(self) -> list[tuple[type[Compressor], Any]]:
        """Class and settings of each compressor, those before the connector first."""
        return [*self._before, *self._after]

    @property
    def guided(self) -> bool:
        """Whether another question gives other tokens."""
        return any(cls.guided for cls, _ in self.compressors)

    @property
    def steered(self) -> bool:
        """Whether a budget can be kept without leaving out frames."""
        return self._steered is not None

    def encoded(self, frames: int) -> Grid:
        """(T,h,w) of what the encoder makes of `frames` pictures, a single one repeated as often as a still is."""
        cls, settings = self._encoder
        grid: Grid = cls.grid_of(settings, self.repeat if frames == 1 else frames)
        return grid

    def shape(self, frames: int, keep: int | None = None) -> Shape:
        """How many tokens come out, and their grid.

        Raises: BudgetError where `keep` is below `least`; UsageError where the parts do not fit together.
        """
        return self._last(self.steps(frames, keep))

    def steps(self, frames: int, keep: int | None = None) -> list[Step]:
        """The shape after each compressor and after the connector, in their order, with each one's budget."""
        plain = self._walk(frames, None)
        if keep is None or self._last(plain)[0] <= keep:
            return plain
        if self._steered is None:
            raise BudgetError(f"{self._last(plain)[0]} tokens of {frames} frames, {keep} allowed, and no compressor")
        if keep < (least := self.least(frames)):
            raise BudgetError(f"{keep} tokens asked of {frames} frames, which give at least {least}")
        low, most = self._own_least(frames), self._entering(frames)[0]
        own = low + largest(most - low, lambda more: self._last(self._walk(frames, low + more))[0] <= keep)
        return self._walk(frames, own)

    def least(self, frames: int) -> int:
        """The smallest `keep` that can be asked of so many frames."""
        own = None if self._steered is None else self._own_least(frames)
        return min(self._last(self._walk(frames, own))[0], self._last(self._walk(frames, None))[0])

    def wish(self, frames: int) -> int:
        """How many tokens so many frames should have where a budget decides how many frames there are."""
        if self._steered is None:
            return self.shape(frames)[0]
        cls, settings = self.compressors[self._steered]
        own = max(cls.wish_of(settings, *self._entering(frames)), self._own_least(frames))
        return self._last(self._walk(frames, own))[0]

    # --- inside ------------------------------------------------------------------------------------------------

    def _walk(self, frames: int, own: int | None) -> list[Step]:
        """All steps, the steered compressor with the budget `own`."""
        key = (frames, own)
        if key not in self._known:
            if len(self._known) >= _KNOWN:
                self._known.clear()
            self._known[key] = list(self._walked(frames, own))
        return self._known[key]

    def _walked(self, frames: int, own: int | None) -> Iterator[Step]:
        t, h, w = self.encoded(frames)
        shape: Shape = (t * h * w, (t, h, w))
        for index, (cls, settings) in enumerate(self.compressors):
            if index == len(self._before):
                shape = self._connected(shape)
                yield Step(shape, None)
            keep = own if index == self._steered else None
            shape = shape_within(cls, settings, *shape, keep)
            yield Step(shape, keep)
        if not self._after:
            yield Step(self._connected(shape), None)

    def _entering(self, frames: int) -> Shape:
        """What goes into the steered compressor."""
        assert self._steered is not None
        place = self._steered + (self._steered >= len(self._before))
        if place:
            return self._walk(frames, None)[place - 1].shape
        t, h, w = self.encoded(frames)
        return t * h * w, (t, h, w)

    def _own_least(self, frames: int) -> int:
        """The smallest budget of the steered compressor that those behind it can work with."""
        assert self._steered is not None
        cls, settings = self.compressors[self._steered]
        n, grid = self._entering(frames)
        low = min(cls.least_of(settings, n, grid), n)

        def too_small(own: int) -> bool:
            try:
                self._walk(frames, own)
            except (UsageError, BudgetError):
                return True
            return False

        return low + largest(n - low, lambda more: too_small(low + more - 1))

    def _connected(self, shape: Shape) -> Shape:
        if shape[1] is None:
            raise UsageError("the connector needs tokens on a regular grid, and the compressor before it leaves none",
                             where="vision.before", remedy="Put that compressor after the connector")
        cls, settings = self._connector
        t, h, w = cls.grid_of(settings, shape[1])
        return t * h * w, (t, h, w)

    @staticmethod
    def _last(steps: list[Step]) -> Shape:
        return steps[-1].shape


def way_of(settings: VisionSettings) -> Way:
    """The way that settings describe; checking the settings of a tower takes milliseconds, so it is done once."""
    return _way(settings.model_dump_json(exclude={"sampler"}))


@lru_cache(maxsize=64)
def _way(settings: str) -> Way:
    return Way(VisionSettings(**json.loads(settings)))


def largest(most: int, fits: Callable[[int], bool]) -> int:
    """The largest number in 1..most that fits, 0 if none does; what fits must go on fitting when it is made smaller."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        if fits(middle):
            low = middle
        else:
            high = middle - 1
    return low
