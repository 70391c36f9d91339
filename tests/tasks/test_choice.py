"""What multiple-choice tasks share: two readings side by side, chance, rotation, what is asked blind."""

from __future__ import annotations

import pytest

from reelm.errors import UsageError
from reelm.tasks.base import Scored
from reelm.tasks.mvbench import MVBench
from reelm.types import Clip

OPTIONS = ("running", "walking", "sitting down", "swimming")


def item(right: int | None = 2):
    return MVBench().choice("a/0", "v.mp4", (Clip("v.mp4"),), "What is done?", OPTIONS, right, {"task": "Made"})


def test_both_readings_are_given_and_where_they_differ():
    task = MVBench()
    assert task.score(item(), "C") == {"accuracy": 1, "accuracy_official": 1, "unread": 0, "readers_differ": 0}
    # The published script reads the B of "Based", and whatever it cannot read as C.
    assert task.score(item(), "Based on the video, it is (C).") == {
        "accuracy": 1, "accuracy_official": 0, "unread": 0, "readers_differ": 1}
    assert task.score(item(), "I cannot tell.") == {
        "accuracy": 0, "accuracy_official": 1, "unread": 1, "readers_differ": 1}


def test_without_a_known_answer_only_the_reading_is_scored():
    assert MVBench().score(item(None), "C") == {"unread": 0, "readers_differ": 0}
    assert MVBench().oracle(item(None)) == ""


def test_chance_is_one_in_the_number_of_options():
    assert MVBench().chance(item()) == 0.25


def test_rotation_brings_every_option_to_every_place_and_keeps_what_is_right():
    task = MVBench()
    turned = task.rotations(item())
    assert turned[0] == item() and len({one.id for one in turned}) == 4
    assert sorted(one.answer for one in turned) == ["A", "B", "C", "D"]
    for one in turned:
        assert one.options["ABCD".index(one.answer)] == "sitting down"
        assert f"({one.answer}) sitting down\n" in one.text and one.text.startswith("Question: What is done?\n")
        assert one.video == "v.mp4" and one.media == item().media
    assert {tuple(one.options[place] for one in turned) for place in range(4)} == {
        tuple(OPTIONS[(place + by) % 4] for by in range(4)) for place in range(4)}
    assert task.rotated(item(), 1).options == ("walking", "sitting down", "swimming", "running")


def test_a_model_that_always_says_a_is_right_in_exactly_one_rotation():
    task = MVBench()
    assert sum(task.score(one, "A")["accuracy"] for one in task.rotations(item())) == 1


def test_blind_is_the_same_words_without_the_media():
    assert MVBench().ask(item().blind()) == (item().text,)


def test_an_answer_that_is_no_option_is_an_error():
    with pytest.raises(UsageError, match="a/0: option 4 of 4"):
        item(4)


def test_what_a_reader_chose():
    row = Scored(item(), "( A )", {})
    assert MVBench().chosen(row, "careful") == 0 and MVBench().chosen(row, "official") == 2
