"""Where a stage's samples come from, and in which order: small enough that records, shards and made worlds all fit."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Protocol

from reelm.data.collate import Bad, collate
from reelm.data.order import GlobalBatches
from reelm.train.recipe import Stage

if TYPE_CHECKING:
    from reelm.data.samples import Samples


class Source(Protocol):
    """Samples by number. The same number must always give the same sample, in whichever process it is asked for."""

    def __len__(self) -> int:
        """How many samples there are."""

    def __getitem__(self, index: int, /) -> Any:
        """One sample, decoded; whatever `collate` takes."""

    def length(self, index: int, /) -> int:
        """Tokens of a sample, without decoding it."""

    def collate(self, samples: list[Any], /) -> dict[str, Any]:
        """One batch for the stage's objective. `ids`: the names of its samples; `bad`: those that could not be read
        and are left out; `notes`: (id, sentence). With no sample left, these are all there is."""


class Recorded:
    """Samples of records or shards, with the collator that belongs to them."""

    def __init__(self, samples: Samples, packed: bool = False) -> None:
        self.samples, self.packed = samples, packed
        self.bad: tuple[Bad, ...] = samples.bad

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Any:
        return self.samples[index]

    def length(self, index: int) -> int:
        return self.samples.length(index)

    def collate(self, samples: list[Any]) -> dict[str, Any]:
        return collate(samples, self.samples.processor.tokenizer.pad_token_id or 0, packed=self.packed)


class Joined:
    """Several sources one after the other, all of one kind: their samples share batches."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self.sources = list(sources)
        self.bad = tuple(bad for one in sources for bad in getattr(one, "bad", ()))
        self._ends = list(accumulate(len(one) for one in sources))

    def __len__(self) -> int:
        return self._ends[-1]

    def _found(self, index: int) -> tuple[Source, int]:
        number = bisect_right(self._ends, index)
        return self.sources[number], index - (self._ends[number - 1] if number else 0)

    def __getitem__(self, index: int) -> Any:
        one, inside = self._found(index)
        return one[inside]

    def length(self, index: int) -> int:
        one, inside = self._found(index)
        return one.length(inside)

    def collate(self, samples: list[Any]) -> dict[str, Any]:
        return self.sources[0].collate(samples)


class Mix:
    """The sources of a stage and the order in which their samples come: a pure function of the seed."""

    def __init__(self, stage: Stage, sources: Sequence[Source], seed: int) -> None:
        self.stage, self.seed = stage, seed
        self.source: Source = sources[0] if len(sources) == 1 else Joined(sources)
        self._shares = [(len(one), times) for one, times in zip(sources, stage.data.values(), strict=True)]

    def order(self, consumed: int) -> GlobalBatches:
        """The batches after so many samples, over all processes."""
        return GlobalBatches(_Lengths(self.source), self.stage.batch, self.seed, consumed=consumed,
                             group=self.stage.group, mix=self._shares)

    @property
    def epoch(self) -> int:
        """Samples in the first epoch."""
        return self.order(0).size(0)

    def steps(self) -> int:
        """How many steps the stage has: as it says, or as many as its epochs need."""
        if self.stage.steps is not None:
            return self.stage.steps
        assert self.stage.epochs is not None
        order, whole = self.order(0), math.floor(self.stage.epochs)
        after = order.steps(whole + 1) - order.steps(whole)
        return max(1, order.steps(whole) + math.ceil((self.stage.epochs - whole) * after - 1e-9))

    def passes(self, consumed: int, mine: Sequence[int]) -> Iterator[list[int]]:
        """The forward passes `mine` of every step, as lists of sample numbers.

        Which samples share a pass does not depend on how many processes there are. A pass may be empty: batches at
        the end of an epoch are one sample smaller.
        """
        count = self.stage.passes
        for batch in self.order(consumed).whole():
            for number in mine:
                yield batch[len(batch) * number // count:len(batch) * (number + 1) // count]


class _Lengths:
    def __init__(self, source: Source) -> None:
        self._source = source

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, at: int) -> int:
        return self._source.length(at)
