"""Video-MME: the table of the benchmark's own script, and the subtitles that a model is shown."""

from __future__ import annotations

import json

import pyarrow
import pytest
from pyarrow import parquet

from parity_root import parity_dir
from reelm.errors import UsageError
from reelm.tasks.base import Scored, find
from reelm.tasks.video_mme import DOMAINS, DURATIONS, VideoMMESubtitles, script_letter, script_table
from tasks.miniatures import video_mme as miniature


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("video_mme")
    miniature.make(folder)
    return folder


@pytest.fixture(scope="module")
def recorded() -> dict:
    return json.loads((parity_dir("videollama2_eval") / "videomme.json").read_text(encoding="utf-8"))


@pytest.mark.system("video_mme", "parity")
def test_every_recorded_letter_of_the_second_stage(recorded):
    rows = recorded["second_stage"]["rows"]
    assert [[response, script_letter(response)] for response, _ in rows] == rows


@pytest.mark.system("video_mme", "parity")
def test_the_recorded_table(recorded):
    answers = [(record["duration"], record["domain"], question["answer"], question["response"])
               for record in recorded["aggregation"]["records"] if not record["missing"]
               for question in record["questions"]]
    table = script_table(answers)
    assert recorded["aggregation"]["report_blocks"] == [*DURATIONS, "all"]
    assert [[row, f"{table[block, row]:.1f}%"] for block in (*DURATIONS, "all") for row in (*DOMAINS, "Overall")] \
        == recorded["aggregation"]["reported"]


def test_what_is_asked(root):
    item = next(iter(find("video_mme").items(root)))
    assert item.id == "001-1" and item.video == "fFjv93ACGo8" and item.answer == "A"
    assert item.text == (
        "Select the best answer to the following multiple-choice question based on the video. Respond with only the "
        "letter (A, B, C, or D) of the correct option.\nWhat is seen in part 0?\nA. Lamps.\nB. Kettles.\nC. Chairs.\n"
        "D. All three equally often.\nAnswer with the option's letter from the given choices directly and only give "
        "the best option. The best answer is: ")


def test_subtitles_are_those_of_the_frames_shown_repeats_kept(root):
    items = list(VideoMMESubtitles(frames=4).items(root))
    # 16 frames at 8 per second; segments of 3.75 frames end at 0, 4, 8, 11, 15, so frames 2, 6, 9, 13 are shown:
    # 0.25 s lies in the first line, 0.75 s, 1.125 s and 1.625 s in the second.
    *pictures, text = VideoMMESubtitles(frames=4).ask(items[0])
    assert pictures == list(items[0].media)
    assert text == ("This video's subtitles are listed below:\nFirst line\nSecond line\nSecond line\nSecond line\n"
                    + items[0].text)
    assert VideoMMESubtitles(frames=4).ask(items[0].blind()) == (text,)
    last = items[-1]
    assert last.facts["subtitles"] == "no" and VideoMMESubtitles().ask(last) == (*last.media, last.text)


def test_the_summary_is_the_scripts_table(root):
    task = find("video_mme")
    replies = {"001": ("A", "B", "A"), "302": ("it shows kettles", "none", "D."), "601": ("A", "B", "D")}
    rows = []
    for item in task.items(root):
        number, place = item.id.split("-")
        reply = replies[number][int(place) - 1]
        rows.append(Scored(item, reply, task.score(item, reply)))
    figures = task.summary(rows)
    assert figures["official % short: Knowledge"] == pytest.approx(200 / 3)
    assert figures["official % medium: Overall"] == pytest.approx(100 / 3)
    assert figures["official % all: Overall"] == pytest.approx(600 / 9)


def test_a_row_that_is_not_official_is_named(tmp_path):
    rows = [{"url": "https://www.youtube.com/watch?v=x", "options": ["Lamps", "B. b", "C. c", "D. d"], "answer": "A"}]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "test-00000-of-00001.parquet")
    with pytest.raises(UsageError, match="row 0.*Lamps"):
        list(find("video_mme").items(tmp_path))
    (tmp_path / "test-00000-of-00001.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(UsageError, match="is not a Parquet file"):
        list(find("video_mme").items(tmp_path))
