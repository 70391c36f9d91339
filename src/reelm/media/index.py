"""What a file really holds, packet by packet: headers may lie, packets cannot.

One pass over the packets (nothing but one picture and one stretch of sound is decoded) gives every presentation time,
every place where decoding can begin, and what the header promised but the file does not hold.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import av
import numpy as np

from reelm.errors import MediaError
from reelm.media.content import Content
from reelm.media.limits import Deadline, Limits
from reelm.media.picture import TRANSPARENT, shape_of
from reelm.media.source import open_container
from reelm.media.time import Clock

#: A file may end this much before its header's promise without a word: rounding, and a sound frame cut at the end.
SLACK_S = 0.1
_PROBE_PACKETS = 32
_HOLE_S = 0.25
#: Containers in which FFmpeg gives other times to the same pictures after a seek: decoding begins at their start.
_UNSEEKABLE = ("mpeg",)
#: Containers that say no length, so that FFmpeg's is a guess from the first bytes.
_LENGTH_GUESSED = ("aac", "mp3")
_REORDERING = ("h264", "hevc", "av1", "vp9", "vvc")


@dataclass(frozen=True)
class VideoTrack:
    """The pictures of one track. `ticks` are distinct and rising, `times_s` are the same as seconds; the last picture
    stays until `last_s`; `rate` is the nominal one.

    `pts` and `key` (every packet, decode order) say where decoding can begin. `copies`: how many pictures
    share a tick (only the last of them is ever seen). `ordinal`: the file has no presentation times; ticks count
    shown pictures, and a reader has to decode from the start.
    """

    stream: int
    base: Fraction
    ticks: np.ndarray
    times_s: np.ndarray
    pts: np.ndarray
    key: np.ndarray
    copies: dict[int, int]
    ordinal: bool
    last_s: float
    rate: float
    codec: str
    width_px: int
    height_px: int


@dataclass(frozen=True)
class AudioTrack:
    """The sound of one track: from `start_s` to `end_s` on the file's clock, as its packets say."""

    stream: int
    start_s: float
    end_s: float
    rate_hz: int
    codec: str
    packets: int


@dataclass(frozen=True)
class Index:
    """Everything found in one pass; `end_s` is the end of the last picture or sound."""

    container: str
    clock: Clock
    video: VideoTrack | None
    audio: AudioTrack | None
    end_s: float
    shortfall: tuple[str, ...]


@dataclass
class _Packets:
    """Raw facts of one track while the file is read."""

    stream: Any
    pts: list[int | None] = field(default_factory=list)
    dts: list[int | None] = field(default_factory=list)
    key: list[bool] = field(default_factory=list)
    shown: list[bool] = field(default_factory=list)
    duration: list[int] = field(default_factory=list)
    corrupt: int = 0
    first: int | None = None
    shape: tuple[int, int] | None = None
    probed: int = 0
    untimed: bool = False
    unseekable: bool = False

    def add(self, packet: Any) -> None:
        if packet.is_corrupt:
            self.corrupt += 1
        self.pts.append(None if self.untimed else packet.pts)
        self.dts.append(packet.dts)
        self.key.append(packet.is_keyframe and not self.unseekable)
        context = self.stream.codec_context
        hidden = context is not None and context.codec.canonical_name == "vp8" and _vp8_hidden(packet)
        self.shown.append(not (packet.is_discard or packet.is_corrupt or hidden))
        self.duration.append(packet.duration or 0)

    def end(self) -> int | None:
        """The tick at which the last shown packet ends."""
        ends = [pts + length for pts, length, shown in zip(self.pts, self.duration, self.shown, strict=True)
                if shown and pts is not None]
        return max(ends, default=None)

    def typical_s(self) -> float:
        """The usual length of a packet in seconds, 0 where the file does not say."""
        return float(np.median(self.duration) * float(self.stream.time_base)) if self.duration else 0.0


