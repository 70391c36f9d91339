"""`reelm eval`: from one's own clips to a table, on after a kill, with files that can be scored and compared again."""

from __future__ import annotations

import json
import sqlite3
import time
from pathlib import Path
from unittest.mock import patch

import pytest

from eval.judge_server import says, serving
from house.command import reelm, reelm_forked
from tasks.miniatures import egoschema, msvd_qa
from tasks.miniatures.niah import clips, hidden


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hidden(tmp_path_factory.mktemp("niah"), ("ret_edit", "cnt_insert"), 3)


def kept(store: Path) -> int:
    """How many answers are on the disk; 0 before there is a file."""
    if not store.is_file():
        return 0
    try:
        with sqlite3.connect(store) as base:
            return int(base.execute("SELECT COUNT(*) FROM answers").fetchone()[0])
    except sqlite3.OperationalError:  # it is just being made
        return 0


@pytest.mark.system("videoniah", "cli")
def test_needles_are_hidden_in_ones_own_clips_and_the_oracle_finds_them(tmp_path):
    hay = clips(tmp_path / "clips", seconds=9.0)
    (hay / "notes.txt").write_text("not a video")
    done = reelm("eval", "niah", "--clips", str(hay), "--each", "1", "--control", "oracle", "--out",
                 str(tmp_path / "o"))
    assert done.returncode == 0, done.stderr
    (line,) = [line.split() for line in done.stdout.splitlines() if " circular " in line]
    assert line[:4] == ["niah", "oracle", "circular", "1.000"]
    assert "notes.txt" in done.stderr and "9 videos in" in done.stderr and "36 of 36 items" in done.stderr
    saved = json.loads((tmp_path / "o" / "niah.oracle.json").read_text("utf-8"))
    assert saved["scores"]["circular"]["value"] == 1.0 and len(saved["splits"]["type"]) == 9


def test_a_newcomer_without_any_data_can_measure(tmp_path):
    args = ("eval", "audio_visual", "--each", "1", "--control", "oracle", "--out", str(tmp_path))
    done = reelm(*args, "--json")
    assert done.returncode == 0, done.stderr
    (told,) = json.loads(done.stdout)
    assert told["scores"]["accuracy"]["value"] == 1.0 and told["items"] == told["videos"] == 5
    assert "making audio_visual: 5 of 5 videos" in done.stderr and "5 videos in" in done.stderr
    again = reelm(*args, "--check-data")
    assert again.stdout == "audio_visual: 5 items, all media are there\n" and "making" not in again.stderr


def test_a_killed_run_goes_on_where_it_was_and_comes_to_the_same(root, tmp_path):
    args = ["eval", "niah", "--data", str(root), "-m", "random", "--max-tokens", "4"]
    process = reelm_forked(*args, "--out", str(tmp_path / "cut"))
    store = tmp_path / "cut" / "answers.sqlite"
    while (had := kept(store)) < 2 and process.is_alive():
        time.sleep(0.005)
    process.kill()
    process.join()
    after = kept(store)
    assert 2 <= had <= after < 24, f"{after} answers when it was killed"
    on = reelm(*args, "--out", str(tmp_path / "cut"), "--json")
    whole = reelm(*args, "--out", str(tmp_path / "whole"), "--json")
    assert on.returncode == whole.returncode == 0, on.stderr + whole.stderr
    (cut,), (other,) = json.loads(on.stdout), json.loads(whole.stdout)
    assert (cut["speed"]["kept"], cut["speed"]["asked"]) == (after, 24 - after) and other["speed"]["asked"] == 24
    assert f"24 of 24 items, {after} known before" in on.stderr
    assert cut["scores"] == other["scores"] and cut["data"] == other["data"]
    lines = [[json.loads(line).get("reply") for line in (tmp_path / name / "niah.random.answers.jsonl").open()]
             for name in ("cut", "whole")]
    assert lines[0] == lines[1]


