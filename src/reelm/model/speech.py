"""Spoken words for the prompt: from subtitles or a speech-to-text tool, and an honest sentence where there are none.

The models hear events, not words. So words reach them as text behind their clip, with times. The rule:

* "auto" gives words when a question of the conversation asks about them (see `asks_for_words`), "always" gives them
  with every question, "off" never. A prompt without words is the one the model was trained on.
* They come from the text track inside the file, or the subtitle file that was named, or else from the transcriber.
* Where a question asks about words and a sound track gave none, a note says so, whatever the answer claims.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol

from reelm import media
from reelm.errors import UsageError
from reelm.types import Audio, Clip, Cue, Message

Speech = Literal["auto", "always", "off"]


class Transcriber(Protocol):
    """A speech-to-text tool. `transcribe` gives what is said in a sound [1,K] at `rate_hz`, its times in seconds from
    the first sample. It is asked once per clip; what it gave is kept."""

    rate_hz: int

    def transcribe(self, sound: Audio) -> Sequence[Cue]: ...


@dataclass(frozen=True)
class Words:
    """What is said in a medium, and where that is known from; `hint` names subtitle files that lie beside it."""

    cues: tuple[Cue, ...]
    origin: str
    has_sound: bool
    hint: str = ""

    @property
    def bytes(self) -> int:
        return 200 + sum(64 + 4 * len(cue.text) for cue in self.cues)


_HARMLESS = re.compile(
    r"\b(tell (me|us)|in (your own|a few|one|two|three|four|five|ten|\d+|short|simple|other) words?|"
    r"(one|single)[- ]word|^\s*say\b|(sign|label|text|title|poster|shirt|screen|banner|page|letter|board|clock)s?"
    r"( \w+)? (say|says|said|read|tell|tells))", re.IGNORECASE)
_ABOUT_WORDS = re.compile(
    r"\b(say|says|said|saying|speak|speaks|spoke|spoken|speaking|speech|talk|talks|talked|talking|tells?|told|words?|"
    r"dialogues?|dialogs?|conversations?|lyrics|sings?|sang|sung|quote[sd]?|transcri\w+|mention\w*|pronounce\w*|"
    r"discuss\w*|narrat\w+|announce\w*|subtitles?|interview\w*|argu\w+ about)\b", re.IGNORECASE)


def asks_for_words(question: str) -> bool:
    """Whether an English question is about what is said; for other languages use speech="always"."""
    return _ABOUT_WORDS.search(_HARMLESS.sub(" ", question)) is not None


class Same:
    """Stands for one very object in a key, whatever that object calls equal, and keeps it."""

    def __init__(self, thing: object) -> None:
        self.thing = thing

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and other.thing is self.thing

    def __hash__(self) -> int:
        return id(self.thing)


def listen(medium: Clip | Audio, transcriber: Transcriber | None, side: str | Path | None) -> Words:
    """What is said in a medium: its subtitles, else what the transcriber makes of its sound.

    Cost: reads the file once; with a transcriber also decodes its sound.
    """
    if isinstance(medium, Audio):
        return _transcribed(medium, transcriber) if transcriber else Words((), "", True)
    with media.open(medium) as reader:
        info = reader.info()
        cues = reader.subtitles(side)
        if cues:
            return Words(cues, f"from {side}" if side is not None else "from its subtitles", info.has_audio)
        if info.has_audio and transcriber:
            sound = reader.audio(transcriber.rate_hz)
            assert sound is not None, "a file with a sound track has sound"
            return _transcribed(sound, transcriber)
        near = ", ".join(path.name for path in reader.beside())
    return Words((), "", info.has_audio, near)


def _transcribed(sound: Audio, transcriber: Transcriber) -> Words:
    if sound.rate_hz != transcriber.rate_hz:
        raise UsageError(f"the sound has {sound.rate_hz} Hz, the transcriber wants {transcriber.rate_hz}",
                         remedy="Pass the sound in its rate, or as a file")
    cues = tuple(replace(cue, start_s=cue.start_s + sound.start_s, end_s=cue.end_s + sound.start_s)
                 for cue in transcriber.transcribe(sound) if cue.text.strip())
    return Words(cues, f"recognised by {type(transcriber).__name__}, which may be wrong", True)


class Spoken:
    """A conversation with the words of its media, as far as they fit: `turns` is the prompt, `notes` the account."""

    def __init__(self, turns: Sequence[Message], found: Sequence[Words | None], asked: bool, hears: bool) -> None:
        self._turns, self._found, self._asked, self._hears = list(turns), list(found), asked, hears
        self.lines = self._total = sum(len(words.cues) for words in found if words)

    def shorten(self) -> bool:
        """Leaves out the second half of the lines; False when there are none."""
        if not self.lines:
            return False
        self.lines //= 2
        return True

    @property
    def turns(self) -> list[Message]:
        """The messages, the words of a medium directly behind it."""
        left, found = self.lines, iter(self._found)
        turns = []
        for turn in self._turns:
            parts: list[Any] = []
            for part in turn.parts:
                parts.append(part)
                words = None if isinstance(part, str) else next(found)
                if words and words.cues[:left]:
                    parts.append(as_text(words.cues[:left]))
                    left -= len(words.cues[:left])
            turns.append(replace(turn, parts=tuple(parts)))
        return turns

    @property
    def notes(self) -> tuple[str, ...]:
        """Where the words come from, what was left out of them, and what is not known of words."""
        notes = [f"words {words.origin} stand in the prompt ({len(words.cues)} lines)"
                 for words in self._found if words and words.cues]
        if self.lines < self._total:
            notes.append(f"only the first {self.lines} of {self._total} lines fit into the prompt; "
                         "ask about a shorter stretch")
        silent = [words for words in self._found if words and words.has_sound and not words.cues]
        if self._asked and silent:
            near = ", ".join(words.hint for words in silent if words.hint)
            notes.append(NOT_WORDS[self._hears] + (f" (beside it: {near})" if near else ""))
        return tuple(dict.fromkeys(notes))


#: By whether the model hears.
NOT_WORDS = {
    True: "I hear events, not words: nothing told me what is said; give subtitles or a transcriber",
    False: "I hear neither events nor words: nothing told me what is said; give subtitles or a transcriber",
}


def as_text(cues: Sequence[Cue]) -> str:
    """Lines for the prompt: `1.0 to 2.5 s: "…"`, so that an answer can name the times."""
    lines = [f'{cue.start_s:.1f} to {cue.end_s:.1f} s: "{" ".join(cue.text.split())}"' for cue in cues]
    return "\n".join(["Spoken words:", *lines, ""])
