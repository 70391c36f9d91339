"""Asking, checking, asking again, keeping: the part of a judge that is the same for every model."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from eval.judge_server import Served, says, serving, sleeps
from reelm.errors import UsageError
from reelm.eval.endpoint import Endpoint
from reelm.eval.judge import Judge, JudgeSettings, Reply, in_order, opened
from reelm.eval.verdicts import Verdicts
from reelm.tasks.judged import Judged
from reelm.tasks.verdict import grade, read_object
from reelm.types import Image, Message

QUESTION = (Message("user", ("Grade it.",)),)
OFFICIAL = JudgeSettings.official(Judged.published)


@dataclass
class Reader:
    """A judge that reads its replies from a script, one per question."""

    script: list[str]
    name: str = "reader"
    version: str = "1"
    heard: list[list[Message]] = field(default_factory=list)

    def reply(self, messages: Sequence[Message], settings: JudgeSettings, seed: int) -> Reply:
        self.heard.append(list(messages))
        return Reply(self.script.pop(0), self.name)


def read(reply: str) -> float:
    return grade(read_object(reply))


def test_an_unreadable_reply_is_shown_to_the_judge_and_asked_again() -> None:
    reader = Reader(["Four, I think.", '{"score": 4}'])
    judge = Judge(reader)
    assert judge.ask("1", QUESTION, read).value == 4
    first, second = reader.heard
    assert first == list(QUESTION)
    assert [message.role for message in second] == ["user", "assistant", "user"]
    assert "no object in braces" in str(second[2].parts[0])
    assert judge.counts == {"asked": 2, "again": 1} and judge.left == []


def test_in_parity_mode_the_same_question_goes_out_again() -> None:
    reader = Reader(["Four, I think.", '{"score": 4}'])
    assert Judge(reader, OFFICIAL).ask("1", QUESTION, read).value == 4
    assert reader.heard == [list(QUESTION), list(QUESTION)]


@pytest.mark.parametrize(("lie", "why"), [
    ('{"score": 11}', "not a number from 0 to 5"), ('{"score": -1}', "not a number"), ('{"score": "high"}', "'high'"),
    ('{"score": NaN}', "no object"), ('{"points": 3}', "no 'score' among 'points'"), ("", "no object")])
def test_what_stays_unreadable_is_counted_and_listed_never_graded(lie: str, why: str, tmp_path: Path) -> None:
    cache = Verdicts(tmp_path / "v.sqlite")
    judge = Judge(Reader([lie] * 3), cache=cache)
    verdict = judge.ask("item 7", QUESTION, read)
    assert verdict.value is None and why in verdict.why
    assert judge.counts == {"asked": 3, "again": 3, "unreadable": 1}
    (left,) = judge.report()["without a verdict"]
    assert left["item"] == "item 7" and why in left["why"] and left["reply"] == lie
    assert len(cache) == 0


# --- verdicts are kept -----------------------------------------------------------------------------------------------


def test_a_second_run_asks_nobody(tmp_path: Path) -> None:
    first = Judge(Reader(['{"score": 2}']), cache=Verdicts(tmp_path / "v.sqlite"))
    second = Judge(Reader([]), cache=Verdicts(tmp_path / "v.sqlite"))
    assert first.ask("1", QUESTION, read).value == 2
    assert second.ask("1", QUESTION, read).cached
    assert second.counts == {"cached": 1}


@pytest.mark.parametrize("other", [
    Judge(Reader(['{"score": 5}'], name="another")), Judge(Reader(['{"score": 5}'], version="2")),
    Judge(Reader(['{"score": 5}']), OFFICIAL), Judge(Reader(['{"score": 5}']), JudgeSettings(max_tokens=9)),
], ids=["name", "version", "temperature", "length"])
def test_another_judge_or_setting_is_asked_anew(other: Judge, tmp_path: Path) -> None:
    cache = Verdicts(tmp_path / "v.sqlite")
    Judge(Reader(['{"score": 2}']), cache=cache).ask("1", QUESTION, read)
    other.cache = cache
    assert other.ask("1", QUESTION, read).value == 5
    assert len(cache) == 2


def test_patience_is_no_part_of_a_verdict(tmp_path: Path) -> None:
    cache = Verdicts(tmp_path / "v.sqlite")
    Judge(Reader(['{"score": 2}']), cache=cache).ask("1", QUESTION, read)
    assert Judge(Reader([]), JudgeSettings(readings=9, calls=1, first_wait_s=5), cache).ask("1", QUESTION, read).cached


def test_a_kept_reply_that_a_new_reader_refuses_is_asked_for_and_replaced(tmp_path: Path) -> None:
    cache = Verdicts(tmp_path / "v.sqlite")
    judge = Judge(Reader(["fine", '{"score": 3}']), cache=cache)
    assert judge.ask("1", QUESTION, str).value == "fine"
    assert judge.ask("1", QUESTION, read).value == 3
    assert len(cache) == 1 and Judge(Reader([]), cache=cache).ask("1", QUESTION, read).value == 3


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "v.sqlite").write_text("these are my notes, not a database, and they are longer than its header " * 9)
    with pytest.raises(UsageError, match="v.sqlite.*not a database"):
        Verdicts(tmp_path / "v.sqlite")


#: What one process does: forty verdicts into the file that others open and write at the same time.
KEEP = """
import sys
from reelm.eval.verdicts import Verdicts, key_of
from reelm.types import Message
base = Verdicts(sys.argv[1])
for number in range(int(sys.argv[2]), int(sys.argv[2]) + 40):
    asked, settings = (Message("user", (str(number),)),), {"temperature": 0.0, "top_p": 1.0, "max_tokens": 800,
                                                           "correct": True}
    base.keep(key_of("reader", "1", asked, settings), "reader", "1", asked, settings, f'{{"score": {number % 6}}}', "m")
