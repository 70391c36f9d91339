"""GQA in small: two pictures, a binary and two open questions."""

from __future__ import annotations

import json
from pathlib import Path

from tasks.miniatures.pictures import picture


def make(root: Path) -> None:
    rows = {"201307251": ("n161313", "Is it overcast?", "no", "verify", "global"),
            "201640614": ("n235859", "Who is wearing the dress?", "woman", "query", "rel"),
            "202225914": ("n235859", "Which color is the bowl to the left of the cup?", "blue", "query", "attr")}
    (root / "testdev_balanced_questions.json").write_text(json.dumps({
        key: {"question": question, "answer": answer, "imageId": image, "isBalanced": True, "equivalent": [key],
              "groups": {"global": None, "local": "06-weather_no"}, "entailed": [], "semanticStr": "select: scene",
              "fullAnswer": f"It is {answer}.", "semantic": [], "annotations": {},
              "types": {"structural": structural, "semantic": semantic, "detailed": "weatherVerify"}}
        for key, (image, question, answer, structural, semantic) in rows.items()}))
    for place, name in enumerate(("n161313", "n235859")):
        picture(root / "images" / f"{name}.jpg", place)
