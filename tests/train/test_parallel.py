"""Two processes give the losses of one, whole weights or divided; what either began, the other goes on with."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from house.command import environment
from house.tree import ROOT
from reelm.errors import UsageError
from reelm.train.parallel import Ranks
from reelm.train.progress import curve, events
from train.toys import STAGES, Points, toy_loop, toy_recipe

KINDS = ("ddp", "fsdp")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Curves of one process, and of two gloo processes under torchrun."""
    out = tmp_path_factory.mktemp("ranks")
    toy_loop(out / "one").run()
    toy_loop(out / "one-bad", toy_recipe({**STAGES[0], "micro_batch": 1}), Points(bad=(3, 4, 5), poison=(7,))).run()
    toy_loop(out / "one-few", toy_recipe({**STAGES[0], "micro_batch": 1}), Points(6)).run()
    for kind in KINDS:
        toy_loop(out / f"{kind}-goes-on", toy_recipe(parallel=kind)).run(until="first")
    script = Path(__file__).with_name("two_ranks.py")
    done = subprocess.run([sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
                           str(script), str(out)], text=True, capture_output=True, timeout=500, check=False,
                          env=environment(PYTHONPATH=f"{ROOT / 'src'}:{ROOT / 'tests'}"))
    assert done.returncode == 0, done.stderr
    for kind in KINDS:
        toy_loop(out / f"{kind}-begun", toy_recipe(parallel=kind)).run()
    return out


def apart(one: Path, other: Path) -> float:
    """The largest difference between two curves of the same steps."""
    a, b = curve(one), curve(other)
    assert a.keys() == b.keys() and len(a) > 5
    return float(torch.tensor([abs(a[step] - b[step]) for step in a if a[step] == a[step]]).max())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("run", ["", "-begun", "-goes-on"])
def test_two_processes_give_the_losses_of_one(kind: str, run: str, runs: Path) -> None:
    assert apart(runs / "one", runs / f"{kind}{run}") <= 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_bad_samples_and_bad_steps_are_the_same_for_two_processes(kind: str, runs: Path) -> None:
    def told(folder: Path) -> list[tuple[str, int, list[str]]]:
        return sorted((one["event"], one["step"], sorted(one.get("ids", [one.get("sample")])))
                      for one in events(folder) if one["event"] in ("bad", "skipped"))

    assert told(runs / "one-bad") == told(runs / f"{kind}-bad") != []
    assert apart(runs / "one-bad", runs / f"{kind}-bad") <= 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_a_process_without_a_sample_keeps_in_step(kind: str, runs: Path) -> None:
    # Three samples in four passes: the first process has none in its first pass.
    assert apart(runs / "one-few", runs / f"{kind}-few") <= 1e-6


def test_passes_that_cannot_be_dealt_out_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    ranks = Ranks()
    ranks.count = 3
    with pytest.raises(UsageError, match="8 passes a step .* 3 processes"):
        ranks.share(8)
