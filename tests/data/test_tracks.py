"""Sound tracks of the world: what is described is what is heard, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from reelm.data.noises import COMPUTED, RATE_HZ, SLIDING, loudest, noise
from reelm.data.tracks import MEDLEY, NAMES, RECORDED, SCRIPT_SHARES, Event, Track, heard, slots, track, wave

COMPUTED_NAMES = tuple(COMPUTED)


def level(samples: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))


@pytest.mark.parametrize("name", COMPUTED_NAMES)
def test_a_computed_sound_is_equally_loud_each_time_and_never_the_same(name: str) -> None:
    one, other = (noise(name, 0.5, np.random.default_rng(seed)) for seed in (1, 2))
    assert len(one) == RATE_HZ // 2 and np.isfinite(one).all()
    assert 0.06 < level(one) < 0.101 and 0.06 < level(other) < 0.101  # fading takes a little
    assert not np.allclose(one, other)
    assert np.array_equal(one, noise(name, 0.5, np.random.default_rng(1)))
    assert abs(one[0]) < 1e-6 and abs(one[-1]) < 1e-6  # nothing clicks


def test_sounds_of_different_names_have_different_spectra() -> None:
    spectra = []
    for name in COMPUTED_NAMES:
        power = np.mean([np.abs(np.fft.rfft(noise(name, 0.5, np.random.default_rng(s)))) ** 2 for s in range(6)], 0)
        banded = np.add.reduceat(power, np.unique(np.geomspace(1, len(power) - 1, 40).astype(int)))
        spectra.append(np.log(banded / banded.sum() + 1e-9))
    gaps = [np.abs(a - b).mean() for i, a in enumerate(spectra) for b in spectra[:i]]
    assert min(gaps) > 0.2


def test_of_a_recording_the_loudest_stretch_is_taken() -> None:
    wave = np.concatenate((np.full(1000, 0.01), np.ones(300), np.full(1000, 0.01)))
    cut = loudest(wave, 300, np.random.default_rng(0))
    assert len(cut) == 300 and level(cut) > 0.85
    assert np.array_equal(loudest(wave[:200], 300, np.random.default_rng(0)), wave[:200])


@pytest.mark.parametrize("script", [*SCRIPT_SHARES, MEDLEY])
def test_a_track_is_silent_exactly_where_nothing_is_described(script: str) -> None:
    for seed in range(6):
        of = replace(track(seed, script, COMPUTED_NAMES), hiss=0.0)
        samples, told = wave(of), slots(of, 64)["name"]
        assert len(samples) == round(of.seconds * RATE_HZ) and np.abs(samples).max() <= 1
        inside = np.zeros(len(samples), bool)
        for event in of.events:
            assert 0 <= event.begin < event.end <= 1
            inside[int(event.begin * len(samples)) : int(event.end * len(samples)) + 2] = True
        assert level(samples[~inside]) == 0 if (~inside).any() else True
        assert (told >= 0).any() == bool(of.events) == (level(samples) > 0)


def test_scripts_keep_what_is_asked_about_them() -> None:
    for seed in range(60):
        row = track(seed, "row")
        assert 2 <= len(row.events) <= 4 and len({e.name for e in row.events}) == len(row.events)
        assert all(int(e.begin * 4) == int(e.end * 4) for e in row.events)
        assert all(a.end < b.begin for a, b in zip(row.events, row.events[1:], strict=False))
        beats = track(seed, "beats")
        gaps = np.diff([e.begin for e in beats.events])
        assert 1 <= len(beats.events) <= 5 and len({e.name for e in beats.events}) == 1
        assert (beats.fast is None) == (len(beats.events) < 3)
        assert beats.fast is None or (gaps.max() < 0.15) == beats.fast
        slide, swell = track(seed, "slide").events[0], track(seed, "swell").events[0]
        assert slide.slide in (-1, 1) and slide.name in SLIDING and swell.swell in (-1, 1) and not swell.slide


def test_a_pitch_that_rises_does_rise_and_a_swell_gets_louder() -> None:
    def centre_hz(samples: np.ndarray) -> float:
        power = np.abs(np.fft.rfft(samples)) ** 2
        return float((power * np.fft.rfftfreq(len(samples), 1 / RATE_HZ)).sum() / power.sum())

    for way in (-1, 1):
        rising = wave(Track(3, "slide", (Event("whistle", 0.0, 1.0, 1.0, slide=way),), 2.0, 0.0))
        fifth = len(rising) // 5
        assert (centre_hz(rising[-fifth:]) > 1.2 * centre_hz(rising[:fifth])) == (way > 0)
        swelling = wave(Track(3, "swell", (Event("organ", 0.0, 1.0, 1.0, swell=way),), 2.0, 0.0))
        assert (level(swelling[-fifth:]) > 2 * level(swelling[:fifth])) == (way > 0)


def test_slots_tell_the_sound_that_fills_them() -> None:
    of = Track(0, "row", (Event("bell", 0.0, 0.25), Event("drum", 0.5, 0.53)), 4.0)
    told = slots(of, 16)["name"]
    assert told.tolist() == [NAMES.index("bell")] * 4 + [-1] * 4 + [NAMES.index("drum")] + [-1] * 7


def test_a_recorded_sound_needs_its_recording() -> None:
    of = Track(0, "one", (Event("dog", 0.1, 0.3),), 3.0)
    with pytest.raises(KeyError, match="dog"):
        heard(of)
    barking = heard(of, {"dog": [np.sin(np.arange(8000) / 5)]})
    assert barking.wave.shape == (1, 48000) and barking.rate_hz == RATE_HZ and level(barking.wave) > 0.01
    assert set(RECORDED).isdisjoint(COMPUTED) and len(NAMES) >= 20
