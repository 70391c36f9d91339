"""Opening a clip and asking it for facts, pictures and sound."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from reelm.errors import MediaError, UsageError
from reelm.media import audio as sound
from reelm.media.decode import Decoder
from reelm.media.index import Index, VideoTrack, read_index
from reelm.media.limits import Limits
from reelm.media.picture import is_slanted, shape_of, to_rgb
from reelm.media.source import DEMUXERS, local_path, open_container, sniff
from reelm.media.still import read_still
from reelm.media.time import repeats, shown_at
from reelm.types import Audio, Clip, Frames, MediaInfo

_NOT_GOT = int(np.iinfo(np.int64).min)


@contextmanager
def _explained(where: str) -> Iterator[None]:
    """Turns what FFmpeg raises on a broken file into an error for the reader of the message."""
    try:
        yield
    except (av.error.FFmpegError, OSError, ValueError, ArithmeticError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise MediaError(f"is damaged in a way that stops the decoder ({reason})", where=where,
                         remedy="Copy or download it again, or convert it") from None


def open(clip: Clip, limits: Limits | None = None) -> Reader:
    """A reader of the clip; the file is checked and its kind found, but nothing is decoded yet.

    Raises: MediaError (missing, folder, empty, unreadable, not a known format), PolicyError (a protocol or a playlist).
    """
    return Reader(clip, limits or Limits())


class Reader:
    """What a clip holds and shows. Times are seconds from the file's own start, one clock for pictures and sound.

    `notes`: everything found missing, damaged or changed while reading, in sentences. Use it in a `with` block or
    call `close()`. One reader serves one thread.
    """

    def __init__(self, clip: Clip, limits: Limits) -> None:
        self.clip, self.limits = clip, limits
        self.notes: list[str] = []
        self._path = local_path(clip.source)
        self._kind = sniff(self._path)
        self._index: Index | None = None
        self._info: MediaInfo | None = None
        self._still: np.ndarray | None = None
        self._decoder: Decoder | None = None

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Gives the file back; the reader can be asked again and will reopen it."""
        if self._decoder is not None:
            self._decoder.close()
            self._decoder = None

    def info(self) -> MediaInfo:
        """What the file holds inside the clip, with exact frame times.

        Raises: MediaError if nothing is readable; UsageError if the clip starts after the file's end; BudgetError if
        its pictures are too large. Cost: the first call reads the file once, without decoding it.
        """
        if self._info is None:
            self._info = self._still_info() if self._kind not in DEMUXERS else self._track_info()
            for sentence in self._info.shortfall:
                self._note(sentence)
        return self._info

    def frames(self, at_s: Sequence[float]) -> Frames:
        """The pictures on the screen at those seconds, in the order asked, turned upright.

        Shown at t is the clip's last picture that began at or before t (its first, if t is before it). `at_s` of the
        result are the true times at which they began; `repeated` marks a picture that stands earlier in the result.

        Shapes: rgb uint8 [T,3,H,W] for T times. Units: seconds from the file's start.
        Raises: MediaError (no picture, or none can be decoded), BudgetError (before decoding), UsageError.
        Cost: sparse requests seek, dense ones decode once through; no more pictures are held than asked.
        """
        info = self.info()
        if info.kind == "audio":
            raise MediaError("holds sound but no picture", where=info.source, remedy="Ask for its audio")
        self.limits.check_frames(len(at_s), info.width_px, info.height_px, info.source)
        shown = shown_at(info.frame_times_s, at_s)
        if info.kind == "image":
            assert self._still is not None
            rgb = np.repeat(self._still[None], len(shown), axis=0)
            return Frames(rgb, np.zeros(len(shown)), repeats(shown), still=True)
        return self._decoded(info, shown)

    def audio(self, rate_hz: int) -> Audio | None:
        """The clip's sound at `rate_hz`, the mean of its channels; None only when the file has no sound track.

        Shapes: wave float32 [1,K]. `start_s` is the true second of the first sample (a track may begin late).
        Raises: MediaError if the track cannot be decoded or has no sound inside the clip; BudgetError, before
        decoding, if it is too long.
        """
        if rate_hz <= 0:
            raise UsageError(f"rate_hz must be above 0, got {rate_hz}")
        info = self.info()
        if not info.has_audio:
            return None
        assert self._index is not None and self._index.audio is not None
        track, clock = self._index.audio, self._index.clock
        begin, end = max(self.clip.start_s, track.start_s), min(info.end_s, track.end_s)
        self.limits.check_sound(end - begin, max(rate_hz, track.rate_hz), info.source)
        with _explained(info.source), self._open_container() as container:
            wave, first_s = sound.decode_sound(container, track, clock, self.clip.start_s, end, rate_hz,
                                               self._note, info.source)
        if not len(wave):
            raise MediaError(f"its sound lies outside the clip ({track.start_s:.2f} to {track.end_s:.2f} s)",
                             where=info.source, remedy="Move the clip, or ask without sound")
        return Audio(np.ascontiguousarray(wave[None], dtype=np.float32), rate_hz, first_s)

    def _note(self, sentence: str) -> None:
        if sentence not in self.notes:
            self.notes.append(sentence)

    def _still_info(self) -> MediaInfo:
        self._still, notes = read_still(self._path, self._kind, self.limits)
        for sentence in notes:
            self._note(sentence)
        height, width = self._still.shape[1:]
        return MediaInfo("image", str(self.clip.source), 0.0, 0.0, np.zeros(1), width_px=width, height_px=height,
                         container=self._kind)

    def _track_info(self) -> MediaInfo:
        with _explained(str(self.clip.source)):
            self._index = index = read_index(self._path, self._kind, self.limits)
        source, clip, video = str(self.clip.source), self.clip, index.video
        if clip.start_s >= index.end_s and clip.start_s > 0:
            raise UsageError(f"the clip starts at {clip.start_s} s, the file ends at {index.end_s:.2f} s", where=source,
                             remedy="; ".join(index.shortfall) or "Choose an earlier start")
        end_s = min(index.end_s, clip.end_s if clip.end_s is not None else index.end_s)
        short = list(index.shortfall)
        if clip.end_s is not None and clip.end_s > index.end_s:
            short.append(f"the clip asks until {clip.end_s:g} s, the file ends at {index.end_s:.2f} s")
        times = video.times_s[_inside(video, clip)] if video is not None else np.zeros(0)
        has_audio = index.audio is not None
        return MediaInfo(
            "video" if video is not None else "audio", source, clip.start_s, end_s, times, fps=_rate(times, video),
            width_px=video.width_px if video else 0, height_px=video.height_px if video else 0, has_audio=has_audio,
            audio_rate_hz=index.audio.rate_hz if index.audio else 0, container=index.container,
            video_codec=video.codec if video else "", audio_codec=index.audio.codec if index.audio else "",
            shortfall=tuple(short))

    def _decoded(self, info: MediaInfo, shown: np.ndarray) -> Frames:
        assert self._index is not None and self._index.video is not None
        track = self._index.video
        tracks_ticks = track.ticks[_inside(track, self.clip)]
        asked = tracks_ticks[shown]
        wanted = np.unique(asked)
        rgb = np.empty((len(shown), 3, info.height_px, info.width_px), dtype=np.uint8)
        got_tick = np.full(len(shown), _NOT_GOT)
        reformatter = VideoReformatter()
        with _explained(info.source):
            for tick, got, frame in self._open_decoder(track).pictures(wanted.tolist()):
                self._check_shape(frame, info)
                where = np.flatnonzero(asked == tick)
                rgb[where] = to_rgb(frame, reformatter, info.width_px, info.height_px)
                got_tick[where] = got
        self._fill(rgb, got_tick, asked, info.source)
        times = {int(tick): float(second) for tick, second in zip(track.ticks, track.times_s, strict=True)}
        at_s = np.array([times.get(int(tick), float("nan")) for tick in got_tick], dtype=np.float64)
        return Frames(rgb, at_s, repeats(got_tick))

    def _fill(self, rgb: np.ndarray, got_tick: np.ndarray, asked: np.ndarray, where: str) -> None:
        """Where nothing at or before the asked time is readable, the next readable picture of the request stands in."""
        missing = got_tick == _NOT_GOT
        if missing.all() and len(missing):
            raise MediaError("none of the asked pictures can be decoded", where=where,
                             remedy="Ask for other times, or copy the file again")
        for place in np.flatnonzero(missing):
            later = np.flatnonzero(~missing & (asked >= asked[place]))
            among = later if len(later) else np.flatnonzero(~missing)
            nearest = among[np.abs(asked[among] - asked[place]).argmin()]
            rgb[place], got_tick[place] = rgb[nearest], got_tick[nearest]
        if missing.any():
            self._note(f"{int(missing.sum())} asked picture(s) cannot be decoded, nor any before; "
                       "the nearest readable one is given, with its own time")

    def _open_decoder(self, track: VideoTrack) -> Decoder:
        if self._decoder is None:
            self._decoder = Decoder(self._open_container, track, self._note)
        return self._decoder

    def _open_container(self) -> Any:
        return open_container(self._path, self._kind, self.limits.frame_pixels)

    def _check_shape(self, frame: Any, info: MediaInfo) -> None:
        self.limits.check_picture(frame.width, frame.height, info.source)
        if is_slanted(frame):
            self._note("the file asks to turn its pictures by an odd angle; they are given as stored")
        if shape_of(frame) != (info.width_px, info.height_px):
            self._note(f"the picture size changes on the way; scaled to {info.width_px} x {info.height_px}")


def _inside(track: VideoTrack, clip: Clip) -> slice:
    """The track's pictures that begin inside the clip; if none does, the one on the screen at the clip's start."""
    begin = int(np.searchsorted(track.times_s, clip.start_s, side="left"))
    end = len(track.times_s) if clip.end_s is None else int(np.searchsorted(track.times_s, clip.end_s, side="left"))
    if begin >= end:
        begin = int(shown_at(track.times_s, [clip.start_s])[0])
        end = begin + 1
    return slice(begin, end)


def _rate(times: np.ndarray, video: VideoTrack | None) -> float:
    """Frames per second of the clip: the track's nominal rate where the true times agree to 0.5 %, else their mean."""
    if video is None:
        return 0.0
    if len(times) < 2:
        return video.rate or 1.0 / (video.last_s - float(video.times_s[-1]))
    mean = float((len(times) - 1) / (times[-1] - times[0]))
    return video.rate if abs(video.rate - mean) <= 0.005 * mean else mean
