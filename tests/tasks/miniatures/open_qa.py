"""The two files of the open question data sets in small."""

from __future__ import annotations

import json
from pathlib import Path

from tasks.miniatures.films import film


def write(root: Path, names: dict[str, str], folder: str, ids: list[str | int], answers: list[str]) -> None:
    """A question about each video of `names` (name in the annotation: file in `folder`), and one more of the first."""
    videos = [*names, next(iter(names))]
    questions = [{"video_name": name, "question": f"what is happening in part {place}", "question_id": key}
                 for place, (name, key) in enumerate(zip(videos, ids, strict=True))]
    (root / "test_q.json").write_text(json.dumps(questions))
    rows = [{"answer": answer, "type": 3, "question_id": key} for answer, key in zip(answers, ids, strict=True)]
    (root / "test_a.json").write_text(json.dumps(rows))
    for file in names.values():
        film(root / folder / file)