def _vp8_hidden(packet: Any) -> bool:
    """VP8 stores reference pictures that are never shown as packets of their own (bit 4 of the frame tag)."""
    return packet.size > 0 and not bytes(packet)[0] & 0x10


def read_index(content: Content, kind: str, limits: Limits, deadline: Deadline) -> Index:
    """The file's true contents.

    Raises: MediaError if it holds neither a readable picture nor sound; BudgetError if its pictures are too large or
    the time is over.
    Cost: reads the whole file once, decodes one picture and the first sound.
    """
    with open_container(content, kind, limits.frame_pixels, deadline) as container:
        chosen, notes = _choose(container)
        for packets in chosen.values():
            if packets.stream.type == "video" and packets.stream.codec_context is not None:
                context = packets.stream.codec_context
                limits.check_picture(context.width, context.height, content.name)
                if (context.sample_aspect_ratio or 1) != 1:
                    notes.append(f"pixels are not square ({context.sample_aspect_ratio}); pictures are given as stored")
                if packets.stream.metadata.get("alpha_mode") == "1":  # a second stream, which the decoder passes over
                    notes.append(TRANSPARENT)
        broken = _read_all(container, chosen, deadline)
        if broken:
            notes.append(f"reading stopped inside the file: {broken}")
        return _assemble(content.name, container, chosen, notes)


def _choose(container: Any) -> tuple[dict[int, _Packets], list[str]]:
    """The video and the audio track that are read; cover pictures are not video."""
    chosen: dict[int, _Packets] = {}
    notes = []
    for type_ in ("video", "audio"):
        tracks = [stream for stream in container.streams if stream.type == type_
                  and not stream.disposition & (av.stream.Disposition.attached_pic
                                                | av.stream.Disposition.timed_thumbnails)]
        if not tracks:
            continue
        best = container.streams.best(type_)
        track = best if best in tracks else tracks[0]
        chosen[track.index] = _Packets(track, untimed=_is_untimed(container, track),
                                        unseekable=container.format.name in _UNSEEKABLE)
        if len(tracks) > 1:
            notes.append(f"the file has {len(tracks)} {type_} tracks; track {track.index} is used")
    return chosen, notes


def _is_untimed(container: Any, stream: Any) -> bool:
    """AVI stores no presentation times, and FFmpeg's guess is wrong for codecs that reorder pictures freely."""
    codec = stream.codec_context.codec.canonical_name if stream.codec_context is not None else ""
    return container.format.name == "avi" and codec in _REORDERING


def _read_all(container: Any, chosen: dict[int, _Packets], deadline: Deadline) -> str:
    """Fills `chosen`; returns why reading stopped early, or an empty string."""
    streams = [packets.stream for packets in chosen.values()]
    if not streams:
        return ""
    try:
        for packet in container.demux(*streams):
            deadline.check()
            if packet.size == 0 and packet.pts is None and packet.dts is None:
                continue
            packets = chosen[packet.stream_index]
            packets.add(packet)
            _probe(packets, packet)
    except (av.error.FFmpegError, OSError) as error:
        return str(getattr(error, "strerror", None) or error)
    return ""


def _probe(packets: _Packets, packet: Any) -> None:
    """Decodes the first picture (for its true size) and the first sound (for its true start)."""
    context = packets.stream.codec_context
    done = packets.shape if packets.stream.type == "video" else packets.first
    if done is not None or packets.probed >= _PROBE_PACKETS or context is None:
        return
    packets.probed += 1
    try:
        frames = packet.decode()
        if packets.stream.type == "video" and not frames and packet.is_keyframe:
            frames = context.decode(None)
            context.flush_buffers()
    except (av.error.FFmpegError, OSError, ValueError):
        return
    if frames and packets.stream.type == "video":
        packets.shape = shape_of(frames[0])
    elif frames and frames[0].pts is not None and not packets.untimed:
        packets.first = frames[0].pts


