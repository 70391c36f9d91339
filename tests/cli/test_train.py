"""`reelm train` from a folder of clips and a CSV to a folder that answers: the whole way, with real files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from house.command import environment, heeds_ctrl_c, reelm
from house.test_readme import blocks
from house.tree import ROOT
from model.films import pictures, tone
from reelm.media import write_video
from reelm.train.progress import curve, events

FINETUNE = str(ROOT / "recipes" / "finetune.yaml")
SHORT = ("--set", "stages.finetune.batch=2", "--set", "stages.finetune.micro_batch=1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three clips and clips.csv, as a user has them."""
    made = tmp_path_factory.mktemp("mine")
    for number in range(3):
        write_video(made / f"{number}.mp4", pictures(12, seed=number), 6, tone(2.0))
    rows = "".join(f"{number}.mp4,What is it?,A square.\n" for number in range(3))
    (made / "clips.csv").write_text("file,question,answer\n" + rows)
    return made


def train(folder: Path, *args: str, model: str = "random") -> tuple[int, str, str]:
    done = reelm("train", FINETUNE, "--data", "clips.csv", "--model", model, *SHORT, *args, cwd=folder)
    return done.returncode, done.stdout, done.stderr


def test_clips_of_ones_own_become_a_model_that_answers(folder: Path) -> None:
    code, out, err = train(folder, "--out", "run", "--set", "stages.finetune.learn={adapters: 0.003, connector: 0.003}",
                           "--set", "stages.finetune.epochs=4")
    assert code == 0, err
    assert out == f"{Path('run/finetune')}\n"
    assert "stage finetune: 8 steps, 3 samples an epoch" in err
    assert [line.split() for line in err.splitlines() if line.startswith("  adapters")] == [
        ["adapters", "learns", "32,768", "frozen", "0", "rate", "0.003"]]
    losses = list(curve(folder / "run").values())
    assert losses[-1] < losses[0]
    asked = reelm("ask", "-m", "run/finetune", "0.mp4", "What is it?", "--max-tokens", "3", cwd=folder)
    assert asked.returncode == 0 and asked.stdout, asked.stderr
    with Image.open(folder / "run" / "loss.png") as picture:
        assert picture.size[0] > 500 and len(picture.convert("L").getcolors()) > 20
    code, _, err = train(folder, "--out", "run", "--set", "stages.finetune.epochs=4")
    assert code == 4 and "stages.finetune.learn" in err  # another recipe in the same folder


def test_the_readme_shows_the_command_that_was_just_run() -> None:
    shown = (ROOT / "README.md").read_text("utf-8")
    assert "    reelm train recipes/finetune.yaml --data clips.csv --model reelm-tiny --out run\n" in shown
    assert "    reelm ask -m run/finetune clip.mp4" in shown


