"""Colours, and pictures that the file asks to turn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from media.coded import SIZE, TURNS, number_in, with_matrix, write_numbered
from reelm import media
from reelm.types import Clip


@pytest.mark.parametrize("turn", TURNS)
def test_pictures_are_given_upright(tmp_path: Path, turn: str) -> None:
    path = write_numbered(tmp_path / "phone.mp4", 30, 25)
    matrix, undo = TURNS[turn]
    path.write_bytes(with_matrix(path.read_bytes(), *matrix))
    with media.open(Clip(path)) as reader:
        info, frames = reader.info(), reader.frames([0.8])
    assert (info.width_px, info.height_px) == (SIZE if matrix[0] else SIZE[::-1])
    assert frames.rgb.shape[2:] == (info.height_px, info.width_px)
    assert number_in(undo(frames.rgb[0].transpose(1, 2, 0)).transpose(2, 0, 1)) == 20


def test_a_turn_by_an_odd_angle_is_said_and_not_done(tmp_path: Path) -> None:
    path = write_numbered(tmp_path / "slanted.mp4", 10, 25)
    path.write_bytes(with_matrix(path.read_bytes(), 0.7, 0.7, -0.7, 0.7))
    with media.open(Clip(path)) as reader:
        assert number_in(reader.frames([0.2]).rgb[0]) == 5
        assert any("odd angle" in note for note in reader.notes)


@pytest.mark.parametrize("name", ["small.mp4", "small.webm", "large.mp4"])
def test_colours_survive_writing_and_reading(tmp_path: Path, name: str) -> None:
    side = 720 if name.startswith("large") else 64
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (128, 128, 128), (200, 100, 50)]
    pictures = [np.full((side, side, 3), colour, np.uint8) for colour in colours]
    media.write_video(tmp_path / name, pictures, 5, crf=5)
    with media.open(Clip(tmp_path / name)) as reader:
        frames = reader.frames(reader.info().frame_times_s)
    got = frames.rgb[:, :, side // 2, side // 2].astype(int)
    assert np.abs(got - np.array(colours)).max() <= 3
