"""The picture on the screen at a second, whatever the codec, the distance of key frames and the spacing of frames."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from media.coded import number_in, remux, write_numbered
from reelm import media
from reelm.media import decode
from reelm.types import Clip

COUNT = 150
X264 = {"scenecut": "0", "b-adapt": "0"}
ALT_REF = {"g": "60", "deadline": "good", "cpu-used": "5", "auto-alt-ref": "1", "lag-in-frames": "16"}


def x264(**settings: object) -> dict[str, Any]:
    return {"options": {"x264-params": ":".join(f"{k.replace('_', '-')}={v}" for k, v in (X264 | settings).items())}}


#: Name -> how it is written. "random" spacing means a variable frame rate.
CASES: dict[str, dict[str, Any]] = {
    "every_frame_a_key.mp4": x264(keyint=1),
    "short_gop_b_frames.mp4": x264(keyint=12, bframes=3),
    "one_gop_deep_b_pyramid.mp4": x264(keyint=1000, bframes=8, b_pyramid="normal"),
    "open_gop.mp4": x264(keyint=24, bframes=4, open_gop=1),
    "open_gop.mkv": x264(keyint=24, bframes=4, open_gop=1),
    "intra_refresh.mp4": x264(keyint=24, bframes=2, intra_refresh=1),
    "intra_refresh.mkv": x264(keyint=24, bframes=2, intra_refresh=1),
    "variable_rate.mp4": x264(keyint=30, bframes=3) | {"at_s": "random"},
    "variable_rate.mkv": x264(keyint=30, bframes=3) | {"at_s": "random"},
    "milliseconds.mkv": x264(keyint=30, bframes=3),
    "vp9.webm": {"options": {"g": "30"}},
    "vp9_hidden_references.webm": {"options": ALT_REF},
    "vp9_variable_rate.webm": {"options": ALT_REF, "at_s": "random"},
    "vp9.mp4": {"codec": "libvpx-vp9", "options": ALT_REF},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("numbered")


def written(folder: Path, name: str) -> tuple[Path, np.ndarray]:
    """The file and the times at which its frames were meant to begin."""
    rng = np.random.default_rng(sum(map(ord, name)))
    how = dict(CASES[name])
    times = np.arange(COUNT) / 29.97
    if how.get("at_s") == "random":
        how["at_s"] = times = np.concatenate([[0.0], np.cumsum(rng.uniform(0.005, 0.12, COUNT - 1))])
    return write_numbered(folder / name, COUNT, 29.97, **how), times


def requests(times: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """Random, sorted sparse, exact starts in any order, and dense."""
    end = times[-1] + 0.2
    return [rng.uniform(-0.1, end, 40), np.sort(rng.uniform(0, end, 8)), times[rng.integers(0, len(times), 30)],
            np.sort(rng.uniform(0, end, 80)), times[::-1][:20]]


def test_no_picture_is_wrong_in_two_thousand(folder: Path) -> None:
    asked, wrong = 0, {}
    for name in CASES:
        path, meant = written(folder, name)
        rng = np.random.default_rng(asked)
        with media.open(Clip(path)) as reader:
            times = reader.info().frame_times_s
            tick_s = 0.0006 if path.suffix in (".mkv", ".webm") else 1e-4
            np.testing.assert_allclose(times, meant, atol=tick_s, rtol=0, err_msg=name)
            for request in requests(times, rng):
                frames = reader.frames(request)
                shown = np.maximum(np.searchsorted(times, request + 1e-6, side="right") - 1, 0)
                numbers = np.array([number_in(rgb) for rgb in frames.rgb])
                wrong[name] = wrong.get(name, 0) + int((numbers != shown).sum())
                asked += len(request)
                np.testing.assert_array_equal(frames.at_s, times[shown])
            assert reader.notes == [], name
    assert asked >= 2000
    assert sum(wrong.values()) == 0, wrong


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
