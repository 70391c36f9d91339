"""What multiple-choice benchmarks share: letters before options, two readings of a reply, rotation, chance."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar, Protocol

from reelm.errors import UsageError
from reelm.tasks.base import Item, Scored, Task
from reelm.tasks.letters import LETTERS, careful
from reelm.types import Clip, Image

#: How every prompt of VideoLLaMA 2's choice scripts ends, or nearly.
DIRECTLY = "Answer with the option's letter from the given choices directly and only give the best option."
#: How LLaVA and LLaMA-VID end a question with options.
BY_LETTER = "Answer with the option's letter from the given choices directly."


class Reader(Protocol):
    """How a published script reads a reply."""

    def read(self, reply: str, options: Sequence[str]) -> int | None:
        """The option from 0; None where the script finds none."""
        ...


class ChoiceTask(Task):
    """A multiple-choice benchmark: `accuracy` with care, `accuracy_official` as the published script would read it.

    `unread`: the careful reader found no option, or several; such a reply is wrong. `readers_differ`: the two readers
    came to different options. `Item.answer` is a letter, `Item.facts["question"]` the question without its frame.
    """

    official: ClassVar[Reader | None]

    @abstractmethod
    def prompt(self, question: str, options: Sequence[str], facts: Mapping[str, str]) -> str:
        """The whole text that is asked."""

    def choice(self, id: str, video: str, media: tuple[Clip | Image, ...], question: str, options: Sequence[str],
               right: int | None, facts: Mapping[str, str] | None = None) -> Item:
        """An item of these options, `right` of them being the answer (None: only a server knows).

        Raises: UsageError if `right` is none of them, or there are more options than letters.
        """
        if len(options) > len(LETTERS) or (right is not None and not 0 <= right < len(options)):
            raise UsageError(f"option {right} of {len(options)}", where=f"{self.name} {id}",
                             remedy="Compare the entry with the official file")
        facts = {**(facts or {}), "question": question}
        return Item(id, video, media, self.prompt(question, options, facts), tuple(options),
                    "" if right is None else LETTERS[right], facts)

    def chance(self, item: Item) -> float:
        return 1 / len(item.options)

    def score(self, item: Item, text: str) -> dict[str, float]:
        read = careful(text, item.options)
        scores = {"unread": float(read is None)}
        if item.answer:
            scores["accuracy"] = float(read is not None and LETTERS[read] == item.answer)
        if self.official is None:
            return scores
        script = self.official.read(text, item.options)
        scores["readers_differ"] = float(read != script)
        if item.answer:
            scores["accuracy_official"] = float(script is not None and LETTERS[script] == item.answer)
        return scores

    def rotated(self, item: Item, by: int) -> Item:
        """The same question with its options moved up by `by` places, the first ones to the end.

        A model that prefers a letter shows it here. Options that speak of others by letter or place ("both A and B")
        lose their sense; none of the official files is made so that this could be seen from here.
        """
        count = len(item.options)
        if not by % count:
            return item
        options = tuple(item.options[(place + by) % count] for place in range(count))
        answer = item.answer and LETTERS[(LETTERS.index(item.answer) - by) % count]
        return replace(item, id=f"{item.id}#{by % count}", options=options, answer=answer,
                       text=self.prompt(item.facts["question"], options, item.facts))

    def rotations(self, item: Item) -> tuple[Item, ...]:
        return tuple(self.rotated(item, by) for by in range(len(item.options)))

    def chosen(self, row: Scored, reader: str) -> int | None:
        """What the reader "careful" or "official" takes the reply for."""
        if reader == "careful" or self.official is None:
            return careful(row.reply, row.item.options)
        return self.official.read(row.reply, row.item.options)


def listed(options: Sequence[str], form: str = "({letter}) {option}", between: str = "\n") -> str:
    """The options, each after its letter, one per line."""
    return between.join(form.format(letter=LETTERS[place], option=option) for place, option in enumerate(options))
