"""`reelm data check | stats | shard`: files of training records examined, measured and put into shards."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reelm.cli import options, terminal
from reelm.cli.progress import Progress, spoken
from reelm.errors import MediaError

if TYPE_CHECKING:
    from reelm.data.check import Tally
    from reelm.data.records import Finding

#: The number of the layout of the JSON outputs; it grows when a field is removed or changes its meaning.
SCHEMA = 1
CHECK_HELP = """Examine every record of a file before training does.

reelm data check train.jsonl --media clips/ --model reelm-tiny

Reads LLaVA-style JSON or JSON lines, messages with media, prompt/chosen/rejected, and CSV (file, question, answer),
also as a folder of clips with one CSV. Told with their lines: missing or unreadable media, tags without media and
media without tags, empty turns, roles out of order, media shorter than they say, ids that stand twice, and, with a
model, records longer than its context. Files are opened; no video or sound is decoded.
Exit code: 0 nothing found, 3 something found; 2, 4 before any work.
"""
STATS_HELP = """Measure a file of records: turns, words, media by kind, seconds of them; with a model, tokens.

reelm data stats train.jsonl --media clips/ --plot train.png

Exit code: 0; records that cannot be read are counted and left out of the rest.
"""
SHARD_HELP = """Put records and their media into tar files that training reads without unpacking them.

reelm data shard train.jsonl shards/ --media clips/

