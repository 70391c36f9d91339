"""Clotho-AQA in small, as released: three answers to each question, commas and spaces in names."""

from __future__ import annotations

from pathlib import Path

from tasks.miniatures.sounds import tone


def make(root: Path) -> None:
    (root / "clotho_aqa_test.csv").write_text(
        "file_name,QuestionText,answer,confidence\n"
        '"Creaking, old door.wav",Is a door heard?,yes,yes\n'
        '"Creaking, old door.wav",Is a door heard?,yes,maybe\n'
        '"Creaking, old door.wav",Is a door heard?,no,no\n'
        "rain.wav,What is falling?,rain,yes\n")
    for name in ("Creaking, old door.wav", "rain.wav"):
        tone(root / "audio_files" / name)
