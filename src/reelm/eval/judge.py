"""A judge: a language model, here or behind an address, that grades answers; every verdict is kept.

    judge = Judge(opened("local:models/qwen"), cache=Verdicts("verdicts.sqlite"))
    verdict = judge.ask("item 7", messages, read=task.read_verdict)

The same messages go to every kind of judge. A reply that does not hold what was asked for is asked for again, a bounded
number of times; what stays unreadable is counted and listed, never graded.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from reelm.errors import ReelmError, UsageError
from reelm.eval.verdicts import Verdicts, key_of
from reelm.tasks.base import Item
from reelm.tasks.judged import Judged
from reelm.types import Message

S = TypeVar("S")
T = TypeVar("T")
#: How many items in a row may stay without any reply before the run ends.
_PATIENCE = 3
_SHOWN = 300


class Unreachable(ReelmError):
    """A judge gave no reply: no connection, too slow, overloaded, or nonsense in place of the protocol.

    `wait_s`: how long the server asks to be left alone (0: it does not say).
    """

    def __init__(self, what: str, *, where: str = "", remedy: str = "", wait_s: float = 0.0) -> None:
        super().__init__(what, where=where, remedy=remedy)
        self.wait_s = wait_s


class Declined(ReelmError):
    """A judge will not take this very question (too long, filtered); other questions may go well."""


@dataclass(frozen=True)
class JudgeSettings:
    """How a judge is asked.

    `max_tokens`: the longest reply, None for as long as fits. `readings`: how often a question is asked until its reply
    can be read; `correct`: whether the judge is shown its unreadable reply and told what is wrong with it (else the
    same question goes out again). `calls`: how often each is sent while no reply comes; before the next,
    `first_wait_s` doubles from call to call up to `longest_wait_s`.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    max_tokens: int | None = 800
    correct: bool = True
    readings: int = 3
    calls: int = 4
    first_wait_s: float = 1.0
    longest_wait_s: float = 60.0

    def __post_init__(self) -> None:
        counts = (self.readings, self.calls, *([] if self.max_tokens is None else [self.max_tokens]))
        if self.temperature < 0 or not 0 < self.top_p <= 1 or min(counts) < 1:
            raise UsageError(f"a judge cannot be asked with {self}",
                             remedy="temperature >= 0, 0 < top_p <= 1, max_tokens, readings and calls at least 1")

    @classmethod
    def official(cls, published: Mapping[str, Any]) -> JudgeSettings:
        """As a published script asks (see `Judged.published`): after an unreadable reply the same question again."""
        return cls(**published, correct=False)

    def asked(self) -> dict[str, Any]:
        """What the reply depends on; the rest is patience."""
        return {name: getattr(self, name) for name in ("temperature", "top_p", "max_tokens", "correct")}



@dataclass(frozen=True)
class Reply:
    """What a judge wrote, and the model that it says it is (an endpoint may answer with another than asked for)."""

    text: str
    model: str


class Speaker(Protocol):
    """What a `Judge` asks: a local model or an endpoint. `name` and `version` stand beside every verdict."""

    name: str
    version: str

    def reply(self, messages: Sequence[Message], settings: JudgeSettings, seed: int) -> Reply:
        """Raises: Unreachable (try again), Declined (this question only), another ReelmError (the run ends)."""


@dataclass(frozen=True)
class Verdict(Generic[T]):
    """What was read from a judge's reply; `value` is None when nothing could be, and `why` says so."""

    value: T | None
    reply: str = ""
    why: str = ""
    cached: bool = False


@dataclass(frozen=True)
class Left:
    """A question without a verdict, for the list in the results."""

    item: str
    why: str
    reply: str


