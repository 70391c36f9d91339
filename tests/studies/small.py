"""Studies small enough for tests: a random tower on pictures of 64 pixels, connectors of a few numbers, four steps."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from reelm.studies.run import Arm, Study
from reelm.studies.seen import lite_tower
from reelm.studies.tables import Stock

WIDTH = 48
CONNECTOR = {"kind": "stc_v35", "in_width": WIDTH, "out_width": WIDTH, "depth": 1, "downsample": [2, 1, 1]}


def stock(folder: Path) -> Stock:
    """Two shards of everything, by a tower with random weights."""
    return Stock(folder, partial(lite_tower, 64, 2, trained=False), stills=1, clips=(1, 2), parades=(1, 2))


def study(name: str, *arms: Arm, **settings: object) -> Study:
    """A study of four steps, examined twice."""
    fields = {"steps": 4, "batch": 4, "width": WIDTH, "layers": 1, "tests": 20, "examined": (0.5, 1.0)} | settings
    arms = arms or (Arm("stc_v35", CONNECTOR), Arm("blind", None))
    return Study(name, f"What about {name}?", arms, ((arms[0].name, arms[-1].name),), **fields)  # type: ignore[arg-type]
