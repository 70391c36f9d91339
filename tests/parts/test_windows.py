"""Which seconds of a sound are heard, and that nothing is cut or added without a sentence."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity_root import parity_dir
from reelm.parts.encoders.windows import clip_times, heard

RATE_HZ = 100


def test_clip_times_equal_the_recorded_ones():
    recorded = json.loads((parity_dir("audio_video") / "audio_clip_timepoints.json").read_text())
    assert recorded
    for duration, ranges in recorded.items():
        assert clip_times(float(duration)) == [tuple(r) for r in ranges], duration


def test_the_official_video_window_joins_eight_clips_and_adds_silence():
    wave = np.arange(60 * RATE_HZ, dtype=np.float32)
    cut = heard(wave, RATE_HZ, "official_video", 30.0, 0)
    assert len(cut.wave) == 30 * RATE_HZ
    assert cut.wave[0] == 0 and cut.wave[2 * RATE_HZ] == 7.25 * RATE_HZ
    assert not cut.wave[16 * RATE_HZ:].any()
    assert "16.00 of 60.00 s" in cut.notes[0] and "14.00 s of silence" in cut.notes[1]


def test_overlapping_clips_are_counted_once():
    cut = heard(np.ones(10 * RATE_HZ, dtype=np.float32), RATE_HZ, "official_video", 30.0, 0)
    assert cut.notes[0].startswith("9.00 of 10.00 s"), "the last clip ends a second before the sound does"


def test_a_sound_below_two_seconds_is_repeated_eight_times():
    cut = heard(np.arange(1, RATE_HZ + 1, dtype=np.float32), RATE_HZ, "official_video", 30.0, 0)
    assert [p[1:] for p in cut.pieces] == [(0, RATE_HZ)] * 8
    assert cut.wave[:8 * RATE_HZ].reshape(8, RATE_HZ).std(axis=0).max() == 0


@pytest.mark.parametrize("seconds", [0, 5, 30, 45])
def test_the_official_file_window_is_thirty_seconds_from_the_start(seconds):
    wave = np.random.default_rng(0).normal(size=seconds * RATE_HZ).astype(np.float32)
    cut = heard(wave, RATE_HZ, "official_file", 1.0, 0)
    assert len(cut.wave) == 30 * RATE_HZ
    kept = min(seconds, 30) * RATE_HZ
    assert np.array_equal(cut.wave[:kept], wave[:kept]) and not cut.wave[kept:].any()
    assert bool(cut.notes) == (seconds != 30)


@given(seconds=st.floats(0, 90), window=st.sampled_from(["whole", "official_video", "official_file"]),
       max_s=st.floats(0.5, 60))
def test_every_sample_knows_where_it_came_from(seconds, window, max_s):
    wave = np.arange(1, int(seconds * RATE_HZ) + 1, dtype=np.float32)
    cut = heard(wave, RATE_HZ, window, max_s, 20)
    source = cut.source_of(np.arange(len(cut.wave), dtype=np.float64))
    silent = np.isnan(source)
    assert not cut.wave[silent].any()
    assert np.array_equal(cut.wave[~silent], wave[source[~silent].astype(int)])
    assert bool(cut.notes) == (bool(silent.any()) or len(set(source[~silent])) < len(wave))
