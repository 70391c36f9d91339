"""MVBench in small: all twenty files, one question each and two about one video; folders of pictures for one task."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from reelm.tasks.mvbench import BOUNDED, FOLDERS, PICTURES, stem
from tasks.miniatures.films import film

SUFFIXES = {"Action Antonym": ".webm", "Fine-grained Pose": ".mkv"}


def make(root: Path) -> None:
    (root / "json").mkdir()
    for number, (name, folder) in enumerate(FOLDERS.items()):
        options = ["Yes.", "No.", "Not sure.", "moving left", "moving right"][:2 + number % 4]
        video = f"{stem(name)}_{number}" + ("" if name == PICTURES else SUFFIXES.get(name, ".mp4"))
        entry = {"video": video, "question": f"What about {name}?", "candidates": options,
                 "answer": options[number % 2]}
        if name in BOUNDED:
            entry |= {"start": 0.5, "end": 1.5, "accurate_start": 0.6, "accurate_end": 1.4}
        if name == PICTURES:
            entry["fps"] = 3
            frames(root / "video" / folder / video)
        else:
            film(root / "video" / folder / video)
        twice = [entry, {**entry, "question": "And then?"}] if name == "Action Count" else [entry]
        (root / "json" / f"{stem(name)}.json").write_text(json.dumps(twice))


def frames(folder: Path) -> None:
    """Six JPEG pictures as TVQA names them, from 00001.jpg."""
    folder.mkdir(parents=True)
    for number in range(1, 7):
        Image.fromarray(np.full((32, 32, 3), 30 * number, dtype=np.uint8)).save(folder / f"{number:05}.jpg")
