"""VQAv2 in small: two questions of test-dev among three of test, and two with answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tasks.miniatures.pictures import picture

ANSWERED = {262148000: (262148, "Is it raining?", ["yes"] * 9 + ["no"], "yes/no"),
            393225001: (393225, "How many dogs?", ["2"] * 6 + ["3"] * 2 + ["many", "two"], "number")}


def questions(root: Path, part: str, rows: list[tuple[int, int, str]]) -> None:
    told: dict[str, Any] = {"info": {"version": "2.0"}, "task_type": "Open-Ended", "data_type": "mscoco",
                            "data_subtype": part, "license": {}}
    told["questions"] = [{"image_id": image, "question": question, "question_id": key} for key, image, question in rows]
    (root / f"v2_OpenEnded_mscoco_{part}_questions.json").write_text(json.dumps(told))


def make(root: Path) -> None:
    test = [(1000, 1, "What is the man doing?"), (1001, 1, "What colour is the hat?"), (5000, 5, "Is it day?")]
    questions(root, "test-dev2015", test[:2])
    questions(root, "test2015", test)
    questions(root, "val2014", [(key, image, question) for key, (image, question, _, _) in ANSWERED.items()])
    (root / "v2_mscoco_val2014_annotations.json").write_text(json.dumps({"annotations": [
        {"question_type": "is it", "multiple_choice_answer": answers[0], "image_id": image, "answer_type": kind,
         "question_id": key, "answers": [{"answer": answer, "answer_confidence": "yes", "answer_id": place}
                                         for place, answer in enumerate(answers, 1)]}
        for key, (image, _, answers, kind) in ANSWERED.items()]}))
    picture(root / "test2015" / "COCO_test2015_000000000001.jpg")
    for place, image in enumerate((262148, 393225)):
        picture(root / "val2014" / f"COCO_val2014_{image:012d}.jpg", place)
