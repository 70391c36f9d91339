"""Tarsier's DREAM-1K: descriptions taken apart into events, and each event checked against the other text (AutoDQ).

A judge first lists the events of the reply; then it says which reference events the reply entails (recall) and which
events of the reply the reference entails (precision).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from reelm.errors import UsageError
from reelm.tasks.base import Item, Scored, task
from reelm.tasks.files import need, read_lines
from reelm.tasks.judged import UNSAID, Ask, Judged
from reelm.tasks.verdict import field, read_object
from reelm.types import Clip, Message

#: What a relationship may be; only the first counts.
RELATIONS = ("entailment", "neutral", "contradiction")
_BUCKETS: dict[str, tuple[tuple[str, float, float], ...]] = {
    "n_subjects": (("<=1", 0, 1), ("==2", 2, 2), ("==3", 3, 3), (">=4", 4, float("inf"))),
    "n_shots": (("<=1", 0, 1), ("==2", 2, 2), ("==3", 3, 3), (">=4", 4, float("inf"))),
    "n_events": (("<=3", 0, 3), ("4-5", 4, 5), ("6-7", 6, 7), (">=8", 8, float("inf"))),
}
_LIST = ("List the events that the description tells: each a short sentence that stands by itself, in their order, at "
         "most one doing per sentence; leave out what only sets the scene. Write JSON and nothing else, for example: "
         '{"events": ["A man opens a door.", "The man leaves."]}')
_CHECK = ('For each event say how it relates to the description: "entailment" if that says it or implies it, '
          '"contradiction" if it cannot be true along with it, "neutral" otherwise. Keep the order, '
          'leave none out. Write JSON and nothing else, for example: {"events": [{"event": "A man opens a door.", '
          '"relationship": "entailment"}]}')
_REPAIRS = (
    (re.compile(r"```(?:json|python)?"), ""), (re.compile(r"\n+"), ""), (re.compile(r"\bTrue\b"), "true"),
    (re.compile(r"\bFalse\b"), "false"), (re.compile(r"\[Placeholder\]"), "null"),
    (re.compile(r"\}\s*\{"), "}, {"), (re.compile(r",\s*([\]}])"), r"\1"),
)


@task("tarsier_autodq")
class TarsierAutoDQ(Judged):
    """Recall, precision and F1 of the events in a description.

    `DREAM-1k.jsonl` with idx, dataset, text (prompt, response), video_file, extra_info (events and counts). The
    published file names no videos; then `videos/IDX.mp4` is taken.
    Source: Wang et al. 2024 (Tarsier); equal to the recorded scores in tests/tasks/test_tarsier_autodq.py.
    """

    headline = "recall"
    published = UNSAID
    splits = ("dataset",)

    def annotations(self, root: Path) -> tuple[Path, ...]:
        return (root / "DREAM-1k.jsonl",)

    def items(self, root: Path) -> Iterator[Item]:
        path, = self.annotations(root)
        for place, entry in enumerate(read_lines(path)):
            where = f"{path}, entry {place}"
            number, text = need(entry, "idx", int, where), need(entry, "text", dict, where)
            extra, file = need(entry, "extra_info", dict, where), need(entry, "video_file", str, where)
            events = need(extra, "events", list, where)
            counts = {name: str(extra[name]) for name in _BUCKETS if name in extra}
            named = file and not file.startswith("<")
            prompt = need(text, "prompt", str, where).replace("<video>", "").strip()
            video = Clip(root / (file if named else f"videos/{number}.mp4"))
            yield Item(str(number), str(number), (video,), prompt, answer=need(text, "response", str, where),
                       facts={"dataset": need(entry, "dataset", str, where), "events": json.dumps(events), **counts})

    def verdict(self, items: Sequence[Item], texts: Sequence[str], ask: Ask) -> Mapping[str, float]:
        """Three questions: the events of the reply, then each text's events against the other."""
        (item,), (text,) = items, texts
        wanted: list[str] = json.loads(item.facts["events"])
        told_events = ask(item.id, _question(_LIST, text), self.read_events)
        if told_events is None:
            return {}
        recall = self._entailed(item.id, wanted, text, ask)
        precision = self._entailed(item.id, told_events, item.answer, ask)
        return {} if recall is None or precision is None else {"recall": recall, "precision": precision}

    def summary(self, rows: Sequence[Scored]) -> dict[str, float]:
        """The published figures: means over items in each set, F1 of those; over all, the mean of the sets, then F1."""
        scored = [row for row in rows if "recall" in row.scores]
        found: dict[str, float] = {}
        sets = {name: _means([row for row in scored if row.item.facts["dataset"] == name])
                for name in sorted({row.item.facts["dataset"] for row in scored})}
        if sets:
            whole = tuple(sum(pair[side] for pair in sets.values()) / len(sets) for side in (0, 1))
            sets["overall"] = (whole[0], whole[1])
        for name, (recall, precision) in sets.items():
            found |= {f"recall ({name})": recall, f"precision ({name})": precision,
                      f"F1 ({name})": f1(recall, precision)}
        return found | _buckets(scored)

    def read_events(self, reply: str) -> list[str]:
        """The list of events in a judge's reply. Raises: UsageError for anything else."""
        events = field(self._object(reply), "events")
        if not isinstance(events, list) or not all(isinstance(event, str) for event in events):
            raise UsageError("'events' is no list of texts", remedy="Write a list of sentences under 'events'")
        return events

    def read_relations(self, reply: str, count: int) -> list[str]:
        """The relationships in a judge's reply, one per event. Raises: UsageError for another number or word."""
        rows = field(self._object(reply), "events")
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise UsageError("'events' is no list of objects", remedy="Write an object per event under 'events'")
        said = [str(field(row, "relationship")).strip().lower() for row in rows]
        if self.official:
            return said
        if len(said) != count or set(said) - set(RELATIONS):
            raise UsageError(f"{len(said)} relationships ({', '.join(sorted(set(said)))}) for {count} events",
                             remedy=f"Write one of {', '.join(RELATIONS)} for each event")
        return said

    def _entailed(self, name: str, events: Sequence[str], description: str, ask: Ask) -> float | None:
        if not events:
            return 1.0
        asked = _question(f"{_CHECK}\n\nEvents: {json.dumps(list(events), ensure_ascii=False)}", description)
        read: Callable[[str], list[str]] = lambda reply: self.read_relations(reply, len(events))  # noqa: E731
        said = ask(name, asked, read)
        return None if said is None else entailed(said, len(events))

    def _object(self, reply: str) -> dict[str, Any]:
        if not self.official:
            return read_object(reply if "{" in reply else cleaned(reply))
        try:
            found = json.loads(cleaned(reply))
        except ValueError as error:
            raise UsageError(f"not JSON even after repair ({error})", remedy="Write one JSON object") from None
        if not isinstance(found, dict):
            raise UsageError("no JSON object", remedy="Write one JSON object")
        return found


