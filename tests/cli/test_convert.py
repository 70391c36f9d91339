"""`reelm data convert`: published files in, records out, everything counted; then `data check` is content."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from house.command import reelm
from house.tree import ROOT
from reelm.data.convert import names

FILE = ROOT / "tests" / "fixtures" / "convert" / "video_chatgpt" / "VideoInstruct100K.json"


@pytest.fixture
def folder(media_folder: Path, tmp_path: Path) -> Path:
    (tmp_path / "clips").mkdir()
    shutil.copy(media_folder / "clip.mp4", tmp_path / "clips" / "v_made0000001.mp4")
    return tmp_path


def test_records_come_out_and_data_check_finds_nothing(folder: Path) -> None:
    done = reelm("data", "convert", "video-chatgpt", str(FILE), "--media", "clips", "--out", "train.jsonl", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert [" ".join(line.split()) for line in done.stdout.splitlines()] == [
        "entries count", "in all 4", "taken 2", "left out: no such media file 1", "left out: not of this format 1",
        "note: an id that stood twice got a number 1"]
    assert "missing: v_made0000002" in done.stderr and "train.jsonl.left.jsonl" in done.stderr
    assert reelm("data", "check", "train.jsonl", "--media", "clips", cwd=folder).returncode == 0


def test_as_json_and_with_nothing_taken(folder: Path) -> None:
    (folder / "empty").mkdir()
    done = reelm("data", "convert", "video-chatgpt", str(FILE), "--media", "empty", "--out", "o.jsonl", "--json",
                 cwd=folder)
    assert done.returncode == 3
    assert json.loads(done.stdout) == {
        "schema": 1, "out": "o.jsonl", "entries": 4, "taken": 0, "notes": {},
        "left": {"no such media file": 4}, "missing": ["v_made0000001", "v_made0000002"]}


def test_the_formats_are_listed_and_stand_in_the_document(folder: Path) -> None:
    done = reelm("data", "convert", "list", cwd=folder)
    assert done.returncode == 0 and [line.split()[0] for line in done.stdout.splitlines()[1:]] == names()
    document = (ROOT / "docs" / "data.md").read_text("utf-8")
    assert [name for name in names() if f"| `{name}` |" not in document] == []


def test_usage_errors_come_before_any_work(folder: Path) -> None:
    assert reelm("data", "convert", "mystery", str(FILE), cwd=folder).returncode == 2
    assert reelm("data", "convert", "avqa", str(FILE), "--out", "o.jsonl", cwd=folder).returncode == 2
    assert not (folder / "o.jsonl").exists()
