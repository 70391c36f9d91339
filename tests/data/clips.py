"""Real media made on the spot, good and damaged, and records that name them: for the tests of samples and shards."""

from __future__ import annotations

import json
import wave
from pathlib import Path
from typing import Any

from PIL import Image as Picture

from model.films import pictures, tone
from reelm.media import write_video


def make(folder: Path) -> Path:
    """a.mp4 (4 s, sound), mute.mp4, photo.png, tone.wav; cut.mp4 ends early, hollow.mp4 opens but cannot be decoded."""
    write_video(folder / "a.mp4", pictures(), 10, tone())
    write_video(folder / "mute.mp4", pictures(20, seed=2), 10)
    Picture.fromarray(pictures(1, seed=3)[0]).save(folder / "photo.png")
    with wave.open(str(folder / "tone.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes((tone(1.5).wave[0] * 32_000).astype("<i2").tobytes())
    whole = (folder / "a.mp4").read_bytes()
    (folder / "cut.mp4").write_bytes(whole[:400])
    at = whole.index(b"mdat") + 4
    (folder / "hollow.mp4").write_bytes(whole[:at] + bytes(len(whole) - at))
    return folder


def turns(*texts: str) -> list[dict[str, str]]:
    """What human and gpt say in turn."""
    return [{"from": ("human", "gpt")[number % 2], "value": text} for number, text in enumerate(texts)]


#: One record of every sort of medium, one of several turns, one without a medium, one of a stretch.
GOOD: tuple[dict[str, Any], ...] = (
    {"id": "sound", "video": "a.mp4", "conversations": turns("<video>\nWhat happens?", "A square wanders.")},
    {"id": "mute", "video": "mute.mp4", "conversations": turns("<video>\nWho?", "Nobody.", "Why?",
                                                                         "It is grey noise.")},
    {"id": "still", "image": "photo.png", "conversations": turns("<image>\nWhich colour?", "Many.")},
    {"id": "heard", "audio": "tone.wav", "conversations": turns("<audio>\nWhich tone?", "A low one.")},
    {"id": "words", "conversations": turns("Hello", "Hello to you.")},
    {"id": "many", "video": ["mute.mp4", {"path": "a.mp4", "start_s": 1.0, "end_s": 2.5}], "image": "photo.png",
     "audio": "tone.wav", "conversations": turns("<video><image> and <audio> or <video>?", "The last.")},
)
PAIR: dict[str, Any] = {"id": "pair", "video": "a.mp4", "prompt": [
    {"role": "user", "content": "<video>Who?"}, {"role": "assistant", "content": "Me."},
    {"role": "user", "content": "Really?"}], "chosen": "Yes.", "rejected": "A dog with a very long tail."}


def write(folder: Path, *objects: dict[str, Any], name: str = "train.jsonl") -> Path:
    file = folder / name
    file.write_text("".join(f"{json.dumps(one)}\n" for one in objects), "utf-8")
    return file
