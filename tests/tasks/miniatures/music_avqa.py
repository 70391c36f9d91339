"""MUSIC-AVQA in small, as released: lists written as texts, blanks in questions."""

from __future__ import annotations

import json
from pathlib import Path

from tasks.miniatures.films import film


def make(root: Path) -> None:
    rows = [("00000093", 1, ["Audio", "Counting"], "How many musical instruments were heard?", [], "two"),
            ("00000093", 2, ["Audio-Visual", "Location"], "Is the <Object> on the <LR> playing?", ["cello", "left"],
             "yes"),
            ("00000104", 3, ["Visual", "Existential"], "Is there a <Object> in the video?", ["tuba"], "no")]
    (root / "avqa-test.json").write_text(json.dumps([
        {"video_id": video, "question_id": number, "type": json.dumps(kinds), "question_content": question,
         "templ_values": json.dumps(values), "question_deleted": 0, "anser": answer}
        for video, number, kinds, question, values, answer in rows]))
    for name in ("00000093", "00000104"):
        film(root / "videos" / f"{name}.mp4")
