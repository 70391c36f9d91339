"""Where bytes come from: a file, memory, a `data:` URI, an open stream. All can be opened again and again.

A reader opens its source several times at once (pictures and sound have their own position), so every opening gets a
position of its own, and reading stops when the time of a request is over.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import os
import re
import stat
import tempfile
import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.parse import unquote_to_bytes

from reelm.errors import MediaError, PolicyError, UsageError
from reelm.media.limits import Deadline, Limits
from reelm.types import Clip

_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.\-]+:|subfile,)")
_DATA = re.compile(r"data:([^,]{0,200}),", re.IGNORECASE)
_BLOCK_BYTES = 1 << 20
#: One reads from streams of other people at a time: they have one position for all.
_STREAMS = threading.Lock()


@dataclass(frozen=True)
class Content:
    """Bytes that can be opened any number of times. `path` is set where they lie in a file of that name."""

    name: str
    _open: Callable[[], BinaryIO]
    path: Path | None = None

    def open(self, deadline: Deadline | None = None) -> BinaryIO:
        """The bytes from their beginning. With a `deadline`, reading after it raises.

        Raises: MediaError if it cannot be opened.
        """
        try:
            file = self._open()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise MediaError(f"cannot be read: {reason}", where=self.name, remedy="Check its permissions") from None
        return cast(BinaryIO, _Watched(file, deadline)) if deadline is not None else file


class _Watched:
    """A file that FFmpeg reads through: a call inside FFmpeg cannot be interrupted, but its next read can."""

    def __init__(self, file: BinaryIO, deadline: Deadline) -> None:
        self._file, self._deadline = file, deadline
        self.seek, self.tell, self.close = file.seek, file.tell, file.close

    def read(self, size: int = -1) -> bytes:
        self._deadline.check()
        return self._file.read(size)


class _View(io.RawIOBase):
    """A stream somebody else holds, read at a position of our own."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self._at = stream, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence == os.SEEK_CUR:
            offset += self._at
        elif whence == os.SEEK_END:
            with _STREAMS:
                offset = self._stream.seek(offset, os.SEEK_END)
        self._at = max(0, offset)
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        with _STREAMS:
            self._stream.seek(self._at)
            data = self._stream.read(len(buffer))
        buffer[:len(data)] = data
        self._at += len(data)
        return len(data)


def is_folder(clip: Clip) -> bool:
    """Whether the clip's source is a folder on this machine."""
    return isinstance(clip.source, str | Path) and os.path.isdir(clip.source)


def content_of(clip: Clip, limits: Limits) -> Content:
    """The bytes of the clip's source, checked to be there and not empty.

    Raises: PolicyError for anything with a protocol (http:, concat:, pipe: ...) unless a file of that very name exists;
    UsageError for a stream that cannot go back, or is text; BudgetError for a `data:` URI above `source_bytes`;
    MediaError if a file is missing, not a plain file or unreadable, or there are no bytes.
    """
    source = clip.source
    if isinstance(source, str | Path):
        is_data = isinstance(source, str) and source[:5].lower() == "data:"
        if not is_data or os.path.exists(source):
            return _of_file(source)
        source = _decoded_uri(str(source), clip.name, limits)
    if isinstance(source, bytes | bytearray | memoryview):
        return _of_bytes(bytes(source), clip.name)
    return _of_stream(source, clip.name)


def identity(clip: Clip) -> Hashable:
    """What tells the clip's source from any other; a file or folder that changed has another identity.

    Raises: OSError or ValueError if it cannot be found or read. Cost: reads a stream once; files are not read.
    """
    source = clip.source
    if is_folder(clip):
        folder = Path(cast(str, source))
        return ("folder", os.path.realpath(folder), clip.folder_fps,
                tuple(sorted((entry.name, *_stamp(entry.stat())) for entry in os.scandir(folder))))
    if isinstance(source, str | Path) and not (str(source)[:5].lower() == "data:" and not os.path.exists(source)):
        return ("file", os.path.realpath(source), *_stamp(os.stat(source)))
    digest = hashlib.sha256()
    if isinstance(source, str):
        digest.update(source.encode("utf-8", "surrogatepass"))
    elif isinstance(source, bytes):
        digest.update(source)
    else:
        view = _of_stream(cast(BinaryIO, source), clip.name).open()
        while block := view.read(_BLOCK_BYTES):
            digest.update(block)
    return ("content", digest.hexdigest())


