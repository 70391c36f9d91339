"""Sources joined, counted in epochs and cut into passes: nothing is lost, whatever number of processes shares it."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import pytest

from reelm.train.recipe import Stage
from reelm.train.source import Joined, Mix
from train.toys import STAGES, Points


def stage(**fields: object) -> Stage:
    return Stage(**{**STAGES[0], "data": {"points": 1.0}, "objective": {"kind": "squares"}, **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize(("epochs", "steps"), [(1, 6), (2, 12), (0.5, 3), (1.01, 7)])
def test_epochs_become_steps(epochs: float, steps: int) -> None:
    assert Mix(stage(steps=None, epochs=epochs), [Points(22)], 0).steps() == steps
    assert Mix(stage(steps=5), [Points(22)], 0).steps() == 5


@pytest.mark.parametrize("ranks", [1, 2])
def test_an_epoch_holds_every_sample_once_over_all_passes_of_all_processes(ranks: int) -> None:
    mix = Mix(stage(micro_batch=1), [Points(22)], 0)
    seen: Counter[int] = Counter()
    for rank in range(ranks):
        mine = range(rank, 4, ranks)
        for index in [one for some in islice(mix.passes(0, mine), 6 * len(mine)) for one in some]:
            seen[index] += 1
    assert seen == Counter(range(22)) and mix.epoch == 22


def test_passes_are_the_same_samples_for_any_number_of_processes() -> None:
    mix = Mix(stage(micro_batch=2, batch=8), [Points(22)], 0)
    alone = list(islice(mix.passes(0, range(4)), 12))
    shared = [list(islice(mix.passes(0, range(rank, 4, 2)), 6)) for rank in range(2)]
    assert [one for pair in zip(*shared, strict=True) for one in pair] == alone


def test_joined_sources_keep_their_samples_apart_and_come_as_often_as_they_should() -> None:
    first, second = Points(4), Points(6, bad=(2,))
    joined = Joined([first, second])
    assert len(joined) == 10 and joined[3]["id"] == "p3" and joined[4]["id"] == "p0" and joined.length(9) == 0
    assert joined.collate([joined[4], joined[6]])["ids"] == ["p0"]
    mix = Mix(stage(data={"a": 2.0, "b": 0.5}), [first, second], 0)
    counts = Counter(index for batch in islice(mix.order(0).whole(), 3) for index in batch)
    assert mix.epoch == 2 * 4 + 3 and all(counts[index] == 2 for index in range(4))
