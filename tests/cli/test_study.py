"""`reelm study`: what is already run is only reported; a wrong name says which there are."""

from __future__ import annotations

import json
from pathlib import Path

from house.command import reelm
from reelm.studies.run import append
from reelm.studies.tables import RATE


def finished(out: Path) -> None:
    """Every run of the study `rate` with one seed, as if it had been done."""
    for place, arm in enumerate(RATE.arms):
        curve = [{"samples": 100, "flops": 10**12, "loss": 1.0, "right": {"brief": 0.5}}]
        append(out / "rate.jsonl", {"study": "rate", "arm": arm.name, "seed": 0, "digest": RATE.digest(arm),
                                    "place": place, "tokens": 8, "weights": 9, "seconds": 1.0,
                                    "chance": {"brief": 0.04}, "curve": curve, "right": {"brief": "01" * 20}})


def test_finished_runs_are_reported_and_not_repeated(tmp_path: Path) -> None:
    finished(tmp_path)
    done = reelm("study", "rate", "--out", str(tmp_path), "--seeds", "1")
    assert done.returncode == 0, done.stderr
    assert "| 6 fps of 2 tokens | 1 | 50.0" in done.stdout and RATE.asks in done.stdout
    assert (tmp_path / "rate.png").is_file() and (tmp_path / "rate.md").read_text("utf-8").strip() in done.stdout
    machine = reelm("study", "rate", "--out", str(tmp_path), "--seeds", "1", "--json")
    assert [x["arm"] for x in json.loads(machine.stdout)] == [arm.name for arm in RATE.arms]


def test_an_unknown_study_is_a_usage_error() -> None:
    done = reelm("study", "astrology")
    assert done.returncode == 2 and "connectors" in done.stderr
