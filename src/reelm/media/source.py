"""Which content may be opened, and as what: decided by its first bytes, never by its name.

FFmpeg by itself guesses the format and follows what a file refers to: a playlist named `.mp4` would make it open other
files or the network. Here the format is chosen from a short list before FFmpeg sees the file, FFmpeg is given an open
file instead of a path, and any further file it asks for is refused.
"""

from __future__ import annotations

import errno
import os
import re
from typing import Any, BinaryIO

import av

from reelm.errors import MediaError, PolicyError
from reelm.media.content import Content
from reelm.media.limits import Deadline

#: FFmpeg demuxers that are ever used, by the name `sniff` gives. Pictures are read by Pillow.
DEMUXERS = {"mov": "mov,mp4,m4a,3gp,3g2,mj2", "matroska": "matroska,webm", "avi": "avi", "gif": "gif", "apng": "apng",
            "mpegts": "mpegts", "mpeg": "mpeg", "asf": "asf", "flv": "flv",
            "wav": "wav", "flac": "flac", "mp3": "mp3", "ogg": "ogg", "aac": "aac", "aiff": "aiff"}
PICTURES = {"png": "PNG", "jpeg": "JPEG", "webp": "WEBP", "bmp": "BMP", "avif": "AVIF", "gif": "GIF", "apng": "PNG"}
#: Demuxers of subtitle files, which are only opened where subtitles are asked for.
SUBTITLES = {"srt": "srt", "webvtt": "webvtt"}
READABLE = ("MP4, MOV, MKV, WebM, AVI, MPEG, FLV and WMV video, moving GIF, WebP and PNG, folders of pictures, "
            "PNG, JPEG, WebP, BMP, AVIF and GIF pictures, WAV, FLAC, MP3, OGG, Opus, AAC and AIFF sound")

_MOV_ATOMS = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"moof", b"styp")
#: First bytes (a dot stands for any byte) -> kind. The order matters where one beginning is part of another.
_MAGIC = tuple((re.compile(magic, re.DOTALL), kind) for magic, kind in (
    (rb"....ftypavi[fs]", "avif"), (rb"RIFF....WAVE|(RF64|BW64)....WAVE", "wav"), (rb"RIFF....AVI ", "avi"),
    (rb"RIFF....WEBP", "webp"), (rb"\x1a\x45\xdf\xa3", "matroska"), (rb"fLaC", "flac"), (rb"OggS", "ogg"),
    (rb"\xff\xd8\xff", "jpeg"), (rb"\x89PNG\r\n\x1a\n", "png"), (rb"GIF8[79]a", "gif"), (rb"FORM....AIF[FC]", "aiff"),
    (rb"FLV\x01", "flv"), (rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "asf"), (rb"\x00\x00\x01\xba", "mpeg"),
    (rb"\x47.{187}\x47.{187}\x47|.{4}\x47.{191}\x47.{191}\x47", "mpegts"),
    (rb"BM.{12}[\x0c(48@l|]\x00\x00\x00", "bmp"),
))
_PLAYLIST = re.compile(
    rb"^\s*(#EXTM3U|ffconcat\s+version|\[playlist\]|\[Reference\]|\[InternetShortcut\]|v=0\r?\n|rtsptext|"
    rb"file\s+['\"/\w.]|(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)*<(MPD|smil|asx|playlist|SmoothStreamingMedia)\b)",
    re.IGNORECASE | re.DOTALL)
_FOREIGN = tuple((re.compile(magic, re.DOTALL), name) for magic, name in (
    (rb"....ftyp(hei[cxms]|hev[cx]|mif1|msf1)", "HEIC"), (rb"%PDF", "PDF"), (rb"PK\x03\x04", "ZIP"),
    (rb"II\*\x00|MM\x00\*", "TIFF"), (rb"\x1f\x8b", "gzip"), (rb"\.RMF", "RealMedia"), (rb"#!AMR", "AMR"),
    (rb"\x00\x00\x01\xb3", "raw MPEG"), (rb"\x00?\x00\x00\x01[\x09\x40\x42\x46\x67]", "raw H.264 or H.265")))
#: What ends the reading of packets inside a damaged file (PyAV: IndexError for a track that appears on the way).
STOPPED = (av.error.FFmpegError, OSError, IndexError)
_HEAD_BYTES = 4096
_BUFFER_BYTES = 1 << 17


def sniff(content: Content) -> str:
    """A key of `DEMUXERS` or `PICTURES` or "webp_moving", from the first bytes.

    Raises: PolicyError for playlists and session descriptions (they open other files); MediaError for the rest.
    """
    with content.open() as file:
        head = file.read(_HEAD_BYTES)
        after_tag = _after_id3(file, head)
        moving = head.startswith(b"\x89PNG") and _is_moving_png(file)
    kind = "apng" if moving else _magic(head) or (_magic(after_tag) or "mp3" if head[:3] == b"ID3" else None)
    foreign = next((name for magic, name in _FOREIGN if magic.match(head)), None)
    if kind is not None and foreign is None:
        return kind
    if foreign is not None:
        raise MediaError(f"is a {foreign} file, which this version does not read", where=content.name,
                         remedy=f"Convert it; readable are {READABLE}")
    if _PLAYLIST.match(head.removeprefix(b"\xef\xbb\xbf")):
        raise PolicyError("is a playlist, which would open other files or the network", where=content.name,
                          remedy="Name the media file itself")
    looks = "is text" if _is_text(head) else f"begins with unknown bytes ({head[:8].hex(' ')})"
    raise MediaError(f"{looks}, not a media file, whatever its name", where=content.name,
                     remedy=f"Readable are {READABLE}")


