"""`reelm study NAME`: a controlled comparison, from nothing to its table and its plot; goes on where it was stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reelm.cli import terminal

HELP = """Compare parts under control: the same samples, steps and seeds for every arm; a table and a plot.

NAME: connectors, frames, rate, sound, or all. Each finished run is one line in NAME.jsonl; started again, only what is
missing is run, and several processes may share one folder. Minutes a run, under four hours in all on one core.
"""
NAMES = ("connectors", "frames", "rate", "sound")


def study(
    name: Annotated[str, typer.Argument(help="connectors, frames, rate, sound or all.",
                                        autocompletion=lambda: [*NAMES, "all"])],
    out: Annotated[Path, typer.Option(help="Folder of the results and of the stored features.")] = Path("runs/studies"),
    seeds: Annotated[int, typer.Option(min=1, help="Runs per arm; three for an interval that means something.")] = 3,
    json: Annotated[bool, typer.Option("--json", help="A list of the finished runs.")] = False,
) -> None:
    """Run a study and print its table."""
    from reelm.errors import UsageError

    if name not in (*NAMES, "all"):
        raise UsageError(f"no study {name!r}", remedy=f"One of: {', '.join(NAMES)}, all")
    from reelm.studies.report import written
    from reelm.studies.run import run
    from reelm.studies.tables import STUDIES, Stock

    lines = []
    for each in STUDIES.values() if name == "all" else (STUDIES[name],):
        make = Stock(out / "features").maker(each, terminal.say)
        found = run(each, seeds, out, make, terminal.say)
        lines += found
        text = written(each, found, out)
        if not json:
            terminal.out.print(text)
    if json:
        terminal.as_json(lines)
