"""The way of pictures counted before a weight exists, and one number of tokens for all media of a question."""

from __future__ import annotations

import pytest

from model import small
from reelm.errors import BudgetError, UsageError
from reelm.model.budget import Demand, fewest, frames_within, shares
from reelm.model.config import VisionSettings
from reelm.model.way import Way

LINEAR = {"kind": "linear", "in_width": 16, "out_width": 32}
POOL = {"kind": "pool"}


def way(*, connector: dict | None = None, before: tuple = (), after: tuple = ()) -> Way:
    """Four by four patches a frame."""
    settings = {**small.VISION, "connector": connector or LINEAR, "before": before, "after": after}
    return Way(VisionSettings(**settings))


def same(frames: int) -> int:
    return frames


def test_without_a_budget_every_part_does_what_its_settings_say() -> None:
    assert way().shape(4) == (64, (4, 4, 4)) == way(after=(POOL,), before=(POOL,)).shape(4)
    assert way(after=({"kind": "pool", "h": 2, "w": 2},)).shape(4) == (16, (4, 2, 2))
    assert way(before=({"kind": "pool", "h": 2},), after=({"kind": "drop", "share": 0.5},)).shape(4) == (16, None)
    assert way().shape(1) == (64, (4, 4, 4)), "a still picture is repeated"


@pytest.mark.parametrize("keep", [1, 7, 16, 33, 63, 64, 1000])
@pytest.mark.parametrize("chain", [{"after": (POOL,)}, {"before": (POOL,)}, {"before": (POOL,), "after": (POOL,)},
                                   {"after": (POOL, {"kind": "drop"})}, {"after": ({"kind": "pool", "h": 3}, POOL)}])
def test_a_budget_is_kept_and_no_more_is_lost_than_the_grid_asks(chain: dict, keep: int) -> None:
    made = way(**chain)
    count, _ = made.shape(4, keep)
    assert 0.5 * min(keep, made.shape(4)[0]) <= count <= keep
    assert made.least(4) == 1 and made.steered


def test_a_budget_before_a_connector_counts_what_comes_out_of_it() -> None:
    made = way(connector=small.VISION["connector"], before=(POOL,))  # a convolution that halves every axis
    assert made.shape(4) == (8, (2, 2, 2))
    steps = made.steps(4, 3)
    assert steps[-1].shape[0] <= 3 and steps[0].keep is not None and steps[0].keep > 3


def test_a_budget_below_the_least_and_parts_that_do_not_fit_are_refused() -> None:
    with pytest.raises(BudgetError, match="64 tokens of 4 frames, 63 allowed"):
        way().shape(4, 63)
    with pytest.raises(UsageError, match="regular grid"):
        way(before=({"kind": "drop", "share": 0.5},)).shape(4)


def test_shares_are_even_except_for_who_needs_more_or_can_use_less() -> None:
    pictures, sound = Demand("a", 1, 500), Demand("sound of a", 62, 62)
    assert shares(100, [pictures, sound]) == [38, 62]
    assert shares(1000, [pictures, sound]) == [500, 62]
    assert shares(101, [Demand("a", 1, 500), Demand("b", 1, 500)]) == [51, 50]
    assert shares(100, [Demand("a", 1, 10), Demand("b", 60, 500), Demand("c", 1, 500)]) == [10, 60, 30]
    assert shares(5, []) == []
    with pytest.raises(BudgetError, match=r"70 tokens .* need at least 162 \(a 100, sound of a 62\)\. tokens=162 fits"):
        shares(70, [Demand("a", 100, 500), sound])


def test_a_share_pays_for_as_many_frames_as_can_have_what_they_wish() -> None:
    plain, pooled = way(), way(after=({"kind": "pool", "per_frame": 4},))
    assert frames_within(plain, same, 100, 64) == 4 and frames_within(pooled, same, 100, 64) == 16
    assert frames_within(pooled, same, 10, 64) == 10, "a clip has no more"
    assert frames_within(pooled, same, 10, 3) == 2 and pooled.shape(2, 3)[0] == 2
    assert (fewest(plain, same, 10), fewest(plain, same, 1), fewest(pooled, same, 10)) == (32, 64, 1)
