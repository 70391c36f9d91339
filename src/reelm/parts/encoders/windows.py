"""Which seconds of a sound are heard: the whole, or the fixed 30 seconds of VideoLLaMA 2."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

Window = Literal["whole", "official_video", "official_file"]

#: The official front hears 30 seconds, always; of a video's sound, eight clips of 2 seconds and then silence.
OFFICIAL_S, CLIPS, CLIP_S = 30.0, 8, 2.0


@dataclass(frozen=True)
class Heard:
    """The samples that are heard. `pieces`: (first output sample, first source sample, length), in output order."""

    wave: np.ndarray = field(repr=False)
    pieces: tuple[tuple[int, int, int], ...]
    notes: tuple[str, ...] = ()

    def source_of(self, sample: np.ndarray) -> np.ndarray:
        """Source samples at output positions `sample` (float64); NaN in added silence."""
        out = np.full(len(sample), np.nan)
        for at, source, length in self.pieces:
            inside = (sample >= at) & (sample < at + length)
            out[inside] = sample[inside] - at + source
        return out


def clip_times(duration_s: float) -> list[tuple[float, float]]:
    """The eight (start_s, end_s) of the official sampler; below 2 seconds all are (0, 2).

    Starts divide the free time by eight, not seven, so the last clip ends before the sound does.
    Source: VideoLLaMA 2 audio branch; equal to audio_clip_timepoints.json in tests/parts/test_windows.py.
    """
    free_s = max(duration_s - CLIP_S, 0.0)
    return [(free_s / CLIPS * index, free_s / CLIPS * index + CLIP_S) for index in range(CLIPS)]


def heard(wave: np.ndarray, rate_hz: int, window: Window, max_s: float, min_samples: int) -> Heard:
    """Cuts samples [K] by a rule, and says what was cut or added.

    "whole": everything up to `max_s`, filled up to `min_samples`. "official_file": the first 30 s, filled to 30 s.
    "official_video": eight clips of 2 s joined to 16 s, filled to 30 s.
    Differs: the official code takes a random 30 s of a longer file; here it is the first 30 s, so answers repeat.
    """
    if window == "official_video":
        spans = [(int(start * rate_hz), int(end * rate_hz)) for start, end in clip_times(len(wave) / rate_hz)]
        fill = int(OFFICIAL_S * rate_hz)
    else:
        limit_s = max_s if window == "whole" else OFFICIAL_S
        spans = [(0, int(limit_s * rate_hz))]
        fill = min_samples if window == "whole" else int(OFFICIAL_S * rate_hz)
    parts, pieces, at = [], [], 0
    for start, end in spans:
        cut = wave[start:end]
        parts.append(cut)
        pieces.append((at, start, len(cut)))
        at += len(cut)
    silence = max(0, fill - at)
    out = np.concatenate([*parts, np.zeros(silence, dtype=wave.dtype)])
    return Heard(out, tuple(pieces), _notes(wave, rate_hz, spans, silence, window))


def _notes(wave: np.ndarray, rate_hz: int, spans: list[tuple[int, int]], silence: int,
           window: Window) -> tuple[str, ...]:
    notes = []
    covered, reach = 0, 0
    for start, end in spans:
        start, end = max(start, reach), min(end, len(wave))
        covered, reach = covered + max(0, end - start), max(reach, end)
    if covered < len(wave):
        how = f"in {CLIPS} clips of {CLIP_S:g} s" if window == "official_video" else "from its start"
        notes.append(f"{covered / rate_hz:.2f} of {len(wave) / rate_hz:.2f} s of sound are heard, {how}")
    if silence:
        notes.append(f"{silence / rate_hz:.2f} s of silence were added to the sound")
    return tuple(notes)
