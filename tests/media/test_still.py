"""Still pictures, which show the same at any second."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from media.coded import number_in, picture
from reelm import media
from reelm.errors import BudgetError, MediaError
from reelm.types import Clip


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "BMP"])
def test_a_picture_is_one_frame_without_time(tmp_path: Path, form: str) -> None:
    path = tmp_path / "picture"
    Pillow.fromarray(picture(77)).save(path, form)
    with media.open(Clip(path)) as reader:
        info, frames = reader.info(), reader.frames([0.0, 5.0])
        assert reader.audio(16_000) is None
    assert (info.kind, info.frame_count, info.width_px, info.height_px) == ("image", 1, 64, 96)
    assert [number_in(rgb) for rgb in frames.rgb] == [77, 77]
    assert (frames.still, frames.at_s.tolist(), frames.repeated.tolist()) == (True, [0.0, 0.0], [False, True])


def test_a_photo_is_turned_upright(tmp_path: Path) -> None:
    stored = Pillow.fromarray(np.rot90(picture(9)).copy())
    exif = stored.getexif()
    exif[0x0112] = 6  # "turn clockwise to see"
    stored.save(tmp_path / "phone.jpg", exif=exif)
    with media.open(Clip(tmp_path / "phone.jpg")) as reader:
        assert number_in(reader.frames([0.0]).rgb[0]) == 9


def test_what_is_left_out_is_noted(tmp_path: Path) -> None:
    Pillow.fromarray(picture(3)).convert("RGBA").save(tmp_path / "alpha.png")
    Pillow.fromarray(picture(3)).save(tmp_path / "several.avif", save_all=True, quality=90,
                                      append_images=[Pillow.fromarray(picture(4))])
    for name, says in {"alpha.png": "transparency", "several.avif": "first of 2"}.items():
        with media.open(Clip(tmp_path / name)) as reader:
            assert number_in(reader.frames([0.0]).rgb[0]) == 3
            assert any(says in note for note in reader.notes)


def test_sixteen_bits_keep_their_range(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65_535, 256).astype(np.uint16).reshape(16, 16)
    Pillow.fromarray(ramp).save(tmp_path / "deep.png")
    with media.open(Clip(tmp_path / "deep.png")) as reader:
        np.testing.assert_array_equal(reader.frames([0.0]).rgb[0, 0].reshape(-1), np.arange(256))


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "BMP"])
def test_half_a_picture_is_an_error(tmp_path: Path, form: str) -> None:
    path = tmp_path / "half"
    noise = np.random.default_rng(0).integers(0, 255, (96, 64, 3), dtype=np.uint8)
    Pillow.fromarray(noise).save(path, form)
    path.write_bytes(path.read_bytes()[:path.stat().st_size // 2])
    with pytest.raises(MediaError, match=form), media.open(Clip(path)) as reader:
        reader.info()


def test_a_huge_picture_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    Pillow.new("1", (20_000, 20_000)).save(tmp_path / "bomb.png")
    with pytest.raises(BudgetError, match="pixels"), media.open(Clip(tmp_path / "bomb.png")) as reader:
        reader.info()
