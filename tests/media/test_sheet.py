"""The contact sheet is a JPEG with one labelled tile per frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from reelm import media
from reelm.errors import MediaError, UsageError
from reelm.media.sheet import clock_text
from reelm.types import Frames


def frames_of(*greys: int, repeated: tuple[bool, ...] | None = None) -> Frames:
    rgb = np.stack([np.full((3, 90, 160), grey, np.uint8) for grey in greys])
    return Frames(rgb, np.arange(len(greys)) * 1.5, np.array(repeated or (False,) * len(greys)))


def test_every_frame_is_on_the_sheet_in_order(tmp_path: Path) -> None:
    path = media.contact_sheet(frames_of(40, 120, 200), tmp_path / "sheet.jpg", columns=3, tile_px=160)
    with Pillow.open(path) as sheet:
        assert sheet.format == "JPEG"
        pixels = np.asarray(sheet.convert("L"), dtype=int)
    row = pixels[pixels.shape[0] // 2 + 10]
    across = pixels.shape[1] // 3
    assert [abs(row[across * n + across // 2] - grey) <= 3 for n, grey in enumerate((40, 120, 200))] == [True] * 3


def test_a_repeated_frame_is_marked_in_red(tmp_path: Path) -> None:
    def red(frames: Frames) -> int:
        with Pillow.open(media.contact_sheet(frames, tmp_path / "sheet.jpg")) as sheet:
            rgb = np.asarray(sheet.convert("RGB"), dtype=int)
        return int((rgb[..., 0] - rgb[..., 1] > 60).sum())

    assert red(frames_of(9, 9, repeated=(False, True))) > 50
    assert red(frames_of(9, 9)) == 0


@pytest.mark.parametrize(("second", "text"), [(0.0, "0:00.000"), (3.5, "0:03.500"), (59.9996, "1:00.000"),
                                             (3723.25, "1:02:03.250")])
def test_times_read_like_a_clock(second: float, text: str) -> None:
    assert clock_text(second) == text


def test_nothing_to_draw_and_nowhere_to_write(tmp_path: Path) -> None:
    empty = Frames(np.zeros((0, 3, 4, 4), np.uint8), np.zeros(0), np.zeros(0, bool))
    with pytest.raises(UsageError, match="no frame"):
        media.contact_sheet(empty, tmp_path / "a.jpg")
    with pytest.raises(MediaError, match="cannot be written"):
        media.contact_sheet(frames_of(1), tmp_path / "missing" / "a.jpg")
