"""Perception Test in small: two videos with two and one questions, as the test part and as the validation part."""

from __future__ import annotations

import json
from pathlib import Path

from tasks.miniatures.films import film


def make(root: Path) -> None:
    questions = {
        "video_10909": [(0, "Is the camera moving?", ["moving", "still", "both"], "Physics", "descriptive"),
                        (3, "What is lifted?", ["A cup", "a box", "Both"], "Memory", "explanatory")],
        "video_5810": [(1, "How often does the person clap?", ["two", "three", "four"], "Semantics", "descriptive")],
    }
    for name, answered in (("mc_question_test.json", False), ("mc_question_valid.json", True)):
        whole = {video: {
            "metadata": {"split": "test", "video_id": video, "is_cup_game": 0, "num_frames": 8, "frame_rate": 4.0},
            "mc_question": [{"id": number, "question": question, "options": options, "area": area, "tag": ["motion"],
                             "reasoning": reasoning, **({"answer_id": 1} if answered else {})}
                            for number, question, options, area, reasoning in rows]}
            for video, rows in questions.items()}
        (root / name).write_text(json.dumps(whole))
    for video in questions:
        film(root / "videos" / f"{video}.mp4")
