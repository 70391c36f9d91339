"""Two readers of a choice: `Official` equals every recorded row of the published scripts; `careful` errs less."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parity_root import parity_dir
from reelm.tasks.base import find
from reelm.tasks.letters import LETTERS, careful


def table(name: str) -> dict:
    return json.loads((parity_dir("videollama2_eval") / f"{name}.json").read_text(encoding="utf-8"))


EGOSCHEMA, PERCEPTION, MVBENCH, VIDEO_MME = (
    find(name).official for name in ("egoschema", "perception_test", "mvbench", "video_mme"))


def test_egoschema_rows():
    recorded = table("egoschema")
    read = [[reply, EGOSCHEMA.read(reply, ["-"] * 5)] for reply, _ in recorded["rows"]]
    assert read == recorded["rows"] and len(read) == 78


@pytest.mark.parametrize(("name", "official"), [("mvbench", MVBENCH), ("perception_test", PERCEPTION)])
def test_rows_with_options(name, official):
    recorded = table(name)
    read = [official.read(reply, recorded["options"][options]) for options, reply, *_ in recorded["rows"]]
    assert read == [row[2] for row in recorded["rows"]]


def test_video_mme_rows():
    recorded = table("videomme")
    options = [[choice[3:] for choice in choices] for choices in recorded["choices"]]
    read = [LETTERS[VIDEO_MME.read(reply, options[choices])] for choices, reply, _ in recorded["rows"]]
    assert read == [letter for _, _, letter in recorded["rows"]]


@pytest.mark.parametrize(("reply", "official", "with_care"), [
    ("Based on the video, the answer is (C).", 1, 2),  # the B of "Based"
    ("The ANSWER is D", 0, 3),  # the A of "ANSWER"
    ("A, because the man runs", 2, 0),  # the comma makes it unread, and unread is the third option
    ("( A )", 2, 0),
    ("c.", 2, 2),
    ("the letter is b", 2, 1),
    ("A man is running in the park, so C", 0, 2),
    ("Certainly! The answer is D.", 2, 3),
    ("WALKING", 0, 1),
    ("\uff22", 2, 1),  # a full-width B
    ("Both A and C", 1, None),
    ("(A)(B)", 0, None),
    ("I cannot determine it.", 2, None),
    ("", 2, None),
])
def test_where_the_two_readers_part(reply, official, with_care):
    options = ["running", "walking", "sitting down", "swimming"]
    assert MVBENCH.read(reply, options) == official
    assert careful(reply, options) == with_care


@pytest.mark.parametrize(("reply", "options", "expected"), [
    ("C washes the plates, then dries them", ["-", "+", "=", "/", "?"], None),  # C wears the camera
    ("(A) C chops wood", ["chopping", "cooking", "resting", "none", "all"], 0),
    ("It is not moving", ["moving left", "moving", "not moving"], 2),
    ("the man is not running", ["running", "walking"], None),
    ("there is no dog", ["yes", "no"], None),
    ("No, it is not.", ["yes", "no"], 1),
    ("there are two cups", ["1", "2", "12"], 1),
    ("the result is 10", ["0", "1", "2", "10"], 3),
    ("a box.", ["A cup", "a box", "Both"], 1),
    ("walking and running", ["running", "walking"], None),
    ("Option A shows a cup, option B a box, so the answer is B.", ["cup", "box"], 1),
    ("The answer is A or B", ["cup", "box"], None),
    ("the answer is a cup", ["box", "cup"], 1),
    ("The answer is B because of A, C", ["cup", "box", "pan"], 1),
    ("(F)", ["cup", "box"], None),
    ("A is wrong, B is correct", ["B is wrong, A is correct", "A is wrong, B is correct"], 1),
    ("\u2461\u2462", ["\u2460\u2462", "\u2461\u2462"], 1),  # numbers in circles
    ("C. Two attempts, both missed", ["One attempt, made", "Three", "Two attempts, both missed"], 2),
    ("103-105, the Thunder trailing by 2", ["103-105, Nuggets trailing by 2", "103-105, Thunder trailing by 2"], None),
    ("cup", ["cup", "cup"], None),  # two options of the same words cannot be told apart by words
])
def test_careful_reads_what_was_said(reply, options, expected):
    assert careful(reply, options) == expected


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=80), st.lists(st.text(min_size=1, max_size=12), min_size=2, max_size=6))
def test_no_reply_breaks_a_reader(reply, options):
    assert careful(reply, options) in {None, *range(len(options))}
    for official in (EGOSCHEMA, PERCEPTION, MVBENCH, VIDEO_MME):
        assert 0 <= official.read(reply, options) < 10


@given(st.integers(2, 6), st.data())
def test_every_plain_way_to_name_a_letter_is_read(count, data):
    place = data.draw(st.integers(0, count - 1))
    form = data.draw(st.sampled_from(["{}", "({})", "{}.", "{})", "**{}**", "Answer: {}", "The answer is {}.",
                                      "Option {}", "[{}]", "({}) something", "{}: something"]))
    assert careful(form.format(LETTERS[place]), ["-"] * count) == place
