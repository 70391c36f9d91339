"""Writing real video files from pictures and sound in memory."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from reelm.errors import MediaError, UsageError
from reelm.types import Audio

#: Suffix -> (muxer, default video codec, sound codec). The suffix of an *output* is the user's wish, not a guess.
_CONTAINERS = {
    ".mp4": ("mp4", "libx264", "aac"),
    ".mov": ("mov", "libx264", "aac"),
    ".mkv": ("matroska", "libx264", "aac"),
    ".webm": ("webm", "libvpx-vp9", "libopus"),
}
#: Codec -> (default crf, options for speed). One thread: the same input gives the same file on any machine.
_CODECS: dict[str, tuple[int, dict[str, str]]] = {
    "libx264": (20, {"preset": "veryfast", "threads": "1"}),
    "libvpx-vp9": (30, {"b": "0", "deadline": "realtime", "cpu-used": "8", "threads": "1"}),
}
_SOUND_BLOCK = 1024
_BT601_LIMITED = (6, 1)  # what swscale makes of RGB; written into the file, so that players show the same colours


@dataclass(frozen=True)
class Written:
    """What `write_video` has put into the file. `padded_px`: columns and rows added to reach even sides."""

    path: Path
    frames: int
    width_px: int
    height_px: int
    padded_px: tuple[int, int]


def write_video(path: str | Path, rgb_frames: Iterable[np.ndarray], fps: float | Fraction, audio: Audio | None = None,
                codec: str | None = None, crf: int | None = None, *, at_s: Iterable[float] | None = None,
                options: Mapping[str, str] | None = None, sound_bps: int | None = None) -> Written:
    """A real MP4, MOV, MKV or WebM file at `path`, with a sound track when `audio` is given.

    `codec` None takes libx264 (.mp4, .mov, .mkv) or libvpx-vp9 (.webm); sound is AAC, in WebM Opus. `crf` is the
    quality (lower is better and larger). `at_s` gives each frame its own rising time (variable frame rate) instead of
    k / `fps`; Matroska and WebM round times to milliseconds. `options` go to the encoder, e.g. {"g": "12", "bf": "2"}.
    `sound_bps`: bits per second of the sound; None leaves it to the encoder.
    An odd width or height is made even by repeating the last column or row (4:2:0 colour needs even sides); the
    returned record says so. The file appears under its name only when complete.

    Shapes: each frame uint8 [H,W,3], all of one size. Units: `fps` frames per second, `at_s` seconds.
    Raises: UsageError (no frame, wrong shape or type, unknown suffix or codec, times that do not rise), MediaError
    when the encoder or the disk refuses.
    """
    path = Path(path)
    if path.suffix.lower() not in _CONTAINERS:
        raise UsageError(f"cannot write a {path.suffix or 'suffixless'} file", where=str(path),
                         remedy=f"Use one of {', '.join(_CONTAINERS)}")
    muxer, default_codec, sound_codec = _CONTAINERS[path.suffix.lower()]
    rate = Fraction(fps).limit_denominator(100_000) if fps > 0 else Fraction(0)
    if rate <= 0:
        raise UsageError(f"fps must be above 0, got {fps}", where=str(path))
    stream = iter(rgb_frames)
    first = next(stream, None)
    if first is None:
        raise UsageError("no frame to write", where=str(path))
    _check_frame(first, np.shape(first), 0, path)
    partial = path.with_name(path.name + ".partial")
    try:
        count = _encode(partial, muxer, _Plan(path, first.shape, rate, codec or default_codec, crf, dict(options or {}),
                                              sound_codec, audio, sound_bps), itertools.chain([first], stream), at_s)
        os.replace(partial, path)
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise MediaError(f"could not write the video: {error}", where=str(path),
                         remedy="Check the folder, the free space, and the encoder options") from error
    finally:
        partial.unlink(missing_ok=True)
    height, width = first.shape[:2]
    return Written(path, count, width + width % 2, height + height % 2, (width % 2, height % 2))


def write_sound(path: str | Path, audio: Audio, bps: int | None = None) -> Path:
    """A real AAC file (.m4a) of `audio` at `path`, there in whole or not at all.

    `bps`: bits per second; None leaves it to the encoder. Raises: UsageError (another suffix, more than two channels),
    MediaError when the encoder or the disk refuses.
    """
    path = Path(path)
    if path.suffix.lower() != ".m4a":
        raise UsageError(f"cannot write a {path.suffix or 'suffixless'} file of sound", where=str(path),
                         remedy="Use .m4a")
    partial = path.with_name(path.name + ".partial")
    try:
        with av.open(str(partial), "w", format="mp4", options={"fflags": "+bitexact", "movflags": "+faststart"}) as out:
            _Sound(out, "aac", audio, bps).finish()
        os.replace(partial, path)
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise MediaError(f"could not write the sound: {error}", where=str(path),
                         remedy="Check the folder and the free space") from error
    finally:
        partial.unlink(missing_ok=True)
    return path


@dataclass(frozen=True)
class _Plan:
    path: Path
    shape: tuple[int, ...]
    rate: Fraction
    codec: str
    crf: int | None
    options: dict[str, str]
    sound_codec: str
    audio: Audio | None
    sound_bps: int | None


def _check_frame(frame: np.ndarray, shape: tuple[int, ...], number: int, path: Path) -> None:
    if not isinstance(frame, np.ndarray) or frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
        got = f"{frame.dtype} {list(frame.shape)}" if isinstance(frame, np.ndarray) else type(frame).__name__
        raise UsageError(f"frame {number} must be uint8 [H,W,3], got {got}", where=str(path))
    if frame.shape != shape:
        raise UsageError(f"frame {number} has shape {list(frame.shape)}, the first has {list(shape)}", where=str(path))


def _encode(partial: Path, muxer: str, plan: _Plan, frames: Iterator[np.ndarray],
            at_s: Iterable[float] | None) -> int:
    mux_options = {"fflags": "+bitexact"} | ({"movflags": "+faststart"} if muxer in ("mp4", "mov") else {})
    with av.open(str(partial), "w", format=muxer, options=mux_options) as out:
        video = _video_stream(out, plan, variable=at_s is not None)
        sound = _Sound(out, plan.sound_codec, plan.audio, plan.sound_bps) if plan.audio is not None else None
        count = 0
        times = _ticks(at_s, plan)
        for frame in frames:
            ticks = next(times)
            if ticks is None:
                raise UsageError(f"at_s holds {count} times for more frames", where=str(plan.path))
            _check_frame(frame, plan.shape, count, plan.path)
            if sound is not None:
                sound.write_until(float(ticks * video.codec_context.time_base))
            picture = av.VideoFrame.from_ndarray(_even(frame), format="rgb24").reformat(
                format="yuv420p", dst_colorspace="itu601")
            picture.pts, picture.time_base = ticks, video.codec_context.time_base
            out.mux(video.encode(picture))
            count += 1
        if at_s is not None and next(times) is not None:
            raise UsageError(f"at_s holds more times than the {count} frames", where=str(plan.path))
        out.mux(video.encode(None))
        if sound is not None:
            sound.finish()
    return count


def _ticks(at_s: Iterable[float] | None, plan: _Plan) -> Iterator[int | None]:
    """Presentation times in units of the encoder's time base; None after the last given time."""
    if at_s is None:
        yield from itertools.count()
        return
    last = -1
    for second in at_s:
        ticks = round(second * _VARIABLE_HZ)
        if ticks <= last:
            raise UsageError(f"at_s must be 0 or more and rise, got {second} after {last / _VARIABLE_HZ}",
                             where=str(plan.path))
        last = ticks
        yield ticks
    yield None