The tar files are of the `webdataset` form; an index holds where everything is, with checksums. A stopped run goes on
after its last whole shard when the command is given again. `data check` and `data stats` read shards too.
Exit code: 0; 2 the folder holds other shards; 3 a record or medium that cannot be read, or the disk refused.
"""
File = Annotated[Path, typer.Argument(metavar="FILE", help="Records (.jsonl, .json, .csv, .tsv), a folder of clips "
                                      "with one CSV file, or a folder of shards.")]
Media = Annotated[Path | None, typer.Option(metavar="DIR", help="Names of media count from here; else from the folder "
                                            "of FILE.")]
ForTokens = Annotated[str | None, typer.Option("--model", "-m", help="Count tokens as this model lays them out.",
                                               autocompletion=options.model_names)]


class Records(Progress):
    """How far the file is read."""

    def __init__(self, file: Path) -> None:
        super().__init__([file], of_bytes=False)
        self._file, self._read = file, 0.0

    def upto(self, read: float) -> None:
        """The file is read to this share, and one more record is done."""
        self.made += 1
        self.done(self._file, read - self._read)
        self._read = read

    def text(self) -> str:
        left = "" if self.left_s is None else f" · about {spoken(self.left_s)} left"
        return f"{self._read:4.0%} read · {self.made:,} records · {self.bad:,} findings{left}"


def check(
    file: File,
    media: Media = None,
    model: ForTokens = None,
    json: Annotated[bool, typer.Option("--json", help="One object: schema, file, records, good, found, media, unused, "
                                       "spreads, findings.")] = False,
) -> None:
    """Findings and a summary; see `CHECK_HELP`."""
    tally, findings = through(file, media, model)
    if json:
        terminal.as_json(totals(file, tally) | {"findings": [asdict(found) for found in findings]})
    else:
        from reelm.data.rows import file_of

        for found in findings:
            line = f"{file_of(file)}:{found.line}: {found.kind}: {found.said}" + (f" [{found.id}]" if found.id else "")
            terminal.out.print(printable(line))
        terminal.table(("records", "count"), [
            ("in all", f"{tally.records:,}"), ("nothing found", f"{tally.good:,}"),
            *((f"findings: {kind}", f"{count:,}") for kind, count in sorted(tally.wrong.items())),
            *((f"spread: {name}", f"{of['min']:,.6g} to {of['max']:,.6g}, sum {of['sum']:,.10g}")
              for name, of in tally.spreads().items() if name in ("seconds", "tokens"))])
    remarks(tally)
    if findings:
        raise typer.Exit(MediaError.exit_code)


def stats(
    file: File,
    media: Media = None,
    model: ForTokens = None,
    json: Annotated[bool, typer.Option("--json", help="One object: schema, file, records, good, found, media, unused, "
                                       "spreads.")] = False,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw the spreads as well (.png, .svg, .pdf).")
                    ] = None,
) -> None:
    """Counts and spreads; see `STATS_HELP`."""
    if plot is not None:
        from reelm.data import plots

        plots.ready(plot)
    tally, _ = through(file, media, model)
    if plot is not None:
        terminal.say(f"drawn: {plots.draw(tally, plot, f'{file.name}: {tally.records:,} records')}")
    if json:
        terminal.as_json(totals(file, tally))
    else:
        counts = {"records": tally.records, "unreadable records": tally.records - len(tally.turns),
                  "preference pairs": tally.pairs, **{f"media: {kind}": n for kind, n in sorted(tally.media.items())}}
        terminal.table(("what", "count", "sum", "min", "median", "mean", "max"), [
            *((name, f"{count:,}", "", "", "", "", "") for name, count in counts.items()),
            *((name, f"{of['count']:,}", *(f"{of[key]:,.10g}" if key == "sum" else f"{of[key]:,.4g}"
                                           for key in ("sum", "min", "median", "mean", "max")))
              for name, of in tally.spreads().items())])
    remarks(tally)


def shard(
    file: File,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The folder for the shards.")],
    media: Media = None,
    shard_mb: Annotated[int, typer.Option(min=1, help="The most that a shard takes, in 10^6 bytes; a larger sample "
                                          "gets one of its own.")] = 1000,
    on_bad: Annotated[str, typer.Option(help="fail: stop at a record that cannot be used; skip: leave it out and "
                                        "list it.")] = "fail",
    json: Annotated[bool, typer.Option("--json", help="One object: schema, out, shards, samples, bytes, left_out, "
                                       "found.")] = False,
) -> None:
    """Records into shards; see `SHARD_HELP`."""
    from reelm.data.records import examined
    from reelm.data.shards import write

    with Records(file) as progress:
        made = write(examined(file, media), out, limit_bytes=shard_mb * 10**6, on_bad=on_bad,
                     step=lambda row: progress.upto(row.read))
    if json:
        terminal.as_json({"schema": SCHEMA, "out": str(out)} | asdict(made))
    else:
        terminal.table(("what", "count"), [(name.replace("_", " "), f"{count:,}") for name, count in (
            ("shards", made.shards), ("of them there before", made.found), ("samples", made.samples),
            ("bytes", made.bytes), ("left out", len(made.left_out)))])
        for bad in made.left_out:
            terminal.say(printable(f"left out: line {bad['line']} [{bad['id']}]: {bad['why']}"))


def printable(text: str) -> str:
    """What a file of others says must neither break the line nor steer the terminal."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def through(file: Path, media: Path | None, model: str | None) -> tuple[Tally, list[Finding]]:
    """The whole file examined, with progress on stderr."""
    from reelm.data.check import Checker, Tally

    lm = None
    if model is not None:
        import reelm

        with terminal.busy(f"loading {model}"):
            lm = reelm.load(model, device="cpu")
    tally = Tally()
    findings: list[Finding] = []
    rows = Checker(lm).through(file, media)
    with Records(file) as progress:
        for one in rows:
            tally.add(one)
            findings += one.findings
            progress.bad = len(findings)
            progress.upto(one.read)
    return tally, findings


def totals(file: Path, tally: Tally) -> dict[str, Any]:
    """What both verbs give as JSON."""
    return {"schema": SCHEMA, "file": str(file), "records": tally.records, "good": tally.good,
            "readable": len(tally.turns), "pairs": tally.pairs, "found": dict(tally.wrong), "media": dict(tally.media),
            "unused": dict(tally.unused), "spreads": tally.spreads()}


def remarks(tally: Tally) -> None:
    """On stderr, what is no fault but should be known."""
    for key, count in sorted(tally.unused.items()):
        terminal.say(f"note: the key {key!r} has no meaning here and is not used ({count:,} records)")
    if tally.inexact:
        terminal.say(f"note: {tally.inexact:,} records are counted by the length of the clip; a sound track that is "
                     "shorter takes fewer tokens")
