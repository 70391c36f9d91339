"""Folders of pictures and animations as videos with times of their own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from media.coded import number_in, picture, write_numbered
from media.zoo import folder_of
from reelm import media
from reelm.errors import BudgetError, MediaError, UsageError
from reelm.media import Limits
from reelm.types import Clip

DELAYS_MS = [80, 120, 500, 40, 1000, 60]


def test_a_folder_is_sorted_as_people_count(tmp_path: Path) -> None:
    names = ["shot 1.png", "shot 2.jpg", "shot 10.webp", "shot 11.bmp", "Shot 12.png", "shot 100.png"]
    for number, name in enumerate(names):
        Pillow.fromarray(picture(number)).save(tmp_path / name, quality=95)
    with media.open(Clip(tmp_path)) as reader:
        info = reader.info()
        assert [number_in(rgb) for rgb in reader.frames(info.frame_times_s).rgb] == [0, 1, 2, 3, 4, 5]
    assert (info.kind, info.container, info.fps, info.end_s, info.video_codec) == (
        "video", "folder", 3.0, 2.0, "bmp+jpeg+png+webp")


def test_a_clip_of_a_folder_keeps_the_stated_rate(tmp_path: Path) -> None:
    clip = folder_of(20)(tmp_path)
    with media.open(Clip(clip.source, 0.5, 1.0, folder_fps=10)) as reader:
        info, frames = reader.info(), reader.frames([0.0, 0.64, 9.0, 0.6])
    np.testing.assert_allclose(info.frame_times_s, [0.5, 0.6, 0.7, 0.8, 0.9])
    assert [number_in(rgb) for rgb in frames.rgb] == [5, 6, 9, 6]
    assert frames.repeated.tolist() == [False, False, False, True]


def test_the_rate_of_a_folder_belongs_to_folders_only(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the source is no folder"):
        media.open(Clip(write_numbered(tmp_path / "a.mp4", 5, 25), folder_fps=10))
    with pytest.raises(UsageError, match="folder_fps above 0"):
        Clip(tmp_path, folder_fps=0)


def test_pictures_of_other_sizes_are_scaled_to_the_first_and_broken_ones_named(tmp_path: Path) -> None:
    for number in range(3):
        picture_ = Pillow.fromarray(picture(number))
        (picture_ if number != 1 else picture_.resize((128, 192))).save(tmp_path / f"{number}.png")
    with media.open(Clip(tmp_path)) as reader:
        assert [number_in(rgb) for rgb in reader.frames([0.0, 0.4, 0.7]).rgb] == [0, 1, 2]
        assert any("scaled to 64 x 96" in note for note in reader.notes)
    (tmp_path / "2.png").write_bytes((tmp_path / "2.png").read_bytes()[:200])
    with media.open(Clip(tmp_path)) as reader, pytest.raises(MediaError, match=r"2\.png: cannot be read as PNG"):
        reader.frames([0.7])


@pytest.mark.parametrize("form", ["webp", "gif", "png"])
def test_every_picture_of_an_animation_keeps_its_own_time(tmp_path: Path, form: str) -> None:
    pictures = [Pillow.fromarray(picture(number)) for number in range(len(DELAYS_MS))]
    path = tmp_path / f"a.{form}"
    how = {"lossless": True} if form == "webp" else {}
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=DELAYS_MS, loop=0, **how)
    begins = np.concatenate([[0], np.cumsum(DELAYS_MS)]) / 1000
    with media.open(Clip(path)) as reader:
        info = reader.info()
        np.testing.assert_allclose(info.frame_times_s, begins[:-1], atol=1e-6)
        assert info.end_s == pytest.approx(begins[-1]) and info.kind == "video"
        asked = [1.9, 0.0, 0.079, 0.081, 0.75, 99.0]
        assert [number_in(rgb) for rgb in reader.frames(asked).rgb] == [5 if at > 1.739 else int(
            np.searchsorted(begins, at, side="right")) - 1 for at in asked]


def test_a_gif_that_stores_only_differences_is_put_together(tmp_path: Path) -> None:
    """Each picture keeps what the one before showed where it is transparent itself."""
    base = Pillow.new("P", (64, 96), 0)
    base.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0] + [0] * 759)
    later = [base.copy() for _ in range(2)]
    later[0].paste(1, (0, 0, 32, 96))
    later[1].paste(1, (0, 0, 32, 96))
    later[1].paste(2, (32, 0, 64, 96))
    base.save(tmp_path / "a.gif", save_all=True, append_images=later, duration=100, optimize=True, disposal=1)
    with media.open(Clip(tmp_path / "a.gif")) as reader:
        rgb = reader.frames([0.0, 0.1, 0.2]).rgb
    assert rgb[:, :, 50, 10].tolist() == [[0, 0, 0], [255, 0, 0], [255, 0, 0]]
    assert rgb[:, :, 50, 50].tolist() == [[0, 0, 0], [0, 0, 0], [0, 255, 0]]


def test_half_an_animation_is_an_error_or_what_is_there(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (10, 96, 64, 3), dtype=np.uint8)
    pictures = [Pillow.fromarray(one) for one in noise]
    pictures[0].save(tmp_path / "a.webp", save_all=True, append_images=pictures[1:], duration=50, lossless=True)
    whole = (tmp_path / "a.webp").read_bytes()
    (tmp_path / "a.webp").write_bytes(whole[:len(whole) // 2])
    with media.open(Clip(tmp_path / "a.webp")) as reader:
        try:
            frames = reader.frames([0.1])
            assert (frames.rgb[0].transpose(1, 2, 0) == noise[2]).all() and reader.notes
        except MediaError as error:
            assert "cannot be read as WEBP" in str(error)


def test_a_giant_canvas_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    pictures = [Pillow.fromarray(picture(number)) for number in range(3)]
    pictures[0].save(tmp_path / "a.webp", save_all=True, append_images=pictures[1:], duration=50)
    data = bytearray((tmp_path / "a.webp").read_bytes())
    data[24:30] = b"\xff\x3f\0\xff\x3f\0"
    (tmp_path / "a.webp").write_bytes(data)
    with pytest.raises(BudgetError, match="16384 x 16384"), media.open(Clip(tmp_path / "a.webp")) as reader:
        reader.info()


def test_an_animation_counts_against_the_limits_like_a_video(tmp_path: Path) -> None:
    clip = folder_of(5)(tmp_path)
    with media.open(clip, Limits(frames=3)) as reader, pytest.raises(BudgetError, match="5 frames asked, 3 allowed"):
        reader.frames(reader.info().frame_times_s)
