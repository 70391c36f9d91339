"""How sure a figure is: 95 % intervals by drawing videos, not items, because items of one video are not independent."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from reelm.eval.score import wilson
from reelm.tasks.base import Scored

DRAWS = 2000
#: Figures that must be computed anew for each draw get fewer draws.
FEW_DRAWS = 300
Interval = tuple[float, float]
Figures = Callable[[Sequence[Scored]], Mapping[str, float]]


def of_mean(values: Sequence[float], clusters: Sequence[Hashable], draws: int = DRAWS, seed: int = 0
            ) -> Interval | None:
    """The interval of the mean of `values`; whole clusters are drawn. None with fewer than two clusters.

    Source: the percentile bootstrap over clusters; against the exact spread of a known population in
    tests/eval/test_intervals.py.
    """
    order = {cluster: place for place, cluster in enumerate(dict.fromkeys(clusters))}
    if len(order) < 2:
        return None
    of = np.array([order[cluster] for cluster in clusters])
    sums, counts = np.bincount(of, np.asarray(values, float), len(order)), np.bincount(of, minlength=len(order))
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(order), np.full(len(order), 1 / len(order)), size=draws)
    return _middle(drawn @ sums / (drawn @ counts), len(order))


def of_figures(rows: Sequence[Scored], figures: Figures, draws: int = FEW_DRAWS, seed: int = 0
               ) -> dict[str, Interval | None]:
    """The intervals of figures that are no plain means: they are computed anew for every draw of videos."""
    told = [figures(drawn) for drawn in _draws(rows, draws, seed)]
    videos = len({row.item.video for row in rows})
    return {name: _middle(_under(told, name), videos) if told else None for name in figures(rows)}


def of_difference(one: Sequence[Scored], other: Sequence[Scored], figures: Figures, draws: int = FEW_DRAWS,
                  seed: int = 0) -> dict[str, Interval | None]:
    """The intervals of `one` minus `other`, where both answered the same items: the same videos are drawn for both."""
    pairs = zip(_draws(one, draws, seed), _draws(other, draws, seed), strict=True)
    told = []
    for mine, yours in pairs:
        left, right = figures(mine), figures(yours)
        told.append({name: left[name] - right[name] for name in left if name in right})
    names = [name for name in figures(one) if name in figures(other)]
    return {name: _middle(_under(told, name)) if told else None for name in names}


def _draws(rows: Sequence[Scored], draws: int, seed: int) -> Iterator[list[Scored]]:
    """Rows of as many videos as there are, drawn with return; nothing when there is only one video.

    A video drawn twice brings its items twice; what is judged together ("group" in the facts) stays together by copy.
    """
    videos: dict[str, list[Scored]] = {}
    for row in rows:
        videos.setdefault(row.item.video, []).append(row)
    # Sorted, so that two runs over the same items draw the same videos whatever the order of their files.
    names, rng = sorted(videos), np.random.default_rng(seed)
    for _ in range(draws if len(names) > 1 else 0):
        counts = rng.multinomial(len(names), np.full(len(names), 1 / len(names)))
        yield [_copy(row, copy) for name, count in zip(names, counts, strict=True) for copy in range(count)
               for row in videos[name]]


def _copy(row: Scored, copy: int) -> Scored:
    if copy == 0 or "group" not in row.item.facts:
        return row
    return replace(row, item=replace(row.item, facts={**row.item.facts, "group": f"{row.item.facts['group']}~{copy}"}))


def _under(told: Sequence[Mapping[str, float]], name: str) -> np.ndarray:
    """The values of a figure over the draws; a draw without any item of a category says nothing about it."""
    return np.array([one[name] for one in told if name in one])


def _middle(values: np.ndarray, videos: int = 0) -> Interval | None:
    """The inner 95 % of the draws. Where all of them are 0 or all are 1, drawing cannot tell how sure that is: then
    Wilson's interval for as many independent answers as there are `videos`."""
    if not len(values):
        return None
    if videos and values.min() == values.max() and values[0] in (0.0, 1.0):
        return wilson(round(values[0] * videos), videos)
    low, high = np.percentile(values, (2.5, 97.5))
    return float(low), float(high)
