"""Reading a judge's reply: found wherever it stands, refused when it is not what was asked for."""

from __future__ import annotations

import pytest

from reelm.errors import UsageError
from reelm.tasks.verdict import grade, read_literal, read_object, whole_grade, yes

WANTED = {"pred": "yes", "score": 4.8}


@pytest.mark.parametrize("reply", [
    '{"pred": "yes", "score": 4.8}', "{'pred': 'yes', 'score': 4.8}", "Sure!\n```json\n{\"pred\": \"yes\", \"score\": "
    "4.8}\n```\nHope it helps {smile}", "I weigh {both} sides: {'pred': 'yes', 'score': 4.8}."])
def test_an_object_is_found_among_words(reply: str) -> None:
    assert read_object(reply) == WANTED


@pytest.mark.parametrize("reply", ["", "yes, 4", "[1, 2]", "{", "{" * 5000, "{1, 2}", "{'a': open('x')}"])
def test_what_holds_no_object(reply: str) -> None:
    with pytest.raises(UsageError):
        read_object(reply)


@pytest.mark.parametrize(("value", "number"), [(3, 3), (4.8, 4.8), ("2", 2), (" 2.5 ", 2.5), (0, 0), (5, 5)])
def test_a_grade_keeps_its_decimals(value: object, number: float) -> None:
    assert grade({"Score": value}) == number


@pytest.mark.parametrize("value", [5.1, -1, "five", None, True, [3], float("nan"), "4/5"])
def test_what_is_no_grade(value: object) -> None:
    with pytest.raises(UsageError, match="from 0 to 5"):
        grade({"score": value})


@pytest.mark.parametrize(("value", "right"), [("yes", True), ("No.", False), (" YES ", True), (False, False)])
def test_yes_or_no(value: object, right: bool) -> None:
    assert yes({"pred": value}, "pred") is right


@pytest.mark.parametrize("value", ["maybe", "yes and no", 1.5, None, ["yes"]])
def test_neither_yes_nor_no(value: object) -> None:
    with pytest.raises(UsageError, match="'yes' or 'no'"):
        yes({"pred": value}, "pred")


def test_the_official_reader_takes_the_whole_reply_and_cuts_decimals() -> None:
    assert whole_grade(read_literal("{'pred': 'yes', 'score': 4.8}")) == 4
    for reply in ("Sure! {'score': 4}", '{"score": null}', "{'score': 'high'}", "{'points': 4}", "[4]"):
        with pytest.raises(UsageError):
            whole_grade(read_literal(reply))
