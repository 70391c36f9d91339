"""Clips made small for a page still show and sound what they are of, and say what was done to them."""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np
import pytest

from media.coded import tone
from reelm import media
from reelm.errors import BudgetError, MediaError
from reelm.eval.report_media import Small, small
from reelm.types import Clip, Image


def film(path: Path, seconds: float, size: tuple[int, int] = (96, 128), fps: int = 8, sound: bool = True) -> Path:
    """Brightness rises from black to white over the clip."""
    count = round(seconds * fps)
    media.write_video(path, (np.full((*size, 3), round(255 * i / count), np.uint8) for i in range(count)), fps,
                      tone(seconds) if sound else None)
    return path


def seen(one: Small) -> tuple[media.Reader, np.ndarray]:
    """The small clip opened again, from the very text that stands in the page, and its brightness over time."""
    reader = media.open(Clip(one.uri))
    rgb = reader.frames(reader.info().frame_times_s).rgb
    return reader, rgb.mean(axis=(1, 2, 3))


def test_a_stretch_of_a_clip_is_that_stretch_with_its_sound(tmp_path):
    one = small(Clip(film(tmp_path / "a.mp4", 4.0, (480, 640)), 1.0, 3.0))
    with seen(one)[0] as reader:
        info, heard = reader.info(), reader.audio(16_000)
    assert one.kind == "video" and one.uri.startswith("data:video/mp4;base64,")
    assert one.said == "16 pictures, 8 a second"
    assert (info.width_px, info.height_px, info.video_codec, info.audio_codec) == (320, 240, "h264", "aac")
    assert info.duration_s == pytest.approx(2.0, abs=0.15)
    assert heard is not None and np.abs(heard.wave[:, 4000:-4000]).max() == pytest.approx(0.5, abs=0.15)
    light = seen(one)[1]
    assert light[0] == pytest.approx(255 / 4, abs=8) and light[-1] == pytest.approx(255 * 3 / 4, abs=12)


def test_a_long_clip_becomes_a_digest_of_all_of_it_and_says_so(tmp_path):
    one = small(Clip(film(tmp_path / "a.mp4", 30.0, (32, 48), fps=4, sound=False)))
    reader, light = seen(one)
    info = reader.info()
    assert not info.has_audio and info.duration_s == pytest.approx(15.0, abs=0.2) and len(light) == 120
    assert light[0] < 10 and light[-1] > 245
    assert one.said == "120 pictures of 30 s, 8 a second, 2 times as fast, without its sound"


def test_sound_alone_and_pictures(tmp_path):
    sound = media.write_sound(tmp_path / "a.m4a", tone(2.0))
    one = small(Clip(sound))
    with media.open(Clip(one.uri)) as reader:
        assert reader.info().kind == "audio" and reader.info().duration_s == pytest.approx(2.0, abs=0.15)
    assert one.kind == "audio" and one.said == "sound alone"
    noise = np.random.default_rng(0).integers(0, 255, (3, 300, 1000), np.uint8)
    picture = small(Image(noise))
    with media.open(Clip(base64.b64decode(picture.uri.partition(",")[2]))) as reader:
        assert reader.info().kind == "image" and reader.info().width_px == 640
    assert picture.said == "a picture of 640 x 192, scaled down from 1000 x 300"


def test_what_has_little_room_gets_poorer_and_then_is_refused(tmp_path):
    rng = np.random.default_rng(0)
    media.write_video(tmp_path / "a.mp4", (rng.integers(0, 255, (120, 160, 3), np.uint8) for _ in range(16)), 8)
    rich = small(Clip(tmp_path / "a.mp4"))
    poor = small(Clip(tmp_path / "a.mp4"), len(rich.uri) // 2)
    assert len(poor.uri) <= len(rich.uri) // 2
    with pytest.raises(BudgetError, match="at its smallest"):
        small(Clip(tmp_path / "a.mp4"), 2000)
    (tmp_path / "b.mp4").write_bytes(b"no video at all" * 9)
    with pytest.raises(MediaError):
        small(Clip(tmp_path / "b.mp4"))
