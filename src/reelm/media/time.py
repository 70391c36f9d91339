"""One clock for pictures and sound: seconds from the file's own start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from reelm.errors import UsageError

#: A time asked may lie this much before a frame and still mean it: k / fps in floating point is rarely exact.
ROUNDING_S = 1e-6


@dataclass(frozen=True)
class Clock:
    """Turns a track's ticks into seconds from the file's start. Exact until the last rounding to float64."""

    start: Fraction = Fraction(0)

    def seconds(self, ticks: Sequence[int] | np.ndarray, base: Fraction) -> np.ndarray:
        """float64 seconds of `ticks` counted in units of `base`."""
        scale = base.numerator * self.start.denominator
        offset = self.start.numerator * base.denominator
        divisor = base.denominator * self.start.denominator
        return np.array([(int(tick) * scale - offset) / divisor for tick in ticks], dtype=np.float64)


def shown_at(times_s: np.ndarray, at_s: Sequence[float]) -> np.ndarray:
    """For every second asked, the index of the frame on the screen: the last that began, else the first.

    `times_s` rising. Raises: UsageError for a time that is not a number.
    """
    asked = np.asarray(at_s, dtype=np.float64).reshape(-1)
    if not np.isfinite(asked).all():
        raise UsageError(f"times must be finite seconds, got {asked[~np.isfinite(asked)][0]}")
    return np.maximum(np.searchsorted(times_s, asked + ROUNDING_S, side="right") - 1, 0)


def repeats(index: np.ndarray) -> np.ndarray:
    """bool per entry: True where the same index already stood earlier."""
    first = np.zeros(len(index), dtype=bool)
    first[np.unique(index, return_index=True)[1]] = True
    return ~first
