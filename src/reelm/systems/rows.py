"""What was shown of each system: a row each, with labels computed from tests that passed, never typed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from reelm.errors import UsageError
from reelm.systems.recipes import recipes

_HOME = Path(__file__).parent
TABLE, SHOWN = _HOME / "table.yaml", _HOME / "shown.json"
#: What a test can show, the argument of its marker, in the order of the labels.
KINDS = {
    "parity": "equal to vectors recorded from the released code",
    "identity": "equal to the published formula, worked out independently in float64",
    "reduces": "its neutral setting is the baseline, bit for bit",
    "cli": "ran from the command line on a real file: `reelm ask`, a benchmark `reelm eval`",
    "claim": "a tiny model trained here shows the paper's claim",
}
_EVIDENCE = {"A": "after the abstract", "K": "from general knowledge, unchecked"}
_WEIGHTS = {"none": "no", "some": "in part", "own": "yes"}
_NOT_YET = "not yet"


@dataclass(frozen=True)
class Row:
    """One system. `shown`: kind -> the tests that show it; `recipe`: whether `reelm ask --system NAME` takes it."""

    number: int
    name: str
    title: str
    parts: tuple[str, ...]
    weights: str
    evidence: str
    about: str
    core: bool = False
    recipe: bool = False
    shown: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether its numbers are right and it runs: parity or identity, and one run from the command line."""
        return bool({"parity", "identity"} & set(self.shown)) and "cli" in self.shown

    @property
    def label(self) -> str:
        """What was shown, in words."""
        if not self.shown:
            return _NOT_YET
        said = ", ".join(kind for kind in KINDS if kind in self.shown and kind != "cli")
        if not self.complete:
            lacks = [what for what, there in (("no parity or identity", {"parity", "identity"} & set(self.shown)),
                                              ("no run", "cli" in self.shown)) if not there]
            said = f"in part: {said or 'a run'} ({', '.join(lacks)})"
        if self.weights != "none" and "claim" not in self.shown:
            said += "; claim not shown"
        qualities = ["small core"] if self.core else []
        qualities += [_EVIDENCE[self.evidence]] if self.evidence in _EVIDENCE else []
        return "; ".join([said, *qualities])


def rows(table: Path = TABLE, shown: Path = SHOWN) -> list[Row]:
    """Every system in the order of the table.

    Raises: UsageError when the record of tests names a system or a kind that does not exist.
    """
    found = json.loads(shown.read_text("utf-8")) if shown.is_file() else {}
    ready = recipes()
    made = []
    for fields in yaml.safe_load(table.read_text("utf-8")):
        fields = dict(fields)
        name, number = fields["name"], fields.pop("n")
        tests = {kind: tuple(names) for kind, names in found.pop(name, {}).items()}
        if unknown := set(tests) - set(KINDS):
            raise UsageError(f"{name} is said to be shown by {sorted(unknown)}", where=str(shown))
        fields["parts"] = tuple(fields["parts"])
        made.append(Row(number, recipe=name in ready, shown=tests, **fields))
    if found:
        raise UsageError(f"no system is called {sorted(found)}", where=str(shown), remedy=f"Add a row to {table.name}")
    return made


def as_json(row: Row) -> dict[str, Any]:
    """A row as `reelm systems --json` writes it."""
    return {"number": row.number, "name": row.name, "title": row.title, "about": row.about, "parts": list(row.parts),
            "weights": row.weights, "evidence": row.evidence, "recipe": row.recipe, "complete": row.complete,
            "label": row.label, "tests": {kind: list(names) for kind, names in row.shown.items()}}


def markdown(made: list[Row]) -> str:
    """docs/systems.md: the table, what its words mean, and the tests behind every label."""
    complete, begun = sum(row.complete for row in made), sum(bool(row.shown) and not row.complete for row in made)
    lines = [
        "# Systems", "",
        "Written by `make systems` from the tests that passed; do not edit. `reelm systems` prints the same table.", "",
        f"{len(made)} systems: {complete} shown, {begun} in part, {len(made) - complete - begun} not yet.", "",
        *(f"* **{kind}**: {meaning}." for kind, meaning in KINDS.items() if kind != "cli"),
        "* A row is shown when it has parity or identity *and* one run through `reelm ask` (a benchmark: `reelm eval`)",
        "  on a real file. A trained system without a claim run says so.",
        "* *Weights*: whether it needs weights trained for it; one without works with any loaded model. A name in the",
        "  third column is what `reelm ask --system NAME` takes.", "",
        "| # | system | recipe | parts | weights | what it does | shown |", "|--|--|--|--|--|--|--|",
    ]
    for row in made:
        recipe = f"`{row.name}`" if row.recipe else ""
        lines.append(f"| {row.number} | {row.title} | {recipe} | {', '.join(row.parts)} | {_WEIGHTS[row.weights]} | "
                     f"{row.about} | {row.label} |")
    lines += ["", "## The tests", ""]
    for row in made:
        if row.shown:
            lines += [f"**{row.title}**", ""]
            lines += [f"* {kind}: {', '.join(f'`{name}`' for name in row.shown[kind])}"
                      for kind in KINDS if kind in row.shown] + [""]
    return "\n".join(lines).rstrip() + "\n"
