"""Samplers give the recorded indices, and seconds that rise, lie in the clip and keep to the budget."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity_root import parity_dir
from reelm.errors import MediaError, UsageError
from reelm.parts.samplers.fps import fps_indices
from reelm.parts.samplers.uniform import uniform_indices
from reelm.registry import build
from reelm.types import Frames, MediaInfo


def info_of(times_s: list[float] | np.ndarray, fps: float = 25.0) -> MediaInfo:
    times = np.asarray(times_s, dtype=np.float64)
    return MediaInfo("video", "clip.mp4", 0.0, float(times[-1]) + 0.04 if len(times) else 1.0, times, fps=fps)


def test_every_recorded_index_is_equal():
    recorded = json.loads((parity_dir("video") / "frame_sample.json").read_text())
    assert recorded
    for key, indices in recorded.items():
        mode, count, number = key.split(":")
        ours = (uniform_indices(int(count), int(number)) if mode == "uniform"
                else fps_indices(int(count), float(number)))
        assert ours.tolist() == indices, key


@pytest.mark.parametrize(("count", "n", "formula", "expected"), [
    (300, 8, "midpoint", [19, 56, 93, 131, 168, 206, 243, 280]), (5, 8, "midpoint", [0, 1, 1, 2, 2, 3, 3, 4]),
    (300, 8, "rounded_segments", [18, 56, 93, 131, 168, 205, 243, 280]),
    (300, 8, "linspace", [0, 42, 85, 128, 170, 213, 256, 299]), (1, 3, "linspace", [0, 0, 0]),
])
def test_the_three_published_formulas(count, n, formula, expected):
    assert uniform_indices(count, n, formula).tolist() == expected


def test_a_recorded_key_is_also_what_the_part_picks():
    recorded = json.loads((parity_dir("video") / "frame_sample.json").read_text())
    for key, indices in recorded.items():
        mode, count, number = key.split(":")
        settings = {"kind": mode, "frames": int(number)} if mode == "uniform" else {"kind": mode}
        fps = 25.0 if mode == "uniform" else float(number)
        times = np.arange(int(count)) / fps
        assert np.array_equal(build("sampler", settings).pick(info_of(times, fps)), times[indices]), key


def test_a_limit_spreads_where_the_released_code_cuts():
    times = np.arange(2500) / 25.0
    full = build("sampler", {"kind": "fps"}).pick(info_of(times))
    spread = build("sampler", {"kind": "fps", "max_frames": 10}).pick(info_of(times))
    cut = build("sampler", {"kind": "fps", "as_released": True}).pick(info_of(times))
    assert len(full) == 100
    assert len(spread) == 10 and spread[0] < 10 and spread[-1] > 90 and set(spread) <= set(full)
    assert np.array_equal(cut, full[:32])


def test_two_limits_at_once_are_refused():
    with pytest.raises(UsageError, match="max_frames"):
        build("sampler", {"kind": "fps", "max_frames": 4, "as_released": True})


@pytest.mark.parametrize("kind", ["uniform", "fps"])
def test_a_clip_without_pictures_is_an_error(kind):
    with pytest.raises(MediaError, match="no pictures"):
        build("sampler", {"kind": kind}).pick(info_of([]))


def test_frames_without_a_rate_need_the_uniform_sampler():
    with pytest.raises(MediaError, match="uniform"):
        build("sampler", {"kind": "fps"}).pick(info_of([0.0, 1.0], fps=0.0))
    assert build("sampler", {"kind": "fps"}).pick(info_of([0.0], fps=0.0)).tolist() == [0.0]


@given(gaps=st.lists(st.floats(0.001, 2.0), min_size=1, max_size=80), fps=st.floats(0.2, 120.0),
       budget=st.none() | st.integers(1, 40), rate=st.floats(0.1, 30.0), limit=st.none() | st.integers(1, 40),
       frames=st.integers(1, 40), formula=st.sampled_from(["midpoint", "linspace", "rounded_segments"]))
def test_any_clip_gives_rising_seconds_of_real_frames(gaps, fps, budget, rate, limit, frames, formula):
    info = info_of(np.cumsum(gaps), fps)
    for settings in ({"kind": "fps", "fps": rate, "max_frames": limit},
                     {"kind": "uniform", "frames": frames, "formula": formula}):
        sampler = build("sampler", settings)
        picked = sampler.pick(info, budget)
        assert len(picked) >= 1 and (np.diff(picked) >= 0).all() and np.isin(picked, info.frame_times_s).all()
        assert budget is None or len(picked) <= budget
        assert np.array_equal(picked, sampler.pick(info, budget))
        if settings["kind"] == "fps":
            assert (np.diff(picked) > 0).all() and len(picked) <= (limit or len(picked))


@pytest.mark.parametrize(("count", "n"), [(0, 4), (4, 0)])
def test_nothing_cannot_be_chosen_from_nothing(count, n):
    with pytest.raises(UsageError):
        uniform_indices(count, n)


def test_every_scene_is_seen_however_short_it_is():
    times = np.arange(200) / 10
    colours = np.zeros((200, 3), np.uint8)
    colours[:150, 0], colours[150:156, 1], colours[156:, 2] = 200, 200, 200

    def look(at_s):
        rgb = np.broadcast_to(colours[np.round(at_s * 10).astype(int)][:, :, None, None], (len(at_s), 3, 8, 8))
        return Frames(rgb, at_s, np.zeros(len(at_s), bool))

    for frames, counts in ((3, [1, 1, 1]), (8, [5, 1, 2]), (2, None), (1, None)):
        picked = build("sampler", {"kind": "scene", "frames": frames}).pick(info_of(times), look=look)
        assert len(picked) == frames
        if counts:
            assert [int(((picked >= a) & (picked < b)).sum()) for a, b in ((0, 15), (15, 15.6), (15.6, 20))] == counts
    with pytest.raises(UsageError, match="has to look"):
        build("sampler", {"kind": "scene"}).pick(info_of(times))
