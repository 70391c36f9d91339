"""What is kept: what `put` returned from is there, for this process and for others, even after a kill."""

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
from reelm.eval.verdicts import Verdicts, key_of
from reelm.types import Message

QUESTION = (Message("user", ("Grade it.",)),)
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


def test_of_verdicts_the_newest_stays_and_both_kinds_may_lie_in_one_file(tmp_path):
    with Answers(tmp_path / "a.sqlite") as answers, Verdicts(tmp_path / "a.sqlite") as verdicts:
        answers.put({"one": {"text": "an answer"}})
        for reply in ("first", "second"):
            verdicts.keep("one", "judge", "1", QUESTION, {}, reply, "m")
        assert verdicts.find("one") == "second" and len(verdicts) == len(answers) == 1


def older(path: Path, columns: str) -> Path:
    """A file of verdicts as it was when every fact had a column, with one verdict."""
    with sqlite3.connect(path) as base:
        base.execute(f"CREATE TABLE verdicts ({columns})")
        base.execute("INSERT INTO verdicts VALUES (?, 'judge', '1', ?, ?, ?, 'm', 1.5)",
                     (key_of("judge", "1", QUESTION, {"temperature": 0.0}),
                      '[{"role": "user", "content": "Grade it."}]', '{"temperature": 0.0}', '{"score": 4}'))
    return path


def test_a_file_of_verdicts_of_the_older_form_is_read_on(tmp_path):
    path = older(tmp_path / "v.sqlite", "key TEXT PRIMARY KEY, judge, version, prompt, settings, reply, model, at REAL")
    for _ in range(2):
        with Verdicts(path) as kept:
            key = key_of("judge", "1", QUESTION, {"temperature": 0.0})
            assert kept.find(key) == '{"score": 4}' and len(kept) == 1
            assert kept.get(key) == {"judge": "judge", "version": "1", "settings": {"temperature": 0.0}, "model": "m",
                                     "prompt": [{"role": "user", "content": "Grade it."}], "reply": '{"score": 4}',
                                     "at": 1.5}


def test_a_table_that_something_else_wrote_is_left_as_it_is(tmp_path):
    path = older(tmp_path / "v.sqlite", "a, b, c, d, e, f, g, h")
    before = path.read_bytes()
    with pytest.raises(UsageError, match="columns a, b, c"):
        Verdicts(path)
    with sqlite3.connect(path) as base:
        assert base.execute("SELECT c FROM verdicts").fetchall() and len(path.read_bytes()) == len(before)
