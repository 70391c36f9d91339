"""The rows of a file of training records, each with its line: JSON lines, a JSON list, CSV, a folder of clips + CSV."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reelm.errors import MediaError, UsageError

#: Columns of a CSV file; the first three must be there.
COLUMNS = ("file", "question", "answer", "id", "start_s", "end_s")
NEEDED = COLUMNS[:3]
#: The index of a folder of shards, and what its first bytes say it is.
INDEX = "index.json"
FORM = "reelm shards"
_BLANK = re.compile(r"\s*")
_HALF = re.compile(r"\\ud[89a-f]", re.IGNORECASE)
_CELL_CHARS = 16 << 20  # Python's csv otherwise refuses a cell above 128 KiB


class RecordError(MediaError):
    """A line of a file of training records does not say what a record needs."""


@dataclass(frozen=True)
class Row:
    """One record as it stands in the file: `data`, or in `broken` why there is none.

    `line` counts from 1 and is the line on which the record begins; `read` is the share of the file read so far.
    `doubled`: keys that stand twice in one object, of which JSON keeps only the last.
    """

    line: int
    data: dict[str, Any] | None
    read: float
    broken: str = ""
    doubled: tuple[str, ...] = ()


def file_of(path: str | Path) -> Path:
    """The file that holds the records: the path itself, the index of a folder of shards, or a folder's only CSV file.

    Raises: UsageError if there is none.
    """
    path = Path(path)
    if path.is_file():
        return path
    if not path.exists():
        raise UsageError("no such file of records", where=str(path), remedy="Name a .jsonl, .json or .csv file, or a "
                         "folder of clips with one CSV file in it")
    if is_shards(path):
        return path / INDEX
    tables = sorted(inside for inside in path.iterdir() if inside.suffix.lower() == ".csv")
    if len(tables) != 1:
        raise UsageError(f"the folder holds {len(tables)} CSV files, one is needed", where=str(path),
                         remedy="Name the file itself")
    return tables[0]


def is_shards(path: str | Path) -> bool:
    """Whether this is a folder of shards, or the index of one."""
    index = Path(path) / INDEX if Path(path).is_dir() else Path(path)
    if index.name != INDEX or not index.is_file():
        return False
    with index.open("rb") as file:
        return FORM.encode() in file.read(64)


def rows(path: str | Path) -> Iterator[Row]:
    """The rows of a file, in its order. JSON lines and CSV are read row by row; a JSON list is held in memory whole.

    What follows a broken line of JSON lines is still read; a JSON list ends where it breaks.
    Raises: UsageError if there is no such file.
    """
    file = file_of(path)
    if file.suffix.lower() in (".csv", ".tsv"):
        return _table(file)
    with file.open("rb") as content:
        head = content.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()
    return _listed(file) if head.startswith(b"[") else _lines(file)


class _Decoder(json.JSONDecoder):
    """JSON that remembers which keys stood twice."""

    def __init__(self) -> None:
        super().__init__(object_pairs_hook=self._pairs)
        self._doubled: list[str] = []

    def _pairs(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            keys = [key for key, _ in pairs]
            self._doubled += sorted({key for key in keys if keys.count(key) > 1})
        return found

    def row(self, value: Any, text: str, line: int, read: float) -> Row:
        """What was decoded from `text`, refused where no tokenizer could take it."""
        doubled, self._doubled = tuple(self._doubled), []
        if _HALF.search(text) and not _is_unicode(value):
            return Row(line, None, read, "it holds half of a surrogate pair (\\ud800 to \\udfff), no character")
        if not isinstance(value, dict):
            return Row(line, None, read, f"expected an object {{…}}, got {type(value).__name__}")
        return Row(line, value, read, doubled=doubled)


def _lines(file: Path) -> Iterator[Row]:
    decoder, size, done = _Decoder(), max(1, file.stat().st_size), 0
    with file.open("rb") as content:
        for number, raw in enumerate(content, 1):
            done += len(raw)
            try:
                text = raw.decode("utf-8-sig" if number == 1 else "utf-8").strip()
                if not text:
                    continue
                value = decoder.decode(text)
            except UnicodeDecodeError as error:
                yield Row(number, None, done / size, f"byte {error.start + 1} of the line is not UTF-8")
            except (ValueError, RecursionError) as error:
                yield Row(number, None, done / size, f"{_no_json(error)}; one object must fill one line")
            else:
                yield decoder.row(value, text, number, done / size)


def _listed(file: Path) -> Iterator[Row]:
    try:
        text = file.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        yield Row(1, None, 1.0, f"byte {error.start + 1} of the file is not UTF-8")
        return
    decoder, line, seen = _Decoder(), 1, 0
    at = _after_blank(text, text.index("[") + 1)
    more = not text.startswith("]", at)
    while more:
        line, seen = line + text.count("\n", seen, at), at
        try:
            value, end = decoder.raw_decode(text, at)
            at = _after_blank(text, end)
            if text[at:at + 1] not in (",", "]"):
                raise json.JSONDecodeError("a comma or the end of the list is missing", text, at)
        except (ValueError, RecursionError) as error:
            yield Row(getattr(error, "lineno", line), None, 1.0, f"{_no_json(error)}; neither this record nor what "
                      "follows it in the list is read")
            return
        yield decoder.row(value, text[seen:end], line, at / len(text))
        if more := text[at] == ",":
            at = _after_blank(text, at + 1)
    if rest := text[at + 1:].strip():
        yield Row(1 + text.count("\n", 0, at), None, 1.0, f"{len(rest)} characters stand after the end of the list")


def _after_blank(text: str, at: int) -> int:
    found = _BLANK.match(text, at)
    return found.end() if found else at


def _no_json(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"no JSON at column {error.colno}: {error.msg}"
    return f"no JSON that can be read: {error}"


def _is_unicode(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _table(file: Path) -> Iterator[Row]:
    csv.field_size_limit(_CELL_CHARS)
    size, done = max(1, file.stat().st_size), 0

    def counted(lines: Iterator[str]) -> Iterator[str]:
        nonlocal done
        for line in lines:
            done += len(line.encode("utf-8"))
            yield line

    with file.open(encoding="utf-8-sig", newline="") as content:
        reader = csv.reader(counted(iter(content)), delimiter="\t" if file.suffix.lower() == ".tsv" else ",",
                            strict=True)
        try:
            names = [name.strip() for name in next(reader, [])]
            if (missing := [name for name in NEEDED if name not in names]) or len(set(names)) < len(names):
                yield Row(1, None, 1.0, f"columns {', '.join(NEEDED)} are needed once each, "
                          + (f"{', '.join(missing)} missing" if missing else "one stands twice")
                          + f" (the first line says: {', '.join(names) or 'nothing'})")
                return
            before = reader.line_num
            for cells in reader:
                line, before = before + 1, reader.line_num
                if not cells:
                    continue
                if len(cells) != len(names):
                    yield Row(line, None, done / size, f"{len(cells)} cells for {len(names)} columns")
                    continue
                yield Row(line, _said(dict(zip(names, cells, strict=True))), done / size)
        except csv.Error as error:
            yield Row(reader.line_num, None, 1.0, f"no CSV: {error}; what follows is not read")
        except UnicodeDecodeError as error:
            yield Row(reader.line_num + 1, None, 1.0, f"is not UTF-8 ({error.reason}); what follows is not read")


def _said(cells: dict[str, str]) -> dict[str, Any]:
    """A line of a CSV as a record of messages; columns of other names come along as keys without a meaning."""
    stretch = {name: cells[name] for name in ("start_s", "end_s") if cells.get(name)}
    medium = {"type": "file", "path": cells["file"]} | stretch
    rest = {name: cell for name, cell in cells.items() if name not in COLUMNS}
    asked = [medium, {"type": "text", "text": cells["question"]}]
    said = [{"role": "user", "content": asked}, {"role": "assistant", "content": cells["answer"]}]
    return rest | ({"id": cells["id"]} if cells.get("id") else {}) | {"messages": said}
