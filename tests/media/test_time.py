"""The clock and the rule of what is shown when."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelm.errors import UsageError
from reelm.media.time import ROUNDING_S, Clock, repeats, shown_at


@given(st.lists(st.integers(-10**9, 10**9), min_size=1), st.fractions(Fraction(1, 10**6), 1), st.fractions(-100, 100))
def test_ticks_become_the_nearest_float(ticks: list[int], base: Fraction, start: Fraction) -> None:
    assert Clock(start).seconds(ticks, base).tolist() == [float(tick * base - start) for tick in ticks]


@given(st.sets(st.integers(0, 10**6), min_size=1), st.lists(st.floats(-10, 1100)))
def test_shown_is_the_last_that_began(milliseconds: set[int], asked: list[float]) -> None:
    times = np.array(sorted(milliseconds)) / 1000
    for second, index in zip(asked, shown_at(times, asked), strict=True):
        assert times[index] <= second + ROUNDING_S or index == 0
        assert index == len(times) - 1 or times[index + 1] > second


def test_a_time_must_be_a_number() -> None:
    with pytest.raises(UsageError, match="nan"):
        shown_at(np.zeros(1), [0.0, float("nan")])


def test_repeats_are_all_but_the_first() -> None:
    assert repeats(np.array([5, 2, 5, 5, 2, 7])).tolist() == [False, False, True, True, True, False]