"""


def test_processes_share_one_file(tmp_path: Path) -> None:
    commands = [[sys.executable, "-c", KEEP, str(tmp_path / "v.sqlite"), begin] for begin in ("0", "20", "40")]
    processes = [subprocess.Popen(command) for command in commands]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    cache = Verdicts(tmp_path / "v.sqlite")
    assert len(cache) == 80
    found = [Judge(Reader([]), cache=cache).ask("", (Message("user", (str(i),)),), read) for i in range(80)]
    assert [one.value for one in found] == [i % 6 for i in range(80)]


# --- several at a time ------------------------------------------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[Served]:
    with serving() as served:
        yield served


def test_verdicts_come_in_the_order_of_the_questions(server: Served, tmp_path: Path) -> None:
    """Eight askers, one cache; the first questions take longest."""
    def act(handler: object, body: dict) -> None:  # type: ignore[type-arg]
        number = int(body["messages"][0]["content"])
        sleeps(0.1 if number < 4 else 0)(handler, body)  # type: ignore[arg-type]
        says(f'{{"score": {number % 6}}}')(handler, body)  # type: ignore[arg-type]

    server.always = act
    judge = Judge(Endpoint("m", server.address), cache=Verdicts(tmp_path / "v.sqlite"))
    questions = [(str(i), (Message("user", (str(i),)),), read) for i in range(24)]
    first = in_order(lambda one: judge.ask(*one), questions, 8)
    assert [verdict.value for verdict in first] == [i % 6 for i in range(24)]
    assert all(verdict.cached for verdict in in_order(lambda one: judge.ask(*one), questions, 8))
    assert judge.counts == {"asked": 24, "cached": 24}


# --- what is refused ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["gpt", "@https://host/v1", "local", "model@"])
def test_a_name_that_is_no_judge(text: str) -> None:
    with pytest.raises(UsageError):
        opened(text)


def test_a_judge_by_name() -> None:
    assert opened("owner/model@2@https://host/v1/").name == "owner/model@2@https://host/v1"


@pytest.mark.parametrize("settings", [{"temperature": -1}, {"top_p": 0}, {"readings": 0}, {"calls": 0}])
def test_settings_that_make_no_sense(settings: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        JudgeSettings(**settings)  # type: ignore[arg-type]


def test_a_judge_reads_text_only(tmp_path: Path) -> None:
    import numpy as np

    picture = Message("user", (Image(np.zeros((3, 2, 2), np.uint8)),))
    with pytest.raises(UsageError, match="not Image"):
        Judge(Reader([]), cache=Verdicts(tmp_path / "v.sqlite")).ask("1", (picture,), read)
