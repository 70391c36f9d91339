"""Running `reelm` in tests: here and now for speed, or as a process of its own where that is the point."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from unittest.mock import patch

from house.tree import ROOT

Done = subprocess.CompletedProcess[str]


def environment(**more: str) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1", "COLUMNS": "120"} | more


def heeds_ctrl_c() -> None:
    """To be called in a new process: Ctrl-C counts there, even where the tests run in a shell's background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def python(code: str) -> Done:
    """Runs Python code in a fresh interpreter that finds this source tree."""
    return subprocess.run([sys.executable, "-c", code], env=environment(), text=True, capture_output=True, timeout=600,
                          check=False)


def reelm_process(*args: str, cwd: Path | None = None, stdin: str = "") -> Done:
    """Runs `reelm` as a user does: a process, its exit code, its two streams."""
    return subprocess.run([sys.executable, "-m", "reelm.cli", *args], cwd=cwd, env=environment(), input=stdin,
                          text=True, capture_output=True, timeout=600, check=False)


def reelm_forked(*args: str) -> BaseProcess:
    """Starts `reelm` in a fork of this process, which pays for importing torch for both: to be killed at any time."""
    import reelm.model  # noqa: F401

    process = get_context("fork").Process(target=_alone, args=args)
    process.start()
    return process


def _alone(*args: str) -> None:
    import torch

    torch.set_num_threads(1)  # the threads of the process that was forked do not exist in this one
    reelm(*args)


def reelm(*args: str, cwd: Path | None = None, stdin: str = "", **more: str) -> Done:
    """The same inside this process, which has paid for importing torch already."""
    from reelm.cli.main import app

    out, err, code = io.StringIO(), io.StringIO(), 0
    with (chdir(cwd or Path.cwd()), patch.dict(os.environ, more), patch("sys.stdin", io.StringIO(stdin)),
          redirect_stdout(out), redirect_stderr(err)):
        try:
            app(list(args), prog_name="reelm")
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
    return Done(args, code, out.getvalue(), err.getvalue())
