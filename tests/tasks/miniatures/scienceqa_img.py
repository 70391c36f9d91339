"""ScienceQA in small: five problems, of which the test part has three and two of those a picture."""

from __future__ import annotations

import json
from pathlib import Path

from tasks.miniatures.pictures import picture


def make(root: Path) -> None:
    rows = {"1": ("Which state is farthest north?", ["Ohio", "Maine", "Texas", "Utah"], 1, "", "image.png", "test"),
            "2": ("Which is a fruit?", ["leaf", "pear"], 1, "", None, "test"),
            "5": ("What could the test show?", ["how steady it was", "what it cost", "who made it"], 0,
                  "A parachute hung in a wind tunnel.\nFigure: a parachute.", "image.png", "test"),
            "7": ("Which is larger?", ["a", "b"], 0, "", "image.png", "train"),
            "8": ("Which is smaller?", ["a", "b"], 0, "", None, "val")}
    (root / "problems.json").write_text(json.dumps({
        key: {"question": question, "choices": choices, "answer": answer, "hint": hint, "image": image,
              "task": "closed choice", "grade": "grade4", "subject": "natural science" if hint else "social science",
              "topic": "geography", "category": "Geography", "skill": "Read a map", "lecture": "", "solution": "",
              "split": part}
        for key, (question, choices, answer, hint, image, part) in rows.items()}))
    (root / "pid_splits.json").write_text(json.dumps(
        {part: [key for key, row in rows.items() if row[5] == part] for part in ("train", "val", "test")}))
    for place, key in enumerate(("1", "5")):
        picture(root / "images" / "test" / key / "image.png", place)
