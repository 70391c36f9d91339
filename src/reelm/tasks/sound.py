"""What the benchmarks of sound share: conversations in annotation files, sounds chosen by a letter."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from reelm.errors import UsageError
from reelm.tasks.base import Item
from reelm.tasks.choice import DIRECTLY, ChoiceTask, listed
from reelm.tasks.files import need, read_lines
from reelm.tasks.letters import LETTERS
from reelm.types import Clip

_MARK = re.compile(r"<(?:audio|video|image)>\s*")


def turns(entry: Any, where: str) -> list[tuple[str, str]]:
    """The questions, without marks for media, and answers of an entry's `conversations`.

    Raises: UsageError unless a human and a model take turns.
    """
    said = need(entry, "conversations", list, where)
    words = [need(one, "value", str, where).strip() for one in said]
    speakers = [need(one, "from", str, where) for one in said]
    if not said or speakers != ["human", "gpt"] * (len(said) // 2):
        raise UsageError(f"'conversations' goes {', '.join(speakers) or 'nowhere'}, not human, gpt in turn",
                         where=where, remedy="Compare the entry with the official file")
    return [(_MARK.sub("", asked).strip(), told) for asked, told in zip(words[::2], words[1::2], strict=True)]


class SoundChoice(ChoiceTask):
    """Which of a fixed list of sounds is heard. `file`: JSON lines with audio (a path under the root) and gt."""

    official = None
    file: ClassVar[str]
    question: ClassVar[str]
    sounds: ClassVar[tuple[str, ...]]
    splits = ("sound",)

    def annotations(self, root: Path) -> tuple[Path, ...]:
        return (root / self.file,)

    def items(self, root: Path) -> Iterator[Item]:
        path, = self.annotations(root)
        for place, entry in enumerate(read_lines(path)):
            where = f"{path}, entry {place}"
            audio, right = need(entry, "audio", str, where), need(entry, "gt", str, where)
            if right not in self.sounds:
                raise UsageError(f"'gt' is {right[:40]!r}", where=where, remedy=f"One of {', '.join(self.sounds)}")
            yield self.choice(str(place), audio, (Clip(root / audio),), self.question, self.sounds,
                              self.sounds.index(right), {"sound": right})

    def prompt(self, question: str, options: Sequence[str], facts: Mapping[str, str]) -> str:
        # The full stop before the last sentence stands in the official prompt.
        return f"{question}\nOptions:\n{listed(options)}\n.{DIRECTLY}"

    def score(self, item: Item, text: str) -> dict[str, float]:
        right = item.options[LETTERS.index(item.answer)]
        return super().score(item, text) | {"accuracy_official": float(official_hit(text, right, item.options))}


def official_hit(text: str, right: str, options: Sequence[str]) -> bool:
    """Whether the right name stands anywhere in the reply ("carpet" says car), or the reply is its letter alone.

    Source: VideoLLaMA 2, audio_visual branch; equal in every recorded row, tests/tasks/test_sound.py.
    """
    letter = LETTERS[options.index(right)].lower()
    said = text.lower()
    return right.lower() in said or said.strip() in (letter, f"({letter})")