def test_the_python_of_the_document_runs(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (code,) = blocks((ROOT / "docs" / "training.md").read_text("utf-8"), "python")
    monkeypatch.chdir(folder)
    (folder / "recipes").symlink_to(ROOT / "recipes")
    exec(compile(code, "docs/training.md", "exec"), {"out": tmp_path})
    assert (tmp_path / "finetune" / "adapter_config.json").is_file()


def test_a_whole_model_comes_out_where_there_are_no_adapters(folder: Path) -> None:
    from transformers import AutoModelForCausalLM

    import reelm as package
    from reelm.types import Clip

    code, _, err = train(folder, "--out", "whole", "--set", "adapters=null", "--set", "stages.finetune.frames=4",
                         "--set", "stages.finetune.learn={connector: 0.01, language_model: 0.001}", "--json")
    assert code == 0, err
    lm = package.load(folder / "whole" / "finetune", device="cpu", dtype="float32")
    plain = AutoModelForCausalLM.from_pretrained(folder / "whole" / "finetune")
    state = plain.state_dict()
    assert all((value == state[name]).all() for name, value in lm.model.state_dict().items())
    assert len(lm.answer(Clip(folder / "0.mp4"), "What is it?", max_tokens=2).used_s[0]) == 4  # as it was trained


def test_a_dry_run_tells_the_plan_and_writes_nothing(folder: Path) -> None:
    code, out, err = train(folder, "--out", "dry", "--dry-run", "--json")
    assert code == 0, err
    (stage,) = json.loads(out)["stages"]
    assert (stage["steps"], stage["samples"], stage["passes"]) == (6, 3, 2)
    learns = sum(row["learns"] for row in stage["rows"])
    assert stage["memory"]["learning"] == 12 * learns and stage["memory"]["pass"] > 10_000
    assert stage["state_bytes"] == 12 * learns and stage["export_bytes"] == 4 * learns and stage["seconds"] > 0
    assert not (folder / "dry").exists()
    code, out, _ = train(folder, "--out", "dry", "--dry-run")
    assert code == 0 and "stage finetune: 6 steps of 2 samples (2 passes)" in out and "disk in all" in out
    done = train(folder, "--out", "real")
    assert done[0] == 0
    state = sum(file.stat().st_size for file in next((folder / "real" / "states").iterdir()).glob("*.safetensors"))
    assert state == pytest.approx(stage["state_bytes"], rel=0.1)


def test_a_bad_clip_ends_the_run_or_is_left_out_and_told(folder: Path) -> None:
    (folder / "bad.csv").write_text((folder / "clips.csv").read_text() + "absent.mp4,What?,Nothing.\n")
    args = ("train", FINETUNE, "--data", "bad.csv", "--model", "random", *SHORT)
    done = reelm(*args, "--out", "failed", cwd=folder)
    assert done.returncode == 3 and "absent.mp4" in done.stderr
    done = reelm(*args, "--out", "skipped", "--set", "sources.clips.on_bad=skip", "--json", cwd=folder)
    assert done.returncode == 0 and json.loads(done.stdout)["bad"] == 1
    assert "left out: " in done.stderr and "absent.mp4" in done.stderr


def test_ctrl_c_saves_and_the_same_command_goes_on(folder: Path) -> None:
    args = [sys.executable, "-m", "reelm.cli", "train", FINETUNE, "--data", "clips.csv", "--model", "random", *SHORT,
            "--out", "stopped", "--set", "stages.finetune.epochs=400"]
    process = subprocess.Popen(args, cwd=folder, env=environment(), text=True, stderr=subprocess.PIPE,
                               stdout=subprocess.PIPE, preexec_fn=heeds_ctrl_c)
    until = time.monotonic() + 300
    while not any(one["event"] == "step" for one in events(folder / "stopped")) and time.monotonic() < until:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 130 and "the same command goes on from there" in err, err
    done = len(curve(folder / "stopped"))
    code, _, err = train(folder, "--out", "stopped", "--set", "stages.finetune.epochs=400", "--set",
                         "skip_in_a_row=3", "--stage", "nowhere")
    assert code == 2 and "no stage is called 'nowhere'" in err
    again = subprocess.Popen(args, cwd=folder, env=environment(), text=True, stderr=subprocess.PIPE,
                             stdout=subprocess.PIPE, preexec_fn=heeds_ctrl_c)
    while len(curve(folder / "stopped")) == done and time.monotonic() < until + 300:
        time.sleep(0.05)
    os.kill(again.pid, signal.SIGTERM)
    _, err = again.communicate(timeout=300)
    assert again.returncode == 130 and f"going on after step {done:,}" in err, err


def test_the_command_line_is_checked_before_anything_is_loaded(folder: Path) -> None:
    several = str(ROOT / "recipes" / "videollama2.yaml")
    for args, said in ((("absent.yaml",), "no readable recipe"), ((FINETUNE, "--media", "."), "--media without --data"),
                       ((FINETUNE, "--set", "seed"), "FIELD=VALUE"), ((several, "--data", "a.csv"), "several sources")):
        done = reelm("train", *args, cwd=folder)
        assert done.returncode == 2 and said in done.stderr, done.stderr