def test_saved_answers_are_scored_again_and_two_are_compared(root, tmp_path):
    for control in ("oracle", "blind"):
        done = reelm("eval", "niah", "--data", str(root), "-m", "random", "--max-tokens", "2", "--control", control,
                     "--out", str(tmp_path))
        assert done.returncode == 0, done.stderr
    files = [str(tmp_path / f"niah.{name}.answers.jsonl") for name in ("oracle", "random.blind")]
    alone = reelm("eval", files[0], "--json")
    fresh = json.loads((tmp_path / "niah.oracle.json").read_text("utf-8"))
    assert json.loads(alone.stdout)[0]["scores"] == fresh["scores"]
    both = json.loads(reelm("eval", *files, "--json").stdout)
    assert both[2]["model"]["name"] == "oracle - random" and both[2]["items"] == 24
    assert both[2]["differences"]["accuracy"]["value"] == 1.0 - both[1]["scores"]["accuracy"]["value"]
    table = reelm("eval", *files)
    assert "oracle - random" in table.stdout and table.returncode == 0


def test_a_page_lies_beside_the_results_and_what_stops_it_costs_neither_figures_nor_answers(root, tmp_path):
    args = ["eval", "niah", "--data", str(root), "--control", "oracle", "--out", str(tmp_path)]
    done = reelm(*args)
    assert done.returncode == 0 and f"{tmp_path / 'niah.oracle.html'}: to be opened in a browser" in done.stderr
    page = (tmp_path / "niah.oracle.html").read_text("utf-8")
    assert page.count('src="data:video/mp4;base64,') == 6 and "24 items about 1 videos; 24 right" in page
    for lost in ("niah.oracle.json", "niah.oracle.answers.jsonl", "niah.oracle.html"):
        (tmp_path / lost).unlink()
    (tmp_path / "niah.oracle.html").mkdir()  # no file can be written there
    barred = reelm(*args)
    assert barred.returncode == 0 and "no report: " in barred.stderr and "circular" in barred.stdout
    (tmp_path / "niah.oracle.json").unlink()
    with patch("reelm.eval.report.small", side_effect=KeyboardInterrupt):
        stopped = reelm(*args)
    assert stopped.returncode == 130 and json.loads((tmp_path / "niah.oracle.json").read_text("utf-8"))["items"] == 24
    assert len((tmp_path / "niah.oracle.answers.jsonl").read_text("utf-8").splitlines()) == 25
    answers, media = str(tmp_path / "niah.oracle.answers.jsonl"), tmp_path / "again"
    both = reelm("eval", answers, answers, "--out", str(media), "--data", str(root))
    assert both.returncode == 0, both.stderr
    against = (media / "niah.oracle.against.niah.oracle.html").read_text("utf-8")
    assert "24 both are right" in against and against.count('src="data:video/mp4;base64,') == 6


def test_turning_the_options_shows_a_model_that_loves_a_letter_and_a_server_gets_its_file(tmp_path):
    (tmp_path / "data").mkdir()
    egoschema.make(tmp_path / "data")
    args = ["eval", "egoschema", "--data", str(tmp_path / "data"), "--control"]
    turned = reelm(*args, "rotated", "-m", "random", "--max-tokens", "2", "--out", str(tmp_path), "--json")
    assert turned.returncode == 0, turned.stderr
    (told,) = json.loads(turned.stdout)
    assert told["items"] % 5 == 0 and 0 <= told["scores"]["every_turn"]["value"] <= told["scores"]["accuracy"]["value"]
    plain = reelm(*args, "oracle", "--out", str(tmp_path))
    assert plain.returncode == 0 and "for the benchmark's server" in plain.stderr
    rows = (tmp_path / "egoschema.oracle" / "egoschema_careful.csv").read_text().splitlines()
    assert rows[0] == "q_uid, answer" and len(rows) == 1 + told["items"] // 5


