"""Intervals are as wide as the truth where that is known, and videos, not items, are what is drawn."""

from __future__ import annotations

import numpy as np
import pytest

from reelm.eval.intervals import of_difference, of_figures, of_mean
from reelm.eval.score import wilson
from reelm.tasks.base import Item, Scored


def scored(values: list[float], videos: list[str]) -> list[Scored]:
    return [Scored(Item(f"i{i}", video, (), "?", facts={"group": f"g{i}"}), "", {"accuracy": value})
            for i, (value, video) in enumerate(zip(values, videos, strict=True))]


def mean(rows) -> dict[str, float]:
    return {"mean": sum(row.scores["accuracy"] for row in rows) / len(rows)}


def test_with_independent_items_the_interval_is_that_of_theory():
    values = np.random.default_rng(0).normal(3.0, 2.0, 400)
    low, high = of_mean(values.tolist(), list(range(400)))
    half = 1.96 * values.std() / 20
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.03)


def test_items_of_one_video_count_as_one():
    """Four equal items a video: forgetting that would halve the interval."""
    each = np.random.default_rng(1).integers(0, 2, 100)
    honest = of_mean(np.repeat(each, 4).tolist(), np.repeat(np.arange(100), 4).tolist())
    naive = of_mean(np.repeat(each, 4).tolist(), list(range(400)))
    assert honest == of_mean(each.tolist(), list(range(100)))
    assert (honest[1] - honest[0]) / (naive[1] - naive[0]) == pytest.approx(2, rel=0.1)


def test_intervals_hold_the_truth_as_often_as_they_say():
    rng, held = np.random.default_rng(2), 0
    for trial in range(200):
        quality = rng.beta(2, 2, 60)  # of a video; true mean 0.5
        values = (rng.random((60, 5)) < quality[:, None]).astype(float).ravel()
        low, high = of_mean(values.tolist(), np.repeat(np.arange(60), 5).tolist(), draws=300, seed=trial)
        held += low <= 0.5 <= high
    assert 178 <= held <= 199  # 190 expected, four standard deviations


def test_where_everything_is_right_the_interval_is_not_a_point():
    assert of_mean([1.0] * 40, [i // 4 for i in range(40)]) == wilson(10, 10)
    assert of_figures(scored([0.0] * 6, list("aabbcc")), mean) == {"mean": wilson(0, 3)}


def test_one_video_gives_no_interval():
    assert of_mean([1.0, 0.0], ["a", "a"]) is None
    assert of_figures(scored([1.0, 0.0], ["a", "a"]), mean) == {"mean": None}


def test_a_figure_of_the_tasks_own_agrees_with_the_plain_mean_and_groups_stay_apart_by_copy():
    values = np.random.default_rng(3).integers(0, 2, 120).astype(float).tolist()
    videos = [f"v{i // 3}" for i in range(120)]
    seen: list[int] = []

    def figures(rows) -> dict[str, float]:
        seen.append(len(rows) - len({row.item.facts["group"] for row in rows}))
        return mean(rows)

    found = of_figures(scored(values, videos), figures, draws=1000)["mean"]
    assert found == pytest.approx(of_mean(values, videos), abs=0.02)
    assert set(seen) == {0}


def test_a_paired_difference_is_surer_than_its_two_sides():
    rng = np.random.default_rng(4)
    hard = rng.normal(0, 1, 100)
    one, other = (hard + 0.2).tolist(), (hard + rng.normal(0, 0.1, 100)).tolist()
    videos = [f"v{i}" for i in range(100)]
    low, high = of_difference(scored(one, videos), scored(other, videos), mean)["mean"]
    assert 0.15 < low < 0.2 < high < 0.25
    alone = of_mean(one, videos)
    assert alone[1] - alone[0] > 4 * (high - low)
    turned = of_difference(scored(one, videos), scored(other, videos)[::-1], mean)["mean"]
    assert turned == pytest.approx((low, high), abs=1e-12)  # the order of a file does not matter
