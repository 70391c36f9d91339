"""Which files may be opened, and as what: decided by their first bytes, never by their name.

FFmpeg by itself guesses the format and follows what a file refers to: a playlist named `.mp4` would make it open other
files or the network. Here the format is chosen from a short list before FFmpeg sees the file, FFmpeg is given an open
file instead of a path, and any further file it asks for is refused.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from pathlib import Path
from typing import Any, BinaryIO

import av

from reelm.errors import MediaError, PolicyError

#: FFmpeg demuxers that are ever used, by the name `sniff` gives. Pictures are read by Pillow.
DEMUXERS = {"mov": "mov,mp4,m4a,3gp,3g2,mj2", "matroska": "matroska,webm", "wav": "wav", "flac": "flac",
            "mp3": "mp3", "ogg": "ogg"}
PICTURES = {"png": "PNG", "jpeg": "JPEG", "webp": "WEBP", "bmp": "BMP"}
READABLE = "MP4, MOV, MKV and WebM video, PNG, JPEG, WebP and BMP pictures, WAV, FLAC, MP3 and OGG sound"

_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.\-]+:|subfile,)")
_MOV_ATOMS = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"moof", b"styp")
_PLAYLIST = re.compile(
    rb"^\s*(#EXTM3U|ffconcat\s+version|\[playlist\]|\[Reference\]|\[InternetShortcut\]|v=0\r?\n|rtsptext|"
    rb"file\s+['\"/\w.]|(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)*<(MPD|smil|asx|playlist|SmoothStreamingMedia)\b)",
    re.IGNORECASE | re.DOTALL)
_FOREIGN = {b"RIFF....AVI ": "AVI", b"FLV\x01": "FLV", b"\x30\x26\xb2\x75": "ASF/WMV", b"GIF8": "GIF",
            b"%PDF": "PDF", b"PK\x03\x04": "ZIP", b"FORM....AIF": "AIFF", b"\x00\x00\x01\xba": "MPEG-PS",
            b"II*\x00": "TIFF", b"MM\x00*": "TIFF", b"\x1f\x8b": "gzip"}
_HEAD_BYTES = 4096
_BUFFER_BYTES = 1 << 17


def local_path(source: str | Path) -> Path:
    """The path of a local file that exists, is a plain file and is not empty.

    Raises: PolicyError for anything with a protocol (http:, concat:, data:, pipe: ...) unless a file of that very name
    exists; MediaError if the file is missing, a folder, not a plain file, unreadable or empty.
    """
    text = os.fspath(source)
    path = Path(source)
    try:
        mode = path.stat()
    except (OSError, ValueError) as error:
        if _SCHEME.match(text):
            raise PolicyError(f"the source begins with {_SCHEME.match(text)[0]!r}; only local files are opened",  # type: ignore[index]
                              where=text[:200], remedy="Save it to a file and give the file's plain path") from None
        reason = getattr(error, "strerror", None) or str(error)
        raise MediaError(f"cannot be opened: {reason}", where=text[:200], remedy="Check the path") from None
    if stat.S_ISDIR(mode.st_mode):
        raise MediaError("is a folder", where=text, remedy="Name one file in it")
    if not stat.S_ISREG(mode.st_mode):
        raise MediaError("is not a plain file (a pipe, socket or device)", where=text, remedy="Save it to a file first")
    if mode.st_size == 0:
        raise MediaError("is empty (0 bytes)", where=text, remedy="Copy or download it again")
    return path


def open_bytes(path: Path) -> BinaryIO:
    """The file, open for reading. Raises: MediaError if it cannot be."""
    try:
        return path.open("rb")
    except OSError as error:
        raise MediaError(f"cannot be read: {error.strerror}", where=str(path), remedy="Check its permissions") from None


def sniff(path: Path) -> str:
    """A key of `DEMUXERS` or `PICTURES`, from the file's first bytes.

    Raises: PolicyError for playlists and session descriptions (they open other files); MediaError for the rest.
    """
    with open_bytes(path) as file:
        head = file.read(_HEAD_BYTES)
        after_tag = _after_id3(file, head)
    kind = _magic(head) or (_magic(after_tag) or "mp3" if head[:3] == b"ID3" else None)
    if kind is not None:
        return kind
    text = head.removeprefix(b"\xef\xbb\xbf")
    if _PLAYLIST.match(text):
        raise PolicyError("is a playlist, which would open other files or the network", where=str(path),
                          remedy="Name the media file itself")
    for magic, name in _FOREIGN.items():
        if re.match(b".".join(map(re.escape, magic.split(b"."))), head, re.DOTALL):
            raise MediaError(f"is a {name} file, which this version does not read", where=str(path),
                             remedy=f"Convert it; readable are {READABLE}")
    looks = "is text" if _is_text(head) else f"begins with unknown bytes ({head[:8].hex(' ')})"
    raise MediaError(f"{looks}, not a media file, whatever its name", where=str(path),
                     remedy=f"Readable are {READABLE}")


def _magic(head: bytes) -> str | None:
    if head[4:8] in _MOV_ATOMS:
        return "mov"
    if head[:4] == b"RIFF" and head[8:12] in (b"WAVE", b"WEBP"):
        return "wav" if head[8:12] == b"WAVE" else "webp"
    if head[:4] in (b"RF64", b"BW64") and head[8:12] == b"WAVE":
        return "wav"
    for magic, kind in ((b"\x1a\x45\xdf\xa3", "matroska"), (b"fLaC", "flac"), (b"OggS", "ogg"),
                        (b"\xff\xd8\xff", "jpeg"), (b"\x89PNG\r\n\x1a\n", "png")):
        if head.startswith(magic):
            return kind
    if head[:2] == b"BM" and head[14:18] in (b"\x0c\0\0\0", b"(\0\0\0", b"4\0\0\0", b"8\0\0\0", b"@\0\0\0", b"l\0\0\0",
                                             b"|\0\0\0"):
        return "bmp"
    return "mp3" if _is_mp3_frame(head) else None


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


def open_container(path: Path, kind: str, frame_pixels: int) -> Any:
    """The opened `av` container of a file whose `kind` is known; the caller closes it.

    The decoder refuses pictures above `frame_pixels` before it allocates them. Raises: MediaError.
    """
    file = open_bytes(path)
    try:
        container = av.open(
            file, "r", format=kind, buffer_size=_BUFFER_BYTES, io_open=_refuse, metadata_errors="replace",
            options={"max_pixels": str(frame_pixels)},
            container_options={"format_whitelist": DEMUXERS[kind], "protocol_whitelist": "none"})
    except (av.error.FFmpegError, ValueError, OverflowError) as error:
        file.close()
        raise MediaError(f"cannot be opened as {kind}: {_plain(error)}", where=str(path),
                         remedy=_open_remedy(path, kind)) from None
    except BaseException:
        file.close()
        raise
    for stream in container.streams.video:
        if stream.codec_context is not None:
            stream.codec_context.options = {"max_pixels": str(frame_pixels)}
    if not len(container.streams):
        container.close()
        raise MediaError(f"looks like {kind} but holds no track", where=str(path), remedy="Copy or download it again")
    return container


def _refuse(url: str, flags: int, options: dict[str, str]) -> Any:
    raise PolicyError(f"the file refers to another file ({url[:200]!r}), which is not opened",
                      remedy="Put everything into one file")


def _plain(error: Exception) -> str:
    if isinstance(error, EOFError) or getattr(error, "errno", None) == errno.EIO:
        return "it ends too early"
    return str(getattr(error, "strerror", None) or error).split("; last error log")[0]


def _open_remedy(path: Path, kind: str) -> str:
    if kind == "mov":
        with open_bytes(path) as file:
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
