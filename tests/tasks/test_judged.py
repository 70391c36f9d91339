"""Open questions and captions with a judge: what it is asked, how it is read, with care and as published."""

from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from reelm.errors import UsageError
from reelm.eval.judge import Judge, JudgeSettings, Reply, judged
from reelm.tasks.base import find
from reelm.tasks.judged import Judged
from reelm.types import Clip, Message


@dataclass
class Scripted:
    """A judge that gives its replies in order and remembers what it was asked."""

    script: list[str]
    name: str = "scripted"
    version: str = "1"
    heard: list[str] = field(default_factory=list)

    def reply(self, messages: Sequence[Message], settings: JudgeSettings, seed: int) -> Reply:
        self.heard.append("\n".join(str(part) for message in messages for part in message.parts))
        return Reply(self.script.pop(0), self.name)


def task_of(name: str) -> Judged:
    found = find(name)
    assert isinstance(found, Judged)
    return found


def miniature(name: str, root: Path) -> Path:
    importlib.import_module(f"tasks.miniatures.{type(find(name)).__module__.rpartition('.')[2]}").make(root)
    return root


# --- MSVD-QA and ActivityNet-QA -----------------------------------------------------------------------------------


def test_a_question_its_answer_and_the_reply_reach_the_judge(tmp_path: Path) -> None:
    task = task_of("msvd_qa")
    item = next(iter(task.items(miniature("msvd_qa", tmp_path))))
    assert (item.id, item.video, item.answer) == ("30933", "vid1451", "someone")
    assert item.text == "what is happening in part 0"
    speaker = Scripted(["{'pred': 'yes', 'score': 4.8}"])
    assert judged(task, [(item, "a person")], Judge(speaker)) == [{"accuracy": 1.0, "score": 4.8}]
    asked, = speaker.heard
    assert all(words in asked for words in ("part 0", "someone", "a person", "'pred'", "'score'"))


def test_the_official_reader_cuts_decimals_and_looks_for_yes_inside_the_word(tmp_path: Path) -> None:
    task = task_of("activitynet_qa")
    task.official = True
    assert task.read_verdict("{'pred': 'Yes, it does', 'score': 4.8}") == {"accuracy": 1.0, "score": 4.0}
    assert task.read_verdict("{'pred': 'not', 'score': '2'}") == {"accuracy": 0.0, "score": 2.0}
    assert task.read_verdict("{'pred': 'partly', 'score': 3}") == {"score": 3.0}  # outside yes / (yes + no)
    with pytest.raises(UsageError):
        task.read_verdict("Here it is: {'pred': 'yes', 'score': 4}")


def test_a_video_is_found_with_and_without_its_prefix(tmp_path: Path) -> None:
    items = list(find("activitynet_qa").items(miniature("activitynet_qa", tmp_path)))
    files = [Path(str(part.source)).name for item in items for part in item.media if isinstance(part, Clip)]
    assert files == ["1QIUV7WYKXg.mp4", "v_uqiMw7tQ1Cc.mkv", "1QIUV7WYKXg.mp4"]
    assert [item.video for item in items] == ["1QIUV7WYKXg", "uqiMw7tQ1Cc", "1QIUV7WYKXg"]


@pytest.mark.parametrize(("change", "why"), [(lambda rows: rows[:-1], "3 questions and 2 answers"),
                                             (lambda rows: rows[::-1], "its question_id is 30933"),
                                             (lambda rows: [{}, *rows[1:]], "'answer' must be")])
def test_answers_that_do_not_belong_to_the_questions(change, why, tmp_path: Path) -> None:
    path = miniature("msvd_qa", tmp_path) / "test_a.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(UsageError, match=why):
        list(find("msvd_qa").items(tmp_path))


# --- Video-ChatGPT ------------------------------------------------------------------------------------------------


QUALITIES = ("correctness", "detail", "context", "temporal", "consistency")


def test_five_qualities_are_asked_for_in_five_ways(tmp_path: Path) -> None:
    root, asked = miniature("video_chatgpt_detail", tmp_path), set()
    for quality in QUALITIES:
        task = task_of(f"video_chatgpt_{quality}")
        rows = [(item, "a reply") for item in task.items(root)]
        speaker = Scripted(["{'score': 4}", "{'score': 2}"])
        scores = [scores for scores in judged(task, rows, Judge(speaker)) if scores]
        assert scores == [{"score": 4.0}, {"score": 2.0}]
        asked |= {speaker.heard[0]}
    assert len(asked) == 5


def test_three_qualities_share_their_answers(tmp_path: Path) -> None:
    """The same questions about the same media: a cache of answers gives them for nothing."""
    root = miniature("video_chatgpt_detail", tmp_path)
    shared = [list(find(f"video_chatgpt_{quality}").items(root)) for quality in QUALITIES[:3]]
    assert shared[0] == shared[1] == shared[2]


def test_consistency_judges_two_answers_at_once(tmp_path: Path) -> None:
    task = task_of("video_chatgpt_consistency")
    rows = [(item, f"reply to {item.id}")
            for item in task.items(miniature("video_chatgpt_consistency", tmp_path))][:3]
    speaker = Scripted(["{'score': 5}"])
    judge = Judge(speaker)
    assert judged(task, rows, judge) == [{"score": 5.0}, {}, {}]
    assert [(one.item, one.why) for one in judge.left] == [("1/Q1", "1 item of a group that belongs together")]
    asked, = speaker.heard
    assert "reply to 0/Q1" in asked and "reply to 0/Q2" in asked and "At what place" in asked


# --- MSVC ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["msvc_correctness", "msvc_detailedness"])
def test_all_references_reach_the_judge(name: str, tmp_path: Path) -> None:
    items = list(find(name).items(miniature(name, tmp_path)))
    assert [item.id for item in items] == ["clip_1_0", "clip_2_1", "clip_1_2"]
    assert items[0].video == items[2].video == "msvd/clip_1.mp4"
    speaker = Scripted(["{'score': 3}"])
    assert judged(task_of(name), [(items[0], "a cat")], Judge(speaker)) == [{"score": 3.0}]
    assert all(words in speaker.heard[0] for words in ("a man's dog runs", "a dog is running", "a cat"))


def test_the_official_reader_of_msvc_adds_up_whatever_it_is_given() -> None:
    task = task_of("msvc_correctness")
    task.official = True
    assert task.read_verdict("{'score': 4.8, 'confidence': 3}") == {"score": 7.0}
    with pytest.raises(UsageError):
        task.read_verdict("{'score': 4, 'why': 'good'}")
    task.official = False
    assert task.read_verdict("{'score': 4, 'why': 'good'}") == {"score": 4.0}


def test_an_item_without_a_verdict_has_no_score_and_stands_in_the_list(tmp_path: Path) -> None:
    task = task_of("msvc_correctness")
    rows = [(item, "a cat") for item in task.items(miniature("msvc_correctness", tmp_path))][:2]
    judge = Judge(Scripted(["{'score': 6}"] * 3 + ["{'score': 1}"]))
    assert judged(task, rows, judge) == [{}, {"score": 1.0}]
    assert [one.item for one in judge.left] == ["clip_1_0"]