def _assemble(where: str, container: Any, chosen: dict[int, _Packets], notes: list[str]) -> Index:
    video = next((p for p in chosen.values() if p.stream.type == "video"), None)
    audio = next((p for p in chosen.values() if p.stream.type == "audio"), None)
    if video is not None and not any(video.shown):
        notes.append("the picture track holds no readable picture")
        video = None
    if audio is not None and not audio.pts:
        notes.append("the sound track holds no sound")
    if video is None and (audio is None or not audio.pts):
        raise MediaError("holds no readable picture and no sound", where=where,
                         remedy="Copy or download it again" if chosen else "It was cut short, or has only other tracks")
    starts = [_start(p) for p in (video, audio) if p is not None]
    clock = Clock(min((start for start in starts if start is not None), default=Fraction(0)))
    video_track = _video_track(video, clock) if video is not None else None
    audio_track = _audio_track(audio, clock, container.format.name.split(',')[0]) if audio is not None else None
    ends = [video_track.last_s] if video_track is not None else []
    ends += [audio_track.end_s] if audio_track is not None else []
    end_s = max(ends)
    notes += _shortfalls(container, clock, end_s, video, video_track, audio, audio_track)
    return Index(container.format.name, clock, video_track, audio_track, end_s, tuple(notes))


def _start(packets: _Packets) -> Fraction | None:
    """Seconds of the first thing seen or heard."""
    base = packets.stream.time_base
    if packets.first is not None:
        return packets.first * base
    known = [pts for pts, shown in zip(packets.pts, packets.shown, strict=True) if shown and pts is not None]
    if not known and any(dts is not None for dts in packets.dts):
        return None
    return min(known) * base if known else None


def _video_track(packets: _Packets, clock: Clock) -> VideoTrack:
    stream, base = packets.stream, packets.stream.time_base
    context = stream.codec_context
    width, height = packets.shape or ((context.width, context.height) if context is not None else (0, 0))
    ordinal = any(pts is None for pts, shown in zip(packets.pts, packets.shown, strict=True) if shown)
    if ordinal:
        ticks, times = _ordinal_times(packets)
        copies: dict[int, int] = {}
    else:
        shown_ticks = np.array([pts for pts, shown in zip(packets.pts, packets.shown, strict=True) if shown], np.int64)
        ticks, counts = np.unique(shown_ticks, return_counts=True)
        copies = {int(tick): int(count) for tick, count in zip(ticks, counts, strict=True) if count > 1}
        times = clock.seconds(ticks, base)
    step = float(np.median(np.diff(times))) if len(times) > 1 else float(1 / (stream.average_rate or 25))
    lengths = {pts: length for pts, length in zip(packets.pts, packets.duration, strict=True) if pts is not None}
    last = lengths.get(int(ticks[-1]), 0) * float(base) if not ordinal else 0.0
    floor = np.iinfo(np.int64).min
    return VideoTrack(
        stream.index, base, ticks, times, np.array([floor if pts is None else pts for pts in packets.pts], np.int64),
        np.array(packets.key, bool), copies, ordinal, float(times[-1]) + (last or step),
        float(stream.average_rate or 0), _codec_of(context), width, height)


def _codec_of(context: Any) -> str:
    return context.codec.canonical_name if context is not None else "unknown"


def _ordinal_times(packets: _Packets) -> tuple[np.ndarray, np.ndarray]:
    """Times of a track without presentation times: its decode times in order, or its nominal rate.

    Decode times are the presentation times in rising order, shifted by the reordering delay; the shift is taken off.
    """
    count = sum(packets.shown)
    decode = sorted(dts for dts, shown in zip(packets.dts, packets.shown, strict=True) if shown and dts is not None)
    if len(decode) == count and len(set(decode)) == count:
        times = Clock(decode[0] * packets.stream.time_base).seconds(decode, packets.stream.time_base)
    else:
        times = np.arange(count) / float(packets.stream.average_rate or 25)
    return np.arange(count, dtype=np.int64), times


