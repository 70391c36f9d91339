"""Reading annotation files: what is absent or not of the official form is an error that says which entry."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reelm.data.convert.entries import Left, Work
from reelm.errors import UsageError

#: In the order in which the published scripts try them, then what else people keep videos in.
VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm")


def placed(path: Path) -> Path:
    """The path itself. Raises: UsageError if there is no such file."""
    if not path.is_file():
        raise UsageError("no annotation file", where=str(path), remedy="Place the official file there")
    return path


def read_json(path: Path, kind: type) -> Any:
    """The content of a JSON file, a `kind` (list or dict). Raises: UsageError if it is absent, broken or not that."""
    try:
        found = json.loads(placed(path).read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise UsageError(f"is not JSON: {error}", where=str(path), remedy="Download it again") from None
    if not isinstance(found, kind):
        raise UsageError(f"holds a {type(found).__name__}, not a {kind.__name__}", where=str(path),
                         remedy="Place the official file there")
    return found


def read_lines(path: Path) -> list[Any]:
    """The entries of a JSON-lines file; an empty line holds none. Raises: UsageError with the line if it is broken."""
    found = []
    for number, line in enumerate(placed(path).read_text(encoding="utf-8-sig").split("\n"), 1):
        try:
            found += [json.loads(line)] if line.strip() else []
        except ValueError as error:
            raise UsageError(f"is not JSON: {error}", where=f"{path}, line {number}",
                             remedy="Download it again") from None
    return found


def read_parquet(path: Path) -> list[dict[str, Any]]:
    """The rows of a Parquet file. Raises: UsageError if it is absent or broken, or without pyarrow."""
    placed(path)
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise UsageError("Parquet files need pyarrow", where=str(path), remedy="pip install 'reelm[eval]'") from None
    try:
        return parquet.read_table(path).to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise UsageError(f"is not a Parquet file: {error}", where=str(path), remedy="Download it again") from None


def read_table(path: Path) -> list[dict[str, Any]]:
    """The rows of a file of columns between tabs, which a first line names. Raises: UsageError if it is absent."""
    before = csv.field_size_limit(sys.maxsize)  # a picture may stand in a field
    try:
        with placed(path).open(encoding="utf-8-sig", newline="") as file:
            return list(csv.DictReader(file, dialect="excel-tab"))
    finally:
        csv.field_size_limit(before)


def need(entry: Any, key: str, kind: type | tuple[type, ...], where: str) -> Any:
    """`entry[key]`, a `kind`. Raises: UsageError that names the key, what was found and where."""
    kinds = kind if isinstance(kind, tuple) else (kind,)
    found = entry.get(key) if isinstance(entry, Mapping) else None
    if not isinstance(found, kinds) or (isinstance(found, bool) and bool not in kinds):
        expected = " or ".join(one.__name__ for one in kinds)
        shown = repr(found) if len(repr(found)) <= 60 else repr(found)[:60] + "..."
        raise UsageError(f"{key!r} must be a {expected}, found {shown}", where=where,
                         remedy="Compare the entry with the official file")
    return found


def words(entry: Any, key: str, where: str) -> tuple[str, ...]:
    """`entry[key]`, a list of at least two strings. Raises: UsageError if it is anything else."""
    found = need(entry, key, list, where)
    if len(found) < 2 or not all(isinstance(word, str) for word in found):
        raise UsageError(f"{key!r} must be at least two strings, found {found!r}", where=where,
                         remedy="Compare the entry with the official file")
    return tuple(found)


def video_file(folder: Path, stem: str) -> Path:
    """The video of this name under any suffix that videos have; `<stem>.mp4` if there is none yet."""
    found = (path for suffix in VIDEO_SUFFIXES if (path := folder / f"{stem}{suffix}").is_file())
    return next(found, folder / f"{stem}.mp4")


def named_file(work: Work, name: str, where: str) -> Path:
    """The video of a published name anywhere in the folder of `work`; the name itself in there if there is none yet.

    Raises: UsageError if several could be meant.
    """
    try:
        return work.media / work.find(name, "video")
    except Left as reason:
        if name in work.missing:
            return work.media / name
        raise UsageError(f"{reason.reason}: {reason.said}", where=where, remedy="Leave one of them there") from None
