"""The picture on the screen at a second, whatever the codec, the distance of key frames and the spacing of frames."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from media.coded import number_in, remux, write_numbered
from media.counted import CASES, FEW, asked_and_wrong, written
from reelm import media
from reelm.media import decode
from reelm.types import Clip

X264 = {"scenecut": "0", "b-adapt": "0"}


def x264(**settings: object) -> dict[str, Any]:
    return {"options": {"x264-params": ":".join(f"{k.replace('_', '-')}={v}" for k, v in (X264 | settings).items())}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("numbered")


def wrong_of(names: Iterable[str], folder: Path) -> tuple[int, dict[str, int]]:
    """(pictures asked, wrong ones per file)."""
    asked, wrong = 0, {}
    for name in names:
        count, wrong[name] = asked_and_wrong(*written(folder, name), CASES[name].tick_s)
        asked += count
    return asked, {name: bad for name, bad in wrong.items() if bad}


def test_no_picture_is_wrong_in_three_thousand(folder: Path) -> None:
    asked, wrong = wrong_of(FEW, folder)
    assert asked >= 3000
    assert wrong == {}


@pytest.mark.slow
def test_no_picture_is_wrong_in_ten_thousand(tmp_path: Path) -> None:
    """Every codec, container, distance of key frames, spacing and turn."""
    asked, wrong = wrong_of(CASES, tmp_path)
    assert asked >= 10_000
    assert wrong == {}


@pytest.mark.parametrize("request_s", [0.11, 0.4, 0.9, 1.7])
def test_a_rising_request_decodes_every_group_of_pictures_at_most_once(folder: Path, request_s: float,
                                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether one picture is asked per group, several, or one of every second group."""
    path = write_numbered(folder / f"once{request_s}.mp4", 250, 25, **x264(keyint=25, bframes=2))
    begun: list[int] = []
    watched = decode.Decoder._watched

    def counting(self: decode.Decoder, packets: Any) -> Any:
        for packet in watched(self, packets):
            begun.extend([packet.pts] if packet.is_keyframe else [])
            yield packet

    monkeypatch.setattr(decode.Decoder, "_watched", counting)
    with media.open(Clip(path)) as reader:
        reader.frames(np.arange(0.2, 9.9, request_s))
    assert len(begun) == len(set(begun)) and 5 <= len(begun) <= 10


def test_times_that_miss_a_frame_by_float_rounding_still_mean_it(folder: Path) -> None:
    path = write_numbered(folder / "thirty.mp4", 100, 30)
    with media.open(Clip(path)) as reader:
        frames = reader.frames([number * (1 / 30) for number in range(100)])
    assert [number_in(rgb) for rgb in frames.rgb] == list(range(100))


def test_a_frame_is_shown_until_the_next_begins_and_the_outermost_beyond_the_ends(folder: Path) -> None:
    path = write_numbered(folder / "steps.mp4", 4, 25, at_s=[0.0, 0.1, 0.5, 2.0])
    with media.open(Clip(path)) as reader:
        frames = reader.frames([-1.0, 0.0999, 0.1, 0.4999, 1.99, 2.0, 99.0])
    assert [number_in(rgb) for rgb in frames.rgb] == [0, 0, 1, 1, 2, 3, 3]
    np.testing.assert_allclose(frames.at_s, [0, 0, 0.1, 0.1, 0.5, 2.0, 2.0])


def test_order_is_kept_and_a_second_showing_is_marked(folder: Path) -> None:
    path = write_numbered(folder / "order.mp4", 50, 25)
    with media.open(Clip(path)) as reader:
        frames = reader.frames([1.0, 0.2, 1.01, 0.2, 0.0])
    assert [number_in(rgb) for rgb in frames.rgb] == [25, 5, 25, 5, 0]
    assert frames.repeated.tolist() == [False, False, True, True, False]


def test_sparse_requests_seek_and_dense_ones_do_not(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_numbered(folder / "gops.mp4", 300, 25, **x264(keyint=25, bframes=2))
    decoded, seeks = [], []
    batches, seek = decode.Decoder._batches, decode.Decoder._seek

    def counting(self: decode.Decoder, packets: Any, context: Any) -> Any:
        for batch in batches(self, packets, context):
            decoded.extend(batch)
            yield batch

    monkeypatch.setattr(decode.Decoder, "_batches", counting)
    monkeypatch.setattr(decode.Decoder, "_seek", lambda *given: (seeks.append(1), seek(*given))[1])
    with media.open(Clip(path)) as reader:
        times = reader.info().frame_times_s
        reader.frames(times[[260, 3]])
        assert len(seeks) == 2
        assert len(decoded) < 80
        decoded.clear(), seeks.clear()
        reader.frames(times)
        assert len(seeks) == 1
        assert len(decoded) == 300


@pytest.mark.parametrize(("suffix", "shift_s"), [(".mp4", 10.0), (".mp4", 0.5), (".mp4", -0.9), (".mkv", 10.0),
                                                 (".mkv", 0.5)])
def test_the_clock_begins_with_the_file_whatever_its_own_count(folder: Path, suffix: str, shift_s: float) -> None:
    """Shifted by an edit list (MP4; what lies before zero is cut away) or by a late first time (MKV)."""
    source = write_numbered(folder / f"source{suffix}", 100, 25, **x264(keyint=24, bframes=3))
    path = remux(source, folder / f"shifted{shift_s}{suffix}", shift_s=shift_s)
    with media.open(Clip(path)) as reader:
        times = reader.info().frame_times_s
        frames = reader.frames(times)
    numbers = [number_in(rgb) for rgb in frames.rgb]
    first = 23 if shift_s < 0 else 0
    assert times[0] == 0.0
    assert numbers == list(range(first, 100))


def test_a_file_without_presentation_times_is_decoded_in_order(folder: Path) -> None:
    """Such files are rare, so the index of an ordinary one is stripped of its times."""
    from dataclasses import replace

    path = write_numbered(folder / "ordinal.mp4", 60, 25, **x264(keyint=12, bframes=2))
    with media.open(Clip(path)) as reader:
        reader.info()
        assert reader._index is not None and reader._index.video is not None
        bare = replace(reader._index.video, ordinal=True, ticks=np.arange(60), copies={})
        reader._index = replace(reader._index, video=bare)
        for request in ([2.0, 0.4, 1.2], [0.0, 0.4]):
            frames = reader.frames(request)
            assert [number_in(rgb) for rgb in frames.rgb] == [round(second * 25) for second in request]
