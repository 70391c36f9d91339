"""EgoSchema in small: three questions, one answer known."""

from __future__ import annotations

import json
from pathlib import Path

from tasks.miniatures.films import film


def make(root: Path) -> None:
    names = ["0074f737-11cb-497d-8d07-77c3a8127391", "00aa7247-9a4b-4667-8588-37df29d40fe8", "00b9a0de-c59e-49cb"]
    questions = [{"q_uid": name, "google_drive_id": f"drive{place}", "question": f"What does C do in scene {place}?",
                  **{f"option {number}": f"C does thing {number} in a way of {place}" for number in range(5)}}
                 for place, name in enumerate(names)]
    (root / "questions.json").write_text(json.dumps(questions))
    (root / "subset_answers.json").write_text(json.dumps({names[1]: 3}))
    for name, suffix in zip(names, (".mp4", ".mkv", ".mov"), strict=True):
        film(root / "good_clips_git" / f"{name}{suffix}")
