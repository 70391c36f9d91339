"""A clip without its sound, or without its pictures: for controls that take one of two streams away.

What is left is copied packet by packet, not decoded, so a model gets the very same pictures, or the very same sound.
"""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import av

from reelm import media
from reelm.errors import MediaError
from reelm.media.content import content_of
from reelm.media.limits import Deadline
from reelm.media.source import open_container, sniff
from reelm.tasks.base import Item
from reelm.types import AudioVideo, Clip, Part

#: Control -> the stream that it leaves.
LEFT = {"mute": "video", "dark": "audio"}
#: Kind of file -> how its copy is written; all others become Matroska.
_MUXERS = {"mov": "mov", "mpegts": "mpegts", "avi": "avi", "flv": "flv", "asf": "asf"}


def has_both(part: Part) -> bool:
    """Whether a part of a question shows pictures and sounds. Cost: reads a file once, without decoding it.

    Raises: MediaError if it cannot be read.
    """
    if not isinstance(part, Clip):
        return isinstance(part, AudioVideo)
    with media.open(part) as reader:
        info = reader.info()
    return info.kind == "video" and info.has_audio


def alone(item: Item, control: str) -> Item:
    """The item with one stream only of everything that has both; what has one stays. Raises: MediaError."""
    return replace(item, media=tuple(_alone(part, LEFT[control]) if has_both(part) else part  # type: ignore[misc]
                                     for part in item.media))


def _alone(part: Part, stream: str) -> Part:
    if isinstance(part, AudioVideo):
        return part.frames if stream == "video" else part.audio
    assert isinstance(part, Clip)
    return replace(part, source=copied(part, stream))


def copied(clip: Clip, stream: str) -> bytes:
    """The file of a clip with its "video" or its "audio" track only. Raises: MediaError if it cannot be copied."""
    limits = media.Limits()
    content = content_of(clip, limits)
    kind = sniff(content)
    held = io.BytesIO()
    try:
        with open_container(content, kind, limits.frame_pixels, Deadline(limits.wall_s, clip.name)) as source, \
                av.open(held, "w", format=_MUXERS.get(kind, "matroska"), options={"fflags": "+bitexact"}) as out:
            track = _track(source, stream)
            target = out.add_stream_from_template(track)
            for packet in source.demux(track):
                if packet.size:  # the last one is empty; Matroska leaves times of decoding out
                    packet.stream = target
                    out.mux(packet)
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise MediaError(f"its {stream} track cannot be copied alone ({error})", where=clip.name,
                         remedy="Convert the file to MP4") from None
    return held.getvalue()


def _track(source: Any, stream: str) -> Any:
    """The track that a reader takes too; a cover picture is not video."""
    tracks = [one for one in getattr(source.streams, stream)
              if not one.disposition & av.stream.Disposition.attached_pic]
    best = source.streams.best(stream)
    return best if best in tracks else tracks[0]