def _audio_track(packets: _Packets, clock: Clock, container: str) -> AudioTrack:
    stream, context = packets.stream, packets.stream.codec_context
    start, end = _start(packets), packets.end()
    start_s = float((start or Fraction(0)) - clock.start) if start is not None else 0.0
    end_s = float(end * stream.time_base - clock.start) if end is not None else start_s
    if container == "mov" and stream.duration and packets.duration and end is not None:
        # The edit list of an MP4 cuts off what the encoder added to fill its last block; FFmpeg does not.
        surplus = end - (stream.start_time or 0) - stream.duration
        end_s -= float(surplus * stream.time_base) if 0 < surplus <= packets.duration[-1] else 0.0
    return AudioTrack(stream.index, start_s, max(start_s, end_s), context.sample_rate if context is not None else 0,
                      _codec_of(context), sum(packets.shown))


def _shortfalls(container: Any, clock: Clock, end_s: float, video: _Packets | None, video_track: VideoTrack | None,
                audio: _Packets | None, audio_track: AudioTrack | None) -> Iterator[str]:
    """Sentences on what the header promises and the packets do not hold."""
    told = False
    tracks = ((video, video_track.last_s if video_track else None, "picture"),
              (audio, audio_track.end_s if audio_track else None, "sound"))
    for packets, track_end, name in tracks:
        if packets is None or track_end is None:
            continue
        if packets.corrupt:
            yield f"{packets.corrupt} damaged {name} packet(s) left out"
        stream = packets.stream
        if stream.duration is None or container.format.name in _LENGTH_GUESSED:
            continue
        promised = float(((stream.start_time or 0) + stream.duration) * stream.time_base - clock.start)
        if promised > track_end + min(SLACK_S, packets.typical_s() / 2 or SLACK_S):
            told = True
            counts = f" ({len(packets.pts)} of {stream.frames} packets)" if stream.frames > len(packets.pts) else ""
            yield f"the header promises {promised:.2f} s of {name}, the file holds {track_end:.2f} s{counts}"
    # Some containers count their length from zero, others from the first picture.
    promised = (container.duration or 0) / 1_000_000
    guessed = container.format.name in _LENGTH_GUESSED
    if not told and not guessed and promised > end_s + max(0.0, float(clock.start)) + SLACK_S:
        yield f"the header promises {promised:.2f} s, the file ends at {end_s:.2f} s"
    if video_track is not None:
        yield from _picture_gaps(video_track.times_s)
    if audio is not None:
        yield from _sound_gaps(audio, clock)


def _picture_gaps(times_s: np.ndarray) -> Iterator[str]:
    """Holes in an otherwise steady track; where frames come at will, a long one is no hole."""
    steps = np.diff(times_s)
    if len(steps) < 8:
        return
    usual = float(np.median(steps))
    steady = np.abs(steps - usual) <= 0.1 * usual + 0.0011
    holes = np.flatnonzero(steps > max(_HOLE_S, 3 * usual))
    if steady.mean() >= 0.9 and len(holes):
        longest = holes[np.argmax(steps[holes])]
        yield (f"no picture begins for {steps[longest]:.2f} s after {times_s[longest]:.2f} s, where one comes every "
               f"{usual:.3f} s otherwise ({len(holes)} such hole(s))")


def _sound_gaps(packets: _Packets, clock: Clock) -> Iterator[str]:
    spans = sorted((pts, pts + length) for pts, length, shown in
                   zip(packets.pts, packets.duration, packets.shown, strict=True) if shown and pts is not None)
    base = packets.stream.time_base
    holes = [(before[1], after[0]) for before, after in itertools.pairwise(spans)
             if float((after[0] - before[1]) * base) > SLACK_S and before[1] > before[0]]
    if holes:
        total = float(sum(end - begin for begin, end in holes) * base)
        yield (f"{total:.2f} s of sound are missing, first at "
               f"{float(holes[0][0] * base - clock.start):.2f} s ({len(holes)} hole(s))")
