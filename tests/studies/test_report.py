"""Intervals that are as wide as few seeds deserve; tables and plots."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reelm.errors import UsageError
from reelm.studies.report import contrasts, difference, estimate, of_arm, plot, student, table, written
from studies.small import study


@pytest.mark.parametrize(("freedom", "printed"), [(1, 12.706), (2, 4.303), (3, 3.182), (10, 2.228), (1000, 1.962)])
def test_students_quantiles_are_those_of_the_printed_table(freedom: float, printed: float) -> None:
    assert student(freedom) == pytest.approx(printed, abs=1e-3)


def test_three_seeds_that_differ_make_a_wide_interval_and_three_that_agree_a_narrow_one() -> None:
    rng = np.random.default_rng(0)
    agree = (rng.random((1, 500)) < 0.7).repeat(3, 0).astype(float)
    differ = np.stack([(rng.random(500) < p).astype(float) for p in (0.4, 0.5, 0.6)])
    narrow, wide = estimate(agree), estimate(differ)
    assert narrow.high - narrow.low == pytest.approx(2 * 1.96 * 0.46 / 500**0.5, rel=0.05)
    assert wide.high - wide.low > 4 * 2 * 0.08 / 3**0.5 > 3 * (narrow.high - narrow.low)


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    """Seeds with a skill of their own, items with a difficulty of their own: the case that pooling gets wrong."""
    rng, held = np.random.default_rng(1), 0
    for _ in range(300):
        skill, ease = rng.normal(0, 0.05, (3, 1)), rng.normal(0, 0.1, (1, 200))
        found = estimate((rng.random((3, 200)) < np.clip(0.6 + skill + ease, 0, 1)).astype(float))
        held += found.low <= 0.6 <= found.high
    assert held / 300 > 0.92


def test_no_exception_among_few_items_is_no_certainty() -> None:
    found = estimate(np.ones((3, 10)))
    assert found.value == found.high == 1 and 0.6 < found.low < 0.8
    assert estimate(np.ones((1, 1))).low < 0.3
    same = estimate(np.zeros((3, 10)))
    assert (same.low, same.value) == (0, 0) and 0.2 < same.high < 0.4


def lines() -> list[dict]:
    """Two arms, three seeds, forty items; the first arm is right on ten more of them."""
    rng, made = np.random.default_rng(2), []
    for place, (arm, count) in enumerate((("good", 30), ("poor", 20))):
        for seed in range(3):
            bits = "".join("1" if i < count - (rng.random() < 0.3) else "0" for i in range(40))
            curve = [{"samples": n, "flops": n * 10**9 * (place + 1), "loss": 1.0,
                      "right": {"order": bits.count("1") / 40 * n / 200}} for n in (100, 200)]
            made.append({"arm": arm, "seed": seed, "place": place, "tokens": 64, "weights": 1234,
                         "chance": {"order": 0.25}, "curve": curve, "right": {"order": bits}})
    return made


def test_a_table_has_a_row_an_arm_and_chance() -> None:
    rows = table(lines()).splitlines()
    assert len(rows) == 5 and rows[2].startswith("| good | 3 | 7") and rows[4].startswith("| chance |  | 25.0 |")
    assert "1,234" in rows[2] and rows[2].endswith("0.2 |") and rows[3].endswith("0.4 |")


def test_a_difference_is_taken_item_by_item() -> None:
    found = difference(lines(), "good", "poor", "order")
    alone = [estimate(of_arm(lines(), arm, "order")) for arm in ("good", "poor")]
    assert found.value == pytest.approx(alone[0].value - alone[1].value)
    assert found.low > 0 and found.high - found.low < sum(a.high - a.low for a in alone)
    assert "| good − poor |" in contrasts(lines(), [("good", "poor"), ("good", "absent")])
    assert "absent" not in contrasts(lines(), [("good", "absent")])
    with pytest.raises(UsageError, match="absent"):
        of_arm(lines(), "absent", "order")


def test_the_plot_is_a_picture_with_something_on_it(tmp_path: Path) -> None:
    with Image.open(plot(lines(), "Which?", tmp_path / "a.png")) as picture:
        seen = np.asarray(picture.convert("RGB"))
    assert min(seen.shape[:2]) > 200 and len(np.unique(seen.reshape(-1, 3), axis=0)) > 50


def test_a_report_without_a_finished_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no run of 'sound' is finished"):
        written(study("sound"), [], tmp_path)
