"""What a converter is made of: entries of a published file, a record for each or a reason why not, media by name."""

from __future__ import annotations

import csv
import io
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reelm.data.rows import RecordError, rows
from reelm.errors import UsageError

#: Endings by which a file of the media folder can stand for a published name of another ending, or of none.
ENDINGS = {
    "video": frozenset((".mp4", ".mkv", ".webm", ".avi", ".mov", ".m4v", ".mpg", ".flv", ".wmv")),
    "audio": frozenset((".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a", ".aac", ".aiff")),
    "image": frozenset((".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".avif")),
}
_ANY = frozenset().union(*ENDINGS.values())
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
Entries = Iterator[tuple[int, Any]]


class Left(Exception):
    """An entry that becomes no record: `reason` in a few words that are counted, `said` what it is here."""

    def __init__(self, reason: str, said: str = "") -> None:
        super().__init__(reason, said)
        self.reason, self.said = reason, said


@dataclass
class Work:
    """What a converter has at hand while it makes records: the folder of media, and `notes` that are counted."""

    media: Path
    notes: Counter[str] = field(default_factory=Counter)
    missing: dict[str, None] = field(default_factory=dict)
    _stems: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.media.is_dir():
            raise UsageError("no such folder of media", where=str(self.media))
        seen: set[str] = set()
        for folder, inside, names in os.walk(self.media, followlinks=True):
            if os.path.realpath(folder) in seen:
                inside.clear()  # a link back
                continue
            seen.add(os.path.realpath(folder))
            for name in sorted(names):
                path = Path(folder, name).relative_to(self.media)
                if path.suffix.lower() in _ANY:
                    self._stems.setdefault(path.stem, []).append(path.as_posix())

    def find(self, name: str, kind: str) -> str:
        """The file for a published name, with or without an ending, as a name from the folder of media.

        The very path if it is there; else the only file of that kind and name, in the folder the name says if it says
        one and the file is there, else in any. Raises: Left if there is none, or more than one.
        """
        name = str(name)
        wanted = Path(name)
        if not wanted.is_absolute() and ".." not in wanted.parts and (self.media / wanted).is_file():
            return wanted.as_posix()
        stem = wanted.stem if wanted.suffix.lower() in _ANY else wanted.name
        found = [path for path in self._stems.get(stem, ()) if Path(path).suffix.lower() in ENDINGS[kind]]
        beside = [path for path in found if Path(path).parent == wanted.parent]
        found = beside or found
        if not found:
            self.missing[name] = None
            raise Left("no such media file", name)
        if len(found) > 1:
            raise Left("several media files of that name", f"{name}: {', '.join(sorted(found))}")
        return found[0]


@dataclass(frozen=True)
class Format:
    """A published format: `record` makes a record (see docs/data.md) of one of its entries, or raises `Left`.

    `entries` takes a file apart: (line, entry), where an entry may be a `Left`. `about`: what the files hold. `source`:
    who published them, where the form was read.
    """

    about: str
    source: str
    record: Callable[[Any, Work], dict[str, Any]]
    entries: Callable[[Path], Entries] = lambda path: listed(path)


def told(kind: str, medium: Any, turns: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """A record of questions and answers about one medium, which stands before the first question."""
    said = []
    for number, (question, answer) in enumerate(turns):
        tag = f"<{kind}>\n" if number == 0 else ""
        said += [{"from": "human", "value": tag + question.strip()}, {"from": "gpt", "value": answer.strip()}]
    return {kind: medium, "conversations": said}


def lettered(question: str, choices: Sequence[str], right: int) -> tuple[str, str]:
    """A question with lettered choices, and the letter of the right one."""
    shown = "\n".join(f"{letter}. {choice}" for letter, choice in zip(LETTERS, choices, strict=False))
    return f"{question}\n{shown}\nAnswer with the letter of the right choice.", LETTERS[right]


def listed(path: Path) -> Entries:
    """The objects of a JSON list, or of JSON lines."""
    for row in rows(path):
        yield row.line, Left("cannot be read", row.broken) if row.data is None else row.data


def whole(path: Path) -> Any:
    """A JSON file that is one object. Raises: RecordError."""
    try:
        return json.loads(path.read_text("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise RecordError(f"no JSON: {error}", where=str(path), remedy="Take the file as it was published") from None


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a text file that say something, with their numbers."""
    for number, line in enumerate(_text(path).split("\n"), 1):
        if line.strip():
            yield number, line.strip()


def table(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of a CSV file that has these columns. Raises: RecordError if it has not."""
    reader = csv.DictReader(io.StringIO(_text(path), newline=""))
    if lacking := [name for name in columns if name not in (reader.fieldnames or ())]:
        raise RecordError(f"no column {', '.join(lacking)} (there are {', '.join(reader.fieldnames or ()) or 'none'})",
                          where=str(path), remedy="Take the file as it was published")
    for row in reader:
        yield reader.line_num, row


def _text(path: Path) -> str:
    """UTF-8, else Latin-1, in which some of these files were written."""
    data = path.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")
