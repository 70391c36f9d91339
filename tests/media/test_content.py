"""Sources that are no path: content in memory, data: URIs, open files, pipes."""

from __future__ import annotations

import base64
import io
import os
import threading
import time
from pathlib import Path

import pytest

from media.coded import number_in, tone, write_numbered
from media.zoo import folder_of
from reelm import media
from reelm.errors import BudgetError, MediaError, UsageError
from reelm.media import Limits
from reelm.types import Clip


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_numbered(tmp_path_factory.mktemp("content") / "a.mp4", 40, 25, audio=tone(1.6))


def test_a_buffer_is_copied_so_that_a_later_change_changes_nothing(film: Path) -> None:
    buffer = bytearray(film.read_bytes())
    clip = Clip(buffer)
    buffer[:] = bytes(len(buffer))
    with media.open(clip) as reader:
        assert number_in(reader.frames([1.0]).rgb[0]) == 25


def test_pictures_and_sound_of_one_stream_do_not_move_each_other(film: Path) -> None:
    """Both are read at positions of their own, and the position of the owner does not matter."""
    with film.open("rb") as file:
        file.seek(100)
        with media.open(Clip(file)) as reader:
            seen = []
            for second in (0.0, 0.8, 0.4):
                seen.append(number_in(reader.frames([second]).rgb[0]))
                assert reader.audio(16_000) is not None
        assert seen == [0, 20, 10]
        assert reader.info().source == str(film)


def test_a_clip_shows_its_source_in_a_few_words(film: Path) -> None:
    data = film.read_bytes()
    assert repr(Clip(data, 1.0)) == f"Clip('{len(data):,} bytes in memory', start_s=1.0, end_s=None)"
    assert len(repr(Clip("data:video/mp4;base64," + "A" * 10_000))) < 150
    assert repr(Clip("a.mp4")) == "Clip('a.mp4', start_s=0.0, end_s=None)"


@pytest.mark.parametrize("source", [None, 7, ["a.mp4"]])
def test_other_things_are_no_source(source: object) -> None:
    with pytest.raises(UsageError, match="a path, bytes, or a binary file"):
        Clip(source)  # type: ignore[arg-type]


@pytest.mark.parametrize("head", ["data:video/mp4;base64,", "data:;base64,", "DATA:text/plain;charset=x;BASE64,"])
def test_a_data_uri_is_what_its_bytes_are_whatever_it_says(film: Path, head: str) -> None:
    with media.open(Clip(head + base64.b64encode(film.read_bytes()).decode())) as reader:
        assert reader.info().frame_count == 40


def test_a_data_uri_may_be_percent_encoded(film: Path) -> None:
    with media.open(Clip("data:video/mp4," + "".join(f"%{byte:02x}" for byte in film.read_bytes()))) as reader:
        assert reader.info().frame_count == 40


@pytest.mark.parametrize(("uri", "says"), [
    ("data:video/mp4;base64", "no comma"), ("data:;base64,AAA", "base64"), ("data:;base64,%%%", "base64"),
    ("data:,", "empty"), ("data:,hello", "is text")])
def test_what_is_wrong_with_a_data_uri_is_said(uri: str, says: str) -> None:
    with pytest.raises(MediaError, match=says):
        media.open(Clip(uri))


def test_a_stream_that_cannot_go_back_is_kept_first(film: Path) -> None:
    read, write = os.pipe()
    thread = threading.Thread(target=lambda: os.fdopen(write, "wb").write(film.read_bytes()))
    with os.fdopen(read, "rb") as pipe:
        with pytest.raises(UsageError, match=r"only once.*media\.spool"):
            media.open(Clip(pipe))
        thread.start()
        kept = media.spool(pipe, name="standard input")
    thread.join()
    with kept, media.open(Clip(kept)) as reader:
        assert reader.info().source == "standard input"
        assert number_in(reader.frames([1.0]).rgb[0]) == 25


def test_text_and_closed_files_are_told_apart(film: Path) -> None:
    closed = film.open("rb")
    closed.close()
    for stream, error, says in ((io.StringIO("x"), UsageError, "is text"), (closed, MediaError, "closed file"),
                                (io.BytesIO(), MediaError, "empty")):
        with pytest.raises(error, match=says):
            media.open(Clip(stream))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="is text"):
        media.spool(io.StringIO("x"))  # type: ignore[arg-type]


def test_content_from_outside_is_limited_before_it_is_taken() -> None:
    small = Limits(source_bytes=1000)
    with pytest.raises(BudgetError, match="1,000 allowed"):
        media.open(Clip("data:;base64," + "A" * 1400), small)
    with pytest.raises(BudgetError, match="1,000 allowed"):
        media.spool(io.BytesIO(bytes(5000)), small)


def test_the_same_content_has_the_same_identity_and_a_changed_one_another(film: Path, tmp_path: Path) -> None:
    data = film.read_bytes()
    assert media.identity(Clip(data)) == media.identity(Clip(io.BytesIO(data))) != media.identity(Clip(data[:-1]))
    folder = folder_of(2)(tmp_path)
    before = media.identity(folder)
    (tmp_path / "frames" / "frame 0.png").touch()
    os.utime(tmp_path / "frames" / "frame 0.png", (time.time() + 5,) * 2)
    assert before != media.identity(folder) != media.identity(Clip(folder.source, folder_fps=10))
    with pytest.raises(OSError):
        media.identity(Clip(tmp_path / "none"))
