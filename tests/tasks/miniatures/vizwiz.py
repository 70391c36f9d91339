"""VizWiz in small: two questions with a server, two whose answers are public."""

from __future__ import annotations

import json
from pathlib import Path

from tasks.miniatures.pictures import picture

ANSWERED = (("What is this?", ["basil leaves"] * 5 + ["basil"] * 4 + ["Basil leaves."], "other", 1),
            ("What does this say?", ["unanswerable"] * 8 + ["unsuitable"] * 2, "unanswerable", 0))


def make(root: Path) -> None:
    test = [{"image": f"VizWiz_test_{place:08d}.jpg", "question": question}
            for place, question in enumerate(("What colour is this?", "Is it milk?"))]
    val = [{"image": f"VizWiz_val_{place:08d}.jpg", "question": question, "answer_type": kind, "answerable": can,
            "answers": [{"answer_confidence": "yes", "answer": answer} for answer in answers]}
           for place, (question, answers, kind, can) in enumerate(ANSWERED)]
    for part, entries in (("test", test), ("val", val)):
        (root / f"{part}.json").write_text(json.dumps(entries))
        for place, entry in enumerate(entries):
            picture(root / part / str(entry["image"]), place)
