"""`reelm parts`: every exchangeable part that is installed, with where its idea comes from."""

from __future__ import annotations

from typing import Annotated

import typer

from reelm.cli import options, terminal


def parts(
    family: Annotated[str | None, typer.Argument(help="Only this family, for example connector.",
                                                 autocompletion=options.families)] = None,
    json: Annotated[bool, typer.Option("--json", help="A list of objects: family, kind, summary, source.")] = False,
) -> None:
    """List the parts a model can be built from."""
    from dataclasses import asdict

    from reelm import registry
    from reelm.errors import UsageError

    if family is not None and family not in registry.FAMILIES:
        raise UsageError(f"unknown family {family!r}", remedy=f"One of: {', '.join(registry.FAMILIES)}")
    rows = [row for row in registry.rows() if family in (None, row.family)]
    if json:
        terminal.as_json([asdict(row) for row in rows])
        return
    terminal.table(("family", "kind", "what it does", "source"),
                   [(row.family, row.kind, row.summary, row.source) for row in rows])