def _magic(head: bytes) -> str | None:
    for magic, kind in _MAGIC:
        if magic.match(head):
            return "webp_moving" if kind == "webp" and _is_moving_webp(head) else kind
    if head[4:8] in _MOV_ATOMS:
        return "mov"
    if _is_mp3_frame(head):
        return "mp3"
    is_adts = len(head) > 3 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0 and head[2] & 0x3C < 0x34
    return "aac" if is_adts else None


def _is_moving_webp(head: bytes) -> bool:
    return head[12:16] == b"VP8X" and len(head) > 20 and bool(head[20] & 2)


def _is_moving_png(file: BinaryIO) -> bool:
    """Whether an animation chunk stands before the picture's data."""
    at = 8
    for _ in range(64):
        file.seek(at)
        head = file.read(8)
        if len(head) < 8 or head[4:] == b"IDAT":
            return False
        if head[4:] == b"acTL":
            return True
        at += 12 + int.from_bytes(head[:4], "big")
    return False


def _is_mp3_frame(head: bytes) -> bool:
    """Sync word, layer III, and no reserved bit rate or sample rate: a UTF-16 text does not pass."""
    return (len(head) > 3 and head[0] == 0xFF and head[1] & 0xE6 == 0xE2 and head[1] & 0x18 != 0x08
            and head[2] & 0xF0 not in (0x00, 0xF0) and head[2] & 0x0C != 0x0C)


def _after_id3(file: BinaryIO, head: bytes) -> bytes:
    if head[:3] != b"ID3" or len(head) < 10:
        return b""
    size = sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
    file.seek(10 + size)
    return file.read(64)


def _is_text(head: bytes) -> bool:
    return all(byte >= 32 or byte in b"\t\r\n\f" for byte in head) and b"\x7f" not in head


def open_container(content: Content, kind: str, frame_pixels: int, deadline: Deadline) -> Any:
    """The opened `av` container of content whose `kind` is known; the caller closes it.

    The decoder refuses pictures above `frame_pixels` before it allocates them. Raises: MediaError; BudgetError when
    the time is over.
    """
    file = content.open(deadline)
    try:
        container = av.open(
            file, "r", format=kind, buffer_size=_BUFFER_BYTES, io_open=_refuse, metadata_errors="replace",
            options={"max_pixels": str(frame_pixels)},
            container_options={"format_whitelist": (DEMUXERS | SUBTITLES)[kind], "protocol_whitelist": "none"})
    except (av.error.FFmpegError, ValueError, OverflowError) as error:
        file.close()
        raise MediaError(f"cannot be opened as {kind}: {_plain(error)}", where=content.name,
                         remedy=_open_remedy(content, kind)) from None
    except BaseException:
        file.close()
        raise
    for stream in container.streams.video:
        if stream.codec_context is not None:
            stream.codec_context.options = {"max_pixels": str(frame_pixels)}
    if not len(container.streams):
        container.close()
        raise MediaError(f"looks like {kind} but holds no track", where=content.name,
                         remedy="Copy or download it again")
    return container


def track_of(container: Any, number: int, where: str) -> Any:
    """The track that the index found under this number.

    Raises: MediaError if a damaged file shows fewer tracks when it is opened again.
    """
    if number >= len(container.streams):
        raise MediaError("shows other tracks whenever it is opened", where=where, remedy="Copy or download it again")
    return container.streams[number]


def _refuse(url: str, flags: int, options: dict[str, str]) -> Any:
    raise PolicyError(f"the file refers to another file ({url[:200]!r}), which is not opened",
                      remedy="Put everything into one file")


def _plain(error: Exception) -> str:
    if isinstance(error, EOFError) or getattr(error, "errno", None) == errno.EIO:
        return "it ends too early"
    return str(getattr(error, "strerror", None) or error).split("; last error log")[0]


def _open_remedy(content: Content, kind: str) -> str:
    if kind == "mov":
        with content.open() as file:
            if not _has_moov(file):
                return "Its index (moov) is missing: the recording was cut short; copy or download it again"
    return "Copy or download it again"


def _has_moov(file: BinaryIO) -> bool:
    """Walks the top-level boxes of an MP4."""
    end = file.seek(0, os.SEEK_END)
    at = 0
    while at + 8 <= end:
        file.seek(at)
        head = file.read(16)
        size = int.from_bytes(head[:4], "big")
        if head[4:8] == b"moov":
            return True
        if size == 1 and len(head) == 16:
            size = int.from_bytes(head[8:16], "big")
        if size < 8:
            return False
        at += size
    return False
