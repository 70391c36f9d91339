"""One number of tokens for all media of a question: who gets how much of it, and how many frames that pays for.

Whatever takes a share (pictures, sound, later words) says how much it needs and how much it could use.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from reelm.errors import BudgetError
from reelm.model.way import Way, largest


@dataclass(frozen=True)
class Demand:
    """What pictures or sound of one medium ask of a budget: at least `least` tokens, and no more than `most`."""

    name: str
    least: int
    most: int


def shares(budget: int, demands: Sequence[Demand]) -> list[int]:
    """Tokens for each, `budget` in all at most: the same for everyone, except who needs more or can use less.

    Raises: BudgetError with the numbers and the least budget that would do.
    """
    least = sum(demand.least for demand in demands)
    if least > budget:
        each = ", ".join(f"{demand.name} {demand.least}" for demand in demands)
        raise BudgetError(f"{budget} tokens for all media, they need at least {least} ({each})", where="tokens",
                          remedy=f"tokens={least} fits; a compressor (compressor='pool') or audio=False needs fewer")

    def given(level: int) -> list[int]:
        return [min(max(level, demand.least), demand.most) for demand in demands]

    found = given(largest(budget, lambda level: sum(given(level)) <= budget))
    for index, demand in enumerate(demands):  # what the division leaves over
        found[index] += max(0, min(budget - sum(found), demand.most - found[index], 1))
    return found


def fewest(way: Way, pictures: Callable[[int], int], most: int) -> int:
    """The smallest number of tokens that some number of frames up to `most` can become."""
    return min(way.least(pictures(frames)) for frames in {1, min(2, most)})


def frames_within(way: Way, pictures: Callable[[int], int], most: int, share: int) -> int:
    """How many frames, up to `most`, a share pays for: the most that can have the tokens they wish, and one more where
    that leaves less of the share unused.

    Where not even two can, two if they can be reduced so far, else one. One frame may cost more than two: it is
    repeated like a still picture.
    """
    many = 1 + largest(most - 1, lambda more: way.wish(pictures(1 + more)) <= share)
    if many == 1 < most:
        return 2 if way.least(pictures(2)) <= share else 1
    if way.steered and many < most and way.least(pictures(many + 1)) <= share:
        used = [way.shape(pictures(frames), share)[0] for frames in (many, many + 1)]
        many += used[1] > used[0]
    return many
