"""tut2017 in small: two sounds, the first and the last of the list."""

from __future__ import annotations

import json
from pathlib import Path

from tasks.miniatures.sounds import tone


def make(root: Path) -> None:
    rows = {"audio/a001.wav": "beach", "audio/b002.wav": "tram"}
    lines = [json.dumps({"audio": path, "gt": gt}) for path, gt in rows.items()]
    (root / "tut2017.jsonl").write_text("\n".join(lines))
    for path in rows:
        tone(root / path)
