"""Files that `write_video` makes are real: they open, with the pictures, times and sound that went in."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from media.coded import number_in, picture, tone, write_numbered
from reelm import media
from reelm.errors import MediaError, UsageError
from reelm.types import Clip


@pytest.mark.parametrize(("suffix", "codecs"), [
    ("mp4", ("h264", "aac")), ("mov", ("h264", "aac")), ("mkv", ("h264", "aac")), ("webm", ("vp9", "opus"))])
def test_each_container_holds_pictures_and_sound(tmp_path: Path, suffix: str, codecs: tuple[str, str]) -> None:
    path = write_numbered(tmp_path / f"a.{suffix}", 50, 25, audio=tone(2.0, 16_000, loudness=(0.5, 0.25)))
    with media.open(Clip(path)) as reader:
        info, sound = reader.info(), reader.audio(16_000)
        numbers = [number_in(rgb) for rgb in reader.frames(info.frame_times_s).rgb]
    assert (info.video_codec, info.audio_codec, info.fps) == (*codecs, 25.0)
    assert numbers == list(range(50))
    assert sound is not None
    assert sound.duration_s == pytest.approx(2.0, abs=0.07)
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.pix_fmt == "yuv420p"


def test_sound_alone_is_written_and_costs_the_bits_it_may(tmp_path: Path) -> None:
    sizes = []
    for bps in (16_000, 64_000):
        path = media.write_sound(tmp_path / f"{bps}.m4a", tone(4.0, 16_000, loudness=(0.5, 0.25)), bps)
        with media.open(Clip(path)) as reader:
            assert reader.info().kind == "audio" and reader.info().duration_s == pytest.approx(4.0, abs=0.15)
        sizes.append(path.stat().st_size)
    assert sizes[0] < sizes[1] and sizes[0] < 1.5 * 4 * 16_000 / 8
    with pytest.raises(UsageError, match=r"Use \.m4a"):
        media.write_sound(tmp_path / "a.wav", tone(1.0))
    assert len(list(tmp_path.iterdir())) == 2


def test_odd_sides_are_made_even_and_said(tmp_path: Path) -> None:
    done = media.write_video(tmp_path / "odd.mp4", [np.full((33, 49, 3), 90, np.uint8)] * 3, 5)
    assert (done.width_px, done.height_px, done.padded_px, done.frames) == (50, 34, (1, 1), 3)
    with media.open(Clip(done.path)) as reader:
        info = reader.info()
        assert (info.width_px, info.height_px) == (50, 34)
        assert np.abs(reader.frames([0.0]).rgb.astype(int) - 90).max() <= 2


def test_the_same_input_gives_the_same_file(tmp_path: Path) -> None:
    for suffix in ("mp4", "mkv", "webm"):
        first, second = (write_numbered(tmp_path / f"{n}.{suffix}", 20, 25, audio=tone(0.8)) for n in "ab")
        assert first.read_bytes() == second.read_bytes()


def test_frames_may_come_from_a_generator_and_have_their_own_times(tmp_path: Path) -> None:
    media.write_video(tmp_path / "a.mkv", (picture(n) for n in range(4)), 25, at_s=iter([0.0, 0.1, 0.5, 2.0]))
    with media.open(Clip(tmp_path / "a.mkv")) as reader:
        np.testing.assert_allclose(reader.info().frame_times_s, [0.0, 0.1, 0.5, 2.0])


@pytest.mark.parametrize(("change", "says"), [
    ({"rgb_frames": []}, "no frame"), ({"fps": 0}, "fps must be above 0"), ({"path": "a.avi"}, "cannot write"),
    ({"codec": "libfoo"}, "unknown video codec"), ({"rgb_frames": [np.zeros((8, 8, 3))]}, "uint8"),
    ({"rgb_frames": [np.zeros((8, 8, 3), np.uint8), np.zeros((8, 10, 3), np.uint8)]}, "frame 1 has shape"),
    ({"at_s": [0.0]}, "for more frames"), ({"at_s": [0.0, 1.0, 2.0]}, "more times"), ({"at_s": [1.0, 0.5]}, "rise")])
def test_contradictions_are_refused_and_leave_no_file(tmp_path: Path, change: dict[str, object], says: str) -> None:
    given: dict[str, object] = {"path": "a.mp4", "rgb_frames": [np.zeros((64, 64, 3), np.uint8)] * 2, "fps": 5} | change
    with pytest.raises(UsageError, match=says):
        media.write_video(tmp_path / str(given.pop("path")), **given)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_a_codec_that_the_container_cannot_hold_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="could not write"):
        write_numbered(tmp_path / "a.webm", 5, 25, codec="libx264")
    with pytest.raises(MediaError):
        write_numbered(tmp_path / "missing" / "a.mp4", 5, 25)
