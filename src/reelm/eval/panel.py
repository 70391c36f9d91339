"""Who grades the open answers of a run: one judge or two, asked with care or exactly as the published scripts ask.

    panel = Panel([opened("qwen@http://127.0.0.1:8000/v1"), opened("local:models/other")], Verdicts("verdicts.sqlite"))
    scores = panel.grade(task, rows)        # those of the first judge
    panel.report(task)["agreement"]         # and how far the second agrees with it
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from reelm.errors import UsageError
from reelm.eval.agreement import agreement
from reelm.eval.intervals import of_figures
from reelm.eval.judge import Judge, JudgeSettings, Speaker, judged
from reelm.eval.verdicts import Verdicts
from reelm.tasks.base import Item, Scored, Task
from reelm.tasks.judged import Judged

#: "careful": temperature 0, an unreadable reply is shown to the judge with what is wrong. "official": sampled as the
#: published scripts sample, the same question again after an unreadable reply, and replies read as the scripts read.
MODES = ("careful", "official")


class Panel:
    """The judges of a run, the first of which gives the figures.

    Raises: UsageError for an unknown mode, no judge, more than two, or the same one twice.
    """

    def __init__(self, speakers: Sequence[Speaker], cache: Verdicts | None = None, mode: str = "careful") -> None:
        if mode not in MODES:
            raise UsageError(f"judges are not asked {mode!r}", remedy=f"One of: {', '.join(MODES)}")
        names = [(speaker.name, speaker.version) for speaker in speakers]
        if not 1 <= len(names) <= 2 or len(set(names)) < len(names):
            raise UsageError(f"{len(names)} judges ({', '.join(name for name, _ in names)})",
                             remedy="Name one, or two different ones to see how far they agree")
        self.speakers, self.cache, self.mode = tuple(speakers), cache, mode
        self._told: dict[str, dict[str, Any]] = {}

    def settings(self, task: Judged) -> JudgeSettings:
        """How the judges of a task are asked."""
        return JudgeSettings.official(task.published) if self.mode == "official" else JudgeSettings()

    def grade(self, task: Judged, rows: Sequence[tuple[Item, str]]) -> list[dict[str, float]]:
        """The scores that the first judge gives to items with their replies; see `judged`."""
        task.official = self.mode == "official"
        judges = [Judge(speaker, self.settings(task), self.cache) for speaker in self.speakers]
        scores = [judged(task, rows, judge) for judge in judges]
        told = {"judge": {"mode": self.mode, **judges[0].report()}}
        if len(judges) == 2:
            told["second_judge"] = {"mode": self.mode, **judges[1].report()}
            told["agreement"] = agreements(task, [item for item, _ in rows], *scores)
        self._told[task.name] = told
        return scores[0]

    def report(self, task: Task) -> dict[str, Any]:
        """What the results of a task must say about its judges: {"judge"}, and with two {"second_judge",
        "agreement"}; nothing for a task that was not graded here."""
        return self._told.get(task.name, {})


def agreements(task: Judged, items: Sequence[Item], first: Sequence[Mapping[str, float]],
               second: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """For each score: "kappa" with "low" and "high" of its 95 % interval (null where it is not defined), the share
    "same" of equal verdicts, both means over the "items" that both judged, and "left_out" without a verdict.

    Disagreements are weighted by the square of their distance; for yes and no that is Cohen's plain kappa.
    """
    heads = {task.group(item): place for place, item in reversed(list(enumerate(items)))}
    places = sorted(heads.values())  # items that are judged together have their scores at the first of them
    names = dict.fromkeys(name for place in places for scores in (first, second) for name in scores[place])
    return {name: _agreement([Scored(items[place], "", {side: scores[place][name] for side, scores in
                                                        (("first", first), ("second", second))
                                                        if name in scores[place]}) for place in places])
            for name in names}


def _agreement(rows: Sequence[Scored]) -> dict[str, Any]:
    """One score of all items, as both judges gave it."""
    found = agreement(*_sides(rows), weights="quadratic")
    both = [row for row in rows if len(row.scores) == 2]
    means = {f"{side}_mean": sum(row.scores[side] for row in both) / len(both) if both else None
             for side in ("first", "second")}
    told = {"kappa": None, "low": None, "high": None, "same": None if math.isnan(found.same) else found.same,
            "items": found.items, "left_out": found.left_out, **means}
    if math.isnan(found.kappa):
        return told
    spread = of_figures(both, _kappa)["kappa"] if found.same < 1 else None
    return told | {"kappa": found.kappa} | ({"low": spread[0], "high": spread[1]} if spread else {})


def _kappa(rows: Sequence[Scored]) -> dict[str, float]:
    """Kappa of these items; nothing where it is not defined."""
    value = agreement(*_sides(rows), weights="quadratic").kappa
    return {} if math.isnan(value) else {"kappa": value}


def _sides(rows: Sequence[Scored]) -> tuple[list[float | None], list[float | None]]:
    return [row.scores.get("first") for row in rows], [row.scores.get("second") for row in rows]
