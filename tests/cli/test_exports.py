"""`reelm eval --export-lmms`: a folder per task, and the line that goes with it."""

from __future__ import annotations

import json
import shlex

from house.command import reelm


def test_the_line_for_lmms_eval_asks_the_same_model_the_same_way(tmp_path):
    (tmp_path / "data" / "good_clips_git").mkdir(parents=True)
    (tmp_path / "data" / "good_clips_git" / "a.mp4").write_bytes(b"looked at by nobody here")
    question = {"q_uid": "a", "question": "What?"} | {f"option {number}": f"thing {number}" for number in range(5)}
    (tmp_path / "data" / "questions.json").write_text(json.dumps([question]))
    args = ("eval", "egoschema", "--data", str(tmp_path / "data"), "--export-lmms", str(tmp_path / "out"))
    done = reelm(*args, "-m", "random", "--frames", "4", "--max-tokens", "9", "--batch", "2", "--control", "rotated")
    assert done.returncode == 0, done.stderr
    assert shlex.split(done.stdout) == [
        "lmms-eval", "--model", "reelm", "--model_args", "pretrained=random,frames=4", "--tasks",
        "reelm_egoschema_rotated", "--include_path", str(tmp_path / "out"), "--batch_size", "2"]
    folder = tmp_path / "out" / "reelm_egoschema_rotated"
    assert {path.name for path in folder.iterdir()} == {"reelm_egoschema_rotated.yaml", "utils.py", "items.jsonl"}
    assert len((folder / "items.jsonl").read_text().splitlines()) == 5
    assert "max_new_tokens: 9" in (folder / "reelm_egoschema_rotated.yaml").read_text()
    wrong = reelm(*args, "--control", "oracle")
    assert wrong.returncode == 2 and "cannot ask under control 'oracle'" in wrong.stderr
