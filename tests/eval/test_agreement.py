"""Kappa of two judges, against figures worked out in print."""

from __future__ import annotations

import math

import pytest

from reelm.errors import UsageError
from reelm.eval.agreement import agreement


def table(cells: list[list[int]]) -> tuple[list[int], list[int]]:
    """The verdicts that fill a table: rows the first judge's, columns the second's."""
    pairs = [(i, j) for i, row in enumerate(cells) for j, count in enumerate(row) for _ in range(count)]
    return [a for a, _ in pairs], [b for _, b in pairs]


@pytest.mark.parametrize(("cells", "kappa"), [([[20, 5], [10, 15]], 0.4), ([[45, 15], [25, 15]], 0.1304),
                                              ([[25, 35], [5, 35]], 0.2593)])
def test_yes_and_no(cells: list[list[int]], kappa: float) -> None:
    assert agreement(*table(cells)).kappa == pytest.approx(kappa, abs=1e-4)


def test_a_near_grade_counts_as_less_of_a_disagreement() -> None:
    """By hand: squares seen (1+1+0+0)/4 against (0+1+4+1)·… of the margins."""
    first, second = [0, 1, 2, 2], [1, 0, 2, 2]
    assert agreement(first, second).kappa == pytest.approx(1 - 0.5 / (10 / 16))
    assert agreement(first, second, "linear").kappa == pytest.approx(1 - 0.5 / (14 / 16))
    assert agreement(first, second, "quadratic").kappa == pytest.approx(1 - 0.5 / (22 / 16))


def test_items_without_a_verdict_are_left_out_and_counted() -> None:
    found = agreement(["a", None, "b", "a"], ["a", "b", None, "b"])
    assert (found.items, found.left_out, found.same) == (2, 2, 0.5)


def test_where_chance_alone_explains_everything_there_is_no_kappa() -> None:
    assert math.isnan(agreement(["a", "a"], ["a", "a"]).kappa) and agreement(["a"], ["a"]).same == 1
    assert math.isnan(agreement([None], ["a"]).kappa)


def test_two_judges_of_different_items() -> None:
    with pytest.raises(UsageError, match="2 and 1"):
        agreement([1, 2], [1])
