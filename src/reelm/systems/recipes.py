"""Where the recipes of systems lie."""

from __future__ import annotations

from pathlib import Path

_HOME = Path(__file__).parents[1]
#: In an installed package, and in a source tree.
FOLDERS = (_HOME / "recipes" / "systems", _HOME.parents[1] / "recipes" / "systems")


def recipes() -> dict[str, Path]:
    """The recipes that come with the package, by the name of their system."""
    return {path.stem: path for folder in FOLDERS for path in sorted(folder.glob("*.yaml"))}
