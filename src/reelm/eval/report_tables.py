"""What a report draws and counts: figures on a scale, confusion matrices, spreads of seconds, notes."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reelm.eval.runner import Row
from reelm.tasks.base import Scored, Task
from reelm.tasks.choice import ChoiceTask
from reelm.tasks.exact import same
from reelm.tasks.letters import LETTERS, careful

#: The best that a figure can be, where that is not 1; None: a number of items, which is not drawn.
_TOP: dict[str, float | None] = {"score": 5.0, "incomplete": None}
NONE, OTHER = "none", "other"
MOST_CLASSES, MOST_BARS, MOST_NOTES, _BINS = 40, 200, 40, 24
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


def top(name: str) -> float:
    """The best value of the score `name`."""
    return _TOP.get(name) or 1.0


# --- figures ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Bar:
    """One figure: its value, the ends of its interval, chance and items, where known."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    chance: float | None = None
    n: int | None = None


@dataclass(frozen=True)
class Chart:
    """Figures drawn on one scale from `left` to `right`; equal ends: not drawn. `left_out`: bars there was no place
    for."""

    title: str
    bars: tuple[Bar, ...]
    left: float
    right: float
    left_out: int = 0

    def at(self, value: float) -> str:
        """Where a value stands, in per cent of the width."""
        return f"{100 * (min(max(value, self.left), self.right) - self.left) / (self.right - self.left):.2f}%"


def charts(title: str, figures: Mapping[str, Mapping[str, Any]], scale_of: str = "") -> list[Chart]:
    """Figures with their intervals, one chart per scale; `scale_of` names the score that all are means of."""
    found: dict[float | None, list[Bar]] = {}
    for name, told in figures.items():
        ends = _TOP.get(scale_of or name, 1.0)
        found.setdefault(ends, []).append(Bar(name, told["value"], told["low"], told["high"], told.get("chance"),
                                              told.get("n")))
    return [Chart(title, tuple(bars[:MOST_BARS]), 0.0, ends or 0.0, max(0, len(bars) - MOST_BARS))
            for ends, bars in found.items()]


def differences(title: str, figures: Mapping[str, Mapping[str, Any]]) -> list[Chart]:
    """Differences of two runs around zero."""
    return [Chart(chart.title, chart.bars, -chart.right, chart.right, chart.left_out)
            for chart in charts(title, figures)]


# --- what was said for what ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Confusion:
    """How often (`counts`, a row per class) the class `rows[i]` was right and `columns[j]` was said."""

    title: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]

    def share(self, row: int, column: int) -> int:
        """The part of the row, in per cent."""
        total = sum(self.counts[row])
        return round(100 * self.counts[row][column] / total) if total else 0


def confusions(task: Task, rows: Sequence[Scored]) -> list[Confusion]:
    """Right by said: letters of choices (as each reader takes the replies, where they differ), the options themselves
    where all questions have the same ones, the answers of open questions where there are few."""
    choices = [row for row in rows if _is_choice(row)]
    found = []
    for reader in _readers(task, choices):
        taken, said = f"as the {reader} reader takes the replies", [_chosen(task, row, reader) for row in choices]
        right = [LETTERS.index(row.item.answer) for row in choices]
        words, lists = choices[0].item.options, {row.item.options for row in choices}
        if len(lists) > 1 or len(words) == 1:  # else the options stand for their letters
            letters = tuple(LETTERS[:max(map(len, lists))])
            found.append(_counted(f"Letters, {taken}", letters, [letters[i] for i in right],
                                  [NONE if i is None else letters[i] for i in said], NONE))
        if len(set(words)) == len(words) > 1 and {tuple(sorted(one)) for one in lists} == {tuple(sorted(words))}:
            told = [NONE if i is None else row.item.options[i] for row, i in zip(choices, said, strict=True)]
            found.append(_counted(f"Options, {taken}", words, [row.item.options[i] for row, i in
                                                               zip(choices, right, strict=True)], told, NONE))
    return found + _open(task, rows)


def _readers(task: Task, choices: Sequence[Scored]) -> tuple[str, ...]:
    if not choices:
        return ()
    both = isinstance(task, ChoiceTask) and any(
        _chosen(task, row, "official") != _chosen(task, row, "careful") for row in choices)
    return ("careful", "official") if both else ("careful",)


def _chosen(task: Task, row: Scored, reader: str) -> int | None:
    return task.chosen(row, reader) if isinstance(task, ChoiceTask) else careful(row.reply, row.item.options)


