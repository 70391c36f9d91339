"""Opening a clip and asking it for facts, pictures and sound."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from reelm.errors import BudgetError, MediaError, UsageError
from reelm.media import audio as sound
from reelm.media import subtitles as lines
from reelm.media.content import Content, content_of, is_folder
from reelm.media.decode import Decoder
from reelm.media.index import Index, VideoTrack, read_index
from reelm.media.limits import Deadline, Limits
from reelm.media.picture import TRANSPARENT, has_alpha, is_slanted, shape_of, to_rgb
from reelm.media.slides import Slides, folder_slides, webp_slides
from reelm.media.source import DEMUXERS, open_container, sniff
from reelm.media.still import read_still
from reelm.media.time import Clock, repeats, shown_at
from reelm.types import Audio, Clip, Cue, Frames, MediaInfo

_NOT_GOT = int(np.iinfo(np.int64).min)
_SUBTITLE_BYTES = 16 << 20


@contextmanager
def _explained(where: str) -> Iterator[None]:
    """Turns what FFmpeg raises on a broken file into an error for the reader of the message."""
    try:
        yield
    except MemoryError:
        raise BudgetError("needs more memory than there is to decode", where=where,
                          remedy="Ask for less, or scale the file down") from None
    except (av.error.FFmpegError, OSError, ValueError, ArithmeticError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise MediaError(f"is damaged in a way that stops the decoder ({reason})", where=where,
                         remedy="Copy or download it again, or convert it") from None


def open(clip: Clip, limits: Limits | None = None) -> Reader:
    """A reader of the clip; the source is checked and its kind found, but nothing is decoded yet.

    Raises: MediaError (missing, empty, unreadable, not a known format), PolicyError (a protocol or a playlist),
    UsageError (`folder_fps` without a folder, a stream that cannot go back).
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
        self._deadline = Deadline(self.limits.wall_s, clip.name)
        self._content: Content | None = None
        self._kind = "folder"
        if not is_folder(clip):
            if clip.folder_fps is not None:
                raise UsageError("folder_fps is given, but the source is no folder", where=clip.name,
                                 remedy="Leave it out; a file has times of its own")
            self._content = content_of(clip, limits)
            self._kind = sniff(self._content)
        self._index: Index | None = None
        self._slides: Slides | None = None
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
            self._deadline.start()
            self._info = self._found_out()
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
        self._deadline.start()
        self.limits.check_frames(len(at_s), info.width_px, info.height_px, info.source)
        shown = shown_at(info.frame_times_s, at_s)
        if info.kind == "image":
            assert self._still is not None
            rgb = np.repeat(self._still[None], len(shown), axis=0)
            return Frames(rgb, np.zeros(len(shown)), repeats(shown), still=True)
        return self._shown(info, shown) if self._slides is not None else self._decoded(info, shown)

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
        self._deadline.start()
        track, clock = self._index.audio, self._index.clock
        begin, end = max(self.clip.start_s, track.start_s), min(info.end_s, track.end_s)
        self.limits.check_sound(end - begin, max(rate_hz, track.rate_hz), info.source)
        with _explained(info.source), self._open_container() as container:
            wave, first_s = sound.decode_sound(container, track, clock, self.clip.start_s, end, rate_hz,
                                               self._note, self._deadline)
        if not len(wave):
            raise MediaError(f"its sound lies outside the clip ({track.start_s:.2f} to {track.end_s:.2f} s)",
                             where=info.source, remedy="Move the clip, or ask without sound")
        return Audio(np.ascontiguousarray(wave[None], dtype=np.float32), rate_hz, first_s)

    def subtitles(self, side: str | Path | None = None) -> tuple[Cue, ...]:
        """The lines on the screen during the clip, with their whole times; () if the file has no text track.

        Without `side` a text track inside the file is read; with it that SRT or WebVTT file, and never another one:
        `beside()` lists the candidates. Markup is left out.

        Units: seconds from the file's start. Raises: MediaError if the side file is unreadable or neither SRT nor
        WebVTT. Cost: reads the whole file once.
        """
        info = self.info()
        self._deadline.start()
        if side is not None:
            named = content_of(lines.side_path(side), self.limits)
            data, kind = lines.side_text(named, self._note, _SUBTITLE_BYTES)
            content, clock = content_of(Clip(data), self.limits), Clock()
            where = named.name
        elif self._content is None or self._index is None:
            return ()
        else:
            content, clock, kind, where = self._content, self._index.clock, self._kind, info.source
        with _explained(where), open_container(content, kind, self.limits.frame_pixels, self._deadline) as container:
            track = lines.text_track(container, self._note)
            cues = [] if track is None else list(lines.cues_of(container, track, clock, self._note, self._deadline))
        return lines.inside(cues, self.clip)

    def beside(self) -> tuple[Path, ...]:
        """The subtitle files next to the video that bear its name (`talk.srt`, `talk.en.vtt` for `talk.mp4`)."""
        path = self._content.path if self._content is not None else None
        return lines.beside(path) if path is not None else ()

    def _note(self, sentence: str) -> None:
        if sentence not in self.notes:
            self.notes.append(sentence)

    def _found_out(self) -> MediaInfo:
        if self._content is None or self._kind == "webp_moving":
            return self._slide_info()
        if self._kind not in DEMUXERS:
            return self._still_info(self._content)
        info = self._track_info(self._content)
        # An animation of one picture is a picture.
        return self._still_info(self._content) if self._is_one_picture() else info

    def _is_one_picture(self) -> bool:
        index = self._index
        return (self._kind in ("gif", "apng") and index is not None and index.video is not None
                and len(index.video.ticks) == 1)

    def _slide_info(self) -> MediaInfo:
        with _explained(self.clip.name):
            if self._content is None:
                slides = folder_slides(self.clip, self.limits, self._deadline, self._note)
            else:
                slides = webp_slides(self._content, self.limits, self._deadline, self._note)
        self._slides = slides
        end_s, short = self._end_of(slides.end_s, slides.shortfall)
        times = slides.times_s[_inside(slides.times_s, self.clip)]
        return MediaInfo("video", self.clip.name, self.clip.start_s, end_s, times, fps=slides.rate,
                         width_px=slides.width_px, height_px=slides.height_px, container=slides.container,
                         video_codec=slides.codec, shortfall=short)

    def _end_of(self, file_end_s: float, shortfall: tuple[str, ...]) -> tuple[float, tuple[str, ...]]:
        """(where the clip ends, the shortfall with what the clip lacks). Raises: UsageError past the file's end."""
        clip = self.clip
        if clip.start_s >= file_end_s and clip.start_s > 0:
            raise UsageError(f"the clip starts at {clip.start_s} s, the file ends at {file_end_s:.2f} s",
                             where=clip.name, remedy="; ".join(shortfall) or "Choose an earlier start")
        if clip.end_s is not None and clip.end_s > file_end_s:
            shortfall += (f"the clip asks until {clip.end_s:g} s, the file ends at {file_end_s:.2f} s",)
        return min(file_end_s, clip.end_s if clip.end_s is not None else file_end_s), shortfall

    def _still_info(self, content: Content) -> MediaInfo:
        with _explained(content.name):
            self._still, notes = read_still(content, self._kind, self.limits)
        for sentence in notes:
            self._note(sentence)
        height, width = self._still.shape[1:]
        return MediaInfo("image", content.name, 0.0, 0.0, np.zeros(1), width_px=width, height_px=height,
                         container=self._kind)

    def _track_info(self, content: Content) -> MediaInfo:
        with _explained(content.name):
            self._index = index = read_index(content, self._kind, self.limits, self._deadline)
        clip, video = self.clip, index.video
        end_s, short = self._end_of(index.end_s, index.shortfall)
        times = video.times_s[_inside(video.times_s, clip)] if video is not None else np.zeros(0)
        has_audio = index.audio is not None
        return MediaInfo(
            "video" if video is not None else "audio", content.name, clip.start_s, end_s, times,
            fps=_rate(times, video), width_px=video.width_px if video else 0,
            height_px=video.height_px if video else 0, has_audio=has_audio,
            audio_rate_hz=index.audio.rate_hz if index.audio else 0, container=index.container,
            video_codec=video.codec if video else "", audio_codec=index.audio.codec if index.audio else "",
            shortfall=short)

    def _shown(self, info: MediaInfo, shown: np.ndarray) -> Frames:
        """The asked slides; `shown` counts inside the clip."""
        assert self._slides is not None
        numbers = np.arange(len(self._slides.times_s))[_inside(self._slides.times_s, self.clip)][shown]
        rgb = np.empty((len(shown), 3, info.height_px, info.width_px), dtype=np.uint8)
        with _explained(info.source):
            for number, picture in self._slides.read(np.unique(numbers).tolist()):
                rgb[numbers == number] = picture
        return Frames(rgb, info.frame_times_s[shown], repeats(shown))

    def _decoded(self, info: MediaInfo, shown: np.ndarray) -> Frames:
        assert self._index is not None and self._index.video is not None
        track = self._index.video
        tracks_ticks = track.ticks[_inside(track.times_s, self.clip)]
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
            self._decoder = Decoder(self._open_container, track, self._note, self._deadline.check)
        return self._decoder

    def _open_container(self) -> Any:
        assert self._content is not None
        return open_container(self._content, self._kind, self.limits.frame_pixels, self._deadline)

    def _check_shape(self, frame: Any, info: MediaInfo) -> None:
        self.limits.check_picture(frame.width, frame.height, info.source)
        if has_alpha(frame):
            self._note(TRANSPARENT)
        if is_slanted(frame):
            self._note("the file asks to turn its pictures by an odd angle; they are given as stored")
        if shape_of(frame) != (info.width_px, info.height_px):
            self._note(f"the picture size changes on the way; scaled to {info.width_px} x {info.height_px}")


def _inside(times_s: np.ndarray, clip: Clip) -> slice:
    """The pictures that begin inside the clip; if none does, the one on the screen at the clip's start."""
    begin = int(np.searchsorted(times_s, clip.start_s, side="left"))
    end = len(times_s) if clip.end_s is None else int(np.searchsorted(times_s, clip.end_s, side="left"))
    if begin >= end:
        begin = int(shown_at(times_s, [clip.start_s])[0])
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
