"""A decoder in a process of its own: the same answers, and whatever ends it is an error here and nothing more."""

from __future__ import annotations

import io
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from media.coded import number_in, tone, write_numbered
from reelm import media
from reelm.errors import BudgetError, MediaError, PolicyError, UsageError
from reelm.media import Limits
from reelm.media.wire import Wire
from reelm.media.worker import Worker
from reelm.types import Clip


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("worker")
    (folder / "a.srt").write_text("1\n00:00:00,500 --> 00:00:01,000\nHello\n")
    return write_numbered(folder / "a.mp4", 50, 25, audio=tone(2.0))


@pytest.fixture
def worker() -> Iterator[Worker]:
    with Worker() as one:
        yield one


def test_the_child_says_what_a_reader_says(worker: Worker, film: Path) -> None:
    clip = Clip(film, 0.4, 1.6)
    far = worker.open(clip)
    with media.open(clip) as near:
        times = near.info().frame_times_s
        for name in ("kind", "source", "start_s", "end_s", "fps", "width_px", "video_codec", "shortfall"):
            assert getattr(far.info(), name) == getattr(near.info(), name)
        np.testing.assert_array_equal(far.info().frame_times_s, times)
        for at_s in ([1.0, 0.5, 1.0], times):
            np.testing.assert_array_equal(far.frames(at_s).rgb, near.frames(at_s).rgb)
            np.testing.assert_array_equal(far.frames(at_s).at_s, near.frames(at_s).at_s)
        ours, theirs = near.audio(16_000), far.audio(16_000)
        assert ours is not None and theirs is not None
        np.testing.assert_array_equal(ours.wave, theirs.wave)
        assert far.beside() == near.beside()
        assert far.subtitles(far.beside()[0]) == near.subtitles(near.beside()[0]) != ()
        assert far.notes == near.notes


@pytest.mark.parametrize("form", [bytes, io.BytesIO, memoryview])
def test_content_in_memory_goes_along(worker: Worker, film: Path, form: type) -> None:
    assert number_in(worker.open(Clip(form(film.read_bytes()))).frames([0.8]).rgb[0]) == 20


def test_two_clips_in_turn(worker: Worker, film: Path) -> None:
    first, second = worker.open(Clip(film, 0.0, 1.0)), worker.open(Clip(film, 1.0, 2.0))
    seen = [number_in(reader.frames([0.0]).rgb[0]) for reader in (first, second, first, second)]
    assert seen == [0, 25, 0, 25]


def test_errors_of_the_child_are_raised_here_as_they_are(worker: Worker, film: Path, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("#EXTM3U\n")
    for clip, kind, says in ((Clip(tmp_path / "none"), MediaError, "No such file"),
                             (Clip(tmp_path / "a.mp4"), PolicyError, "playlist"), (Clip(b""), MediaError, "empty")):
        with pytest.raises(kind, match=says):
            worker.open(clip)
    with pytest.raises(UsageError, match="starts at 9"):
        worker.open(Clip(film, 9.0)).info()
    assert number_in(worker.open(Clip(film)).frames([0.0]).rgb[0]) == 0


def stopped(worker: Worker) -> int:
    """The child, halted so that a request to it stays under way."""
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGSTOP)
    return worker.pid


@pytest.mark.parametrize("crash", [signal.SIGSEGV, signal.SIGKILL, signal.SIGABRT])
def test_a_crash_is_a_media_error_and_the_next_request_is_served(worker: Worker, film: Path,
                                                                 crash: signal.Signals) -> None:
    reader = worker.open(Clip(film))
    pid = stopped(worker)
    threading.Timer(0.2, lambda: (os.kill(pid, crash), os.kill(pid, signal.SIGCONT))).start()
    with pytest.raises(MediaError, match=f"died of signal {crash.value} .{crash.name}"):
        reader.frames([0.0])
    assert number_in(reader.frames([0.8]).rgb[0]) == 20
    assert worker.pid != pid


def test_it_can_be_killed_from_another_thread(worker: Worker, film: Path) -> None:
    reader = worker.open(Clip(film))
    stopped(worker)
    threading.Timer(0.2, worker.kill).start()
    with pytest.raises(MediaError, match="died of signal 9"):
        reader.info()


def test_a_child_that_takes_too_long_is_stopped(film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reelm.media.worker._GRACE_S", 0.1)
    with Worker(Limits(wall_s=3.0)) as worker:
        reader = worker.open(Clip(film))
        pid, began = stopped(worker), time.monotonic()
        with pytest.raises(BudgetError, match=r"longer than the 3 s"):
            reader.frames([0.0])
        assert time.monotonic() - began < 10 and worker.pid is None
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_memory_is_limited_by_the_system_and_not_only_by_counting(tmp_path: Path) -> None:
    """Pictures that our own limits allow, and the child's address space does not hold."""
    pictures = [np.full((1600, 2400, 3), 90, np.uint8)] * 12
    media.write_video(tmp_path / "large.mp4", pictures, 5)
    clip = Clip(tmp_path / "large.mp4")
    with Worker(memory_bytes=96 << 20) as worker, pytest.raises((BudgetError, MediaError), match="memory|decoded"):
        worker.open(clip).frames(np.arange(12) / 5)
    with Worker(memory_bytes=1 << 30) as worker:
        assert len(worker.open(clip).frames(np.arange(12) / 5)) == 12


def test_the_child_holds_no_torch_and_may_write_no_file(worker: Worker, film: Path) -> None:
    worker.open(Clip(film)).frames([0.0])
    maps = Path(f"/proc/{worker.pid}/maps")
    if not maps.exists():
        pytest.skip("this system does not show what a process holds")
    assert "libtorch" not in maps.read_text() and "libav" in maps.read_text()
    limits = Path(f"/proc/{worker.pid}/limits").read_text()
    assert [line.split()[3:5] for line in limits.splitlines() if line.startswith("Max file size")] == [["0", "0"]]


def test_it_goes_when_the_parent_goes(film: Path) -> None:
    import sys

    code = ("import sys, os\nfrom reelm.media.worker import Worker\nfrom reelm.types import Clip\n"
            "w = Worker()\nw.open(Clip(sys.argv[1])).info()\nprint(w.pid, flush=True)\nos._exit(0)")
    source = str(Path(media.__file__).parents[2])
    done = subprocess.run([sys.executable, "-c", code, str(film)], capture_output=True, text=True, check=True,
                          env=os.environ | {"PYTHONPATH": source})
    pid, end = int(done.stdout), time.monotonic() + 10
    while time.monotonic() < end and Path(f"/proc/{pid}").exists() and "Z" not in Path(f"/proc/{pid}/stat").read_text():
        time.sleep(0.05)
    assert time.monotonic() < end


@pytest.mark.parametrize("said", [
    b"\xff\xff\xff\xff", b"\0\0\0\x02{}", b"\0\0\0\x02[]", b"\0\0\0\x05{\"a\":",
    b"\0\0\0\x29{\"arrays\":[[\"uint8\",[99999999,99999999]]]}"])
def test_a_child_that_lies_is_not_believed(said: bytes, film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a child would say after a file has taken it over, spoken here by the test."""
    ours, theirs = socket.socketpair()
    monkeypatch.setattr(Worker, "_running", lambda self, deadline: Wire(ours))
    with ours, theirs:
        theirs.sendall(said + bytes(64))
        with pytest.raises(MediaError, match="a reply that makes no sense"):
            Worker().open(Clip(film))
