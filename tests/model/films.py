"""Real films, lively random models, and a counter of what the real objects do: for the tests of asking."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from reelm.model import sensing
from reelm.model.engine import Engine
from reelm.model.front import VideoLM
from reelm.model.toy import random_model
from reelm.types import Audio

RATE = 16000


def pictures(count: int = 40, seed: int = 0) -> list[np.ndarray]:
    """A bright square that wanders over coloured noise: every frame differs."""
    random = np.random.default_rng(seed)
    ground = random.integers(0, 256, (48, 64, 3), dtype=np.uint8)
    frames = []
    for index in range(count):
        frame = ground.copy()
        frame[10:26, index % 48:index % 48 + 16] = random.integers(0, 256, 3)
        frames.append(frame)
    return frames


def tone(seconds: float = 4.0) -> Audio:
    return Audio((0.3 * np.sin(np.arange(round(RATE * seconds)) / 9)[None]).astype(np.float32), RATE)


def lively(which: str = "", **settings) -> VideoLM:
    """A random model with weights so large that its answer depends on everything it is given."""
    model, processor = random_model(which, initializer_range=0.4, **settings)
    with torch.no_grad():
        for connector in (model.connector, model.audio_connector):
            if connector is not None:
                list(connector.parameters())[-2].mul_(8)
    return VideoLM(model, processor, "lively")


class Calls:
    """Counts what the real objects do: files opened, frames decoded, encodings, prompt positions computed."""

    def __init__(self, lm: VideoLM, patch: pytest.MonkeyPatch) -> None:
        self.opened = self.frames = self.sounds = self.encoded = self.positions = 0
        open_clip, fill = sensing.media.open, Engine._fill
        vision, audio = lm.model.look_at, lm.model.encode_audio

        def opened(clip):
            self.opened += 1
            reader = open_clip(clip)
            decode, listen = reader.frames, reader.audio

            def frames(at_s):
                self.frames += len(at_s)
                return decode(at_s)

            def sound(rate_hz):
                self.sounds += 1
                return listen(rate_hz)

            reader.frames, reader.audio = frames, sound
            return reader

        def encoded(function):
            def call(*args):
                self.encoded += 1
                return function(*args)
            return call

        def filled(engine, embeds, prefix):
            self.positions += len(embeds)
            return fill(engine, embeds, prefix)

        patch.setattr(sensing.media, "open", opened)
        patch.setattr(Engine, "_fill", filled)
        patch.setattr(lm.model, "look_at", encoded(vision))
        patch.setattr(lm.model, "encode_audio", encoded(audio))

    def reset(self) -> None:
        self.opened = self.frames = self.sounds = self.encoded = self.positions = 0

    @property
    def media(self) -> tuple[int, int, int, int]:
        return self.opened, self.frames, self.sounds, self.encoded
