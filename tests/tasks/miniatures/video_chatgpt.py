"""Video-ChatGPT's three files in small."""

from __future__ import annotations

import json
from pathlib import Path

from tasks.miniatures.films import film


def make(root: Path) -> None:
    names = ["v_p1QGn0IzfW0", "v_2dij2oRtSVY"]
    one = [{"Q": "What does she do?", "A": "She throws a ball.", "video_name": name} for name in names]
    two = [{"Q1": "Where is it?", "Q2": "At what place?", "A": "On a beach.", "video_name": name} for name in names]
    for file, rows in (("generic_qa", one), ("temporal_qa", one), ("consistency_qa", two)):
        (root / f"{file}.json").write_text(json.dumps(rows))
    film(root / "Test_Videos" / f"{names[0]}.mp4")
    film(root / "Test_Videos" / f"{names[1]}.mkv")
