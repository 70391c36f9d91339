"""Small pictures of the frames an answer used: made late, from the file, holding nothing until then."""

from __future__ import annotations

import gc
import io
import pickle
import time
import weakref
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from reelm.errors import MediaError
from reelm.media import write_video
from reelm.media.thumbnail import HEIGHT_PX, MOST, Thumbnails
from reelm.types import Audio, Clip, Frames, Image


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """Ten frames per second; frame k has the grey 10·k."""
    write_video(tmp_path / "film.mp4", (np.full((64, 96, 3), 10 * k, np.uint8) for k in range(20)), 10)
    return tmp_path / "film.mp4"


def grey(jpeg: bytes) -> float:
    with Pillow.open(io.BytesIO(jpeg)) as picture:
        assert picture.format == "JPEG" and picture.height == HEIGHT_PX
        return float(np.asarray(picture).mean())


def test_they_show_the_frames_at_the_times_that_were_used(film: Path) -> None:
    pictures = Thumbnails([Clip(film)], [(0.1, 1.0, 1.9)])()
    assert [one.at_s for one in pictures] == [0.1, 1.0, 1.9]
    assert [grey(one.jpeg) for one in pictures] == pytest.approx([10, 100, 190], abs=4)
    assert all(len(one.jpeg) < 5000 for one in pictures)


def test_media_of_all_kinds_keep_their_place(film: Path, tmp_path: Path) -> None:
    Pillow.new("RGB", (40, 40), (200, 200, 200)).save(tmp_path / "still.png")
    picture = Image(np.full((3, 30, 30), 50, np.uint8))
    frames = Frames(np.full((2, 3, 30, 30), 70, np.uint8), np.array([0.0, 0.5]), np.zeros(2, bool))
    sound = Audio(np.zeros((1, 100), np.float32), 100)
    pictures = Thumbnails([Clip(tmp_path / "still.png"), sound, picture, frames, Clip(film)],
                          [(), (), (), (0.0, 0.5), (1.5,)])()
    assert [(one.medium, one.at_s) for one in pictures] == [(0, None), (2, None), (3, 0.0), (3, 0.5), (4, 1.5)]
    assert [grey(one.jpeg) for one in pictures] == pytest.approx([200, 50, 70, 70, 150], abs=4)


def test_of_many_frames_a_few_are_shown_from_first_to_last(film: Path) -> None:
    times = tuple(k / 50 for k in range(100))
    shown = [one.at_s for one in Thumbnails([Clip(film)], [times])()]
    assert len(shown) == MOST and (shown[0], shown[-1]) == (times[0], times[-1])


def test_media_in_memory_are_not_kept_alive() -> None:
    frames = Frames(np.zeros((2, 3, 30, 30), np.uint8), np.array([0.0, 0.5]), np.zeros(2, bool))
    thumbnails, alive = Thumbnails([frames], [(0.0, 0.5)]), weakref.ref(frames)
    assert len(thumbnails()) == 2
    del frames
    gc.collect()
    assert alive() is None and thumbnails() == ()


def test_a_file_that_has_changed_is_not_shown_as_if_it_had_not(film: Path) -> None:
    thumbnails = Thumbnails([Clip(film)], [(0.1,)])
    time.sleep(0.01)
    film.write_bytes(film.read_bytes() + b"\0")
    with pytest.raises(MediaError, match="changed since the answer"):
        thumbnails()
    film.unlink()
    with pytest.raises(MediaError, match="changed"):
        thumbnails()


def test_they_travel_without_what_is_in_memory(film: Path) -> None:
    picture = Image(np.zeros((3, 30, 30), np.uint8))
    sent = pickle.dumps(Thumbnails([Clip(film), picture], [(0.1,), ()]))
    assert len(sent) < 1000
    assert [one.medium for one in pickle.loads(sent)()] == [0]
