"""Folders cut into pieces of a limited size, with checksums: for places that take and give back only small files.

A parcel is a folder with `parcel.json`, which lists the files (path, bytes, SHA-256) and the pieces (the same), and the
pieces: the bytes of all files one after another, cut wherever one is full. Pieces may arrive in any order and at any
time. Packing again what has changed replaces the parcel at once, when the new list is in its place.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from reelm.errors import CheckpointError, UsageError

LIST, FORMAT = "parcel.json", 1
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Entry:
    """A file inside a parcel, or a piece of it: `path` with slashes, its size and its digest."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Parcel:
    """What `parcel.json` says."""

    files: tuple[Entry, ...]
    pieces: tuple[Entry, ...]

    def missing(self, folder: Path) -> list[str]:
        """Names of the pieces that are not in `folder`, or not of their size."""
        return [one.path for one in self.pieces
                if not (folder / one.path).is_file() or (folder / one.path).stat().st_size != one.bytes]


def pack(entries: Mapping[str, Path], out: Path, piece_bytes: int) -> Parcel:
    """Cuts files and folders into pieces of at most `piece_bytes` in the folder `out`; `entries` name them inside.

    Files must not change meanwhile. Killed at any moment, it leaves the parcel that was there before, or the new one.
    Raises: UsageError for an entry that is not there, or a piece of no bytes.
    """
    if piece_bytes < 1:
        raise UsageError(f"pieces of {piece_bytes} bytes", remedy="Give at least 1")
    out.mkdir(parents=True, exist_ok=True)
    cutter, files = _Cutter(out, piece_bytes), []
    for name, place in _files(entries):
        digest, size = hashlib.sha256(), 0
        with place.open("rb") as stream:
            while block := stream.read(_BLOCK):
                digest.update(block)
                size += len(block)
                cutter.write(block)
        files.append(Entry(name, size, digest.hexdigest()))
    parcel = Parcel(tuple(files), tuple(cutter.close()))
    text = json.dumps({"format": FORMAT, "files": [asdict(one) for one in parcel.files],
                       "pieces": [asdict(one) for one in parcel.pieces]}, indent=1)
    _replace(out / LIST, text.encode())
    kept = {one.path for one in parcel.pieces}
    for old in out.glob("piece-*"):
        if old.name not in kept:
            old.unlink()
    return parcel


