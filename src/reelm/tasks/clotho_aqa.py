"""Clotho-AQA: questions about sounds, answered with one word."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from reelm.errors import UsageError
from reelm.tasks.base import Item, task
from reelm.tasks.exact import ExactTask
from reelm.tasks.files import need, placed, read_json
from reelm.tasks.sound import turns
from reelm.types import Clip

_COLUMNS = ("file_name", "QuestionText", "answer")


@task("clotho_aqa")
class ClothoAQA(ExactTask):
    """`clotho_aqa_test.csv` and `audio_files/` as released, or `clotho_aqa_test.json` (id, audio, conversations).

    In the release three people answer each question; each answer is an item, so that where people differ no model is
    right always. `yes_no`: accuracy over items whose answer is yes or no; the official one leaves a full stop at the
    end of the reply where it is and then finds it different.
    Source: Lipping et al. 2022; prompt and official comparison after VideoLLaMA 2, audio_visual branch.
    """

    def annotations(self, root: Path) -> tuple[Path, ...]:
        talks = root / "clotho_aqa_test.json"
        return (talks if talks.is_file() else root / "clotho_aqa_test.csv",)

    def items(self, root: Path) -> Iterator[Item]:
        path, = self.annotations(root)
        yield from self._talks(path, root) if path.suffix == ".json" else self._table(path, root)

    def score(self, item: Item, text: str) -> dict[str, float]:
        scores = super().score(item, text)
        if item.answer.lower() in ("yes", "no"):
            scores["yes_no"] = scores["accuracy"]
            scores["yes_no_official"] = float(text.lower() == item.answer.lower())
        return scores

    def _talks(self, path: Path, root: Path) -> Iterator[Item]:
        for place, entry in enumerate(read_json(path, list)):
            where = f"{path}, entry {place}"
            key, audio = need(entry, "id", (str, int), where), need(entry, "audio", str, where)
            for number, (question, answer) in enumerate(turns(entry, where)):
                yield _item(f"{key}/{number}" if number else str(key), audio, root / audio, question, answer)

    def _table(self, path: Path, root: Path) -> Iterator[Item]:
        with placed(path).open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            if lost := [name for name in _COLUMNS if name not in (rows.fieldnames or ())]:
                raise UsageError(f"has no column {', '.join(lost)}", where=str(path),
                                 remedy="Place the official file there")
            for row in rows:
                name, question, answer = (row[column] for column in _COLUMNS)
                if not (name and question and answer):
                    raise UsageError("lacks a name, a question or an answer", where=f"{path}, line {rows.line_num}",
                                     remedy="Place the official file there")
                yield _item(str(rows.line_num), name, root / "audio_files" / name, question.strip(), answer.strip())


def _item(key: str, audio: str, path: Path, question: str, answer: str) -> Item:
    asked = f"Question: {question}\nAnswer the question using a single word."
    return Item(key, audio, (Clip(path),), asked, answer=answer, facts={"question": question})
