"""Answers of a word or two, compared with the right one: as published scripts compare, and in words alone."""

from __future__ import annotations

import re

from reelm.tasks.base import Item, Task

_NUMBERS = {word: str(value) for value, word in enumerate(
    ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"])}


class ExactTask(Task):
    """Answers of a word or two: `accuracy` with care, `accuracy_official` as VideoLLaMA 2's scripts compare."""

    def chance(self, item: Item) -> float:
        return 0.0

    def score(self, item: Item, text: str) -> dict[str, float]:
        return {"accuracy": float(same(text, item.answer)),
                "accuracy_official": float(official_same(text, item.answer))}


def official_same(text: str, answer: str) -> bool:
    """Equal but for case, after spaces and full stops at the end of the reply: " yes", "yes!" and "2" are not.

    Source: VideoLLaMA 2, audio_visual branch; equal in every recorded row, tests/tasks/test_sound.py.
    """
    return text.rstrip(" .").lower() == answer.lower()


def same(text: str, answer: str) -> bool:
    """Equal in words: case, punctuation, articles and the writing of numbers do not matter. After a yes or no at its
    beginning a reply may go on."""
    said, right = _plain(text), _plain(answer)
    if right in (["yes"], ["no"]):
        return said[:1] == right and not {"yes", "no"} - set(right) & set(said)
    return said == right


def _plain(text: str) -> list[str]:
    found = [_NUMBERS.get(word, word) for word in re.findall(r"[\w']+", text.casefold())]
    return [word for word in found if word not in ("a", "an", "the")] or found
