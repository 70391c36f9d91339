"""Times as people write them, and what the shell completes."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from house.command import environment
from house.tree import ROOT
from reelm.cli.options import families, model_names, seconds
from reelm.errors import UsageError

COMMAND = f'''#!{sys.executable}
import sys
from reelm.cli.main import app
app(prog_name="reelm")
'''


@pytest.mark.parametrize(("text", "expected"), [("62.5", 62.5), ("1:02.5", 62.5), ("0:01:02.5", 62.5),
                                                ("2:00:00", 7200)])
def test_a_time_is_seconds_or_minutes_or_hours(text: str, expected: float) -> None:
    assert seconds("--start", text) == expected


@pytest.mark.parametrize("text", ["", "soon", "1:2:3:4", "-1", "1:-2", "nan", "inf"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--start is not a time"):
        seconds("--start", text)


def test_models_are_completed_by_name_and_then_by_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    (tmp_path / "runs" / "a.txt").touch()
    monkeypatch.chdir(tmp_path)
    assert list(model_names("r")) == ["reelm-tiny", "random", "random:av", "random:mistral", "runs/"]
    assert list(model_names("runs/")) == ["runs/mine/"] and list(model_names("no/where")) == []
    assert list(families("co")) == ["connector", "compressor"]


@pytest.mark.skipif(not shutil.which("bash"), reason="bash completes in bash")
@pytest.mark.parametrize(("typed", "expected"), [
    (("ask", "-m", "ra"), "random random:av random:mistral"), (("model", "show", "reelm"), "reelm-tiny"),
    (("parts", "enc"), "encoder"), (("ca",), "caption"), (("chat", "--max"), "--max-tokens"),
])
def test_bash_completes_with_the_script_that_show_completion_prints(typed: tuple[str, ...], expected: str,
                                                                     tmp_path: Path) -> None:
    program = tmp_path / "reelm"
    program.write_text(COMMAND)
    program.chmod(0o755)
    env = environment(PATH=f"{tmp_path}:{environment()['PATH']}", PYTHONPATH=str(ROOT / "src"))
    script = ("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION=1 reelm --show-completion bash > s.sh; . ./s.sh; "
              f"COMP_WORDS=(reelm {' '.join(typed)}); COMP_CWORD={len(typed)}; _reelm_completion reelm; "
              "echo ${COMPREPLY[@]}")
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == expected, done.stderr