def read(folder: Path) -> Parcel:
    """The list of a parcel.

    Raises: CheckpointError when there is none, or it would write outside of where it is unpacked.
    """
    try:
        said = json.loads((folder / LIST).read_text(encoding="utf-8"))
        if said["format"] != FORMAT:
            raise CheckpointError(f"a parcel of form {said['format']}, this reelm reads {FORMAT}", where=str(folder))
        files, pieces = (tuple(Entry(**one) for one in said[name]) for name in ("files", "pieces"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"no readable {LIST}: {error}", where=str(folder),
                              remedy="Pack it again, or bring this file along with the pieces") from None
    for one in (*files, *pieces):
        path = PurePosixPath(one.path)
        if path.is_absolute() or ".." in path.parts or (one in pieces and len(path.parts) != 1):
            raise CheckpointError(f"a parcel may not hold {one.path!r}", where=str(folder / LIST))
    return Parcel(files, pieces)


def take(source: Path, folder: Path) -> tuple[int, int]:
    """Copies the list and those pieces that have arrived in `source` into `folder`; how many are there, of how many.

    Raises: CheckpointError for a damaged piece; UsageError when another parcel is in `folder` already.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if (source / LIST).is_file():
        parcel = read(source)
        if (folder / LIST).is_file() and read(folder) != parcel:
            raise UsageError("pieces of another parcel are there", where=str(folder), remedy="Give an empty folder")
        _replace(folder / LIST, (source / LIST).read_bytes())
    parcel = read(folder)
    for one in parcel.pieces:
        if one.path in parcel.missing(folder) and (source / one.path).is_file():
            _check(source / one.path, one)
            shutil.copyfile(source / one.path, folder / f"{one.path}.part")
            os.replace(folder / f"{one.path}.part", folder / one.path)
    return len(parcel.pieces) - len(parcel.missing(folder)), len(parcel.pieces)


def unpack(folder: Path, into: Path) -> list[Path]:
    """Writes the files of a parcel under `into`, each whole or not at all; those that are there already stay.

    Raises: UsageError that names missing pieces; CheckpointError for a damaged piece or file.
    """
    parcel = read(folder)
    if missing := parcel.missing(folder):
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise UsageError(f"{len(missing)} of {len(parcel.pieces)} pieces are missing: {', '.join(missing[:5])}{more}",
                         where=str(folder), remedy="Bring them, then start again")
    stream, written = _Joined(folder, parcel.pieces), []
    for one in parcel.files:
        place = into / one.path
        if place.is_file() and place.stat().st_size == one.bytes and _sha256(place) == one.sha256:
            stream.skip(one.bytes)
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            part, digest = place.with_name(f"{place.name}.part"), hashlib.sha256()
            with part.open("wb") as sink:
                for block in stream.read(one.bytes):
                    digest.update(block)
                    sink.write(block)
            if digest.hexdigest() != one.sha256:
                raise CheckpointError("the file does not have the digest of the list", where=str(place),
                                      remedy="Pack it again")
            os.replace(part, place)
        written.append(place)
    return written


class _Cutter:
    """Writes bytes into pieces that are named by number and digest, so that a new piece never overwrites an old one."""

    def __init__(self, out: Path, most: int) -> None:
        self.out, self.most, self.pieces = out, most, list[Entry]()
        self._open()

    def _open(self) -> None:
        self.part, self.digest, self.size = self.out / "piece-new.part", hashlib.sha256(), 0
        self.sink: BinaryIO = self.part.open("wb")

    def write(self, block: bytes) -> None:
        view = memoryview(block)
        while view:
            now, view = view[:self.most - self.size], view[self.most - self.size:]
            self.sink.write(now)
            self.digest.update(now)
            self.size += len(now)
            if self.size == self.most:
                self._close()
                self._open()

    def _close(self) -> None:
        self.sink.close()
        digest = self.digest.hexdigest()
        name = f"piece-{len(self.pieces):05d}-{digest[:12]}.bin"
        os.replace(self.part, self.out / name)
        self.pieces.append(Entry(name, self.size, digest))

    def close(self) -> list[Entry]:
        if self.size:
            self._close()
        self.sink.close()
        self.part.unlink(missing_ok=True)
        return self.pieces


class _Joined:
    """The bytes of all pieces as one stream; each piece is checked when it is first opened."""

    def __init__(self, folder: Path, pieces: tuple[Entry, ...]) -> None:
        self.folder, self.waiting, self.left = folder, list(pieces), 0
        self.source: BinaryIO | None = None

    def skip(self, count: int) -> None:
        for _ in self._runs(count, seek=True):
            pass

    def read(self, count: int) -> Iterator[bytes]:
        return self._runs(count, seek=False)

    def _runs(self, count: int, seek: bool) -> Iterator[bytes]:
        while count:
            if not self.left:
                self._next()
            assert self.source is not None
            now = min(count, self.left, count if seek else _BLOCK)
            if seek:
                self.source.seek(now, os.SEEK_CUR)
            else:
                yield self.source.read(now)
            self.left -= now
            count -= now

    def _next(self) -> None:
        if self.source is not None:
            self.source.close()
        if not self.waiting:
            raise CheckpointError("the pieces hold fewer bytes than the files", where=str(self.folder / LIST))
        piece = self.waiting.pop(0)
        _check(self.folder / piece.path, piece)
        self.source, self.left = (self.folder / piece.path).open("rb"), piece.bytes


def _files(entries: Mapping[str, Path]) -> Iterator[tuple[str, Path]]:
    """(name inside, file) of every file, in an order that does not depend on the disk."""
    for name, place in sorted(entries.items()):
        if place.is_file():
            yield name, place
        elif place.is_dir():
            for path in sorted(place.rglob("*")):
                if path.is_file():
                    yield f"{name}/{path.relative_to(place).as_posix()}", path
        else:
            raise UsageError("is not there", where=str(place))


def _check(path: Path, entry: Entry) -> None:
    if (found := _sha256(path)) != entry.sha256:
        raise CheckpointError(f"SHA-256 is {found}, the list says {entry.sha256}", where=str(path),
                              remedy="Bring this piece again")


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _replace(path: Path, content: bytes) -> None:
    part = path.with_name(f"{path.name}.part")
    part.write_bytes(content)
    os.replace(part, path)