def test_a_task_of_open_answers_asks_for_a_judge_before_it_loads_a_model(tmp_path):
    msvd_qa.make(tmp_path)
    done = reelm("eval", "msvd_qa", "--data", str(tmp_path), "-m", "no such model", "--out", str(tmp_path / "o"))
    assert done.returncode == 2 and "scored by a judge" in done.stderr and "--judge local:FOLDER" in done.stderr


def test_two_judges_grade_saved_answers_as_published_and_their_agreement_is_told(tmp_path):
    """Item 0 is a yes to both, item 3 a no, on 1 and 2 they differ: kappa is 0. A second run asks nobody."""
    rows = [{"id": str(i), "video": f"v{i}", "text": "What?", "options": [], "answer": "a dog", "reply": f"reply {i}",
             "facts": {"question": "What?"}} for i in range(4)]
    head = {"schema": 1, "reelm": "answers", "task": "msvd_qa", "model": "m", "settings": {}}
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in (head, *rows)))

    def grade(handler, body):
        item = int(body["messages"][-1]["content"].split("reply ")[1][0])
        word = "yes" if item in {"strict": (0, 1), "mild": (0, 2)}[body["model"]] else "no"
        says(f"{{'pred': '{word}', 'score': 4.8}}")(handler, body)

    with serving() as server:
        server.always = grade
        args = ("eval", str(tmp_path / "a.jsonl"), "--judge", f"strict@{server.address}", "--judge",
                f"mild@{server.address}", "--judge-mode", "official", "--out", str(tmp_path / "o"))
        done = reelm(*args, "--json")
        assert done.returncode == 0, done.stderr
        (told,) = json.loads(done.stdout)
        assert told["scores"]["accuracy"]["value"] == 0.5 and told["scores"]["score"]["value"] == 4.0
        assert told["judge"]["mode"] == "official" and told["judge"]["settings"]["temperature"] == 0.7
        assert told["agreement"]["accuracy"]["kappa"] == 0.0 and told["agreement"]["accuracy"]["same"] == 0.5
        assert {one["body"]["temperature"] for one in server.seen} == {0.7} and len(server.seen) == 8
        table = reelm(*args)
        assert "kappa of accuracy" in table.stdout and len(server.seen) == 8
    alone = reelm("eval", str(tmp_path / "a.jsonl"), "--judge-mode", "official")
    assert alone.returncode == 2 and "without a judge" in alone.stderr


def test_what_is_missing_is_told_with_its_own_exit_code(root, tmp_path):
    there = reelm("eval", "niah", "--data", str(root), "--check-data")
    assert there.returncode == 0 and there.stdout == "niah: 24 items, all media are there\n"
    lost = tmp_path / "part"
    lost.mkdir()
    (lost / "niah.json").write_bytes((root / "niah.json").read_bytes())
    missing = reelm("eval", "niah", "--data", str(lost), "--check-data")
    assert missing.returncode == 3 and "6 media" in missing.stderr and "ret_edit_0.mp4" in missing.stderr


@pytest.mark.parametrize(("args", "word"), [
    (["nap", "--data", "."], "no task 'nap'"), (["niah"], "--clips DIR"),
    (["niah", "--data", ".", "--clips", "."], "--clips has no effect"),
    (["temporal", "--clips", "."], "--clips has no effect on temporal"),
    (["world", "--data", ".", "--each", "3"], "--each"), (["egoschema"], "needs the data set of egoschema"),
    (["niah", "niah", "--data", "."], "niah,niah"),
    (["niah", "--data", ".", "--control", "deaf"], "no control 'deaf'"),
    (["niah", "--data", ".", "--share", "3/2"], "--share"), (["nowhere.jsonl"], "cannot be read"),
    (["a.jsonl", "--data", "."], "for their page alone"),
])
def test_calls_that_cannot_work_are_usage_errors(args, word, tmp_path):
    done = reelm("eval", *args, cwd=tmp_path)
    assert done.returncode == 2 and word in done.stderr