_VARIABLE_HZ = 90_000


def _video_stream(out: Any, plan: _Plan, *, variable: bool) -> Any:
    if plan.codec not in _CODECS:
        raise UsageError(f"unknown video codec {plan.codec!r}", where=str(plan.path),
                         remedy=f"Use one of {', '.join(_CODECS)}")
    default_crf, speed = _CODECS[plan.codec]
    crf = {"crf": str(default_crf if plan.crf is None else plan.crf)}
    stream = out.add_stream(plan.codec, rate=plan.rate, options=speed | crf | plan.options)
    height, width = plan.shape[:2]
    stream.width, stream.height, stream.pix_fmt = width + width % 2, height + height % 2, "yuv420p"
    base = Fraction(1, _VARIABLE_HZ) if variable else 1 / plan.rate
    stream.time_base = stream.codec_context.time_base = base
    stream.codec_context.colorspace, stream.codec_context.color_range = _BT601_LIMITED
    return stream


def _even(frame: np.ndarray) -> np.ndarray:
    height, width = frame.shape[:2]
    if height % 2 or width % 2:
        frame = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return np.ascontiguousarray(frame)


class _Sound:
    """The sound track, written a little ahead of the pictures so that players and readers find both near."""

    def __init__(self, out: Any, codec: str, audio: Audio, bps: int | None) -> None:
        if len(audio.wave) not in (1, 2):
            raise UsageError(f"sound must have 1 or 2 channels, got {len(audio.wave)}")
        self._out, self._audio, self._done = out, audio, 0
        self._layout = "mono" if len(audio.wave) == 1 else "stereo"
        rates = av.Codec(codec, "w").audio_rates
        rate = audio.rate_hz if not rates or audio.rate_hz in rates else 48_000
        self._stream = out.add_stream(codec, rate=rate, layout=self._layout)
        if bps is not None:
            self._stream.bit_rate = bps

    def write_until(self, second: float) -> None:
        wanted = round((second - self._audio.start_s + 0.5) * self._audio.rate_hz)
        self._write(min(wanted, self._audio.wave.shape[1]))

    def finish(self) -> None:
        self._write(self._audio.wave.shape[1])
        self._out.mux(self._stream.encode(None))

    def _write(self, end: int) -> None:
        rate = self._audio.rate_hz
        while self._done < end:
            stop = min(self._done + _SOUND_BLOCK, self._audio.wave.shape[1])
            block = np.ascontiguousarray(self._audio.wave[:, self._done:stop])
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=self._layout)
            frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
            frame.pts = self._done + round(self._audio.start_s * rate)
            self._out.mux(self._stream.encode(frame))
            self._done = stop
