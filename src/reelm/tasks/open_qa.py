"""What the open question data sets share: questions in one file, answers in another, aligned by position."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from reelm.errors import UsageError
from reelm.tasks.base import Item
from reelm.tasks.files import need, read_json, video_file
from reelm.tasks.judged import YesAndScore
from reelm.types import Clip


class OpenQA(YesAndScore):
    """`test_q.json` (video_name, question, question_id) beside `test_a.json` (answer).

    A video is looked for as `v_NAME`, then as `NAME`, in `videos`.
    """

    videos: ClassVar[str]

    def annotations(self, root: Path) -> tuple[Path, ...]:
        return root / "test_q.json", root / "test_a.json"

    def items(self, root: Path) -> Iterator[Item]:
        asked, answered = self.annotations(root)
        questions, answers = read_json(asked, list), read_json(answered, list)
        if len(questions) != len(answers):
            raise UsageError(f"{len(questions)} questions and {len(answers)} answers where each question has one",
                             where=str(root), remedy="Fetch both files again")
        for place, (entry, answer) in enumerate(zip(questions, answers, strict=True)):
            where = f"{asked}, entry {place}"
            name, question = need(entry, "video_name", str, where), need(entry, "question", str, where)
            key = need(entry, "question_id", (str, int), where)
            right = str(need(answer, "answer", (str, int, float), f"{answered}, entry {place}"))
            if answer.get("question_id", key) != key:
                raise UsageError(f"its question_id is {key!r}, that of the answer {answer['question_id']!r}",
                                 where=where, remedy="Fetch both files again")
            prefixed = video_file(root / self.videos, f"v_{name}")
            path = prefixed if prefixed.is_file() else video_file(root / self.videos, name)
            yield Item(str(key), name, (Clip(path),), question, answer=right, facts={"question": question})
