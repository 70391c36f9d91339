"""The VQA normaliser and score, and the two benchmarks that use them: VQAv2 and VizWiz."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reelm.errors import UsageError
from reelm.tasks.base import Scored, find
from reelm.tasks.vqa import accuracy, normalised, submitted
from tasks.miniatures import vizwiz, vqav2


@pytest.mark.parametrize(("text", "same"), [
    ("The Dog.", "dog"), ("two cats", "2 cats"), ("none", "0"), ("ten", "10"), ("eleven", "eleven"), ("an", ""),
    ("dont know", "don't know"), ("hes here", "he's here"), ("couldntve", "couldntve"), ("couldn'tve", "couldn't've"),
    ("'ow'sat", "'ow's'at"), ("yall'd've", "y'all'd've"), ("lets go", "lets go"), ("somebody'd", "somebodyd"),
    # a sign goes where a space is beside it anywhere, else a space takes its place
    ("t-shirt", "t shirt"), ("black - white", "black white"), ("a-b- c", "ab c"), ("left/right", "left right"),
    # a comma between digits makes all signs go
    ("1,000", "1000"), ("1,000 t-shirts", "1000 tshirts"),
    # full stops stay before digits, and after the thirty-second
    ("3.5", "3.5"), ("e.g. so", "eg so"), ("." * 34, ".."), ("a\nb\tc", "b c")])
def test_answers_as_the_published_script_writes_them(text: str, same: str) -> None:
    assert normalised(text) == same


def test_what_is_handed_in_has_lost_commas_first_and_its_s_stands_alone() -> None:
    assert submitted("John's, of course?") == "john 's of course" and normalised("John's") == "john's"
    assert submitted("red,blue") == "redblue" and normalised("red,blue") == "red blue"


def test_the_score_leaves_out_each_person_once() -> None:
    for count, worth in ((0, 0.0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (10, 1.0)):
        assert accuracy("the cat", ["cat"] * count + ["dog"] * (10 - count)) == pytest.approx(worth)


def test_signs_in_what_people_said_only_matter_where_all_said_the_same() -> None:
    assert accuracy("t-shirt", ["t-shirt"] * 9 + ["shirt"]) == 1
    assert accuracy("t-shirt", ["t-shirt"] * 10) == 0  # as published: the reply is cleaned, they are not


def test_vqav2_hands_in_an_answer_to_every_question_of_test(tmp_path: Path) -> None:
    vqav2.make(tmp_path)
    task = find("vqav2")
    one, two = task.items(tmp_path)
    assert one.text == "What is the man doing?\nAnswer the question using a single word or phrase."
    assert one.media[0].source == tmp_path / "test2015" / "COCO_test2015_000000000001.jpg"  # type: ignore[union-attr]
    rows = [Scored(item, reply, task.score(item, reply)) for item, reply in ((one, "He's surfing."), (two, "The red"))]
    assert [row.scores for row in rows] == [{"empty": 0}] * 2
    path, = task.submission(rows, tmp_path)
    assert json.loads(path.read_text()) == [{"question_id": 1000, "answer": "he 's surfing"},
                                            {"question_id": 1001, "answer": "red"},
                                            {"question_id": 5000, "answer": ""}]


def test_vqav2_is_scored_where_the_answers_are_public(tmp_path: Path) -> None:
    vqav2.make(tmp_path)
    task = find("vqav2_validation")
    rain, dogs = task.items(tmp_path)
    assert (rain.answer, rain.facts["answer_type"]) == ("yes", "yes/no")
    assert [task.score(dogs, reply)["accuracy"] for reply in ("Two.", "3", "a", "many")] == pytest.approx(
        [1.0, 0.6, 0.0, 0.3])


def test_questions_and_answers_of_different_releases(tmp_path: Path) -> None:
    vqav2.make(tmp_path)
    vqav2.questions(tmp_path, "val2014", [(7, 262148, "Is it raining?")])
    with pytest.raises(UsageError, match="question 7 has no answers in v2_mscoco_val2014"):
        list(find("vqav2_validation").items(tmp_path))
    vqav2.questions(tmp_path, "test-dev2015", [(7, 1, "Is it raining?")])
    with pytest.raises(UsageError, match="question 7 is not in v2_OpenEnded_mscoco_test2015"):
        list(find("vqav2").items(tmp_path))


def test_vizwiz_asks_to_say_when_it_cannot_be_told(tmp_path: Path) -> None:
    vizwiz.make(tmp_path)
    task = find("vizwiz")
    colour, milk = task.items(tmp_path)
    assert colour.text == ("What colour is this?\nWhen the provided information is insufficient, respond with "
                           "'Unanswerable'.\nAnswer the question using a single word or phrase.")
    rows = [Scored(item, reply, task.score(item, reply)) for item, reply in ((colour, "Unanswerable."), (milk, "No!"))]
    assert [row.scores for row in rows] == [{"empty": 0, "unanswerable": 1}, {"empty": 0, "unanswerable": 0}]
    path, = task.submission(rows, tmp_path)
    assert json.loads(path.read_text()) == [{"image": "VizWiz_test_00000000.jpg", "answer": "unanswerable"},
                                            {"image": "VizWiz_test_00000001.jpg", "answer": "no"}]


def test_vizwiz_is_scored_where_the_answers_are_public(tmp_path: Path) -> None:
    vizwiz.make(tmp_path)
    task = find("vizwiz_validation")
    leaves, label = task.items(tmp_path)
    assert [task.score(leaves, reply)["accuracy"] for reply in ("Basil leaves", "basil", "leaf")] == [1, 1, 0]
    assert task.score(label, "Unanswerable")["accuracy"] == 1 and label.facts["answer_type"] == "unanswerable"
