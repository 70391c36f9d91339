"""A conversation about media: questions that know the ones before, on clips that are taken in once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Unpack

from reelm.errors import UsageError
from reelm.model.asking import Listener, Options, TooLong
from reelm.model.engine import CANCELLED
from reelm.model.front import VideoLM
from reelm.model.sensing import Medium
from reelm.types import Answer, Message


@dataclass(frozen=True)
class Exchange:
    """A question, the media that came with it, and its answer."""

    media: tuple[Medium, ...]
    question: str
    answer: Answer


class Chat:
    """Questions and answers in turn. A medium stands in the turn it was added before, and never moves from there.

    The prompt therefore begins the same way every time, and `VideoLM` has that beginning ready: a further question
    decodes, encodes and prefills no medium again (`Answer.tokens["reused"]`). When the conversation outgrows the
    model's context, the oldest questions with their answers leave the prompt, never their media, and a note says so.
    """

    def __init__(self, lm: VideoLM, *media: Medium) -> None:
        self.lm = lm
        self.exchanges: list[Exchange] = []
        self.waiting: list[Medium] = list(media)
        self._left_out = 0

    @property
    def media(self) -> list[Medium]:
        """All media, in the order of the prompt and so of `Answer.used_s`; those that wait for a question last."""
        return [medium for past in self.exchanges for medium in past.media] + self.waiting

    def add(self, *media: Medium) -> None:
        """Media for the next question and all that follow."""
        self.waiting += media

    def ask(self, question: str, *, stream: Listener | None = None, **options: Unpack[Options]) -> Answer:
        """The answer to a question in the light of all before it; `stream` and `options` as for `VideoLM.answer`.

        A question that raises, or that was cancelled before its first word, leaves the conversation as it was.
        Raises: UsageError for an empty question; what `VideoLM.answer` raises.
        """
        if not question.strip():
            raise UsageError("the question is empty")
        left_out = self._left_out
        while True:
            try:
                answer = self.lm.answer(*self.messages(question, left_out), stream=stream, **options)
                break
            except TooLong:
                if left_out == len(self.exchanges):
                    raise
                left_out += 1
        self._left_out = left_out
        if left_out:
            answer = replace(answer, notes=(_forgotten(left_out), *answer.notes))
        if answer.text or answer.stop != CANCELLED:
            self.exchanges.append(Exchange(tuple(self.waiting), question, answer))
            self.waiting = []
        return answer

    def messages(self, question: str, left_out: int = 0) -> list[Message]:
        """The prompt that asks `question`: what was said before without the first `left_out` exchanges, whose media
        open the first message that is left."""
        turns: list[Message] = []
        carried: Sequence[Medium] = [medium for past in self.exchanges[:left_out] for medium in past.media]
        for past in self.exchanges[left_out:]:
            turns.append(Message("user", (*carried, *past.media, past.question)))
            turns.append(Message("assistant", (past.answer.text,)))
            carried = ()
        return [*turns, Message("user", (*carried, *self.waiting, question))]


def _forgotten(count: int) -> str:
    what = "question was" if count == 1 else f"{count} questions were"
    return f"the conversation is longer than the model's context: its first {what} left out (no clip was)"
