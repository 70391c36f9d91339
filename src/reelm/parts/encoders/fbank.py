"""Kaldi filter banks of a waveform at 16 kHz, through kaldi-native-fbank."""

from __future__ import annotations

import math
from functools import cache

import kaldi_native_fbank
import numpy as np

from reelm.errors import UsageError

BINS = 128
RATE_HZ = 16000
#: Samples of one analysis window and of one step: 25 ms and 10 ms.
WINDOW, STEP = 400, 160
_LOW_HZ, _HIGH_HZ, _FFT = 20.0, 8000.0, 512
#: What a bin without energy holds: the log of float32's epsilon.
_FLOOR = math.log(np.finfo(np.float32).eps)


def _mel(hz: float) -> float:
    return 1127.0 * math.log(1.0 + hz / 700.0)


def _hz(mel: float) -> float:
    return 700.0 * (math.exp(mel / 1127.0) - 1.0)


@cache
def _runs() -> tuple[tuple[int, int, float, float], ...]:
    """Runs of bins that hold at least one spectral line: (first, end, low_hz, high_hz).

    128 triangles over 256 lines are so narrow at the bottom that one holds no line. Newer releases of
    kaldi-native-fbank refuse such a bank, so it is computed in runs around the empty bins.
    """
    low, step = _mel(_LOW_HZ), (_mel(_HIGH_HZ) - _mel(_LOW_HZ)) / (BINS + 1)
    lines = [_mel(index * RATE_HZ / _FFT) for index in range(_FFT // 2)]
    full = [any(low + b * step < line < low + (b + 2) * step for line in lines) for b in range(BINS)]
    runs, first = [], 0
    for b in range(BINS + 1):
        if b == BINS or not full[b]:
            if b > first:
                runs.append((first, b, _hz(low + first * step), _hz(low + (b + 1) * step)))
            first = b + 1
    return tuple(runs)


def rows_of(samples: int) -> int:
    """How many rows `samples` give: only whole windows count."""
    return max(0, 1 + (samples - WINDOW) // STEP)


def samples_for(rows: int) -> int:
    """The fewest samples that give `rows` rows."""
    return WINDOW + (rows - 1) * STEP


def kaldi_fbank(wave: np.ndarray) -> np.ndarray:
    """Log mel filter bank: float32 [rows, 128], from samples [K] at 16 kHz, -1..1 scaled to 16-bit range, no dither.

    Raises: UsageError unless `wave` is one-dimensional.
    Source: Kaldi `compute-fbank-feats`; within 5e-4 of the recorded one of torchaudio, tests/parts/test_beats.py.
    """
    if wave.ndim != 1:
        raise UsageError(f"expected samples [K], got shape {list(wave.shape)}", where="kaldi_fbank")
    samples = (wave.astype(np.float32) * np.float32(2**15)).tolist()
    out = np.full((rows_of(len(wave)), BINS), _FLOOR, dtype=np.float32)
    for first, end, low_hz, high_hz in _runs():
        options = kaldi_native_fbank.FbankOptions()
        options.frame_opts.samp_freq = RATE_HZ
        options.frame_opts.dither = 0.0
        options.mel_opts.num_bins = end - first
        options.mel_opts.low_freq, options.mel_opts.high_freq = low_hz, high_hz
        bank = kaldi_native_fbank.OnlineFbank(options)
        bank.accept_waveform(RATE_HZ, samples)
        bank.input_finished()
        for row in range(len(out)):
            out[row, first:end] = bank.get_frame(row)
    return out
