"""One question under way: its options, its pieces of text as they come, and the answer with all its facts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict, get_args

from reelm.errors import BudgetError, UsageError
from reelm.model.engine import CANCELLED, Cancel, Event, Request
from reelm.model.sampling import Sampling
from reelm.model.sensing import Choice, Clock, Seen
from reelm.model.speech import Speech, Transcriber
from reelm.types import Answer, Message, Span, Thumbnail

#: What is called with each piece of text as it comes.
Listener = Callable[[str], Any]

_NUMBER = r"(\d+(?:\.\d+)?)"
_UNIT = r"(?:s|secs?|seconds?)"
_SPAN = re.compile(rf"(?:\b(between)\s+)?(?<![\d.:]){_NUMBER}\s*{_UNIT}?\s*(to|until|and|-|–)\s*{_NUMBER}\s*{_UNIT}\b",
                   re.IGNORECASE)


class TooLong(BudgetError):
    """The prompt and the longest answer do not fit into the model's context."""


class Options(TypedDict, total=False):
    """Keyword arguments of `answer`, `stream` and `answer_many`.

    `max_tokens` (256): longest answer. `temperature` (0: always the likeliest token), `top_p`, `top_k`, `seed`:
    sampling. `repetition_penalty` (that of the model's generation defaults, mostly 1: none) acts on answered tokens.
    `stop`: strings that end the answer and are left out of it. `frames` or `fps`: how many pictures of a clip, instead
    of the model's own rule. `tokens`: the most that all media of the question may become, pictures and sound together;
    frames and compressors are chosen to fit. `audio` (True): whether to listen. `speech` ("auto", "always", "off"),
    `subtitles` (an SRT or WebVTT file for the first clip) and `transcriber`: how words that are said reach the prompt,
    see `reelm.model.speech`. `cancel`: a threading.Event or a function; once set or true, the answer ends as it is.
    """

    max_tokens: int
    temperature: float
    top_p: float
    top_k: int
    repetition_penalty: float | None
    seed: int | None
    stop: tuple[str, ...]
    frames: int | None
    fps: float | None
    tokens: int | None
    audio: bool
    speech: Speech
    subtitles: str | Path | None
    transcriber: Transcriber | None
    cancel: Cancel | None


@dataclass(frozen=True)
class Ask:
    """Checked options; see `Options`."""

    max_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    repetition_penalty: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    frames: int | None = None
    fps: float | None = None
    tokens: int | None = None
    audio: bool = True
    speech: Speech = "auto"
    subtitles: str | Path | None = None
    transcriber: Transcriber | None = None
    cancel: Cancel | None = None

    def __post_init__(self) -> None:
        if self.speech not in get_args(Speech):
            raise UsageError(f"speech is {self.speech!r}", remedy=f"One of: {', '.join(get_args(Speech))}")
        if self.speech == "off" and not (self.subtitles is None and self.transcriber is None):
            raise UsageError("speech 'off' makes subtitles and a transcriber useless", remedy="Leave one of them out")

    @property
    def choice(self) -> Choice:
        return Choice(self.frames, self.fps, self.audio, self.tokens)

    def sampling(self, own_penalty: float = 1.0) -> Sampling:
        """How tokens are chosen; `own_penalty` is the model's, for a caller who names none."""
        penalty = own_penalty if self.repetition_penalty is None else self.repetition_penalty
        return Sampling(self.temperature, self.top_p, self.top_k, penalty, self.seed)


def conversation(parts: Sequence[Any]) -> list[Message]:
    """The messages that a call means: those given, or else one of the user with all the parts.

    Raises: UsageError when both stand side by side, or the last word is not the user's.
    """
    given = [part for part in parts if isinstance(part, Message)]
    if not given:
        return [Message("user", tuple(parts))]
    if len(given) < len(parts):
        raise UsageError(f"{len(given)} messages beside {len(parts) - len(given)} loose parts",
                         remedy="Put the parts into the last Message, or pass parts only")
    if given[-1].role != "user":
        raise UsageError(f"the last message is of role {given[-1].role!r}, so there is nothing to answer",
                         remedy='End with a Message("user", …)')
    return given


def asked(turns: Sequence[Message]) -> str:
    """The question of a conversation: the words of its last turn."""
    return turns[-1].words


@dataclass
class Prepared:
    """A prompt that is ready to be answered, with the facts about its media and what it took so far."""

    request: Request
    seen: list[Seen]
    tokens: dict[str, int]
    clock: Clock
    thumbnails: Callable[[], Sequence[Thumbnail]] | None = None
    notes: tuple[str, ...] = ()


class AnswerStream:
    """Pieces of text as the model makes them; iterate it, then read `answer`.

    `answer` before the end tells what was said so far, with stop "cancelled".
    """

    def __init__(self, prepared: Prepared, events: Iterator[Event]) -> None:
        self._prepared = prepared
        self._events = events
        self._text: list[str] = []
        self._made = 0
        self._stop: str | None = None
        self._first_s: float | None = None
        self._last_s = 0.0

    def __iter__(self) -> Iterator[str]:
        for event in self._events:
            piece = self.take(event)
            if piece:
                yield piece

    def take(self, event: Event) -> str:
        """Notes one event; gives its text. Raises: the error that ended the request, if one did."""
        if event.error is not None:
            raise event.error
        clock = self._prepared.clock
        self._last_s = clock.now
        if self._first_s is None:
            self._first_s = self._last_s
            clock.add("prefill", event.prefill_s)
        self._made += event.token is not None
        self._stop = event.stop
        self._text.append(event.text)
        return event.text

    @property
    def answer(self) -> Answer:
        """Everything known about the answer; the text is stripped of white space at both ends."""
        prepared, clock = self._prepared, self._prepared.clock
        text = "".join(self._text).strip()
        phases = {name: clock.seconds.get(name, 0.0) for name in ("open", "decode", "encode", "prefill")}
        first_s = self._first_s if self._first_s is not None else clock.now
        last_s = max(self._last_s, first_s)
        return Answer(
            text=text, used_s=tuple(seen.frames_at_s for seen in prepared.seen),
            audio_used=any(seen.audio is not None for seen in prepared.seen), spans=spans_in(text),
            tokens={**prepared.tokens, "new": self._made},
            seconds={**phases, "first_token": first_s, "generate": last_s - first_s, "total": last_s},
            stop=self._stop or CANCELLED,
            notes=tuple(dict.fromkeys([*(note for seen in prepared.seen for note in seen.notes), *prepared.notes])),
            thumbnails=prepared.thumbnails,
        )


def spans_in(text: str) -> tuple[Span, ...]:
    """Stretches of time named in a text, in the order of the text.

    Found are two numbers joined by to, until or a dash (or "between … and …"), the second followed by s, sec, secs,
    second or seconds, the first below the second: "from 3.2 s to 5 s", "2-4 seconds". Nothing else is guessed, neither
    clock times such as 0:03 nor single moments.
    """
    spans = []
    for between, start, joint, end in _SPAN.findall(text):
        if (joint.lower() == "and") == bool(between) and float(start) < float(end):
            spans.append(Span(float(start), float(end)))
    return tuple(spans)
