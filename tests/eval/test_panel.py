"""One judge or two, with care or as published: behind a real address, with what they say kept and compared."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from eval.judge_server import Act, Handler, Served, says, serving
from reelm.errors import UsageError
from reelm.eval.judge import opened
from reelm.eval.panel import Panel, agreements
from reelm.eval.verdicts import Verdicts
from reelm.tasks.base import Item, find
from reelm.tasks.judged import Judged


@pytest.fixture
def server() -> Iterator[Served]:
    with serving() as served:
        yield served


def judged_task(name: str = "msvd_qa") -> Judged:
    task = find(name)
    assert isinstance(task, Judged)
    return task


def asked(count: int) -> list[tuple[Item, str]]:
    """Questions with replies, two about each video; the reply says which of them it is."""
    return [(Item(str(i), f"video {i // 2}", (), "What?", answer="a dog", facts={"question": "What?"}), f"reply {i}")
            for i in range(count)]


def grades(of: dict[str, list[int]]) -> Act:
    """Each model gives its own grade to the reply of each number, and says yes from 3 on."""
    def act(handler: Handler, body: dict[str, Any]) -> None:
        grade = of[body["model"]][int(body["messages"][-1]["content"].split("reply ")[1].split()[0])]
        says(f"{{'pred': '{'yes' if grade >= 3 else 'no'}', 'score': {grade}}}")(handler, body)
    return act


def test_with_care_at_temperature_0_and_as_published_in_the_official_mode(server: Served, tmp_path: Path) -> None:
    """`4.8` keeps its decimals or loses them; neither mode takes the verdicts of the other, a rerun asks nobody."""
    server.always = says("{'pred': 'yes', 'score': 4.8}")
    sent = {"careful": {"temperature": 0.0, "top_p": 1.0, "max_tokens": 800},
            "official": {"temperature": 0.7, "top_p": 0.95, "max_tokens": 800}}
    for again in (False, True):
        for mode, settings in sent.items():
            server.seen.clear()
            panel = Panel([opened(f"m@{server.address}")], Verdicts(tmp_path / "v.sqlite"), mode)
            task = judged_task()
            assert panel.grade(task, asked(1)) == [{"accuracy": 1.0, "score": 4.8 if mode == "careful" else 4.0}]
            told = panel.report(task)["judge"]
            assert told["mode"] == mode and settings.items() <= told["settings"].items()
            assert told["counts"] == ({"cached": 1} if again else {"asked": 1})
            assert all(settings.items() <= one["body"].items() for one in server.seen)
            assert len(server.seen) == (0 if again else 1)


def test_an_unreadable_reply_in_the_official_mode_is_asked_for_with_the_same_words(server: Served) -> None:
    server.acts = [says("Four."), says("```{'pred': 'yes', 'score': 4}```"), says("{'pred': 'no', 'score': 1}")]
    panel = Panel([opened(f"m@{server.address}")], mode="official")
    assert panel.grade(judged_task(), asked(1)) == [{"accuracy": 0.0, "score": 1.0}]
    assert len({str(one["body"]["messages"]) for one in server.seen}) == 1 and len(server.seen) == 3


def test_two_judges_and_how_far_they_agree(server: Served) -> None:
    """By hand: yes and no agree in 6 of 8 where 4 are expected; squares of grades seen 8/8, expected of the margins."""
    one, other = [5, 5, 4, 4, 1, 1, 0, 0], [5, 5, 4, 2, 3, 1, 0, 0]
    server.always = grades({"one": one, "other": other})
    panel = Panel([opened(f"{name}@{server.address}") for name in ("one", "other")])
    task = judged_task()
    scores = panel.grade(task, asked(8))
    assert [score["score"] for score in scores] == one
    told = panel.report(task)
    assert told["judge"]["name"].startswith("one@") and told["second_judge"]["name"].startswith("other@")
    yes, grade = told["agreement"]["accuracy"], told["agreement"]["score"]
    assert yes["kappa"] == pytest.approx((6 / 8 - 1 / 2) / (1 - 1 / 2)) and yes["same"] == 0.75 and yes["items"] == 8
    expected = sum((a - b) ** 2 for a in one for b in other) / 64
    assert grade["kappa"] == pytest.approx(1 - 1 / expected)
    assert grade["low"] <= grade["kappa"] <= grade["high"] and grade["first_mean"] == grade["second_mean"] == 2.5
    assert (grade["items"], grade["left_out"]) == (8, 0)


def test_a_question_that_one_judge_could_not_grade_is_left_out_and_counted(server: Served) -> None:
    server.always = grades({"one": [5, 1, 5], "other": [5, 1, 5]})
    server.acts = [says("no idea")] * 3  # the first judge's three readings of the first reply
    panel = Panel([opened(f"{name}@{server.address}") for name in ("one", "other")])
    task = judged_task()
    assert panel.grade(task, asked(3))[0] == {}
    found = panel.report(task)["agreement"]["score"]
    assert (found["items"], found["left_out"], found["kappa"], found["low"]) == (2, 1, 1.0, None)


def test_items_that_are_judged_together_count_once() -> None:
    task = judged_task("video_chatgpt_consistency")
    items = [Item(f"{pair}/{half}", "v", (), "") for pair in "ab" for half in "12"]
    scores: list[dict[str, float]] = [{"score": 3.0}, {}, {"score": 1.0}, {}]
    (found,) = agreements(task, items, scores, scores).values()
    assert (found["items"], found["left_out"], found["kappa"]) == (2, 0, 1.0)


def test_what_is_no_panel(server: Served) -> None:
    one, other = opened(f"m@{server.address}"), opened(f"n@{server.address}")
    for speakers, mode in (([one, one], "careful"), ([], "careful"), ([one, other, one], "careful"), ([one], "strict")):
        with pytest.raises(UsageError):
            Panel(speakers, mode=mode)
    assert Panel([one, other]).report(judged_task()) == {}
