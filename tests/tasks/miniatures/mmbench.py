"""MMBench in small: a question of four options and one of two, each once for every turn, pictures in base64."""

from __future__ import annotations

import base64
import csv
from pathlib import Path
from typing import Any

from tasks.miniatures.pictures import content

COLUMNS = ("index", "question", "hint", "A", "B", "C", "D", "answer", "category", "image", "source", "l2-category",
           "comment", "split")
QUESTIONS = ((241, "Which part is missing?", "Look at the\tedge.", ["wheel", "door", "lamp", "seat"], 2,
              "structuralized_imagetext_understanding", "finegrained_perception (instance-level)"),
             (252, 'Is the "cup" full?', "", ["yes", "no"], 0, "attribute_recognition", "attribute_reasoning"))


def rows(turns: bool = True) -> list[dict[str, Any]]:
    """The rows of the table; as the later releases have them without `turns`."""
    made = []
    for place, (index, question, hint, options, right, category, level) in enumerate(QUESTIONS):
        for by in range(len(options) if turns else 1):
            shown = options[by:] + options[:by]
            made.append(dict.fromkeys(COLUMNS, "") | dict(zip("ABCD", shown, strict=False)) | {
                "index": index + by * 1_000_000, "question": question, "hint": hint, "category": category,
                "answer": "ABCD"[(right - by) % len(options)], "l2-category": level, "source": "made", "split": "dev",
                # later releases name the row that has the picture
                "image": base64.b64encode(content(place)).decode() if by != 1 else str(index)})
    return made


def write(path: Path, made: list[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, COLUMNS, dialect="excel-tab")
        table.writeheader()
        table.writerows(made)


def make(root: Path) -> None:
    write(root / "mmbench_dev_20230712.tsv", rows())
