"""The command as a whole: instant help, exit codes of faults and interruptions, quiet when the reader leaves."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from house.command import Done, environment, heeds_ctrl_c, python, reelm
from reelm.errors import BudgetError, CheckpointError, MediaError, PolicyError, ReelmError, UsageError

VERBS = (("ask",), ("chat",), ("caption",), ("demo",), ("parts",), ("doctor",), ("model",), ("model", "list"),
         ("model", "show"), ("model", "pull"), ("model", "check"), ("model", "import"), ("model", "export"), ("data",),
         ("data", "check"), ("data", "stats"), ("study",), ("eval",))
HEAVY = {"torch", "transformers", "av", "accelerate", "safetensors"}
PROBE = """
import sys
from reelm.cli.main import app
try:
    app({args!r})
except SystemExit as end:
    assert end.code == 0, end.code
print("loaded:", sorted({heavy!r} & set(sys.modules)))
"""


@pytest.mark.parametrize("verb", [(), *VERBS], ids=" ".join)
def test_help_loads_nothing_heavy(verb: tuple[str, ...]) -> None:
    code = PROBE.format(args=[*verb, "--help"], heavy=HEAVY)
    done = python(code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip().endswith("loaded: []")
    assert "Usage:" in done.stdout


def test_importing_reelm_loads_no_torch() -> None:
    code = "import sys, reelm; reelm.Clip('a.mp4'); print('torch' in sys.modules)"
    assert python(code).stdout == "False\n"


def test_no_verb_is_a_usage_error_that_shows_the_help() -> None:
    done = reelm()
    assert done.returncode == 2 and "Commands:" in done.stdout + done.stderr


def test_the_exit_codes_of_the_errors_are_those_of_the_design() -> None:
    assert [kind.exit_code for kind in (ReelmError, UsageError, MediaError, CheckpointError, BudgetError, PolicyError)
            ] == [1, 2, 3, 4, 5, 5]


def failing(raised: str, *args: str) -> Done:
    """Runs `reelm parts` with a registry that raises."""
    return python(f"from reelm import registry, errors\ndef rows():\n    raise {raised}\nregistry.rows = rows\n"
                  f"from reelm.cli.main import app\napp({[*args, 'parts']!r})")


def test_an_error_of_ours_is_told_in_three_parts() -> None:
    done = failing("errors.PolicyError('a pickle is refused', where='model.bin', remedy='Convert it')")
    assert done.returncode == 5
    assert done.stderr == "error: a pickle is refused\nwhere: model.bin\nwhat to do: Convert it\n"


def test_a_fault_of_ours_is_short_and_its_traceback_is_in_a_file() -> None:
    done = failing("ZeroDivisionError('one by none')")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    log = Path(re.search(r"details in (\S+)", done.stderr)[1])  # type: ignore[index]
    assert "ZeroDivisionError: one by none" in log.read_text()
    log.unlink()


def test_debug_shows_the_traceback_at_once() -> None:
    assert "Traceback" in failing("ZeroDivisionError('one by none')", "--debug").stderr


def test_ctrl_c_ends_with_130() -> None:
    assert failing("KeyboardInterrupt").returncode == 130


@pytest.mark.skipif(os.name == "nt", reason="signals are those of POSIX")
def test_ctrl_c_in_an_answer_keeps_what_was_said(media_folder: Path) -> None:
    command = [sys.executable, "-m", "reelm.cli", "ask", "clip.mp4", "What?", "-m", "random", "--max-tokens", "3500"]
    with subprocess.Popen(command, cwd=media_folder, env=environment(), stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, preexec_fn=heeds_ctrl_c) as running:
        assert running.stdout is not None and running.stderr is not None
        first = running.stdout.read(1)  # generation has begun
        time.sleep(0.1)
        running.send_signal(signal.SIGINT)
        said = first + running.stdout.read()
        told = running.stderr.read().decode()
    assert running.returncode == 130 and len(said) > 1
    assert "interrupted" in told and "Traceback" not in told


def test_a_reader_that_leaves_early_is_no_error() -> None:
    command = f'"{sys.executable}" -m reelm.cli parts | head -1; echo "${{PIPESTATUS[0]}}"'
    done = subprocess.run(["bash", "-c", command], env=environment(), text=True, capture_output=True, check=True)
    assert done.stdout.splitlines()[1] == "0" and done.stderr == ""


def test_parts_lists_families_in_their_order_and_filters() -> None:
    rows = json.loads(reelm("parts", "--json").stdout)
    assert {"family", "kind", "summary", "source"} == set(rows[0])
    assert {(row["family"], row["kind"]) for row in rows} >= {("sampler", "uniform"), ("connector", "stc"),
                                                              ("encoder", "clip"), ("layout", "chat")}
    assert all(row["summary"] and row["source"] for row in rows)
    only = json.loads(reelm("parts", "sampler", "--json").stdout)
    assert only == [row for row in rows if row["family"] == "sampler"]


def test_doctor_names_what_a_person_would_ask_about() -> None:
    done = reelm("doctor", "--json")
    found = {row["topic"]: row for row in json.loads(done.stdout)}
    assert {"python", "torch", "processor", "threads", "gpu", "ffmpeg", "decoders", "cache", "reelm-tiny"} <= set(found)
    assert done.returncode == 0 and all(row["state"] in {"ok", "note", "missing"} for row in found.values())


def test_doctor_finds_reelm_tiny_incomplete_in_an_empty_cache(tmp_path: Path) -> None:
    rows = json.loads(reelm("doctor", "--json", REELM_CACHE=str(tmp_path)).stdout)
    tiny = next(row for row in rows if row["topic"] == "reelm-tiny")
    assert tiny["state"] == "missing" and "model pull" in tiny["remedy"]


def test_model_list_and_show(tmp_path: Path) -> None:
    rows = json.loads(reelm("model", "list", "--json", REELM_CACHE=str(tmp_path)).stdout)
    assert [row["name"] for row in rows][:2] == ["reelm-tiny", "random"]
    assert rows[0]["state"].startswith("missing") and rows[1]["state"] == "ready"
    shown = json.loads(reelm("model", "show", "random:av", "--frames", "4", "--json").stdout)
    assert {part["part"] for part in shown["parts"]} == {"vision_tower", "connector", "audio_tower", "audio_connector",
                                                         "language_model"}
    assert shown["hears"] and shown["tokens"]["4"] > 0


def test_nothing_is_fetched_for_a_model_made_on_the_spot() -> None:
    done = reelm("model", "pull", "random")
    assert done.returncode == 0 and "nothing to fetch" in done.stderr
