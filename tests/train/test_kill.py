"""A process killed at random moments, inside saves too: its losses are those of one that was not, to the last bit.

The script prints the table of docs/results.md: `PYTHONPATH=src:tests python tests/train/test_kill.py 50`.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import sys
import time
from collections import Counter
from multiprocessing import forkserver
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import pytest
from safetensors.torch import load_file

from house.command import environment
from house.tree import ROOT
from reelm.train.checkpoint import Checkpoints
from reelm.train.progress import curve, events
from train.killed import DOING, run


def weights(out: Path) -> dict[str, Any]:
    newest = Checkpoints(out / "states").newest()
    assert newest is not None
    return load_file(newest / "learnt.safetensors")


def killed(folder: Path, kills: int, seed: int) -> tuple[Counter[str], int, int]:
    """Kills that many processes; (what they were doing, runs that were finished, steps made twice).

    Every run is gone on with until it is finished, then compared with the one that was left alone.
    """
    start = multiprocessing.get_context("forkserver")
    start.set_forkserver_preload(["train.killed"])  # torch is imported once, not by every process
    with patch.dict(os.environ, environment(PYTHONPATH=f"{ROOT / 'src'}:{ROOT / 'tests'}")):
        forkserver.ensure_running()
    chance, counts, runs, twice = random.Random(seed), Counter[str](), 0, 0
    doing = start.Value("i", 0)
    whole = start.Process(target=run, args=(folder / "whole", doing))
    whole.start()
    whole.join()
    began = time.monotonic()
    again = start.Process(target=run, args=(folder / "timed", doing))
    again.start()
    again.join()
    span = time.monotonic() - began
    expected = curve(folder / "whole")
    assert len(expected) == 24 and doing.value == DOING.index("finished")
    while sum(counts.values()) < kills:
        out = folder / f"run{runs}"
        while True:
            doing.value = 0
            process = start.Process(target=run, args=(out, doing))
            process.start()
            if sum(counts.values()) < kills:
                process.join(chance.uniform(0.02, span))
            else:
                process.join()
            at = DOING[doing.value]
            if process.exitcode is None and at != "finished":
                os.kill(process.pid or 0, signal.SIGKILL)
                process.join()
                counts[at] += 1
                continue
            process.join()
            break
        runs += 1
        assert curve(out) == expected
        one, other = weights(folder / "whole"), weights(out)
        assert one.keys() == other.keys() and all((one[name] == other[name]).all() for name in one)
        twice += sum(event["event"] == "step" for event in events(out)) - len(expected)
    return counts, runs, twice


def table(kills: int, seed: int = 0) -> str:
    with TemporaryDirectory() as folder:
        counts, runs, twice = killed(Path(folder), kills, seed)
    inside = sum(count for name, count in counts.items() if name != "computing")
    rows = [f"| {name} | {counts[name]} |" for name in DOING[:-1]]
    return "\n".join(["| killed while | kills |", "|---|---|", *rows, f"| in all | {kills}, {inside} inside a save |",
                      f"| runs finished, each equal to the undisturbed one | {runs} |",
                      f"| steps made twice | {twice} |"])


@pytest.mark.parametrize("kills", [5, pytest.param(50, marks=pytest.mark.slow)])
def test_a_killed_run_goes_on_to_the_same_losses_and_weights(kills: int, tmp_path: Path) -> None:
    counts, runs, _ = killed(tmp_path, kills, seed=kills)
    assert sum(counts.values()) >= kills and runs >= 1


if __name__ == "__main__":
    print(table(int(sys.argv[1])))
