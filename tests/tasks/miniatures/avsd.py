"""AVSD in small: one conversation of two questions, one of one."""

from __future__ import annotations

import json
from pathlib import Path

from tasks.miniatures.films import film


def write(path: Path, talks: dict[str, list[str]]) -> None:
    """`talks`: the lines of human and model in turn about each video."""
    path.write_text(json.dumps([
        {"id": place, "video": video, "conversations": [
            {"from": ("human", "gpt")[number % 2], "value": line} for number, line in enumerate(lines)]}
        for place, (video, lines) in enumerate(talks.items())]))
    for video in talks:
        film(path.parent / video)


def make(root: Path) -> None:
    write(root / "instruction_val.json", {
        "videos/7UPGT.mp4": ["<video>\nDoes the man speak?", "No, he only hums.", "What does he hold?", "A cup."],
        "videos/LNV4M.mp4": ["<video>\nIs music heard?", "Yes."]})
