"""`reelm systems`, and the options that put systems and budgets on a model."""

from __future__ import annotations

import json
from pathlib import Path

from house.command import python, reelm
from reelm.systems.rows import rows


def test_the_table_and_its_json_are_the_rows() -> None:
    told = json.loads(reelm("systems", "--json").stdout)
    assert [one["name"] for one in told] == [row.name for row in rows()]
    pllava = next(one for one in told if one["name"] == "pllava")
    assert pllava["recipe"] and pllava["complete"] and pllava["tests"]["parity"]
    lines = reelm("systems").stdout.splitlines()
    assert len(lines) == 75 and any("PLLaVA" in line and pllava["label"] in line for line in lines)
    assert reelm("systems", "--json", "--markdown").returncode == 2


def test_the_table_loads_no_torch() -> None:
    done = python("import sys; from reelm.cli.systems import systems; systems(json=True, markdown=False); "
                  "assert 'torch' not in sys.modules")
    assert done.returncode == 0, done.stderr


def test_a_budget_that_cannot_be_kept_tells_the_least_that_would_do(media_folder: Path) -> None:
    done = reelm("ask", "clip.mp4", "What?", "-m", "random", "--tokens", "3", cwd=media_folder)
    assert done.returncode == 5 and "at least 18" in done.stderr and "tokens=18 fits" in done.stderr
    done = reelm("ask", "clip.mp4", "What?", "-m", "random", "--tokens", "3", "--compressor", "pool", "--sampler",
                 "scene", "--json", "--max-tokens", "2", cwd=media_folder)
    assert 0 < json.loads(done.stdout)["tokens"]["vision"] <= 3


def test_parts_that_conflict_are_usage_errors(media_folder: Path) -> None:
    for more in (("--system", "nobody"), ("--system", "pllava", "--compressor", "drop"), ("--compressor", "poool"),
                 ("--lora-alpha", "4")):
        assert reelm("ask", "clip.mp4", "What?", "-m", "random", *more, cwd=media_folder).returncode == 2, more
