"""The DeepSpeed settings that ship take real steps under accelerate, where DeepSpeed is installed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from house.command import environment
from house.tree import ROOT


@pytest.mark.slow
@pytest.mark.parametrize("stage", [2, 3])
def test_three_steps_lower_the_loss(stage: int) -> None:
    pytest.importorskip("deepspeed", reason="deepspeed is not installed")
    script = Path(__file__).with_name("deepspeed_steps.py")
    alone = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29517"}
    done = subprocess.run([sys.executable, str(script), str(ROOT / "recipes" / "deepspeed" / f"zero{stage}.json")],
                          text=True, capture_output=True, timeout=500, check=False,
                          env=environment(PYTHONPATH=f"{ROOT / 'src'}:{ROOT / 'tests'}") | alone)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.strip().splitlines()[-1])
    assert told["stage"] == stage and told["losses"][-1] < told["losses"][0]
