"""Sounds with a name: instruments, machines and weather that are computed, animals and a few things from recordings.

Every call draws its own variant (pitch, timbre, tempo, stretch), so that a name stands for a family of sounds.
Recordings come from a package that may be fetched (`recordings.py`); computed sounds need nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

RATE_HZ = 16_000
#: Share of a sound over which it fades in and out, so that nothing clicks.
_FADE_S = 0.008

Make = Callable[[np.random.Generator, int], np.ndarray]


def _time(count: int) -> np.ndarray:
    return np.arange(count) / RATE_HZ


def _tone(hz: np.ndarray | float, count: int, partials: Mapping[int, float] | Mapping[float, float]) -> np.ndarray:
    """A sum of partials (multiple of the base frequency -> amplitude); those above 7.6 kHz are left out."""
    turn = 2 * np.pi * np.cumsum(np.broadcast_to(hz, count)) / RATE_HZ
    top = float(np.max(hz))
    wave = np.zeros(count)
    for multiple, amplitude in partials.items():
        if multiple * top < 7600:
            wave += amplitude * np.sin(multiple * turn)
    return wave


def _band(rng: np.random.Generator, count: int, low_hz: float, high_hz: float) -> np.ndarray:
    """Noise between two frequencies, of unit deviation."""
    spectrum = np.fft.rfft(rng.normal(size=count))
    hz = np.fft.rfftfreq(count, 1 / RATE_HZ)
    spectrum[(hz < low_hz) | (hz > high_hz)] = 0
    wave = np.fft.irfft(spectrum, count)
    return wave / (wave.std() + 1e-9)


def _pulses(count: int, every_s: float, make: Callable[[], np.ndarray]) -> np.ndarray:
    """The same kind of short sound again and again."""
    wave, step = np.zeros(count), max(1, int(every_s * RATE_HZ))
    for first in range(0, count, step):
        piece = make()[: count - first]
        wave[first : first + len(piece)] += piece
    return wave


def _bell(rng: np.random.Generator, count: int) -> np.ndarray:
    hz = rng.uniform(500, 1100)
    rates = {1.0: 3.0, 2.0: 4.0, 2.76: 5.0, 5.4: 8.0, 8.9: 12.0}
    t, wave = _time(count), np.zeros(count)
    for multiple, rate in rates.items():
        wave += np.exp(-rate * t) * _tone(hz, count, {multiple: multiple**-0.5})
    return wave


def _whistle(rng: np.random.Generator, count: int) -> np.ndarray:
    hz = rng.uniform(1600, 2600) * (1 + 0.012 * np.sin(2 * np.pi * rng.uniform(4, 7) * _time(count)))
    return _tone(hz, count, {1: 1.0, 2: 0.05}) + 0.04 * _band(rng, count, 1500, 4000)


def _drum(rng: np.random.Generator, count: int) -> np.ndarray:
    t, hz = _time(count), rng.uniform(60, 120)
    body = _tone(hz * (1 + 1.2 * np.exp(-28 * t)), count, {1: 1.0, 1.6: 0.3}) * np.exp(-rng.uniform(8, 14) * t)
    return body + 0.15 * _band(rng, count, 200, 3000) * np.exp(-60 * t)


def _guitar(rng: np.random.Generator, count: int) -> np.ndarray:
    period = int(RATE_HZ / rng.uniform(110, 330))
    string = rng.uniform(-1, 1, period)
    wave = np.empty(count + period)
    for first in range(0, count, period):  # Karplus and Strong: the string is its own filtered past
        wave[first : first + period] = string[: len(wave) - first]
        string = 0.996 * 0.5 * (string + np.roll(string, 1))
    return wave[:count]


def _flute(rng: np.random.Generator, count: int) -> np.ndarray:
    t = _time(count)
    hz = rng.uniform(520, 900) * (1 + 0.006 * np.sin(2 * np.pi * 5 * t))
    breath = 0.06 * _band(rng, count, 800, 5000)
    return (_tone(hz, count, {1: 1.0, 2: 0.35, 3: 0.12}) + breath) * np.minimum(1, t / 0.06)


def _organ(rng: np.random.Generator, count: int) -> np.ndarray:
    hz = rng.uniform(130, 300)
    chord = (1.0, 1.25, 1.5) if rng.random() < 0.6 else (1.0, 1.2, 1.5)
    parts = {1: 1.0, 2: 0.7, 3: 0.4, 4: 0.5, 6: 0.25, 8: 0.3}
    return np.sum([_tone(hz * n, count, parts) for n in chord], axis=0)


def _siren(rng: np.random.Generator, count: int) -> np.ndarray:
    sweep = np.sin(2 * np.pi * (rng.uniform(1.6, 3.2) * _time(count) + rng.random()))
    return _tone(rng.uniform(800, 1000) * (1 + 0.35 * sweep), count, {1: 1.0, 2: 0.3, 3: 0.25})


def _clap(rng: np.random.Generator, count: int) -> np.ndarray:
    def hands() -> np.ndarray:
        size = int(0.09 * RATE_HZ)
        return _band(rng, size, 700, 4500) * np.exp(-rng.uniform(45, 70) * _time(size))

    return _pulses(count, rng.uniform(0.16, 0.3), hands)


def _clock(rng: np.random.Generator, count: int) -> np.ndarray:
    low, high = rng.uniform(1800, 2600), rng.uniform(3000, 4200)
    turn = [low, high]

    def tick() -> np.ndarray:
        turn.reverse()
        size = int(0.03 * RATE_HZ)
        return (_tone(turn[0], size, {1: 1.0, 1.7: 0.5}) + 0.2 * _band(rng, size, 2000, 7000)) * np.exp(
            -180 * _time(size))

    return _pulses(count, rng.uniform(0.2, 0.3), tick)


def _engine(rng: np.random.Generator, count: int) -> np.ndarray:
    t = _time(count)
    hz = rng.uniform(28, 55) * (1 + 0.04 * np.sin(2 * np.pi * rng.uniform(1, 3) * t))
    parts = {n: 1 / n**0.7 for n in range(1, 24)}
    return np.tanh(0.6 * _tone(hz, count, parts)) + 0.15 * _band(rng, count, 60, 900)


def _rain(rng: np.random.Generator, count: int) -> np.ndarray:
    wave = 0.35 * _band(rng, count, 1500, 7500)
    for first in rng.integers(0, count, count * rng.integers(60, 140) // RATE_HZ):
        size = min(int(0.006 * RATE_HZ), count - int(first))
        wave[first : first + size] += rng.uniform(0.5, 2.5) * _tone(rng.uniform(1500, 5000), size, {1: 1.0})
    return wave


def _wind(rng: np.random.Generator, count: int) -> np.ndarray:
    t, centre = _time(count), rng.uniform(350, 650)
    gust = 0.6 + 0.4 * np.sin(2 * np.pi * (rng.uniform(0.5, 1.4) * t + rng.random()))
    return (_band(rng, count, centre * 0.6, centre * 1.5) + 0.4 * _band(rng, count, 60, 300)) * gust


def _horn(rng: np.random.Generator, count: int) -> np.ndarray:
    hz = rng.uniform(330, 440)
    parts = {n: 1 / n**0.5 for n in range(1, 9)}
    return np.tanh(_tone(hz, count, parts) + _tone(hz * 1.26, count, parts))


def _alarm(rng: np.random.Generator, count: int) -> np.ndarray:
    every_s = rng.uniform(0.14, 0.24)
    on = (_time(count) % every_s) < every_s * 0.55
    return _tone(rng.uniform(1900, 3000), count, {1: 1.0, 3: 0.4}) * on


def _cricket(rng: np.random.Generator, count: int) -> np.ndarray:
    t = _time(count)
    trill = np.maximum(0, np.sin(2 * np.pi * rng.uniform(24, 36) * t)) ** 2
    return _tone(rng.uniform(4200, 5400), count, {1: 1.0}) * trill * ((t % 0.34) < 0.22)


def _trumpet(rng: np.random.Generator, count: int) -> np.ndarray:
    t = _time(count)
    hz = rng.uniform(230, 470) * (1 + 0.004 * np.sin(2 * np.pi * 5.5 * t))
    bright = np.minimum(1, t / 0.07)
    return np.sum([_tone(hz, count, {n: n**-0.55}) * bright**n for n in range(1, 12)], axis=0)


def _violin(rng: np.random.Generator, count: int) -> np.ndarray:
    t = _time(count)
    hz = rng.uniform(290, 660) * (1 + 0.011 * np.sin(2 * np.pi * rng.uniform(5, 6.5) * t))
    parts = {n: (1.4 if n in (2, 5) else 1.0) / n for n in range(1, 14)}
    return (_tone(hz, count, parts) + 0.03 * _band(rng, count, 2000, 6000)) * np.minimum(1, t / 0.09)


#: name -> how it is computed.
COMPUTED: dict[str, Make] = {
    "bell": _bell, "whistle": _whistle, "drum": _drum, "guitar": _guitar, "flute": _flute, "organ": _organ,
    "siren": _siren, "clap": _clap, "clock": _clock, "engine": _engine, "rain": _rain, "wind": _wind, "horn": _horn,
    "alarm": _alarm, "cricket": _cricket, "trumpet": _trumpet, "violin": _violin,
}
#: Computed sounds with a clear pitch that lasts, which can rise or fall.
SLIDING = ("whistle", "flute", "organ", "trumpet", "violin")


def stretched(wave: np.ndarray, share: float) -> np.ndarray:
    """The wave played `share` times as fast: shorter and higher when above 1."""
    at = np.arange(0, len(wave) - 1, share)
    return np.interp(at, np.arange(len(wave)), wave)


def loudest(wave: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """At most `count` samples of a recording around where it has most energy, moved a little at random."""
    if len(wave) <= count:
        return wave
    total = np.concatenate(([0.0], np.cumsum(wave**2)))
    energy = total[count:] - total[:-count]
    good = np.flatnonzero(energy >= 0.8 * energy.max())
    first = int(rng.choice(good))
    return wave[first : first + count]


def noise(name: str, seconds: float, rng: np.random.Generator,
          recordings: Mapping[str, np.ndarray] | None = None) -> np.ndarray:
    """A new variant of a named sound, at most `seconds` long: float64 samples at 16 kHz, root mean square 0.1.

    Raises: KeyError for a name that is neither computed nor among the recordings.
    """
    count = max(int(seconds * RATE_HZ), 2)
    if name in COMPUTED:
        wave = COMPUTED[name](rng, count)
    else:
        wave = loudest(stretched((recordings or {})[name], float(rng.uniform(0.85, 1.18))), count, rng)
    wave = wave - wave.mean()
    fade = np.minimum(1, np.minimum(np.arange(len(wave)), np.arange(len(wave))[::-1]) / (_FADE_S * RATE_HZ))
    return 0.1 * wave * fade / (float(np.sqrt((wave**2).mean())) + 1e-9)
