"""Six sounds that are easy to tell apart, made by code, as slices of filter bank."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from reelm.parts.encoders.fbank import RATE_HZ, kaldi_fbank

SOUNDS = ("hum", "beep", "whistle", "hiss", "buzz", "chirp")
#: One slice of sound.
SLICE_S = 0.25


def play(name: str, rng: np.random.Generator) -> np.ndarray:
    """A slice of sound, float32 samples at 16 kHz in -1..1, over a little noise; "" is the noise alone."""
    time_s = np.arange(int(SLICE_S * RATE_HZ)) / RATE_HZ
    pitch, loud = float(rng.uniform(0.95, 1.05)), float(rng.uniform(0.15, 0.4))
    noise = rng.normal(0, 1, len(time_s))
    waves = {
        "": np.zeros_like(time_s),
        "hum": np.sin(2 * np.pi * 160 * pitch * time_s),
        "beep": np.sin(2 * np.pi * 800 * pitch * time_s),
        "whistle": np.sin(2 * np.pi * 3200 * pitch * time_s),
        "hiss": noise * 0.5,
        "buzz": np.sign(np.sin(2 * np.pi * 350 * pitch * time_s)),
        "chirp": np.sin(2 * np.pi * (400 * time_s + 6000 * pitch * time_s**2)),
    }
    return (waves[name] * loud + rng.normal(0, 0.003, len(time_s))).clip(-1, 1).astype(np.float32)


@dataclass(frozen=True)
class Tones:
    """Recordings of every sound, other ones for training than for tests, as means of filter-bank rows.

    A slice has the mean of its first and of its second half: 2 · 128 numbers, scaled to about -2..2.
    """

    recordings: int = 24

    @cached_property
    def bank(self) -> dict[tuple[str, bool], np.ndarray]:
        """(sound, for tests) to slices float32 [recordings, 256]."""
        kept = {}
        for name in ("", *SOUNDS):
            for tested in (False, True):
                rng = np.random.default_rng([("", *SOUNDS).index(name), int(tested), 31])
                rows = [kaldi_fbank(play(name, rng)) for _ in range(self.recordings)]
                halves = [np.concatenate((r[: len(r) // 2].mean(0), r[len(r) // 2:].mean(0))) for r in rows]
                kept[name, tested] = ((np.stack(halves) - 8) / 4).astype(np.float32)
        return kept

    def track(self, rng: np.random.Generator, slices: int, sounds: dict[int, str], tested: bool) -> np.ndarray:
        """A sound track: float32 [slices, 256] with the given sounds in the given slices, noise elsewhere."""
        names = [sounds.get(i, "") for i in range(slices)]
        return np.stack([self.bank[n, tested][int(rng.integers(self.recordings))] for n in names])
