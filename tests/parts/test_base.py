"""What every part inherits: times of slices and tokens."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from reelm.parts.base import resample_times


def test_equal_counts_keep_their_times():
    times = torch.tensor([0.0, 0.4, 1.9])
    assert torch.equal(resample_times(times, 3), times)


def test_halving_gives_the_mean_of_each_pair():
    assert resample_times(torch.tensor([0.0, 1.0, 2.0, 3.0]), 2).tolist() == [0.5, 2.5]


@given(st.lists(st.floats(0, 5), min_size=1, max_size=20), st.integers(1, 30))
def test_any_count_rises_and_stays_inside(gaps, count):
    times = torch.tensor(gaps, dtype=torch.float64).cumsum(0)
    out = resample_times(times, count)
    assert len(out) == count
    assert (out.diff() >= -1e-9).all()
    assert out.min() >= times[0] - 1e-9 and out.max() <= times[-1] + 1e-9
