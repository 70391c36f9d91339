"""Shards: tar files that any tool reads, written so that nothing is lost, read at random with every byte checked."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from data.clips import GOOD, PAIR, make, turns, write
from reelm.data.collate import Bad, collate
from reelm.data.records import Examined, Record, examined, records
from reelm.data.samples import Samples
from reelm.data.shards import Shards
from reelm.data.shards import write as write_shards
from reelm.errors import MediaError, ReelmError, UsageError
from reelm.model.toy import random_model
from reelm.types import Clip

LIMIT = 115_000


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make(tmp_path_factory.mktemp("clips"))
    write(folder, *GOOD, PAIR)
    return folder


@pytest.fixture
def made(clips: Path, tmp_path: Path) -> Path:
    write_shards(examined(clips / "train.jsonl"), tmp_path / "shards", limit_bytes=LIMIT)
    return tmp_path / "shards"


def told(record: Record) -> tuple[Any, ...]:
    """A record with the content of its media in place of where they lie."""
    def part(piece: Any) -> Any:
        if not isinstance(piece, Clip):
            return piece
        data = piece.source.read_bytes() if isinstance(piece.source, Path) else piece.source.getvalue()  # type: ignore
        return data, piece.start_s, piece.end_s

    messages = [(message.role, tuple(map(part, message.parts))) for message in record.messages]
    return record.id, record.line, record.kinds, record.chosen, record.rejected, messages


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def spoil(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


# --- what comes back -----------------------------------------------------------------------------------------------


def test_any_record_comes_back_as_it_was_in_any_order(clips: Path, made: Path) -> None:
    wanted = list(records(clips / "train.jsonl"))
    shards = Shards(made)
    assert len(shards) == len(wanted) == 7
    for at in (5, 0, 6, 3, 1, 4, 2, 5):
        assert told(shards[at]) == told(wanted[at])
    assert [told(record) for record in records(made)] == [told(record) for record in wanted]
    with pytest.raises(IndexError):
        shards[7]


def test_every_shard_keeps_to_the_limit_and_the_index_says_where_everything_is(made: Path) -> None:
    index = json.loads((made / "index.json").read_text())
    assert index["samples"] == 7 and len(index["shards"]) > 2
    for shard in index["shards"]:
        tar = made / shard["tar"]
        assert tar.stat().st_size == shard["bytes"] <= LIMIT
        members = [one for sample in json.loads((made / shard["index"]).read_text())["samples"]
                   for one in sample["members"]]
        with tarfile.open(tar) as opened:
            assert [(m.name, m.offset_data, m.size) for m in opened] == [
                (one["name"], one["offset"], one["bytes"]) for one in members]


def test_the_webdataset_package_reads_them(clips: Path, made: Path) -> None:
    import webdataset

    found = list(webdataset.WebDataset([str(path) for path in sorted(made.glob("*.tar"))], shardshuffle=False))
    wanted = list(records(clips / "train.jsonl"))
    assert [json.loads(one["json"])["id"] for one in found] == [record.id for record in wanted]
    assert found[0]["0.mp4"] == (clips / "a.mp4").read_bytes()
    assert found[5]["3.mp4"] == found[0]["0.mp4"] and found[5]["2.wav"] == (clips / "tone.wav").read_bytes()


def test_training_from_shards_gives_the_same_samples_with_workers_too(clips: Path, made: Path) -> None:
    processor = random_model("av")[1]
    rows = slice(0, 6)
    from_files, from_shards = (Samples.read(path, processor) for path in (clips / "train.jsonl", made))
    assert list(from_shards.lengths) == list(from_files.lengths)
    loader: Any = DataLoader(from_shards, batch_sampler=[[4, 1], [0, 5], [3, 2]], num_workers=1,
                             collate_fn=lambda samples: collate(samples, 258))
    for batch, at in zip(loader, ([4, 1], [0, 5], [3, 2]), strict=True):
        wanted = collate([from_files[i] for i in at], 258)
        assert batch["ids"] == wanted["ids"] and set(batch) == set(wanted)
        assert all(torch.equal(batch[name], value) for name, value in wanted.items() if isinstance(value, torch.Tensor))
    assert len(list(GOOD)[rows]) == 6
    assert pickle.loads(pickle.dumps(Shards(made)[0])).clips[0].source.read() == (clips / "a.mp4").read_bytes()


# --- damage --------------------------------------------------------------------------------------------------------


def test_a_changed_byte_is_found_where_it_is_and_only_there(made: Path) -> None:
    shards = Shards(made)
    first = json.loads((made / "shard-000000.json").read_text())["samples"][0]
    medium = first["members"][1]
    spoil(made / "shard-000000.tar", medium["offset"] + medium["bytes"] // 2)
    with pytest.raises(MediaError, match="are not what was written") as error:
        shards[0]
    assert error.value.where == f"{made / 'shard-000000.tar'}: {medium['name']}"
    processor = random_model("av")[1]
    with pytest.raises(MediaError, match=r"shard-000000.tar: 000000000 \[sound\].*000000000.0.mp4"):
        Samples.read(made, processor)[0]
    skipping = Samples.read(made, processor, on_bad="skip")
    bad = skipping[0]
    assert isinstance(bad, Bad) and (bad.index, bad.id) == (0, "sound")
    assert skipping.length(0) == 0 and not isinstance(skipping[1], Bad)


@pytest.mark.parametrize(("hurt", "said"), [
    (lambda tar: tar.unlink(), "No such file"), (lambda tar: os.truncate(tar, 700), "are not what was written")])
def test_a_shard_that_is_gone_or_cut_is_told_by_name(hurt: Any, said: str, made: Path) -> None:
    hurt(made / "shard-000001.tar")
    shards = Shards(made)
    lost = [at for at in range(len(shards)) if "shard-000001.tar" in shards.told(at)[1]]
    for at in range(len(shards)):
        if at in lost:
            with pytest.raises(MediaError, match=f"shard-000001.tar.*{said}"):
                shards[at]
        else:
            assert shards[at].messages
    assert lost
    skipping = Samples.read(made, random_model("av")[1], on_bad="skip")
    assert [at for at in range(len(skipping)) if isinstance(skipping[at], Bad)] == lost


def test_damage_of_an_index_is_told_too(made: Path) -> None:
    spoil(made / "shard-000000.json", 60)
    with pytest.raises(MediaError, match="shard-000000.json: is not what was written"):
        Shards(made)[0]
    (made / "index.json").write_text('{"form":"reelm shards","schema":99}')
    with pytest.raises(UsageError, match="is of form 99, this version reads 1"):
        Shards(made)
    elsewhere = [{"tar": "../a.tar", "index": "shard-000000.json", "samples": 1}]
    (made / "index.json").write_text(json.dumps({"form": "reelm shards", "schema": 1, "shards": elsewhere}))
    with pytest.raises(UsageError, match=r"names '../a.tar', which lies elsewhere"):
        Shards(made)
    with pytest.raises(UsageError, match="is no folder of shards"):
        Shards(write(made, GOOD[4]))


def test_every_byte_counts(made: Path) -> None:
    """Wherever one bit of a tar file changes, its filling included, `examined` has something to say."""
    whole = (made / "shard-000000.tar").read_bytes()
    for at in (3, 600, len(whole) // 2, len(whole) - 1):
        spoil(made / "shard-000000.tar", at)
        found = [finding for row in examined(made) for finding in row.findings]
        assert [finding.kind for finding in found] == ["damaged"] and "shard-000000.tar" in found[0].said
        (made / "shard-000000.tar").write_bytes(whole)
    assert not [finding for row in examined(made) for finding in row.findings]


# --- writing -------------------------------------------------------------------------------------------------------


class Stopped(Exception):
    pass


def stopping(rows: Iterator[Examined], after: int) -> Iterator[Examined]:
    for number, row in enumerate(rows):
        if number == after:
            raise Stopped
        yield row


@pytest.mark.parametrize("after", range(8))
def test_a_stopped_run_goes_on_and_ends_with_the_same_bytes(after: int, clips: Path, made: Path,
                                                            tmp_path: Path) -> None:
    out = tmp_path / "again"
    try:
        write_shards(stopping(examined(clips / "train.jsonl"), after), out, limit_bytes=LIMIT)
    except Stopped:
        assert not (out / "index.json").exists() and not list(out.glob(".*"))
    there = len(list(out.glob("*.tar")))
    written = write_shards(examined(clips / "train.jsonl"), out, limit_bytes=LIMIT)
    assert written.found == there and written.samples == 7
    assert content(out) == content(made)


def test_a_killed_run_leaves_whole_shards_only_and_goes_on(clips: Path, made: Path, tmp_path: Path) -> None:
    out = tmp_path / "killed"
    code = ("import os, signal, sys; from reelm.data.records import examined; from reelm.data import shards, tars\n"
            "real, calls = tars.Tar._put, [0]\n"
            "def put(self, data):\n"
            "    calls[0] += 1\n"
            "    if calls[0] == int(sys.argv[3]): os.kill(os.getpid(), signal.SIGKILL)\n"
            "    real(self, data)\n"
            "tars.Tar._put = put\n"
            f"shards.write(examined(sys.argv[1]), sys.argv[2], limit_bytes={LIMIT})")
    for call in (5, 23):
        done = subprocess.run([sys.executable, "-c", code, clips / "train.jsonl", out, str(call)], check=False,
                              env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})
        assert done.returncode == -signal.SIGKILL
        assert not (out / "index.json").exists() and list(out.glob(".*.part"))
    write_shards(examined(clips / "train.jsonl"), out, limit_bytes=LIMIT)
    assert content(out) == content(made)


@pytest.mark.parametrize("call", ["replace", "fsync"])
def test_a_disk_that_refuses_leaves_a_folder_to_go_on_with(call: str, clips: Path, made: Path, tmp_path: Path,
                                                           monkeypatch: pytest.MonkeyPatch) -> None:
    """Every single rename and every fsync fails once."""
    real, out = getattr(os, call), tmp_path / "full"
    for failing in range(100):
        calls = 0

        def refused(*args: Any, fails_at: int = failing + 1) -> Any:
            nonlocal calls
            calls += 1
            if calls == fails_at:
                raise OSError(28, "No space left on device")
            return real(*args)

        with monkeypatch.context() as patch:
            patch.setattr(os, call, refused)
            try:
                write_shards(examined(clips / "train.jsonl"), out, limit_bytes=LIMIT)
            except MediaError as error:
                assert "No space left on device" in str(error)
            else:
                break
    else:
        pytest.fail("it never came to an end")
    assert failing > 2 and content(out) == content(made)


def test_a_folder_of_other_shards_is_left_alone(clips: Path, made: Path) -> None:
    before = content(made)
    other = write(clips, GOOD[1], *GOOD, name="other.jsonl")
    with pytest.raises(UsageError, match="shard-000000.json was made of other records"):
        write_shards(examined(other), made, limit_bytes=LIMIT)
    assert content(made) == before


def test_what_cannot_be_used_ends_the_run_or_is_left_out_and_listed(clips: Path, tmp_path: Path) -> None:
    (clips / "pictures").mkdir(exist_ok=True)
    rows = [GOOD[0], {"id": "gone", "image": "absent.png", "conversations": turns("<image>?", "A.")}, {"id": "no"},
            {"id": "folder", "video": "pictures", "conversations": turns("<video>?", "A.")}, GOOD[4]]
    file = write(clips, *rows, name="bad.jsonl")
    with pytest.raises(ReelmError, match=r"line 2: .*absent.png: cannot be opened: No such file"):
        write_shards(examined(file), tmp_path / "a")
    written = write_shards(examined(file), tmp_path / "b", on_bad="skip")
    assert [(bad["line"], bad["id"]) for bad in written.left_out] == [(2, "gone"), (3, "no"), (4, "folder")]
    shards = Shards(tmp_path / "b")
    assert [shards[at].id for at in range(len(shards))] == ["sound", "words"]
    with pytest.raises(ReelmError, match="no record can be used"):
        write_shards(examined(write(clips, rows[1], name="none.jsonl")), tmp_path / "c", on_bad="skip")


def test_a_sample_above_the_limit_gets_a_shard_of_its_own(clips: Path, tmp_path: Path) -> None:
    written = write_shards(examined(clips / "train.jsonl"), tmp_path / "small", limit_bytes=1)
    assert written.shards == written.samples == 7


def test_media_in_memory_go_into_shards_as_well(clips: Path, tmp_path: Path) -> None:
    import base64

    uri = "data:image/png;base64," + base64.b64encode((clips / "photo.png").read_bytes()).decode()
    file = write(clips, {"id": "u", "image": uri, "conversations": turns("<image>?", "A.")}, name="uri.jsonl")
    write_shards(examined(file), tmp_path / "u")
    (clip,) = Shards(tmp_path / "u")[0].clips
    assert clip.source.getvalue() == (clips / "photo.png").read_bytes()  # type: ignore[union-attr]
