"""`reelm data convert`: public annotation files become training records."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reelm.cli import terminal
from reelm.cli.data import SCHEMA, printable
from reelm.errors import MediaError

HELP = """Make training records of public annotation files, as they were published.

reelm data convert wavcaps sb_final.json as_final.json --media sounds/ --out wavcaps.jsonl

FORMAT is one of those in docs/data.md ("reelm data convert list" names them). The records name their media from the
folder of --media; check them with "reelm data check OUT --media DIR". Every entry is taken or counted with the reason
why not, and those left out are listed in OUT.left.jsonl. Media are looked for by name, not opened.
Exit code: 0; 2 before any work; 3 a file is not of the format, or no entry could be taken.
"""
_SHOWN = 10


def _formats(start: str) -> list[str]:
    from reelm.data.convert import names

    return [name for name in names() if name.startswith(start)]


def convert(
    format: Annotated[str, typer.Argument(metavar="FORMAT", help="What the files are, or: list.",
                                          autocompletion=_formats)],
    inputs: Annotated[list[Path] | None, typer.Argument(metavar="INPUT...", help="The published files.")] = None,
    media: Annotated[Path | None, typer.Option(metavar="DIR", help="The folder with the media.")] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="The records, JSON lines.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One object: schema, out, entries, taken, left, notes, missing."
                                       )] = False,
) -> None:
    """Records and a count of everything; see `HELP`."""
    from reelm.data.convert import convert as into_records
    from reelm.data.convert import format_of, names

    if format == "list":
        terminal.table(("format", "files"), [(name, format_of(name).about) for name in names()])
        return
    format_of(format)
    if not inputs or media is None or out is None:
        raise typer.BadParameter("INPUT, --media and --out are needed")
    with terminal.busy(f"converting {format}"):
        report = into_records(format, inputs, media, out)
    if json:
        terminal.as_json({"schema": SCHEMA, "out": str(out), "entries": report.entries, "taken": report.taken,
                          "left": report.left, "notes": report.notes, "missing": report.missing})
    else:
        terminal.table(("entries", "count"), [
            ("in all", f"{report.entries:,}"), ("taken", f"{report.taken:,}"),
            *((f"left out: {reason}", f"{count:,}") for reason, count in sorted(report.left.items())),
            *((f"note: {note}", f"{count:,}") for note, count in sorted(report.notes.items()))])
    for name in report.missing[:_SHOWN]:
        terminal.say(printable(f"missing: {name}"))
    if len(report.missing) > _SHOWN:
        terminal.say(f"missing: {len(report.missing) - _SHOWN:,} more names")
    if report.left:
        terminal.say(f"left out are listed in {report.left_file}")
    if not report.taken:
        raise typer.Exit(MediaError.exit_code)
