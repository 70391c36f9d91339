"""`reelm systems`: which systems there are, and what was shown of each."""

from __future__ import annotations

from typing import Annotated

import typer

from reelm.cli import terminal


def systems(
    json: Annotated[bool, typer.Option("--json", help="A list of objects: name, label, tests and so on.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="The page docs/systems.md.")] = False,
) -> None:
    """List the systems of the field, what they are made of, and what was shown of each."""
    from reelm.errors import UsageError
    from reelm.systems import rows

    made = rows.rows()
    if json and markdown:
        raise UsageError("--json and --markdown are two outputs", remedy="Give one of them")
    if json:
        terminal.as_json([rows.as_json(row) for row in made])
    elif markdown:
        terminal.piece(rows.markdown(made))
    else:
        terminal.table(("#", "system", "recipe", "parts", "shown"),
                       [(str(row.number), row.title, row.name if row.recipe else "", ", ".join(row.parts), row.label)
                        for row in made])
