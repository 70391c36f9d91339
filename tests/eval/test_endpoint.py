"""An OpenAI-compatible address as a judge: a real server that is slow, fails, lies and hangs up."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from eval.judge_server import Served, completion, drips, fails, hangs_up, says, sends, serving, sleeps
from reelm.errors import PolicyError, UsageError
from reelm.eval.endpoint import Endpoint
from reelm.eval.judge import Judge, JudgeSettings, Unreachable
from reelm.eval.verdicts import Verdicts
from reelm.tasks.judged import UNSAID, Judged
from reelm.tasks.verdict import grade, read_object
from reelm.types import Message

QUESTION = (Message("system", ("You grade.",)), Message("user", ("Is it a dog?",)))
QUICK = JudgeSettings(first_wait_s=0.01, longest_wait_s=0.05)
KEY = "sk-secret-0123456789"


def read(reply: str) -> float:
    return grade(read_object(reply))


@pytest.fixture
def server() -> Iterator[Served]:
    with serving() as served:
        yield served


@pytest.fixture
def judge(server: Served) -> Judge:
    return Judge(Endpoint("asked-model", server.address, timeout_s=5), QUICK)


def test_the_request_is_what_the_protocol_wants(server: Served, judge: Judge) -> None:
    assert judge.ask("1", QUESTION, read).value == 4
    request, = server.seen
    assert request["path"] == "/v1/chat/completions"
    assert request["body"] == {
        "model": "asked-model", "temperature": 0.0, "top_p": 1.0, "max_tokens": 800, "stream": False,
        "messages": [{"role": "system", "content": "You grade."}, {"role": "user", "content": "Is it a dog?"}]}
    assert "Authorization" not in request["headers"]


@pytest.mark.parametrize(("published", "sent"), [
    (Judged.published, {"temperature": 0.7, "top_p": 0.95, "max_tokens": 800}),
    (UNSAID, {"temperature": 1.0, "top_p": 1.0})])
def test_the_official_settings_are_sent_in_parity_mode(server: Served, published: Any, sent: Any) -> None:
    Judge(Endpoint("m", server.address), JudgeSettings.official(published)).ask("1", QUESTION, read)
    body = server.seen[0]["body"]
    assert {key: body[key] for key in ("temperature", "top_p", "max_tokens") if key in body} == sent


def test_the_model_that_really_answered_is_reported(server: Served, judge: Judge) -> None:
    server.acts = [says('{"score": 1}', "model-a"), says('{"score": 2}', "model-b")]
    judge.ask("1", QUESTION, read)
    judge.ask("2", QUESTION, read)
    assert judge.report()["answered as"] == {"model-a": 1, "model-b": 1}


@pytest.mark.parametrize("trouble", [
    fails(429), fails(500), fails(503, headers={"Retry-After": "0"}), hangs_up, sends(b"<html>hello</html>"),
    sends(b"[]"), sends(b'{"choices": []}'), sends(completion(None)), sends(completion("  ")), sends(b"\xff\xfe"),
    sends(completion('{"score": 3}'), length=5000), sends(completion('{"score": 3}')[:-20]),
], ids=["429", "500", "503", "cut at once", "a web page", "a list", "no choices", "null", "empty", "not text",
        "cut in the middle", "half an object"])
def test_a_call_that_gets_no_reply_is_made_again(server: Served, judge: Judge, trouble: Any) -> None:
    server.acts = [trouble, trouble]
    assert judge.ask("1", QUESTION, read).value == 4
    assert judge.counts == {"asked": 3, "waited": 2}
    assert judge.left == []


def test_a_server_that_never_recovers_ends_the_run_after_three_items(server: Served, judge: Judge) -> None:
    server.always = fails(503)
    assert judge.ask("1", QUESTION, read).value is None
    assert judge.ask("2", QUESTION, read).value is None
    with pytest.raises(Unreachable, match="3 items in a row, each asked 4 times; the last time: answered 503"):
        judge.ask("3", QUESTION, read)
    assert len(server.seen) == 12
    assert [one.item for one in judge.left] == ["1", "2", "3"]


def test_nobody_at_the_address(server: Served) -> None:
    with serving() as gone:
        address = gone.address
    judge = Judge(Endpoint("m", address), QUICK)
    assert "refused" in judge.ask("1", QUESTION, read).why
    assert judge.counts == {"asked": 4, "waited": 4, "silent": 1}


def test_a_silent_server_is_left_when_the_time_is_over(server: Served) -> None:
    server.acts = [sleeps(3)]
    judge = Judge(Endpoint("m", server.address, timeout_s=0.3), QUICK)
    begin = time.monotonic()
    assert judge.ask("1", QUESTION, read).value == 4
    assert time.monotonic() - begin < 2.5
    assert judge.counts["waited"] == 1


@pytest.mark.parametrize("letters", [b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 99,
                                     b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n" + b"{" * 999],
                         ids=["in the header", "in the body"])
def test_a_server_that_drips_is_left_too(server: Served, letters: bytes) -> None:
    server.acts = [drips(letters, 0.02)]
    judge = Judge(Endpoint("m", server.address, timeout_s=0.4), JudgeSettings(calls=1))
    begin = time.monotonic()
    verdict = judge.ask("1", QUESTION, read)
    assert "no whole reply within 0.4 s" in verdict.why
    assert time.monotonic() - begin < 3


def test_a_flood_is_not_read_to_its_end(server: Served) -> None:
    server.acts = [sends(b" " * (5 << 20))]
    assert "above 4,194,304 bytes" in Judge(Endpoint("m", server.address), JudgeSettings(calls=1)).ask(
        "1", QUESTION, read).why


def test_the_wait_that_a_server_asks_for_is_kept_up_to_a_bound(server: Served) -> None:
    server.acts = [fails(429, headers={"Retry-After": "900"})]
    judge = Judge(Endpoint("m", server.address), JudgeSettings(first_wait_s=0, longest_wait_s=0.3))
    begin = time.monotonic()
    assert judge.ask("1", QUESTION, read).value == 4
    assert 0.3 <= time.monotonic() - begin < 5


@pytest.mark.parametrize(("status", "remedy"), [(401, "REELM_JUDGE_KEY"), (404, "usually ends in /v1"),
                                                (302, "final address")])
def test_what_does_not_get_better_is_not_tried_again(server: Served, judge: Judge, status: int, remedy: str) -> None:
    server.always = fails(status, "no", {"Location": "http://127.0.0.1:9/"})
    with pytest.raises(UsageError, match=remedy):
        judge.ask("1", QUESTION, read)
    assert len(server.seen) == 1


def test_a_question_that_is_declined_leaves_the_others_alone(server: Served, judge: Judge) -> None:
    server.acts = [fails(400, "content filter")] * 4
    assert [judge.ask(str(i), QUESTION, read).value for i in range(5)] == [None, None, None, None, 4]
    assert judge.counts["silent"] == 4 and "content filter" in judge.left[0].why


# --- the key -------------------------------------------------------------------------------------------------------


def test_the_key_travels_in_one_header_and_stays_nowhere(server: Served, tmp_path: Path,
                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    """Even when the server repeats it: in a reply, in its name, in a complaint."""
    monkeypatch.setenv("REELM_JUDGE_KEY", KEY)
    server.acts = [fails(500, f"bad key {KEY}"), says(f'{{"score": 2, "key": "{KEY}"}}', f"model {KEY}"),
                   fails(400, f"never {KEY}")]
    endpoint = Endpoint("m", server.address)
    judge = Judge(endpoint, QUICK, Verdicts(tmp_path / "verdicts.sqlite"))
    kept, refused = judge.ask("1", QUESTION, read), judge.ask("2", QUESTION[1:], read)
    assert kept.value == 2 and refused.value is None and "(the key)" in refused.why
    assert {request["headers"]["Authorization"] for request in server.seen} == {f"Bearer {KEY}"}
    assert judge.cache is not None
    judge.cache.close()
    everything = f"{endpoint!r}{vars(endpoint)}{judge!r}{judge.report()}{kept}{refused}".encode()
    assert KEY.encode() not in everything + b"".join(path.read_bytes() for path in tmp_path.iterdir())
    with sqlite3.connect(tmp_path / "verdicts.sqlite") as base:
        assert base.execute("SELECT count(*) FROM verdicts").fetchone() == (1,)


def test_the_key_of_another_service_is_not_used(server: Served, judge: Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    judge.ask("1", QUESTION, read)
    assert "Authorization" not in server.seen[0]["headers"]


def test_a_key_is_not_sent_unencrypted_to_another_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_KEY", KEY)
    with pytest.raises(PolicyError, match="unencrypted") as caught:
        Endpoint("m", "http://judge.example.org/v1", key_env="JUDGE_KEY")
    assert KEY not in str(caught.value)
    Endpoint("m", "https://judge.example.org/v1", key_env="JUDGE_KEY")
    Endpoint("m", "http://judge.example.org/v1")  # no key, nothing to leak


def test_a_key_that_would_break_the_header_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REELM_JUDGE_KEY", "a\r\nX: y")
    with pytest.raises(UsageError, match="no key"):
        Endpoint("m", "https://judge.example.org/v1")


@pytest.mark.parametrize("address", ["", "judge.example.org/v1", "file:///etc/passwd", "http://", "http://h:99999/v1",
                                     "https://me:word@judge.example.org/v1", "https://judge.example.org/v1?key=1"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(UsageError) as caught:
        Endpoint("m", address)
    assert "word" not in str(caught.value)
