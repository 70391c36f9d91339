"""Tasks whose replies a judge grades: what the judge is asked, and how its replies are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Protocol, TypeVar

from reelm.tasks.base import Item, Task
from reelm.tasks.verdict import grade, read_literal, read_object, whole_grade, yes
from reelm.types import Message

T = TypeVar("T")
#: What a request samples with that says nothing of it: the defaults of the chat-completions protocol.
UNSAID: Mapping[str, float | None] = {"temperature": 1.0, "top_p": 1.0, "max_tokens": None}


class Ask(Protocol):
    """Puts one question to a judge; None where no reply could be read."""

    def __call__(self, item: str, messages: Sequence[Message], read: Callable[[str], T]) -> T | None: ...


class Judged(Task):
    """A task with a judge. One item is one question to it unless `verdict` says otherwise.

    `official`: replies are read as the published scripts read them, quirks included. Those scripts ask again without
    end; here an item that stays without a verdict has no score and is listed with the judge's counts.
    """

    judged = True
    headline: ClassVar[str] = "score"
    #: How the published scripts have their judge sample; those of VideoLLaMA 2 unless a task says otherwise.
    published: ClassVar[Mapping[str, float | None]] = {"temperature": 0.7, "top_p": 0.95, "max_tokens": 800}
    #: How many items a group has.
    together: ClassVar[int] = 1

    def __init__(self, official: bool = False) -> None:
        self.official = official

    def chance(self, item: Item) -> float:
        return 0.0

    def group(self, item: Item) -> str:
        """Items with the same group are judged together; the scores belong to the first of them."""
        return item.id

    def verdict(self, items: Sequence[Item], texts: Sequence[str], ask: Ask) -> Mapping[str, float]:
        """The scores of a group of items with their replies; empty without a verdict."""
        return ask(items[0].id, self.verdict_prompt(items[0], texts[0]), self.read_verdict) or {}

    def read_verdict(self, reply: str) -> dict[str, float]:
        """A grade from 0 to 5 under "score"."""
        if self.official:
            return {"score": whole_grade(read_literal(reply))}
        return {"score": grade(read_object(reply))}


class YesAndScore(Judged):
    """A verdict of two parts: whether the answer is right, and a grade from 0 to 5."""

    headline = "accuracy"
    #: Under which key the judge says yes or no.
    says: ClassVar[str] = "pred"
    #: What the judge is told to look at.
    duty: ClassVar[str] = (
        "You grade answers to questions about videos. Compare the given answer with the correct one. Synonyms and "
        "paraphrases are right; what counts is whether both mean the same.")

    def verdict_prompt(self, item: Item, text: str) -> tuple[Message, ...]:
        form = f"{{'{self.says}': 'yes', 'score': 4}}"
        asked = (f"Question: {item.facts['question']}\nCorrect answer: {item.answer}\nGiven answer: {text}\n\n"
                 f"Write a Python dict and nothing else: under '{self.says}' the string 'yes' or 'no', under 'score' a "
                 f"whole number from 0 (nothing matches) to 5 (a perfect match). For example: {form}")
        return (Message("system", (self.duty,)), Message("user", (asked,)))

    def read_verdict(self, reply: str) -> dict[str, float]:
        if self.official:
            found = read_literal(reply)
            return self.official_accuracy(found) | {"score": whole_grade(found)}
        found = read_object(reply)
        return {"accuracy": float(yes(found, self.says)), "score": grade(found)}

    def official_accuracy(self, found: dict[str, Any]) -> dict[str, float]:
        """yes / (yes + no), each looked for inside the word: what is neither stands outside the accuracy."""
        word = str(found.get(self.says, "")).lower()
        return {"accuracy": 1.0} if "yes" in word else {"accuracy": 0.0} if "no" in word else {}


class Graded(Judged):
    """A verdict of one grade from 0 to 5 for one quality of an answer.

    `quality`: what the grade is for, in the judge's words.
    """

    quality: ClassVar[str] = ""

    def verdict_prompt(self, item: Item, text: str) -> tuple[Message, ...]:
        duty = f"You grade answers about videos for one quality only: {self.quality}"
        return (Message("system", (duty,)), Message("user", (f"{self.compared(item, text)}\n\n{SCORE_FORM}",)))

    def compared(self, item: Item, text: str) -> str:
        """The question, what is right and what was answered, as the judge reads them."""
        return f"Question: {item.facts['question']}\nCorrect answer: {item.answer}\nGiven answer: {text}"


#: The form that a single grade must have.
SCORE_FORM = ("Write a Python dict and nothing else: under 'score' a whole number from 0 (worst) to 5 (best). "
              "For example: {'score': 4}")
