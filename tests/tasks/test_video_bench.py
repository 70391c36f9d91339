"""Video-Bench: both published mappings equal the recorded ones; figures of levels by hand; prompts to the space."""

from __future__ import annotations

import json

import pytest
from safetensors.numpy import load_file

from parity_root import parity_dir
from reelm.errors import UsageError
from reelm.tasks.base import Scored, find
from reelm.tasks.letters import LETTERS
from reelm.tasks.video_bench import LEVELS, VideoBench, closest_option, judged_letter
from reelm.tasks.video_bench_judged import VideoBenchJudged
from tasks.miniatures import video_bench as miniature


@pytest.fixture(scope="module")
def recorded() -> dict:
    return json.loads((parity_dir("video_bench") / "mapping.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def items(tmp_path_factory):
    root = tmp_path_factory.mktemp("video_bench")
    miniature.make(root)
    return list(find("video_bench").items(root))


@pytest.mark.system("video_bench", "parity")
def test_every_recorded_vector_is_mapped_alike(recorded):
    vectors = load_file(parity_dir("video_bench") / "vectors.safetensors")
    for row in recorded["similarity"]:
        options = vectors[f"item{row['item']}.choices"]
        assert len(options) == row["choices"]
        assert LETTERS[closest_option(vectors[f"item{row['item']}.output"], options)] == row["letter"], row


@pytest.mark.system("video_bench", "parity")
def test_every_recorded_judge_reply_is_read_alike(recorded):
    assert [[reply, judged_letter(reply)] for reply, _ in recorded["judge_replies"]] == recorded["judge_replies"]


@pytest.mark.parametrize(("count", "text"), [
    (6, "Q?Choices: A.a B.b C.c D.d E.e F.f \n Among the six options A, B, C, D, E, F above, the one closest to the "
        "correct answer is:"),
    (5, "Q? A.a B.b C.c D.d E.e \n Among the five options A, B, C, D, E above, the one closest to the correct answer "
        "is: "),
    (3, "Q? A.a B.b C.c \n Among the three options A, B, C above, the one closest to the correct answer is: "),
    (2, "Q? A.a B.b \n Among the two options A, B above, the one closest to the correct answer is:"),
])
def test_prompts_as_published(count, text):
    assert VideoBench().prompt("Q?", list("abcdef")[:count], {}) == text


def test_levels_are_weighted_and_a_level_without_all_its_data_sets_has_no_figure(items):
    task = VideoBench()

    def rows(wrong):
        replies = [(item, "none" if item.facts["data_set"] in wrong else item.answer) for item in items]
        return [Scored(item, reply, task.score(item, reply)) for item, reply in replies]

    figures = task.summary(rows({"MOT", "SQA3D"}))
    assert figures == pytest.approx({"video-exclusive understanding": 6 / 6.5, "prior knowledge": 1,
                                     "comprehension and decision-making": 1.5 / 2.5,
                                     "mean over levels": (6 / 6.5 + 1 + 0.6) / 3})
    partly = [row for row in rows(set()) if row.item.facts["data_set"] != "MOT"]
    assert set(task.summary(partly)) == set(list(LEVELS)[1:])


def test_without_a_model_there_is_no_official_reading(items):
    assert VideoBench().score(items[0], items[0].answer) == {"accuracy": 1, "unread": 0}


def judged_as(reply: str, item, official: bool) -> dict[str, float]:
    """The scores of an item whose judge answers `reply` and, when that cannot be read, is not asked again."""
    def ask(name, messages, read):
        try:
            return read(reply)
        except UsageError:
            return None

    return dict(VideoBenchJudged(official).verdict([item], ["it is the lamp"], ask))


@pytest.mark.parametrize(("reply", "official", "with_care"), [
    ('{"maximum probability": "A"}', {"accuracy": 1}, {"accuracy": 1}),
    ('{"maximum probability": "B"}', {"accuracy": 0}, {"accuracy": 0}),
    ('Sure: {"maximum probability": "a"}', {}, {"accuracy": 1}),
    ('{"maximum probability": "F"}', {"accuracy": 0}, {}),  # the question has two options
    ('{"max": "A"}', {}, {}),
])
def test_a_judge_maps_a_reply_to_an_option(items, reply, official, with_care):
    assert len(items[0].options) == 2 and items[0].answer == "A"
    assert judged_as(reply, items[0], official=True) == official
    assert judged_as(reply, items[0], official=False) == with_care


def test_the_judge_sees_the_question_the_options_and_the_reply(items):
    duty, asked = VideoBenchJudged().verdict_prompt(items[0], "it is the lamp")
    assert (duty.role, asked.role) == ("system", "user")
    assert items[0].text in asked.parts[0] and "Sentence: it is the lamp\n" in asked.parts[0]
