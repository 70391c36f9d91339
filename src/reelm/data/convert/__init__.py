"""Public annotation files become training records: one module per published format, found without a list of them."""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reelm.data.convert.entries import Format, Left, Work
from reelm.data.records import examine
from reelm.data.rows import Row
from reelm.errors import MediaError, UsageError


@dataclass
class Report:
    """What became of the entries of the files: every one is taken or counted under a reason in `left`.

    `notes`: what was changed or not used in entries that were taken. `missing`: published names of media that are not
    there. `left_file` lists each entry that was left out.
    """

    out: Path
    entries: int = 0
    taken: int = 0
    left: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    missing: tuple[str, ...] = ()

    @property
    def left_file(self) -> Path:
        return self.out.with_name(f"{self.out.name}.left.jsonl")


def names() -> list[str]:
    """The known formats, as the command line calls them."""
    return sorted(found.name.replace("_", "-") for found in pkgutil.iter_modules(__path__) if found.name != "entries")


def format_of(name: str) -> Format:
    """Raises: UsageError that lists the known names."""
    if name not in names():
        raise UsageError(f"no format {name!r}", remedy=f"Known: {', '.join(names())}")
    found: Format = importlib.import_module(f"{__name__}.{name.replace('-', '_')}").FORMAT
    return found


def convert(name: str, inputs: Sequence[Path], media: Path, out: Path) -> Report:
    """Writes the records of published files to `out`, JSON lines whose media count from the folder `media`.

    Every record has passed the reader of `data.records`; whether its media can be opened, `data check` says. Nothing is
    written if an input cannot be read. Raises: UsageError if `out` exists or a file or folder does not; RecordError if
    a file is not of the format; MediaError if nothing can be written.
    """
    form, work, report = format_of(name), Work(media), Report(out)
    if out.exists():
        raise UsageError("is there already", where=str(out), remedy="Remove it, or choose another --out")
    for path in inputs:
        if not path.is_file():
            raise UsageError("no such file", where=str(path))
    part, left = (path.with_name(f"{path.name}.part") for path in (out, report.left_file))
    try:
        with part.open("w", encoding="utf-8") as file, left.open("w", encoding="utf-8") as beside:
            for where, made in _made(form, inputs, work):
                report.entries += 1
                if isinstance(made, Left):
                    report.left[made.reason] += 1
                    print(json.dumps({"where": where, "reason": made.reason, "said": made.said}, ensure_ascii=False),
                          file=beside)
                else:
                    report.taken += 1
                    print(json.dumps(made, ensure_ascii=False), file=file)
        report.notes, report.missing = +work.notes, tuple(work.missing)
        report.left_file.unlink(missing_ok=True)
        if report.left:
            os.replace(left, report.left_file)
        os.replace(part, out)
    except OSError as error:
        raise MediaError(f"cannot be written: {error.strerror or error}", where=str(error.filename or out)) from None
    finally:
        part.unlink(missing_ok=True)
        left.unlink(missing_ok=True)
    return report


def _made(form: Format, inputs: Sequence[Path], work: Work) -> Iterator[tuple[str, dict[str, Any] | Left]]:
    """(file:line, record or why there is none) for every entry."""
    ids: Counter[str] = Counter()
    for path in inputs:
        for line, entry in form.entries(path):
            where, before = f"{path}:{line}", Counter(work.notes)
            try:
                if isinstance(entry, Left):
                    raise entry
                record = form.record(entry, work)
                said = examine(Row(line, record, 0.0), work.media, path.name).findings
                if said:
                    raise Left(f"no record: {said[0].kind}", "; ".join(one.said for one in said))
            except Left as reason:
                work.notes = before  # they are about what is taken
                yield where, reason
            except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
                work.notes = before
                yield where, Left("not of this format", f"{type(error).__name__}: {error}")
            else:
                yield where, _named_once(record, ids, work, f"{path.name}:{line}")


def _named_once(record: dict[str, Any], ids: Counter[str], work: Work, otherwise: str) -> dict[str, Any]:
    """The record with an id that no record before it has."""
    name = str(record.get("id", otherwise))
    ids[name] += 1
    if ids[name] > 1:
        work.notes["an id that stood twice got a number"] += 1
        name = f"{name}#{ids[name]}"
    return {"id": name} | {key: value for key, value in record.items() if key != "id"}