def spool(stream: BinaryIO, limits: Limits | None = None, name: str = "") -> BinaryIO:
    """A stream that can only be read once (stdin, a pipe, a socket) as a file that a clip can be cut from.

    The bytes go into a temporary file without a name, which vanishes when the result is closed. Raises: BudgetError
    above `limits.source_bytes`; UsageError if the stream is text; MediaError if there is no room.
    """
    limits = limits or Limits()
    raw = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 (the caller closes it)
    name = name or str(getattr(stream, "name", "") or "a stream")
    deadline, size = Deadline(limits.wall_s, name), 0
    try:
        while block := stream.read(_BLOCK_BYTES):
            if not isinstance(block, bytes | bytearray):
                raise UsageError("is text, not bytes", where=name, remedy="Open it in binary mode, as sys.stdin.buffer")
            deadline.check()
            size += len(block)
            limits.check_source(size, name)
            raw.write(block)
    except OSError as error:
        raw.close()
        raise MediaError(f"cannot be kept: {error.strerror or error}", where=name,
                         remedy="Free some space, or set TMPDIR to a folder with more") from None
    except BaseException:
        raw.close()
        raise
    return named(raw, name)


def named(raw: Any, name: str) -> BinaryIO:
    """An unbuffered temporary file, from its beginning, under the name that messages shall use."""
    raw.name = name
    raw.seek(0)
    return cast(BinaryIO, io.BufferedRandom(raw))


def _stamp(facts: os.stat_result) -> tuple[int, int, int]:
    return facts.st_mtime_ns, facts.st_size, facts.st_ino


def _of_file(source: str | Path) -> Content:
    text = os.fspath(source)
    try:
        facts = os.stat(source)
    except (OSError, ValueError) as error:
        if scheme := _SCHEME.match(text):
            web = scheme[0].lower() in ("http:", "https:")
            raise PolicyError(
                f"the source begins with {scheme[0]!r}; only local files are opened", where=text[:200],
                remedy="Save it to a file and give the file's plain path"
                + (", or fetch it with reelm.media.http.Opener" if web else "")) from None
        reason = getattr(error, "strerror", None) or str(error)
        raise MediaError(f"cannot be opened: {reason}", where=text[:200], remedy="Check the path") from None
    if not stat.S_ISREG(facts.st_mode):
        raise MediaError("is not a plain file (a pipe, socket or device)", where=text, remedy="Save it to a file first")
    if facts.st_size == 0:
        raise MediaError("is empty (0 bytes)", where=text, remedy="Copy or download it again")
    path = Path(source)
    return Content(text, lambda: path.open("rb"), path)


def _of_bytes(data: bytes, name: str) -> Content:
    if not data:
        raise MediaError("is empty (0 bytes)", where=name, remedy="Give the content of a media file")
    return Content(name, lambda: io.BytesIO(data))


def _of_stream(stream: BinaryIO, name: str) -> Content:
    if hasattr(stream, "encoding"):
        raise UsageError("is text, not bytes", where=name, remedy="Open it in binary mode")
    try:
        if not stream.seekable():
            raise UsageError("can be read only once, and a clip is read several times", where=name,
                             remedy="Keep it first: Clip(reelm.media.spool(stream))")
        with _STREAMS:
            size = stream.seek(0, os.SEEK_END)
    except (OSError, ValueError, AttributeError) as error:
        raise MediaError(f"cannot be read: {error}", where=name, remedy="Give an open binary file") from None
    if size == 0:
        raise MediaError("is empty (0 bytes)", where=name, remedy="Give the content of a media file")
    return Content(name, lambda: cast(BinaryIO, io.BufferedReader(_View(stream), 1 << 16)))


def _decoded_uri(uri: str, name: str, limits: Limits) -> bytes:
    """The bytes of a `data:` URI; what it says of its own type is not used, its first bytes decide."""
    head = _DATA.match(uri)
    if head is None:
        raise MediaError("is not a data: URI (no comma after its type)", where=name, remedy="data:[TYPE][;base64],DATA")
    is_base64 = head[1].lower().endswith(";base64")
    size = len(uri) - head.end()
    limits.check_source(size * 3 // 4 if is_base64 else size, name)
    data = unquote_to_bytes(uri[head.end():])
    if not is_base64:
        return data
    try:
        return base64.b64decode(re.sub(rb"\s", b"", data), validate=True)
    except binascii.Error as error:
        raise MediaError(f"is no valid base64 ({error})", where=name, remedy="Encode the file again") from None


