"""`reelm data shard`: records into tar files, which `data check` and `data stats` read as they read the file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.test_data import GOOD, write
from house.command import Done, reelm


@pytest.fixture
def folder(media_folder: Path, tmp_path: Path) -> Path:
    clips = tmp_path / "clips"
    clips.mkdir()
    for name in ("clip.mp4", "photo.png"):
        (clips / name).write_bytes((media_folder / name).read_bytes())
    write(tmp_path, *GOOD)
    return tmp_path


def shard(folder: Path, *args: str) -> Done:
    return reelm("data", "shard", "train.jsonl", "shards", "--media", "clips", *args, cwd=folder)


def found(folder: Path, verb: str, *where: str) -> dict:
    done = reelm("data", verb, *where, "--json", cwd=folder)
    assert done.returncode in (0, 3), done.stderr
    return json.loads(done.stdout)


def test_shards_are_checked_and_measured_like_the_file_they_were_made_of(folder: Path) -> None:
    done = shard(folder)
    assert done.returncode == 0, done.stderr
    assert [line.split() for line in done.stdout.splitlines()][:4] == [
        ["what", "count"], ["shards", "1"], ["of", "them", "there", "before", "0"], ["samples", "4"]]
    file, shards = (found(folder, "stats", *where, "-m", "random") for where in (
        ("train.jsonl", "--media", "clips"), ("shards",)))
    assert file | {"file": ""} == shards | {"file": ""} and file["spreads"]["tokens"]["count"] == 4
    assert found(folder, "check", "shards")["findings"] == []
    done = reelm("data", "check", "shards", "--media", "clips", cwd=folder)
    assert done.returncode == 2 and "shards hold their media" in done.stderr


def test_a_second_call_goes_on_and_json_says_what_was_there(folder: Path) -> None:
    first, second = (json.loads(shard(folder, "--shard-mb", "1", "--json").stdout) for _ in range(2))
    assert (first["found"], second["found"], second["samples"], second["schema"]) == (0, 1, 4, 1)
    write(folder, GOOD[1], *GOOD)
    done = shard(folder)
    assert done.returncode == 2 and "was made of other records" in done.stderr


def test_a_damaged_shard_is_a_finding_with_its_name_and_exit_code_3(folder: Path) -> None:
    shard(folder)
    tar = folder / "shards" / "shard-000000.tar"
    data = bytearray(tar.read_bytes())
    data[data.index(b"ftyp")] ^= 1
    tar.write_bytes(data)
    done = reelm("data", "check", "shards", cwd=folder)
    assert done.returncode == 3
    assert "index.json:1: damaged: shards/shard-000000.tar: 000000000.0.mp4: " in done.stdout.replace("\\", "/")


def test_a_missing_file_ends_it_with_3_or_is_left_out_and_listed(folder: Path) -> None:
    write(folder, GOOD[0], {**GOOD[1], "image": "absent\x1b.png"})
    done = shard(folder)
    assert done.returncode == 3 and "line 2" in done.stderr and not (folder / "shards" / "index.json").exists()
    done = shard(folder, "--on-bad", "skip")
    assert done.returncode == 0 and "left out: line 2 [b]" in done.stderr and "\x1b" not in done.stderr
    assert shard(folder, "--on-bad", "perhaps").returncode == 2
