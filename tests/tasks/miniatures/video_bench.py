"""Video-Bench in small: all thirteen files, two questions each with two to six options."""

from __future__ import annotations

import json
from pathlib import Path

from reelm.tasks.letters import LETTERS
from reelm.tasks.video_bench import LEVELS
from tasks.miniatures.films import film

SEEN = ("a lamp", "a kettle", "a chair", "a box", "a door", "a rope")


def make(root: Path) -> None:
    (root / "Eval_QA").mkdir()
    for number, name in enumerate(name for sets in LEVELS.values() for name in sets):
        path = f"Eval_video/{name}/clip_{number}.mp4"
        choices = dict(zip(LETTERS, SEEN[:2 + number % 5], strict=False))
        entries = {f"v_{name}_{place}": {
            "vid_path": path, "video_id": f"clip_{number}", "question": f"What stands {where}?", "choices": choices,
            "answer": LETTERS[place]} for place, where in enumerate(("left", "right"))}
        (root / "Eval_QA" / f"{name}_QA_new.json").write_text(json.dumps(entries))
        film(root / path)
