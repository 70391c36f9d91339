"""In which order samples are seen: a pure function of (seed, epoch), the same for any number of ranks and workers.

The only state is `consumed`, how many samples all ranks together have learnt from. From it the next global batch
follows, so a run may stop after any step and go on with other ranks, and nothing is lost or seen twice.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any, Protocol

import numpy as np

from reelm.errors import UsageError


class Lengths(Protocol):
    """A length per sample, read only when its turn comes: a list, an array, or `Samples.lengths`."""

    def __len__(self) -> int: ...

    def __getitem__(self, at: int, /) -> Any: ...


def shuffled(count: int, seed: int, epoch: int) -> np.ndarray:
    """0..count-1 in the order of this epoch: int64 [count], always the same for the same three numbers."""
    return _permutation(count, seed, epoch, 1)


def _permutation(count: int, *key: int) -> np.ndarray:
    # Of numpy's random numbers only the raw ones stay the same from release to release. Each number stands in the low
    # bits below random ones, so no two are equal and any way of sorting gives the same.
    bits = np.uint64(max(count - 1, 1).bit_length())
    raw = np.random.Philox(np.random.SeedSequence(key)).random_raw(count)
    return (np.sort(raw >> bits << bits | np.arange(count, dtype=np.uint64)) & ((np.uint64(1) << bits) - np.uint64(1))
            ).astype(np.int64)


class GlobalBatches:
    """The share of one rank in every global batch, from `consumed` on and without end: lists of sample indices.

    An epoch of n samples has ceil(n / batch) global batches whose sizes differ by at most one; rank r of R takes every
    R-th sample of each, from the r-th. Inside windows of `group` global batches, samples of similar length stand
    together, so that little is padded, and the batches of a window come in random order. `group` 1 reads no lengths.

    `mix`: for sources that stand one after the other in `lengths`, (how many samples, how often each comes in an
    epoch). A source that comes 0.5 times gives one half in one epoch and the other half in the next; one that comes
    2.5 times gives everything twice and a half. Without `mix` everything comes once.

    Raises: UsageError if a rank would get no sample, or `consumed` does not lie between two global batches (the batch
    or the data were others when it was counted).
    Cost: an epoch's order is held in memory, 8 bytes a sample; the lengths of a window are asked for when it begins.
    """

    def __init__(self, lengths: Lengths, batch: int, seed: int, *, consumed: int = 0, rank: int = 0, ranks: int = 1,
                 group: int = 8, mix: Sequence[tuple[int, float]] | None = None) -> None:
        self.lengths, self.batch, self.seed, self.consumed = lengths, batch, seed, consumed
        self.rank, self.ranks, self.group = rank, ranks, group
        self.mix = [(len(lengths), 1.0)] if mix is None else list(mix)
        self._check()
        self.position(consumed)

    def __iter__(self) -> Iterator[list[int]]:
        for whole in self.whole():
            yield whole[self.rank::self.ranks]

    def whole(self) -> Iterator[list[int]]:
        """The global batches themselves, from `consumed` on and without end."""
        epoch, done = self.position(self.consumed)
        while True:
            order = self.order(epoch)
            edges = self._edges(len(order))
            for first in range(done // self.group * self.group, len(edges) - 1, self.group):
                last = min(first + self.group, len(edges) - 1)
                window = self._window(order[edges[first]:edges[last]], edges[first:last + 1], epoch, first)
                yield from window[max(done - first, 0):]
            epoch, done = epoch + 1, 0

    def order(self, epoch: int) -> np.ndarray:
        """The samples of an epoch before they are grouped: int64."""
        picked, offset = [], 0
        for number, (count, times) in enumerate(self.mix):
            start, stop = _reached(count, times, epoch), _reached(count, times, epoch + 1)
            for turn in range(start // max(count, 1), -(-stop // max(count, 1))):
                order = _permutation(count, self.seed, turn, 2, number)
                picked.append(offset + order[max(start - turn * count, 0):stop - turn * count])
            offset += count
        joined = np.concatenate(picked) if picked else np.zeros(0, np.int64)
        return joined[shuffled(len(joined), self.seed, epoch)]

    def size(self, epoch: int) -> int:
        """How many samples an epoch has."""
        return self._start(epoch + 1) - self._start(epoch)

    def steps(self, epochs: int) -> int:
        """How many global batches the first `epochs` epochs have."""
        return sum(-(-self.size(epoch) // self.batch) for epoch in range(epochs))

    def position(self, consumed: int) -> tuple[int, int]:
        """(epoch, global batches of it that are done) after `consumed` samples. Raises: UsageError as the class."""
        epoch = bisect_right(range(consumed + 2), consumed, key=self._start) - 1 if consumed else 0
        inside = consumed - self._start(epoch)
        edges = self._edges(self.size(epoch))
        done = int(np.searchsorted(edges, inside))
        if edges[done] != inside:
            raise UsageError(f"{consumed:,} consumed samples end inside global batch {done} of epoch {epoch}",
                             where="the order of samples", remedy="Go on with the global batch, data and mix "
                             "with which the run was begun")
        return epoch, done

    def after(self, consumed: int) -> int:
        """How many samples are consumed after the next global batch."""
        epoch, done = self.position(consumed)
        edges = self._edges(self.size(epoch))
        return int(consumed + edges[done + 1] - edges[done])

    # --- inside ------------------------------------------------------------------------------------------------

    def _check(self) -> None:
        if self.batch < 1 or self.group < 1 or not 0 <= self.rank < self.ranks or self.consumed < 0:
            raise UsageError(f"batch {self.batch}, group {self.group}, rank {self.rank} of {self.ranks}, consumed "
                             f"{self.consumed}", remedy="Counts are above 0, a rank below the number of ranks")
        if sum(count for count, _ in self.mix) != len(self.lengths) or any(times < 0 for _, times in self.mix):
            raise UsageError(f"the mix has {sum(count for count, _ in self.mix):,} samples, there are "
                             f"{len(self.lengths):,}", where=str(self.mix))
        # Sizes of epochs differ by at most one sample per source; none may be too small for the ranks.
        least = int(sum(count * times for count, times in self.mix) + 1e-9)
        sizes = range(least - len(self.mix), least + len(self.mix) + 1) if self._broken else range(least, least + 1)
        if sizes[0] < 1 or min(size // -(-size // self.batch) for size in sizes) < self.ranks:
            raise UsageError(f"an epoch of about {least:,} samples in global batches of {self.batch:,} leaves one of "
                             f"{self.ranks:,} ranks without a sample", remedy="Use fewer ranks, a larger global "
                             "batch or more data")

    @property
    def _broken(self) -> bool:
        """Whether an epoch ends in the midst of a source."""
        return any((count * times) % 1 for count, times in self.mix)

    def _start(self, epoch: int) -> int:
        """Samples consumed before an epoch begins."""
        return sum(_reached(count, times, epoch) for count, times in self.mix)

    def _edges(self, samples: int) -> np.ndarray:
        """Where the global batches of an epoch begin, and where the last ends."""
        batches = -(-samples // self.batch)
        return np.arange(batches + 1) * (samples // batches) + np.minimum(np.arange(batches + 1), samples % batches)

    def _window(self, samples: np.ndarray, edges: np.ndarray, epoch: int, first: int) -> list[list[int]]:
        """The batches of a window; those of the shortest and of the longest samples come anywhere in it."""
        sizes = np.diff(edges)
        if self.group > 1:
            samples = samples[np.argsort([self.lengths[int(at)] for at in samples], kind="stable")]
        places = _permutation(len(sizes), self.seed, epoch, 3, first)
        ends = list(accumulate(sizes[places]))
        cut: list[list[int]] = [[]] * len(sizes)
        for place, end in zip(places, ends, strict=True):
            cut[place] = samples[end - sizes[place]:end].tolist()
        return cut


def _reached(count: int, times: float, epoch: int) -> int:
    """How many samples of a source the epochs before `epoch` have taken."""
    return int(epoch * times * count + 1e-9)  # 0.1 · 30 is not 3 in binary
