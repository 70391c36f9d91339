"""How far two judges agree beyond chance: Cohen's kappa, plain for kinds, weighted for grades."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from reelm.errors import UsageError

T = TypeVar("T", bound=Hashable)


@dataclass(frozen=True)
class Agreement:
    """`kappa` (1: always, 0: as by chance; NaN where both always say the same one thing), the share of equal verdicts
    `same`, over `items`; `left_out` had no verdict from one judge or both."""

    kappa: float
    same: float
    items: int
    left_out: int


def agreement(first: Sequence[T | None], second: Sequence[T | None],
              weights: Literal["none", "linear", "quadratic"] = "none") -> Agreement:
    """Agreement of two judges over the same items in the same order; None where there is no verdict.

    `weights`: how much a disagreement counts by its distance (numbers only); "none" counts all alike.
    Raises: UsageError when the lengths differ.
    Source: Cohen 1960 and 1968; checked against published tables in tests/eval/test_agreement.py.
    """
    if len(first) != len(second):
        raise UsageError(f"{len(first)} and {len(second)} verdicts", remedy="Give both judges the same items")
    pairs = [(a, b) for a, b in zip(first, second, strict=True) if a is not None and b is not None]
    left_out, count = len(first) - len(pairs), len(pairs)
    if not pairs:
        return Agreement(float("nan"), float("nan"), 0, left_out)
    power = {"none": 0, "linear": 1, "quadratic": 2}[weights]

    def apart(a: T, b: T) -> float:
        return 0.0 if a == b else float(abs(a - b) ** power) if power else 1.0  # type: ignore[operator]

    seen = sum(apart(a, b) for a, b in pairs) / count
    ones, others = Counter(a for a, _ in pairs), Counter(b for _, b in pairs)
    by_chance = sum(apart(a, b) * n * m for a, n in ones.items() for b, m in others.items()) / count**2
    kappa = 1 - seen / by_chance if by_chance else float("nan")
    return Agreement(kappa, sum(a == b for a, b in pairs) / count, count, left_out)
