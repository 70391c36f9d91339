"""The sound of a track as one channel at the rate asked, on the file's clock."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import av
import numpy as np

from reelm.errors import MediaError
from reelm.media.index import SLACK_S, AudioTrack
from reelm.media.limits import Deadline
from reelm.media.time import Clock

#: A jump of the sound's times up to this long is rounding of the container and is ignored.
_JITTER_S = 0.03
#: Decoding begins this much before the clip, so that codecs with memory have settled where the clip starts.
_SETTLE_S = 0.5
#: Sound on each side of the clip that is resampled with it and cut off again: a clip sounds like a slice of the whole.
_MARGIN_S = 0.05


def decode_sound(container: Any, track: AudioTrack, clock: Clock, start_s: float, end_s: float, rate_hz: int,
                 note: Callable[[str], None], deadline: Deadline) -> tuple[np.ndarray, float]:
    """The mean of the channels in [start_s, end_s) at `rate_hz`: (float32 [K], second of the first sample).

    Gaps in the track's times become silence, and a note. Raises: MediaError if nothing of the track can be decoded;
    BudgetError when the time is over.
    """
    stream = container.streams[track.stream]
    if stream.codec_context is None:
        raise MediaError(f"the sound track's codec ({track.codec}) is not known here", where=deadline.where,
                         remedy="Convert the sound, or ask without it")
    line = _Line(clock, start_s - _MARGIN_S, end_s + _MARGIN_S, note)
    if start_s > _SETTLE_S + track.start_s and container.format.name != "mp3":  # MP3 seeks by guess
        _seek(container, stream, clock, start_s - _SETTLE_S)
    heard = False
    for frame in _frames(container, stream, note, deadline):
        heard = True
        if not line.add(frame):
            break
    if not heard:
        raise MediaError("the sound track cannot be decoded", where=deadline.where,
                         remedy="Convert the sound, or ask without it")
    wave, source_hz, first_s = line.finish(rate_hz)
    wanted_s = min(end_s, track.end_s)
    if first_s + len(wave) / source_hz < wanted_s - SLACK_S:
        note(f"the sound ends at {first_s + len(wave) / source_hz:.2f} s instead of {wanted_s:.2f} s: "
             "the rest cannot be decoded")
    sound = resample(wave, source_hz, rate_hz)
    skip = max(0, math.ceil((start_s - first_s) * rate_hz - 1e-6))
    first_s += skip / rate_hz
    return sound[skip:skip + max(0, round((end_s - first_s) * rate_hz))], round(first_s, 9)


def _seek(container: Any, stream: Any, clock: Clock, second: float) -> None:
    tick = int((Fraction(second) + clock.start) / stream.time_base)
    try:
        container.seek(tick, stream=stream)
    except (av.error.FFmpegError, OSError):
        container.seek(0)


def _frames(container: Any, stream: Any, note: Callable[[str], None], deadline: Deadline) -> Iterator[Any]:
    failed = 0
    try:
        for packet in container.demux(stream):
            deadline.check()
            try:
                yield from packet.decode()
            except (av.error.FFmpegError, ValueError):
                failed += packet.size > 0
    except (av.error.FFmpegError, OSError) as error:
        note(f"reading the sound stopped inside the file: {getattr(error, 'strerror', None) or error}")
    if failed:
        note(f"{failed} sound packet(s) could not be decoded")


class _Line:
    """Mono samples laid on the clock one after the other."""

    def __init__(self, clock: Clock, start_s: float, end_s: float, note: Callable[[str], None]) -> None:
        self._clock, self._start_s, self._end_s, self._note = clock, start_s, end_s, note
        self._mono: list[np.ndarray] = []
        self._rate = 0
        self._first_s = 0.0
        self._count = 0
        self._to_float: av.AudioResampler | None = None

    def add(self, frame: Any) -> bool:
        """Takes the frame's samples; False once the line has reached the clip's end."""
        if not self._rate:
            self._rate = frame.sample_rate
        block = self._mean(frame)
        at_s = self._next_s() if frame.pts is None else float(
            frame.pts * frame.time_base - self._clock.start)
        if not self._count:
            self._first_s = at_s
        else:
            block = self._joined(block, at_s - self._next_s())
        self._mono.append(block)
        self._count += len(block)
        self._drop_head()
        return self._next_s() < self._end_s

    def _next_s(self) -> float:
        return self._first_s + self._count / self._rate if self._rate else 0.0

    def _joined(self, block: np.ndarray, jump_s: float) -> np.ndarray:
        if abs(jump_s) <= _JITTER_S:
            return block
        samples = round(jump_s * self._rate)
        if jump_s > 0:
            samples = min(samples, max(0, round((self._end_s - self._next_s()) * self._rate)))
            self._note(f"{jump_s:.2f} s of sound are missing at {self._next_s():.2f} s; silence stands there")
            return np.concatenate([np.zeros(samples, np.float32), block])
        self._note(f"{-jump_s:.2f} s of sound overlap at {self._next_s():.2f} s; the first is kept")
        return block[-samples:]

    def _drop_head(self) -> None:
        """Forgets whole blocks before the clip, so that memory holds the clip only."""
        while len(self._mono) > 1 and self._first_s + len(self._mono[0]) / self._rate <= self._start_s:
            gone = len(self._mono.pop(0))
            self._first_s += gone / self._rate
            self._count -= gone

    def _mean(self, frame: Any) -> np.ndarray:
        """The frame's channels as one, float32 [K], at the line's rate."""
        for fresh in (False, True):
            if self._to_float is None or fresh:
                self._to_float = av.AudioResampler(format="fltp", rate=self._rate)
            try:
                blocks = [part.to_ndarray() for part in self._to_float.resample(frame)]
                break
            except ValueError:  # the track changes its layout or rate: set up anew
                self._note("the sound track changes its format on the way")
                continue
        else:
            blocks = []
        return np.concatenate([block.mean(axis=0, dtype=np.float32) for block in blocks] or [np.zeros(0, np.float32)])

    def finish(self, rate_hz: int) -> tuple[np.ndarray, int, float]:
        """(samples of the stretch, rate, second of the first one).

        The first sample lies where a sample at `rate_hz` lies too, so that every cut is resampled in the same phase.
        """
        wave = np.concatenate(self._mono or [np.zeros(0, np.float32)])
        step = self._rate // math.gcd(self._rate, rate_hz)
        skip = max(0, round((self._start_s - self._first_s) * self._rate))
        if skip:
            skip = max(0, skip - (round(self._first_s * self._rate) + skip) % step)
        first_s = self._first_s + skip / self._rate
        keep = max(0, round((self._end_s - first_s) * self._rate))
        return wave[skip:skip + keep], self._rate, first_s


def resample(wave: np.ndarray, rate_hz: int, to_hz: int) -> np.ndarray:
    """float32 [K] at another rate, by swresample; round(K * to_hz / rate_hz) samples."""
    if rate_hz == to_hz or not len(wave):
        return wave
    resampler = av.AudioResampler(format="fltp", layout="mono", rate=to_hz)
    parts = []
    for begin in range(0, len(wave), rate_hz):
        frame = av.AudioFrame.from_ndarray(wave[None, begin:begin + rate_hz], format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate_hz, begin, Fraction(1, rate_hz)
        parts += [part.to_ndarray()[0] for part in resampler.resample(frame)]
    parts += [part.to_ndarray()[0] for part in resampler.resample(None)]
    return np.concatenate(parts or [np.zeros(0, np.float32)])[:round(len(wave) * to_hz / rate_hz)]