def entailed(relations: Sequence[str], events: int) -> float:
    """The share of `events` that are entailed; 1 where there are none."""
    return sum(word.strip().lower() == RELATIONS[0] for word in relations) / events if events else 1.0


def f1(recall: float, precision: float) -> float:
    """The harmonic mean; NaN where both are 0, as published."""
    return 2 * recall * precision / (recall + precision) if recall + precision else float("nan")


def cleaned(reply: str) -> str:
    """A judge's JSON with the repairs of the published script: fences, braces, commas, Python's words."""
    text = reply.strip()
    for pattern, put in _REPAIRS:
        text = pattern.sub(put, text)
    text = text.strip()
    text = text if text.startswith("{") else "{" + text
    text = text if text.endswith("}") else text + "}"
    return text.removeprefix("{Events:").strip()


def _question(duty: str, description: str) -> tuple[Message, ...]:
    return (Message("user", (f"Description of a video: {description}\n\n{duty}",)),)


def _means(rows: Sequence[Scored]) -> tuple[float, float]:
    count = len(rows)
    return (sum(row.scores["recall"] for row in rows) / count, sum(row.scores["precision"] for row in rows) / count)


def _buckets(rows: Sequence[Scored]) -> dict[str, float]:
    """Recall, precision and F1 by the number of subjects, shots and events, for the buckets that hold items."""
    found: dict[str, float] = {}
    for name, bounds in _BUCKETS.items():
        for label, low, high in bounds:
            inside = [row for row in rows if name in row.item.facts and low <= float(row.item.facts[name]) <= high]
            if inside:
                recall, precision = _means(inside)
                found |= {f"recall ({name} {label})": recall, f"precision ({name} {label})": precision,
                          f"F1 ({name} {label})": f1(recall, precision), f"items ({name} {label})": float(len(inside))}
    return found
