"""DREAM-1K in small: one video under its number, as the published file leaves the name open, one under a name."""

from __future__ import annotations

import json
from pathlib import Path

from tasks.miniatures.films import film


def make(root: Path) -> None:
    rows = [(1, "DREAM/movie_animation", "<placeholder>", ["A cat runs.", "The cat stops."]),
            (2, "DREAM/shorts", "clips/two.mp4", ["A man opens a door."])]
    (root / "DREAM-1k.jsonl").write_text("".join(json.dumps({
        "idx": number, "dataset": dataset, "vid": number, "video_file": file,
        "text": {"prompt": "<video>\nDescribe the video in detail.", "response": " ".join(events)},
        "extra_info": {"duration": 2.0, "n_subjects": 1, "n_shots": 2, "events": events, "n_events": len(events)},
    }) + "\n" for number, dataset, file, events in rows))
    film(root / "videos" / "1.mp4")
    film(root / "clips" / "two.mp4")
