"""Frames put into one picture equal TS-LLaVA's and IG-VLM's recorded pictures."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.recorded import apart, recorded, worst
from parity_root import parity_dir
from reelm.errors import UsageError
from reelm.kernels.scoring import spread
from reelm.kernels.tiling import square_grid, tall_grid, thumbnail, tiled


def test_thumbnails_equal_ts_llava(record_property):
    file, found = recorded("ts_llava", "thumbnail"), {}
    frames = file["frames"]
    for name, y in file.named("thumb.").items():
        count, _, side = name.partition(".")
        height, width = map(int, side.split("x"))
        picture = thumbnail(frames[spread(len(frames), int(count), as_released=True)], (height, width))
        found[name] = apart(picture, y)
    worst(found, record_property, 5e-5)


def test_grids_are_those_of_ts_llava():
    grids = json.loads((parity_dir("ts_llava") / "indices.json").read_text("utf-8"))["grid"]
    assert grids and {count: list(tall_grid(int(count))) for count in grids} == grids


def test_pictures_equal_ig_vlm():
    file = recorded("ig_vlm", "grid")
    grids = json.loads((parity_dir("ig_vlm") / "frames.json").read_text("utf-8"))["grid"]
    assert {count: dict(zip(("rows", "columns"), square_grid(int(count)), strict=True)) for count in grids} == grids
    for count, y in file.named("grid.").items():
        frames = file[f"frames.{count}"].movedim(-1, 1)
        assert torch.equal(tiled(frames, square_grid(len(frames)), fill=255).movedim(0, -1), y), count


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60))
def test_grids_hold_all_frames(count):
    rows, columns = tall_grid(count)
    assert rows * columns == count and rows >= columns
    rows, columns = square_grid(count)
    assert count <= rows * columns < count + columns


def test_frames_stand_in_reading_order():
    frames = torch.arange(5.0).view(5, 1, 1, 1).expand(5, 1, 2, 2)
    assert tiled(frames, (2, 3), fill=9)[0, ::2, ::2].tolist() == [[0, 1, 2], [3, 4, 9]]
    assert torch.equal(thumbnail(frames[:1], (2, 2)), frames[0])
    with pytest.raises(UsageError, match="5 frames do not fit 2 × 2 cells"):
        tiled(frames, (2, 2))
    with pytest.raises(UsageError, match="5 × 1 frames do not fit 4 × 4 pixels"):
        thumbnail(frames, (4, 4))
    with pytest.raises(UsageError, match="no frames"):
        thumbnail(frames[:0], (4, 4))
