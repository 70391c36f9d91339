"""Folders in pieces: the same bytes come out, pieces stay small, and what is missing or damaged is said."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from reelm.errors import CheckpointError, UsageError
from reelm.train import parcels


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a large file, small ones in another folder, and an empty one."""
    (tmp_path / "of" / "deep").mkdir(parents=True)
    (tmp_path / "of" / "large.bin").write_bytes(os.urandom(100_000))
    for number in range(5):
        (tmp_path / "of" / "deep" / f"{number}.txt").write_text("x" * number * 100)
    return tmp_path / "of"


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("most", [999, 30_000, 10**9])
def test_what_is_packed_comes_out_and_no_piece_is_larger_than_allowed(folder: Path, tmp_path: Path, most: int) -> None:
    parcel = parcels.pack({"a": folder, "note.txt": folder / "deep" / "3.txt"}, tmp_path / "p", most)
    sizes = [path.stat().st_size for path in (tmp_path / "p").glob("piece-*")]
    assert max(sizes) <= most and sum(sizes) == 101_300 and len(sizes) == len(parcel.pieces) == -(-101_300 // most)
    parcels.unpack(tmp_path / "p", tmp_path / "b")
    assert content(tmp_path / "b" / "a") == content(folder)
    assert (tmp_path / "b" / "note.txt").read_text() == "x" * 300


def test_pieces_may_come_one_by_one_and_what_is_there_already_is_left_alone(folder: Path, tmp_path: Path) -> None:
    parcel = parcels.pack({"a": folder}, tmp_path / "p", 30_000)
    for number, piece in enumerate(reversed(parcel.pieces), 1):
        arrived = tmp_path / f"arrived-{number}"
        arrived.mkdir()
        for name in (parcels.LIST, piece.path):
            (arrived / name).write_bytes((tmp_path / "p" / name).read_bytes())
        assert parcels.take(arrived, tmp_path / "there") == (number, 4)
        if number < 4:
            with pytest.raises(UsageError, match=rf"{4 - number} of 4 pieces are missing: piece-00000-"):
                parcels.unpack(tmp_path / "there", tmp_path / "b")
    (tmp_path / "b" / "a" / "deep").mkdir(parents=True)
    (tmp_path / "b" / "a" / "deep" / "4.txt").write_text("x" * 400)
    (tmp_path / "b" / "a" / "large.bin").write_text("half of a file")
    os.utime(tmp_path / "b" / "a" / "deep" / "4.txt", (1, 1))
    parcels.unpack(tmp_path / "there", tmp_path / "b")
    assert content(tmp_path / "b" / "a") == content(folder)
    assert (tmp_path / "b" / "a" / "deep" / "4.txt").stat().st_mtime == 1


def test_packing_again_replaces_the_parcel_and_keeps_what_did_not_change(folder: Path, tmp_path: Path) -> None:
    first = parcels.pack({"a": folder}, tmp_path / "p", 20_000)
    (folder / "large.bin").write_bytes((folder / "large.bin").read_bytes()[:50_000])
    second = parcels.pack({"a": folder}, tmp_path / "p", 20_000)
    assert first.pieces[1] == second.pieces[1] and first.pieces[-1] != second.pieces[-1]
    assert {path.name for path in (tmp_path / "p").iterdir()} == {parcels.LIST, *(one.path for one in second.pieces)}
    with pytest.raises(UsageError, match="another parcel"):
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / parcels.LIST).write_text(json.dumps({"format": 1, "files": [], "pieces": []}))
        parcels.take(tmp_path / "other", tmp_path / "p")


def test_packing_that_is_killed_leaves_the_parcel_that_was_there(folder: Path, tmp_path: Path,
                                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    parcels.pack({"a": folder}, tmp_path / "p", 20_000)
    before = content(folder)
    (folder / "large.bin").write_bytes(os.urandom(100_000))
    replace = os.replace
    for killed_at in range(7):  # six pieces and the list
        left = [None] * killed_at

        def until(source: Path, target: Path, left: list[None] = left) -> None:
            if not left:
                raise KeyboardInterrupt
            left.pop()
            replace(source, target)

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(os, "replace", until)
            parcels.pack({"a": folder}, tmp_path / "p", 20_000)
        parcels.unpack(tmp_path / "p", tmp_path / f"b{killed_at}")
        assert content(tmp_path / f"b{killed_at}" / "a") == before


@pytest.mark.parametrize("what", ["flipped", "cut", "list", "gone"])
def test_damage_is_refused(folder: Path, tmp_path: Path, what: str) -> None:
    parcel = parcels.pack({"a": folder}, tmp_path / "p", 30_000)
    piece = tmp_path / "p" / parcel.pieces[2].path
    if what == "flipped":
        piece.write_bytes(bytes([piece.read_bytes()[0] ^ 1]) + piece.read_bytes()[1:])
    elif what == "cut":
        piece.write_bytes(piece.read_bytes()[:-1])
    elif what == "list":
        (tmp_path / "p" / parcels.LIST).write_text("{")
    else:
        (tmp_path / "p" / parcels.LIST).unlink()
    said = {"flipped": "the list says", "cut": "1 of 4 pieces are missing"}.get(what, "no readable parcel.json")
    with pytest.raises((CheckpointError, UsageError), match=said):
        parcels.unpack(tmp_path / "p", tmp_path / "b")
    if what == "flipped":
        with pytest.raises(CheckpointError, match=piece.name):
            parcels.take(tmp_path / "p", tmp_path / "there")


@pytest.mark.parametrize("path", ["../x", "/x", "a/../../x"])
def test_a_list_cannot_write_elsewhere(tmp_path: Path, path: str) -> None:
    entry = {"path": path, "bytes": 0, "sha256": ""}
    for files, pieces in (([entry], []), ([], [entry])):
        (tmp_path / parcels.LIST).write_text(json.dumps({"format": 1, "files": files, "pieces": pieces}))
        with pytest.raises(CheckpointError, match="may not hold"):
            parcels.read(tmp_path)


def test_what_is_not_there_is_not_packed(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not there"):
        parcels.pack({"a": tmp_path / "absent"}, tmp_path / "p", 10)
    with pytest.raises(UsageError, match="pieces of 0 bytes"):
        parcels.pack({}, tmp_path / "p", 0)
