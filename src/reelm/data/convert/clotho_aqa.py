"""Clotho-AQA (clotho_aqa_train.csv, …): file_name, QuestionText, answer, confidence; three people answer each question.

A question is one record with the answer that most of its people gave, at least two of them, as the paper does for yes
and no; a question on which all differ is left out. How sure a person was is not used.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from reelm.data.convert.entries import Entries, Format, Left, Work, table, told

COLUMNS = ("file_name", "QuestionText", "answer")
Asked = tuple[str, str, list[str]]


def entries(path: Path) -> Entries:
    """One entry per question: (file, question, answers), at the line of its first answer."""
    asked: dict[tuple[str, str], tuple[int, list[str]]] = {}
    for line, row in table(path, COLUMNS):
        _, answers = asked.setdefault((row["file_name"].strip(), row["QuestionText"].strip()), (line, []))
        answers.append((row["answer"] or "").strip().lower())
    for (file, question), (line, answers) in asked.items():
        yield line, (file, question, answers)


def record(entry: Asked, work: Work) -> dict[str, object]:
    file, question, answers = entry
    (answer, votes), = Counter(answers).most_common(1)
    if votes < 2:
        raise Left("no answer that two people gave", f"{file}: {question} {', '.join(answers)}")
    if votes < len(answers):
        work.notes["an answer that not all people gave"] += 1
    return dict(told("audio", work.find(file, "audio"), [(question, answer)]))


FORMAT = Format("clotho_aqa_train.csv, _val.csv, _test.csv: questions about sounds, the answer of the majority",
                "Clotho-AQA, arXiv:2204.09634; zenodo 6473207", record, entries)