def _is_choice(row: Scored) -> bool:
    return row.item.answer in tuple(LETTERS[:len(row.item.options)]) and len(row.item.options) <= len(LETTERS)


def _open(task: Task, rows: Sequence[Scored]) -> list[Confusion]:
    """Answers in words that come from a small set; a reply that is none of them counts as "other"."""
    asked = [row for row in rows if row.item.answer and not _is_choice(row)]
    classes = tuple(dict.fromkeys(row.item.answer for row in asked))
    if task.judged or not 2 <= len(classes) <= MOST_CLASSES or len(classes) == len(asked):
        return []
    said = [row.item.answer if same(row.reply, row.item.answer)
            else next((name for name in classes if same(row.reply, name)), OTHER) for row in asked]
    return [_counted("Answers", tuple(sorted(classes)), [row.item.answer for row in asked], said, OTHER)]


def _counted(title: str, classes: tuple[str, ...], right: Sequence[str], said: Sequence[str], rest: str) -> Confusion:
    seen = Counter(zip(right, said, strict=True))
    columns = (*classes, rest)
    return Confusion(title, classes, columns,
                     tuple(tuple(seen[row, column] for column in columns) for row in classes))


def official_of(task: Task, scores: Mapping[str, float]) -> str:
    """The name of the score by the published script, "" if there is none."""
    return next((name for name in (f"{task.headline}_official", "official") if name in scores), "")


def readers_differ(task: Task, row: Scored) -> bool:
    """Whether the published reading of the reply and the careful one come to different things."""
    name = official_of(task, row.scores)
    return bool(row.scores.get("readers_differ")) or bool(
        name and task.headline in row.scores and row.scores[name] != row.scores[task.headline])


def both_readers(task: Task, rows: Sequence[Scored]) -> Confusion | None:
    """Right and wrong by the careful reading (rows) and by the published one (columns); None where they agree."""
    named = [(row, official_of(task, row.scores)) for row in rows if task.headline in row.scores]
    pairs = [(row.scores[task.headline], row.scores[name]) for row, name in named if name]
    if all(one == other for one, other in pairs):
        return None
    words = {True: "right", False: "wrong"}
    seen = Counter((words[one >= top(task.headline)], words[other >= top(task.headline)]) for one, other in pairs)
    names = ("right", "wrong")
    return Confusion("Careful reading (rows) and the published one (columns)", names, names,
                     tuple(tuple(seen[row, column] for column in names) for row in names))


# --- time and notes --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Phase:
    """The seconds of one phase over the items: counts per bin from 0 to `longest_s`, the median, and what 95 of 100
    do not pass."""

    name: str
    bins: tuple[int, ...]
    middle_s: float
    most_s: float
    longest_s: float
    items: int


def phases(rows: Sequence[Row]) -> list[Phase]:
    """How the seconds of every phase are spread, answers from the store included."""
    values: dict[str, list[float]] = {}
    for row in rows:
        for name, spent in (row.seconds or {}).items():
            values.setdefault(name, []).append(spent)
    return [_phase(name, sorted(spent)) for name, spent in values.items()]


def _phase(name: str, spent: Sequence[float]) -> Phase:
    longest = spent[-1]
    at = Counter(min(int(_BINS * one / longest), _BINS - 1) if longest > 0 else 0 for one in spent)
    return Phase(name, tuple(at[place] for place in range(_BINS)), spent[(len(spent) - 1) // 2],
                 spent[math.ceil(0.95 * len(spent)) - 1], longest, len(spent))


def remarks(rows: Sequence[Row]) -> tuple[list[tuple[str, str, int]], int]:
    """(what, one example, how often) of ends, notes and errors, the commonest first, and how many kinds were left out;
    sentences that differ in their numbers only are one kind."""
    seen: Counter[tuple[str, str]] = Counter()
    example: dict[tuple[str, str], str] = {}
    for row in rows:
        told = [("ended", row.stop), *(("note", note) for note in row.notes)]
        for what, text in told + ([("error", row.error)] if row.error else []):
            key = what, _NUMBER.sub("#", text)
            seen[key] += 1
            example.setdefault(key, text)
    kinds = [(what, example[what, text], count) for (what, text), count in seen.most_common()]
    return kinds[:MOST_NOTES], max(0, len(kinds) - MOST_NOTES)
