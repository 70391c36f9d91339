"""Runs: one line each, the same whenever they run, gone on with after a kill, shared among processes."""

from __future__ import annotations

import json
import multiprocessing
import multiprocessing.synchronize
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from house.command import environment
from house.tree import ROOT
from reelm.errors import UsageError
from reelm.studies import run as runner
from reelm.studies.report import written
from reelm.studies.run import Arm, append, claimed, lines_of, rate_share, run
from reelm.studies.tables import STUDIES, Stock
from studies.small import CONNECTOR, study


def quiet(text: str) -> None:
    """Nobody listens."""


def test_a_study_leaves_one_line_a_run_a_table_and_a_plot(small_stock: Stock, tmp_path: Path) -> None:
    small = study("connectors")
    found = run(small, 2, tmp_path, small_stock.maker(small, quiet), quiet)
    kept = (tmp_path / "connectors.jsonl").read_text("utf-8").splitlines()
    assert len(kept) == 4 and [json.loads(x) for x in kept] == found
    assert [(x["arm"], x["seed"]) for x in found] == [("stc_v35", 0), ("blind", 0), ("stc_v35", 1), ("blind", 1)]
    seeing, blind = found[:2]
    assert [p["samples"] for p in seeing["curve"]] == [8, 16] and seeing["tokens"] == 16 and blind["tokens"] == 0
    assert seeing["curve"][1]["flops"] == 2 * seeing["curve"][0]["flops"] > 2 * blind["curve"][0]["flops"]
    assert seeing["right"].keys() == seeing["chance"].keys() and seeing["chance"]["order"] == 0.25
    assert all(set(marks) <= set("01") for marks in seeing["right"].values())
    text = written(small, found, tmp_path)
    assert "stc_v35 − blind" in text and (tmp_path / "connectors.png").stat().st_size > 10_000
    assert (tmp_path / "connectors.md").read_text("utf-8") == text


def test_what_is_done_is_not_done_again_and_a_run_is_the_same_whenever_it_runs(
        small_stock: Stock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = study("frames", Arm("4", CONNECTOR, films={"frames": 4}), Arm("8", CONNECTOR, films={"frames": 8}))
    make = small_stock.maker(small, quiet)
    first = run(small, 1, tmp_path / "a", make, quiet)
    path = tmp_path / "a" / "frames.jsonl"
    # A kill in the middle of the second line.
    path.write_bytes(path.read_bytes()[:-30])
    assert [x["arm"] for x in lines_of(path, small)] == ["4"]
    ran = []
    once = runner.once
    monkeypatch.setattr(runner, "once", lambda *args: ran.append(args[1].name) or once(*args))
    again = run(small, 1, tmp_path / "a", make, quiet)
    assert ran == ["8"]
    assert [x | {"seconds": 0} for x in again] == [x | {"seconds": 0} for x in first]


def test_a_line_of_other_settings_is_not_taken_for_this_experiment(small_stock: Stock, tmp_path: Path) -> None:
    small = study("connectors", Arm("blind", None))
    make = small_stock.maker(small, quiet)
    run(small, 1, tmp_path, make, quiet)
    longer = study("connectors", Arm("blind", None), steps=5)
    assert lines_of(tmp_path / "connectors.jsonl", longer) == []
    assert run(longer, 1, tmp_path, make, quiet)[0]["curve"][-1]["samples"] == 20
    assert len((tmp_path / "connectors.jsonl").read_text("utf-8").splitlines()) == 2


SCRIPT = """
import sys, time
from pathlib import Path
from reelm.studies import run as runner
from studies.small import stock, study
small, once = study("sound"), runner.once
def slowly(*args):
    line = once(*args)
    print("done", flush=True)
    if args[1].name == "blind":
        time.sleep(60)  # killed here, before its line is written
    return line
runner.once = slowly
make = stock(Path(sys.argv[1])).maker(small, lambda text: None)
runner.run(small, 1, Path(sys.argv[2]), make, lambda text: None)
"""


def test_after_kill_9_the_lock_is_free_and_only_the_lost_run_is_done_again(small_stock: Stock, tmp_path: Path) -> None:
    paths = f"{ROOT / 'src'}{os.pathsep}{ROOT / 'tests'}"
    child = subprocess.Popen([sys.executable, "-c", SCRIPT, str(small_stock.folder), str(tmp_path)],
                             env=environment(PYTHONPATH=paths), stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert [child.stdout.readline() for _ in range(2)] == ["done\n", "done\n"]
    child.send_signal(signal.SIGKILL)
    child.wait()
    small = study("sound")
    path = tmp_path / "sound.jsonl"
    before = path.read_text("utf-8")
    assert [x["arm"] for x in lines_of(path, small)] == ["stc_v35"]
    found = run(small, 1, tmp_path, small_stock.maker(small, quiet), quiet)
    assert [x["arm"] for x in found] == ["stc_v35", "blind"] and path.read_text("utf-8").startswith(before)


def _hold(path: Path, held: multiprocessing.synchronize.Event) -> None:
    with claimed(path):
        held.set()
        time.sleep(60)


def test_a_run_that_another_process_is_at_is_left_to_it(small_stock: Stock, tmp_path: Path) -> None:
    small = study("connectors")
    digest = small.digest(small.arms[0])
    context = multiprocessing.get_context("spawn")
    held = context.Event()
    other = context.Process(target=_hold, args=(tmp_path / "locks" / f"connectors-{digest}-0", held))
    other.start()
    try:
        assert held.wait(60)
        found = run(small, 1, tmp_path, small_stock.maker(small, quiet), quiet)
    finally:
        other.kill()
        other.join()
    assert [x["arm"] for x in found] == ["blind"]


def test_a_line_after_half_a_line_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"arm": "a"}\n{"ar')
    append(path, {"arm": "b"})
    assert path.read_text().splitlines() == ['{"arm": "a"}', '{"ar', '{"arm": "b"}']


def test_the_rate_warms_up_and_falls_to_a_twentieth() -> None:
    shares = [rate_share(step, 120) for step in range(120)]
    assert shares[0] < 0.15 and max(shares) > 0.95 and shares.index(max(shares)) in range(8, 12)
    assert shares[-1] == pytest.approx(0.05, abs=0.01)


def test_no_seed_is_a_usage_error(small_stock: Stock, tmp_path: Path) -> None:
    small = study("connectors")
    with pytest.raises(UsageError, match="0 seeds"):
        run(small, 0, tmp_path, small_stock.maker(small, quiet), quiet)


@pytest.mark.parametrize("name", STUDIES)
def test_every_arm_of_the_real_studies_can_be_built_and_counts_its_tokens(name: str, small_stock: Stock) -> None:
    from reelm.studies.pupil import Pupil, Vocabulary

    real = STUDIES[name]
    assert {a for pair in real.pairs for a in pair} <= {arm.name for arm in real.arms}
    for arm in real.arms:
        pupil = Pupil(arm.connector, Vocabulary.of(["ball"]), real.width, 1, 256, arm.ears)
        if pupil.connector is not None:
            frames = arm.films.get("frames", 16 if name == "sound" else 8)
            with torch.no_grad():
                y = pupil.connector.project(torch.randn(1, frames, 8, 8, real.width))
            assert y.shape[-1] == real.width and y[0, ..., 0].numel() <= 256
