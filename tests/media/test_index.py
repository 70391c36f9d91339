"""What a damaged or unusual file still holds, and that its shortfall is stated."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from media.coded import number_in, remux, tone, write_numbered
from reelm import media
from reelm.errors import MediaError, UsageError
from reelm.types import Clip

OPTIONS = {"g": "24", "bf": "3"}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("files")
    sound = tone(8.0, 44_100, loudness=(0.5, 0.25))
    return {suffix: write_numbered(folder / f"a.{suffix}", 200, 25, audio=sound,
                                   options=None if suffix == "webm" else OPTIONS) for suffix in ("mp4", "mkv", "webm")}


def test_info_of_a_whole_file(files: dict[str, Path]) -> None:
    with media.open(Clip(files["mp4"])) as reader:
        info = reader.info()
    assert (info.kind, info.container, info.video_codec, info.audio_codec) == ("video", "mov", "h264", "aac")
    assert (info.width_px, info.height_px, info.fps, info.audio_rate_hz) == (64, 96, 25.0, 44_100)
    assert (info.start_s, info.end_s, info.frame_count, info.has_audio) == (0.0, 8.0, 200, True)
    assert info.shortfall == ()
    np.testing.assert_array_equal(info.frame_times_s, np.arange(200) / 25)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "webm"])
@pytest.mark.parametrize("share", [0.4, 0.9])
def test_of_a_file_cut_short_the_readable_part_is_given(files: dict[str, Path], tmp_path: Path, suffix: str,
                                                        share: float) -> None:
    whole = files[suffix].read_bytes()
    path = tmp_path / f"cut.{suffix}"
    path.write_bytes(whole[:int(len(whole) * share)])
    with media.open(Clip(path)) as reader:
        info = reader.info()
        frames = reader.frames(info.frame_times_s)
        sound = reader.audio(16_000)
    numbers = [number_in(rgb) for rgb in frames.rgb]
    assert 30 < len(numbers) < 195
    np.testing.assert_allclose(np.array(numbers) / 25, frames.at_s, atol=0.001)
    assert sound is not None
    assert 1.0 < sound.duration_s < 7.8
    assert any("the header promises 8." in sentence for sentence in info.shortfall)
    assert set(info.shortfall) <= set(reader.notes)


def test_an_mp4_whose_index_is_lost_says_so(files: dict[str, Path], tmp_path: Path) -> None:
    path = remux(files["mp4"], tmp_path / "tail.mp4")
    whole = path.read_bytes()
    path.write_bytes(whole[:len(whole) // 2])
    with pytest.raises(MediaError, match=r"index \(moov\) is missing"), media.open(Clip(path)) as reader:
        reader.info()


def test_a_hole_in_the_file_is_stated(files: dict[str, Path], tmp_path: Path) -> None:
    whole = bytearray(files["mkv"].read_bytes())
    middle = len(whole) // 2
    whole[middle:middle + 400] = os.urandom(400)
    path = tmp_path / "hole.mkv"
    path.write_bytes(whole)
    with media.open(Clip(path)) as reader:
        info = reader.info()
        frames = reader.frames(info.frame_times_s)
    good = [number_in(rgb) == round(at * 25) for rgb, at in zip(frames.rgb, frames.at_s, strict=True)]
    assert np.mean(good) > 0.9
    assert info.frame_count == 200 or any("no picture begins" in sentence for sentence in info.shortfall)


def test_damaged_pictures_are_noted(tmp_path: Path) -> None:
    path = write_numbered(tmp_path / "a.mp4", 100, 25, options={"g": "1000", "bf": "0"}, crf=5)
    whole = bytearray(path.read_bytes())
    begin = whole.find(b"mdat") + len(whole[whole.find(b"mdat"):]) // 2
    whole[begin:begin + 2000] = bytes(2000)
    path.write_bytes(whole)
    with media.open(Clip(path)) as reader:
        frames = reader.frames(reader.info().frame_times_s)
        assert len(frames) == 100
        assert any("decoded" in note or "damaged" in note for note in reader.notes)


def test_only_sound_and_only_pictures(files: dict[str, Path], tmp_path: Path) -> None:
    sound = remux(files["mp4"], tmp_path / "sound.mp4", keep_types=("audio",))
    with media.open(Clip(sound)) as reader:
        assert (reader.info().kind, reader.info().frame_count, reader.info().width_px) == ("audio", 0, 0)
        assert reader.audio(16_000) is not None
        with pytest.raises(MediaError, match="no picture"):
            reader.frames([0.0])
    silent = remux(files["mkv"], tmp_path / "silent.mkv", keep_types=("video",))
    with media.open(Clip(silent)) as reader:
        assert (reader.info().kind, reader.info().has_audio) == ("video", False)
        assert reader.audio(16_000) is None


def test_a_clip_is_the_frames_that_begin_inside(files: dict[str, Path]) -> None:
    with media.open(Clip(files["mp4"], start_s=2.0, end_s=4.0)) as reader:
        info = reader.info()
        frames = reader.frames([0.0, 3.0, 9.0])
    assert (info.start_s, info.end_s, info.frame_count) == (2.0, 4.0, 50)
    assert (info.frame_times_s[0], info.frame_times_s[-1]) == (2.0, 3.96)
    assert [number_in(rgb) for rgb in frames.rgb] == [50, 75, 99]


def test_a_clip_between_two_frames_shows_the_one_on_the_screen(files: dict[str, Path]) -> None:
    with media.open(Clip(files["mp4"], start_s=2.01, end_s=2.02)) as reader:
        assert [number_in(rgb) for rgb in reader.frames([2.015]).rgb] == [50]


def test_a_clip_past_the_end_is_an_error_and_one_over_the_end_is_noted(files: dict[str, Path]) -> None:
    with media.open(Clip(files["mp4"], start_s=7.0, end_s=20.0)) as reader:
        assert reader.info().end_s == 8.0
        assert any("asks until 20 s" in note for note in reader.notes)
    with pytest.raises(UsageError, match="starts at 20"), media.open(Clip(files["mp4"], start_s=20.0)) as reader:
        reader.info()


def test_an_unknown_codec_is_an_error_with_a_remedy(files: dict[str, Path], tmp_path: Path) -> None:
    whole = bytearray(files["mp4"].read_bytes())
    at = whole.find(b"avc1", whole.find(b"stsd"))
    whole[at:at + 4] = b"zzzz"
    path = tmp_path / "strange.mp4"
    path.write_bytes(whole)
    with media.open(Clip(path)) as reader:
        with pytest.raises(MediaError, match="codec.*Convert"):
            reader.frames([0.0])
        assert reader.audio(16_000) is not None
