"""Examining a file of records before it costs anything: media opened, tokens counted, ids compared."""

from __future__ import annotations

import os
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from reelm import media
from reelm.data.records import Examined, Finding, Record, examined
from reelm.errors import BudgetError, MediaError, PolicyError, ReelmError, UsageError
from reelm.types import Clip, Message

if TYPE_CHECKING:
    from reelm.model.front import VideoLM
    from reelm.model.processing import Sketch

#: The word for what is wrong with a medium, by the error that opening it raises; the first that fits.
_WORDS = ((MediaError, "unreadable"), (PolicyError, "refused"), (BudgetError, "limit"), (UsageError, "unusable"))


@dataclass(frozen=True)
class Facts:
    """What opening a medium told: its kind ("" if it could not be opened), seconds of it, and what is wrong."""

    kind: str = ""
    seconds: float = 0.0
    sketch: Sketch | None = None
    exact: bool = True
    wrong: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Checked:
    """A record with the facts of its media. `tokens`: prompt and longest reply together, None if not counted."""

    record: Record | None
    findings: tuple[Finding, ...]
    read: float
    facts: tuple[Facts, ...] = ()
    tokens: int | None = None


class Checker:
    """Looks at records one by one. A file is opened once, however many records name it; no video or sound is decoded.

    With a model, tokens are counted as training lays them out, and its context is the most that a record may take.
    """

    def __init__(self, lm: VideoLM | None = None) -> None:
        self._opened: dict[tuple[str, float, float | None], Facts] = {}
        self._lines: dict[str, int] = {}
        self._lm = lm
        if lm is not None:
            from reelm.model.sensing import Senses

            self._senses = Senses(lm.processor)
            self._room = getattr(lm.model.config.text_config, "max_position_embeddings", None)

    def through(self, path: str | Path, media: str | Path | None = None) -> Iterator[Checked]:
        """All records of a file, in its order. Raises: UsageError if there is no such file or folder of media."""
        return map(self.check, examined(path, media))

    def check(self, one: Examined) -> Checked:
        """One record, with everything that is wrong with it."""
        record = one.record
        if record is None:
            return Checked(None, one.findings, one.read)
        facts = tuple(map(self._facts, record.clips))
        wrong = [*self._twice(record)]
        for clip, kind, fact in zip(record.clips, record.kinds, facts, strict=True):
            wrong += [(word, f"{clip.name}: {said}") for word, said in fact.wrong]
            if fact.kind and kind not in (fact.kind, "file"):
                wrong.append(("kind", f"{clip.name}: the record calls it {kind}, it is {fact.kind}"))
        tokens = None
        if self._lm is not None and all(fact.sketch is not None for fact in facts):
            try:
                tokens = self._tokens(record, facts)
                if self._room is not None and tokens > self._room:
                    wrong.append(("tokens", f"{tokens:,} tokens, the model's context holds {self._room:,}"))
            except ReelmError as error:
                wrong.append(("tokens", error.what))
        findings = tuple(Finding(record.line, record.id, word, said) for word, said in wrong)
        return Checked(record, findings, one.read, facts, tokens)

    def _twice(self, record: Record) -> Iterator[tuple[str, str]]:
        first = self._lines.setdefault(record.id, record.line)
        if first != record.line:
            yield "id", f"the id stands on line {first} already"

    def _facts(self, clip: Clip) -> Facts:
        if not isinstance(clip.source, str | Path):
            return self._open(clip)  # in memory, and gone after this record
        key = (str(clip.source), clip.start_s, clip.end_s)
        if key not in self._opened:
            self._opened[key] = self._open(clip)
        return self._opened[key]

    def _open(self, clip: Clip) -> Facts:
        if isinstance(clip.source, Path) and not os.path.lexists(clip.source):
            return Facts(wrong=(("missing", "no such file"),))
        try:
            with ExitStack() as stack:
                if self._lm is None:
                    info = stack.enter_context(media.open(clip)).info()
                    return _facts_of(info.kind, info.duration_s, info.shortfall)
                from reelm.model.sensing import Choice

                look = self._senses.look(clip, Choice(), stack)
                info = look.reader.info()
                return replace(_facts_of(info.kind, info.duration_s, info.shortfall), sketch=look.sketch,
                               exact=self._senses.counts_exactly(look))
        except ReelmError as error:
            return Facts(wrong=((next(word for kind, word in _WORDS if isinstance(error, kind)), error.what),))

    def _tokens(self, record: Record, facts: tuple[Facts, ...]) -> int:
        assert self._lm is not None
        sketches = iter(fact.sketch for fact in facts)
        prompt = [Message(turn.role, tuple(part if isinstance(part, str) else next(sketches)  # type: ignore[misc]
                                           for part in turn.parts)) for turn in record.messages]
        ends = [[Message("assistant", (reply,))] for reply in (record.chosen, record.rejected) if reply is not None]
        return max(len(self._lm.processor.plan([*prompt, *end], add_generation_prompt=False).laid.ids)
                   for end in ends or [[]])


def _facts_of(kind: str, seconds: float, shortfall: tuple[str, ...]) -> Facts:
    wrong = [("short", sentence) for sentence in shortfall]
    if kind != "image" and not seconds > 0:
        wrong.append(("short", "it lasts 0 s"))
    return Facts(kind, seconds, wrong=tuple(wrong))


@dataclass
class Tally:
    """What many records add up to; `add` each of them.

    `good`: records with nothing wrong. Every count but `records`, `good` and `wrong` leaves out unreadable records.
    """

    records: int = 0
    good: int = 0
    wrong: Counter[str] = field(default_factory=Counter)
    unused: Counter[str] = field(default_factory=Counter)
    media: Counter[str] = field(default_factory=Counter)
    pairs: int = 0
    inexact: int = 0
    turns: list[int] = field(default_factory=list)
    asked_words: list[int] = field(default_factory=list)
    answer_words: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)

    def add(self, one: Checked) -> None:
        self.records += 1
        self.good += not one.findings
        self.wrong.update(found.kind for found in one.findings)
        record = one.record
        if record is None:
            return
        self.unused.update(record.unused)
        self.pairs += record.chosen is not None
        self.turns.append(len(record.messages))
        for message in record.messages:
            words = sum(len(part.split()) for part in message.parts if isinstance(part, str))
            (self.answer_words if message.role == "assistant" else self.asked_words).append(words)
        self.answer_words += [len(reply.split()) for reply in (record.chosen, record.rejected) if reply is not None]
        self.media.update(fact.kind or "not opened" for fact in one.facts)
        self.seconds += [fact.seconds for fact in one.facts if fact.kind in ("video", "audio")]
        self.inexact += one.tokens is not None and not all(fact.exact for fact in one.facts)
        if one.tokens is not None:
            self.tokens.append(one.tokens)

    def spreads(self) -> dict[str, dict[str, float]]:
        """Per quantity: how many values, their sum, smallest, median, mean, largest; left out without a value."""
        named: dict[str, Sequence[float]] = {
            "turns": self.turns, "words asked": self.asked_words, "words answered": self.answer_words,
            "seconds": self.seconds, "tokens": self.tokens}
        return {name: {"count": len(values), "sum": sum(values), "min": min(values),
                       "median": statistics.median(values), "mean": statistics.fmean(values), "max": max(values)}
                for name, values in named.items() if values}
