"""Tar files written member by member with their checksums, and files that appear whole or not at all."""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from reelm.errors import MediaError, ReelmError

_BLOCK_BYTES = 1 << 20
#: What the end of a tar file may take, at most.
END_BYTES = 2 * tarfile.RECORDSIZE


@dataclass(frozen=True)
class Content:
    """What a member shall hold: its name, an open file at its beginning, and how many bytes of it."""

    name: str
    file: BinaryIO
    bytes: int

    @property
    def needs(self) -> int:
        """The bytes it takes in a tar file, header and filling included."""
        return tarfile.BLOCKSIZE + self.bytes + -self.bytes % tarfile.BLOCKSIZE


class Tar:
    """A tar file on its way, under a name that `close` exchanges for the real one.

    The same members give the same bytes: no dates, no owners. Members that fail midway leave no trace.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.bytes = path, 0
        self._part = part_of(path)
        self._digest = hashlib.sha256()
        self._file: BinaryIO | None = self._part.open("wb")

    @property
    def sha256(self) -> str:
        """The checksum of what is written so far."""
        return self._digest.hexdigest()

    def add(self, contents: Sequence[Content]) -> list[dict[str, Any]]:
        """Writes members, all or none: name, offset, bytes and sha256 of each.

        Raises: MediaError if one cannot be read.
        """
        before = self.bytes, self._digest.copy()
        try:
            return [self._member(one) for one in contents]
        except ReelmError:
            self.bytes, self._digest = before
            assert self._file is not None
            self._file.seek(self.bytes)
            self._file.truncate()
            raise

    def close(self) -> None:
        """Ends the file and puts it in its place, durably."""
        assert self._file is not None
        ending = 2 * tarfile.BLOCKSIZE
        self._put(bytes(ending + -(self.bytes + ending) % tarfile.RECORDSIZE))
        settle(self._file)
        self._file = None
        os.replace(self._part, self.path)

    def drop(self) -> None:
        """Leaves nothing behind, unless it was closed."""
        if self._file is not None:
            self._file.close()
            self._part.unlink(missing_ok=True)

    def _member(self, one: Content) -> dict[str, Any]:
        head = tarfile.TarInfo(one.name)
        head.size, head.mode = one.bytes, 0o644
        self._put(head.tobuf(tarfile.GNU_FORMAT))
        offset, digest, left = self.bytes, hashlib.sha256(), one.bytes
        while left:
            try:
                block = one.file.read(min(left, _BLOCK_BYTES))
            except OSError as error:
                raise MediaError(f"cannot be read: {error.strerror or error}", where=one.name) from None
            if not block:
                raise MediaError(f"ended {left:,} bytes before its size", where=one.name,
                                 remedy="It changed while it was read; run the same command again")
            digest.update(block)
            self._put(block)
            left -= len(block)
        self._put(bytes(-one.bytes % tarfile.BLOCKSIZE))
        return {"name": one.name, "offset": offset, "bytes": one.bytes, "sha256": digest.hexdigest()}

    def _put(self, data: bytes) -> None:
        assert self._file is not None
        self._file.write(data)
        self._digest.update(data)
        self.bytes += len(data)


def part_of(path: Path) -> Path:
    """The name of a file while it is being written."""
    return path.with_name(f".{path.name}.part")


def place(path: Path, data: bytes) -> None:
    """A file that appears whole or not at all, and stays after a power cut."""
    with part_of(path).open("wb") as file:
        file.write(data)
        settle(file)
    os.replace(part_of(path), path)
    if os.name == "posix":
        handle = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def settle(file: BinaryIO) -> None:
    """Waits until a file is on the disk, and closes it."""
    file.flush()
    os.fsync(file.fileno())
    file.close()
