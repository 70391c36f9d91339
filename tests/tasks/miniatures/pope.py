"""POPE in small: two pictures, four questions of each kind."""

from __future__ import annotations

import json
from pathlib import Path

from tasks.miniatures.pictures import picture

PICTURES = ("COCO_val2014_000000310196.jpg", "COCO_val2014_000000210789.jpg")
ABSENT = {"random": "car", "popular": "chair", "adversarial": "fork"}


def make(root: Path) -> None:
    for kind, absent in ABSENT.items():
        asked = [(name, thing, label) for name in PICTURES for thing, label in (("snowboard", "yes"), (absent, "no"))]
        (root / f"coco_pope_{kind}.json").write_text("".join(json.dumps(
            {"question_id": place, "image": name, "text": f"Is there a {thing} in the image?", "label": label}) + "\n"
            for place, (name, thing, label) in enumerate(asked, 1)))
    for place, name in enumerate(PICTURES):
        picture(root / "val2014" / name, place)
