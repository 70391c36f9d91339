"""Kept answers: what `put` returned from is there, for this process and for others, even after a kill."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from house.command import environment
from reelm.errors import UsageError
from reelm.eval.store import Answers

WRITER = """
import sys
from pathlib import Path
from reelm.eval.store import Answers
with Answers(Path(sys.argv[1])) as kept:
    for number in range(10_000):
        kept.put({f"{sys.argv[2]}{number}": {"text": str(number)}})
        print(number, flush=True)
"""


def writer(path: Path, name: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", WRITER, str(path), name], env=environment(), text=True,
                            stdout=subprocess.PIPE)


def test_an_answer_comes_back_as_it_was_put_and_the_first_one_stays(tmp_path):
    with Answers(tmp_path / "deep" / "a.sqlite") as kept:
        kept.put({"one": {"text": "é", "seconds": {"total": 0.5}}})
        kept.put({"one": {"text": "other"}, "two": {"text": ""}})
        assert kept.get("one") == {"text": "é", "seconds": {"total": 0.5}} and kept.get("three") is None
    with Answers(tmp_path / "deep" / "a.sqlite") as again:
        assert len(again) == 2 and again.get("two") == {"text": ""}


def test_two_processes_write_to_one_file_and_a_kill_loses_nothing_that_was_told(tmp_path):
    path = tmp_path / "a.sqlite"
    both = {name: writer(path, name) for name in "ab"}
    told = dict.fromkeys(both, -1)
    for name, process in both.items():
        assert process.stdout is not None
        while told[name] < 20:
            told[name] = int(process.stdout.readline())
    for process in both.values():
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    with Answers(path) as kept:
        for name, last in told.items():
            assert all(kept.get(f"{name}{number}") == {"text": str(number)} for number in range(last + 1))


def test_what_is_no_file_of_answers_is_refused(tmp_path):
    (tmp_path / "text").write_text("not a data base, but long enough to be looked at as one")
    with pytest.raises(UsageError, match="no file of answers"):
        Answers(tmp_path / "text")
    with sqlite3.connect(tmp_path / "new") as base:
        base.execute("PRAGMA user_version=99")
    with pytest.raises(UsageError, match="form 99"):
        Answers(tmp_path / "new")