@dataclass
class Judge:
    """Asks a `speaker`, checks, asks again, keeps; safe to call from several threads.

    `counts`: asked, cached, again (a reply that could not be read), waited (a call without a reply), unreadable and
    silent (questions given up), incomplete (the other half was not there). `left` lists
    these three. `models`: what the speaker said it is, with counts.
    """

    speaker: Speaker
    settings: JudgeSettings = JudgeSettings()
    cache: Verdicts | None = None
    counts: Counter[str] = field(default_factory=Counter)
    models: Counter[str] = field(default_factory=Counter)
    left: list[Left] = field(default_factory=list)
    _silent_in_a_row: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def ask(self, item: str, messages: Sequence[Message], read: Callable[[str], T]) -> Verdict[T]:
        """The verdict on one item. `read` gives the value of a reply or raises `UsageError`.

        Raises: Unreachable when several items in a row found nobody; UsageError when the speaker cannot work at all.
        """
        key = key_of(self.speaker.name, self.speaker.version, messages, self.settings.asked())
        if self.cache is not None and (kept := self.cache.find(key)) is not None:
            try:
                value = read(kept)
            except UsageError:
                pass  # kept for another reader of the same prompt: it is asked again and replaced
            else:
                self._count("cached")
                return Verdict(value, kept, cached=True)
        try:
            verdict, reply = self._heard(messages, read)
        except (Unreachable, Declined) as error:
            return self._silence(item, error)
        with self._lock:
            self._silent_in_a_row = 0
        if reply is None:
            self.leave(item, "unreadable", verdict.why, verdict.reply)
        elif self.cache is not None:
            self.cache.keep(key, self.speaker.name, self.speaker.version, messages, self.settings.asked(), reply.text,
                            reply.model)
        return verdict

    def leave(self, item: str, count: str, why: str, reply: str = "") -> None:
        """Counts and lists a question that stays without a verdict."""
        with self._lock:
            self.counts[count] += 1
            self.left.append(Left(item, why, reply[:_SHOWN]))

    def report(self) -> dict[str, Any]:
        """What the results must say about the judge; no key, no prompt."""
        return {"name": self.speaker.name, "version": self.speaker.version, "settings": asdict(self.settings),
                "answered as": dict(self.models), "counts": dict(self.counts),
                "without a verdict": [asdict(one) for one in self.left]}

    def _heard(self, messages: Sequence[Message], read: Callable[[str], T]) -> tuple[Verdict[T], Reply | None]:
        """The first reply that can be read, within the allowed number."""
        talk = list(messages)
        reply, why = Reply("", ""), ""
        for reading in range(self.settings.readings):
            reply = self._call(talk, reading)
            try:
                return Verdict(read(reply.text), reply.text), reply
            except UsageError as error:
                why = error.what
                self._count("again")
                if self.settings.correct:
                    talk = [*messages, Message("assistant", (reply.text,)), Message("user", (_correction(error),))]
        return Verdict(None, reply.text, why), None

    def _call(self, talk: Sequence[Message], seed: int) -> Reply:
        """One reply, with waits between calls that get none."""
        for call in range(self.settings.calls):
            self._count("asked")
            try:
                reply = self.speaker.reply(talk, self.settings, seed)
            except Unreachable as error:
                self._count("waited")
                if call + 1 == self.settings.calls:
                    raise
                # Spread, so that several processes turned away together do not come back together.
                wait_s = self.settings.first_wait_s * 2**call * random.uniform(0.75, 1.25)
                time.sleep(min(max(wait_s, error.wait_s), self.settings.longest_wait_s))
            else:
                with self._lock:
                    self.models[reply.model] += 1
                return reply
        raise AssertionError("the last call returns or raises")

    def _silence(self, item: str, error: ReelmError) -> Verdict[T]:
        self.leave(item, "silent", str(error))
        with self._lock:
            self._silent_in_a_row = self._silent_in_a_row + 1 if isinstance(error, Unreachable) else 0
            gone = self._silent_in_a_row >= _PATIENCE
        if gone:
            raise Unreachable(f"no reply to {_PATIENCE} items in a row, each asked {self.settings.calls} times; the "
                              f"last time: {error.what}", where=self.speaker.name,
                              remedy="Look after the judge and run again: the verdicts so far are kept")
        return Verdict(None, why=str(error))

    def _count(self, name: str) -> None:
        with self._lock:
            self.counts[name] += 1


def judged(task: Judged, rows: Sequence[tuple[Item, str]], judge: Judge, workers: int = 1) -> list[dict[str, float]]:
    """The scores of items with their replies, in the order of `rows`; empty where there is no verdict.

    Items that are judged together get their scores at the first of them. Raises: as `Judge.ask`.
    """
    groups: dict[str, list[int]] = {}
    for place, (item, _) in enumerate(rows):
        groups.setdefault(task.group(item), []).append(place)

    def ask(item: str, messages: Sequence[Message], read: Callable[[str], T]) -> T | None:
        return judge.ask(item, messages, read).value

    def grade(places: list[int]) -> Mapping[str, float]:
        items = [rows[place][0] for place in places]
        if len(items) < task.together:
            judge.leave(items[0].id, "incomplete", f"{len(items)} item of a group that belongs together")
            return {}
        return task.verdict(items, [rows[place][1] for place in places], ask)

    found: list[dict[str, float]] = [{} for _ in rows]
    for places, scores in zip(groups.values(), in_order(grade, groups.values(), workers), strict=True):
        found[places[0]] = dict(scores)
    return found


def in_order(act: Callable[[S], T], questions: Iterable[S], workers: int) -> Iterator[T]:
    """What `act` gives for each question, in their order, `workers` at a time; an error drops what has not begun."""
    with ThreadPoolExecutor(workers) as pool:
        waiting = [pool.submit(act, question) for question in questions]
        try:
            for one in waiting:
                yield one.result()
        finally:
            for one in waiting:
                one.cancel()


def opened(text: str, timeout_s: float = 120.0) -> Speaker:
    """The speaker that `--judge` names: `local:FOLDER`, or `MODEL@https://host/v1` for an endpoint.

    Raises: UsageError for another form.
    """
    if text.startswith("local:"):
        from reelm.eval.local_judge import LocalJudge

        return LocalJudge(text.removeprefix("local:"))
    model, at, address = text.rpartition("@")
    if not at or not model:
        raise UsageError(f"no judge is called {text!r}", remedy="Write local:FOLDER, or MODEL@https://host/v1")
    from reelm.eval.endpoint import Endpoint

    return Endpoint(model, address, timeout_s=timeout_s)


def _correction(error: UsageError) -> str:
    return f"Your reply cannot be read: {error.what}. {error.remedy}. Reply again in the form that was asked for."
