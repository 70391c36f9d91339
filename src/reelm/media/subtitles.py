"""Subtitles as lines with times: text tracks inside a file, and SRT or WebVTT files beside it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import av

from reelm.errors import MediaError, PolicyError
from reelm.media.content import Content
from reelm.media.limits import Deadline
from reelm.media.time import Clock
from reelm.types import Clip, Cue

#: Codecs whose subtitles are text; the others are pictures of text.
TEXT_CODECS = ("subrip", "srt", "mov_text", "webvtt", "ass", "ssa", "text")
SIDE_SUFFIXES = (".srt", ".vtt")
#: A line without a length stays until the next one, but no longer than this.
_OPEN_END_S = 5.0
_FIELDS_BEFORE_TEXT = 8
_STYLE = re.compile(r"\{\\[^}]*\}")


def beside(path: Path) -> tuple[Path, ...]:
    """The SRT and WebVTT files next to a video that are named after it: `talk.srt`, `talk.en.vtt` for `talk.mp4`."""
    stem = path.stem
    try:
        near = sorted(path.parent.iterdir())
    except OSError:
        return ()
    return tuple(file for file in near if file.suffix.lower() in SIDE_SUFFIXES and file.is_file()
                 and (file.stem == stem or file.stem.startswith(stem + ".")))


def side_text(content: Content, note: Callable[[str], None], most_bytes: int) -> tuple[bytes, str]:
    """(the subtitle file as UTF-8, "srt" or "webvtt").

    Raises: MediaError if it is neither, or larger than `most_bytes`.
    """
    with content.open() as file:
        raw = file.read(most_bytes + 1)
    if len(raw) > most_bytes:
        raise MediaError(f"has more than {most_bytes:,} bytes, too many for subtitles", where=content.name,
                         remedy="Name the subtitle file")
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        text = raw.decode("utf-16", "replace")
    else:
        try:
            text = raw.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = raw.decode("cp1252", "replace")
            note("the subtitles are not UTF-8; they are read as Windows-1252")
    if text.startswith("WEBVTT"):
        return text.encode(), "webvtt"
    if re.search(r"\d[,.]\d{1,3}\s*-->", text):
        return text.encode(), "srt"
    raise MediaError("is neither SRT nor WebVTT", where=content.name, remedy="Convert it to one of them")


def text_track(container: Any, note: Callable[[str], None]) -> Any | None:
    """The text track that is read: the one marked as default, else the first; None if there is none."""
    tracks = [stream for stream in container.streams if stream.type == "subtitle"]
    texts = [stream for stream in tracks if _codec_of(stream) in TEXT_CODECS]
    if len(tracks) > len(texts):
        note(f"{len(tracks) - len(texts)} subtitle track(s) are pictures of text and are not read")
    if not texts:
        return None
    default = [stream for stream in texts if stream.disposition & av.stream.Disposition.default]
    chosen = (default or texts)[0]
    if len(texts) > 1:
        language = chosen.metadata.get("language", "language unknown")
        note(f"the file has {len(texts)} text tracks; track {chosen.index} ({language}) is used")
    return chosen


def cues_of(container: Any, stream: Any, clock: Clock, note: Callable[[str], None],
            deadline: Deadline) -> Iterator[Cue]:
    """Every line of a text track, in order of its packets, without markup; empty lines are passed over."""
    open_ended: tuple[float, str] | None = None
    for begin_s, length_s, text in _lines(container, stream, clock, note, deadline):
        if open_ended is not None:
            yield Cue(open_ended[0], min(max(begin_s, open_ended[0]), open_ended[0] + _OPEN_END_S), open_ended[1])
            open_ended = None
        if text and length_s > 0:
            yield Cue(begin_s, begin_s + length_s, text)
        elif text:
            open_ended = begin_s, text
    if open_ended is not None:
        yield Cue(open_ended[0], open_ended[0] + _OPEN_END_S, open_ended[1])


def inside(cues: Sequence[Cue], clip: Clip) -> tuple[Cue, ...]:
    """The lines on the screen at some moment of the clip, with their own whole times, in order of their beginning."""
    end_s = float("inf") if clip.end_s is None else clip.end_s
    return tuple(sorted((cue for cue in cues if cue.end_s > clip.start_s and cue.start_s < end_s),
                        key=lambda cue: (cue.start_s, cue.end_s)))


def side_path(side: str | Path) -> Clip:
    """The named subtitle file as a clip. Raises: PolicyError for anything with a protocol that is no file."""
    if isinstance(side, str) and side[:5].lower() == "data:":
        raise PolicyError("subtitles are read from files only", where=side[:60], remedy="Save them to a file")
    return Clip(side)


def _codec_of(stream: Any) -> str:
    return stream.codec_context.codec.name if stream.codec_context is not None else "unknown"


def _lines(container: Any, stream: Any, clock: Clock, note: Callable[[str], None],
           deadline: Deadline) -> Iterator[tuple[float, float, str]]:
    """(begin, length, text) in seconds of every packet."""
    failed = 0
    try:
        for packet in container.demux(stream):
            deadline.check()
            if not packet.size or packet.pts is None:
                continue
            begin_s = float(clock.seconds([packet.pts], packet.time_base)[0])
            try:
                said = [_plain(line) for line in packet.decode()]
            except (av.error.FFmpegError, ValueError):
                failed += 1
                continue
            yield begin_s, float((packet.duration or 0) * packet.time_base), "\n".join(filter(None, said))
    except (av.error.FFmpegError, OSError) as error:
        note(f"reading the subtitles stopped inside the file: {getattr(error, 'strerror', None) or error}")
    if failed:
        note(f"{failed} subtitle(s) could not be decoded")


def _plain(line: Any) -> str:
    """The words of one decoded line; FFmpeg gives all text subtitles in the form of ASS, with styles in braces."""
    fields = (getattr(line, "ass", None) or b"").decode("utf-8", "replace").split(",", _FIELDS_BEFORE_TEXT)
    text = _STYLE.sub("", fields[-1]) if len(fields) > _FIELDS_BEFORE_TEXT else ""
    for written, meant in (("\\{{}", "{"), ("\\{", "{"), ("\\}", "}"), ("\\N", "\n"), ("\\n", "\n"), ("\\h", " ")):
        text = text.replace(written, meant)
    return "\n".join(part.strip() for part in text.splitlines()).strip()
