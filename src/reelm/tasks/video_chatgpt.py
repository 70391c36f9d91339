"""Video-ChatGPT's generative benchmark: five qualities of free answers, each graded from 0 to 5 by a judge.

Correctness, detail and context are judged on the same answers, which a cache of answers gives for nothing the second
time. Consistency asks the same thing twice in other words and judges the two answers together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from reelm.tasks.base import Item, task
from reelm.tasks.files import need, read_json, video_file
from reelm.tasks.judged import SCORE_FORM, Ask, Graded
from reelm.types import Clip, Message


class VideoChatGPT(Graded):
    """One quality of the answers to the questions in `file` (keys Q, A, video_name); videos in `Test_Videos`."""

    file: ClassVar[str] = "generic_qa.json"
    questions: ClassVar[tuple[str, ...]] = ("Q",)

    def annotations(self, root: Path) -> tuple[Path, ...]:
        return (root / self.file,)

    def items(self, root: Path) -> Iterator[Item]:
        path, = self.annotations(root)
        for number, entry in enumerate(read_json(path, list)):
            where = f"{path}, entry {number}"
            name, right = need(entry, "video_name", str, where), need(entry, "A", str, where)
            media = (Clip(video_file(root / "Test_Videos", name)),)
            for key in self.questions:
                question = need(entry, key, str, where)
                ending = f"/{key}" if len(self.questions) > 1 else ""
                yield Item(f"{number}{ending}", name, media, question, answer=right, facts={"question": question})


@task("video_chatgpt_correctness")
class Correctness(VideoChatGPT):
    """Whether the answer is true to the facts."""

    quality = "is the answer true to the facts of the correct one, without error or misleading statement?"


@task("video_chatgpt_detail")
class Detail(VideoChatGPT):
    """Whether the answer is complete and specific."""

    quality = "does the answer cover all main points of the correct one, with specific details, not generalities?"


@task("video_chatgpt_context")
class Context(VideoChatGPT):
    """Whether the answer fits what the video as a whole is about."""

    quality = "does the answer fit the context and the main theme of the video as the correct one tells them?"


@task("video_chatgpt_temporal")
class Temporal(VideoChatGPT):
    """Whether the answer has the order of events right."""

    file = "temporal_qa.json"
    quality = "does the answer tell the events in the order, and with the timing, of the correct one?"


@task("video_chatgpt_consistency")
class Consistency(VideoChatGPT):
    """Whether two answers to two wordings of one question agree with each other and with what is right."""

    file, questions, together = "consistency_qa.json", ("Q1", "Q2"), 2
    quality = "do two answers to two wordings of one question agree with each other and with the correct answer?"

    def group(self, item: Item) -> str:
        return item.id.rpartition("/")[0]

    def verdict(self, items: Sequence[Item], texts: Sequence[str], ask: Ask) -> Mapping[str, float]:
        """One grade for both answers."""
        asked = "\n".join(f"Question {number}: {item.facts['question']}\nGiven answer {number}: {text}"
                          for number, (item, text) in enumerate(zip(items, texts, strict=True), 1))
        prompt = (Message("system", (f"You grade answers about videos for one quality only: {self.quality}",)),
                  Message("user", (f"Correct answer: {items[0].answer}\n{asked}\n\n{SCORE_FORM}",)))
        return ask(self.group(items[0]), prompt, self.read_verdict) or {}
