"""Sound tracks of the synthetic world: which named sound is heard when, drawn from a seed, and the wave of it.

A `Track` is a description, like a `Scene`; `wave` renders it. Times are shares 0..1 of the track's length, so a track
fits any scene that is as long.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from reelm.data.noises import COMPUTED, RATE_HZ, SLIDING, noise
from reelm.types import Audio

#: takes of each recorded sound, samples at 16 kHz.
Recordings = Mapping[str, Sequence[np.ndarray]]
#: Sounds of recordings that a package legally ships, see `recordings.py`.
RECORDED = ("dog", "cat", "cow", "horse", "sheep", "pig", "rooster", "duck", "frog", "owl", "crow", "elephant", "lion",
            "voice")
NAMES = (*COMPUTED, *RECORDED)
#: Sounds that are a row of small ones already; nobody could count them.
_PULSING = {"clap", "clock", "alarm", "siren", "cricket", "rain", "wind", "engine", "voice", "duck"}
#: kinds of track and how often each is drawn for training.
SCRIPT_SHARES = {"silent": 0.06, "one": 0.3, "row": 0.22, "beats": 0.2, "slide": 0.11, "swell": 0.11}
#: as many sounds as fit, to teach the tower.
MEDLEY = "medley"
_BEATS, _ROW = 5, 4
_LENGTH_S = (2.8, 6.0)


@dataclass(frozen=True)
class Event:
    """One sound: its name, when it begins and ends (shares of the track), how loud, and whether it changes.

    `slide` is 1 where the pitch rises and -1 where it falls, `swell` 1 where it gets louder and -1 where softer.
    """

    name: str
    begin: float
    end: float
    gain: float = 1.0
    slide: int = 0
    swell: int = 0

    @property
    def middle(self) -> float:
        return (self.begin + self.end) / 2


@dataclass(frozen=True)
class Track:
    """A whole sound track, described; `hiss` is the level of the noise under it, `gap` the time between beats."""

    seed: int
    script: str
    events: tuple[Event, ...]
    seconds: float
    hiss: float = 0.001
    fast: bool | None = None


def _row(rng: np.random.Generator, names: Sequence[str]) -> tuple[Event, ...]:
    """Two to four different sounds, each inside a quarter of its own."""
    count = int(rng.integers(2, _ROW + 1))
    quarters = sorted(int(q) for q in rng.choice(4, count, replace=False))
    chosen = [str(n) for n in rng.choice(list(names), count, replace=False)]
    return tuple(_inside(rng, name, q) for name, q in zip(chosen, quarters, strict=True))


def _inside(rng: np.random.Generator, name: str, quarter: int) -> Event:
    """A sound well inside one quarter of the track."""
    length = float(rng.uniform(0.12, 0.18))
    begin = quarter / 4 + float(rng.uniform(0.035, 0.215 - length))
    return Event(name, begin, begin + length, float(rng.uniform(0.35, 1.0)))


def _beats(rng: np.random.Generator, names: Sequence[str]) -> tuple[tuple[Event, ...], bool | None]:
    count, fast = int(rng.integers(1, _BEATS + 1)), bool(rng.random() < 0.5)
    name = str(rng.choice([n for n in names if n not in _PULSING]))
    gap = float(rng.uniform(0.125, 0.14) if fast else rng.uniform(0.19, 0.205))
    first = float(rng.uniform(0.02, 0.92 - gap * (count - 1)))
    gain = float(rng.uniform(0.4, 1.0))
    events = tuple(Event(name, first + i * gap, first + i * gap + 0.065, gain) for i in range(count))
    return events, fast if count > 2 else None


def _medley(rng: np.random.Generator, names: Sequence[str]) -> tuple[Event, ...]:
    """As many sounds as fit, one after another: nothing is asked about it, it teaches the tower its names."""
    events: list[Event] = []
    begin = float(rng.uniform(0, 0.08))
    while begin < 0.93:
        name, length = str(rng.choice(list(names))), float(rng.uniform(0.06, 0.22))
        slide = int(rng.choice((-1, 0, 1))) if name in SLIDING and rng.random() < 0.5 else 0
        swell = int(rng.choice((-1, 1))) if not slide and length > 0.12 and rng.random() < 0.2 else 0
        events.append(Event(name, begin, min(1.0, begin + length), float(rng.uniform(0.2, 1.0)), slide, swell))
        begin += length + float(rng.choice((0.0, rng.uniform(0, 0.12))))
    return tuple(events)


def track(seed: int, script: str | None = None, names: Sequence[str] = NAMES) -> Track:
    """The track of a seed, always the same one; `names` are the sounds it may use."""
    rng = np.random.default_rng([seed, 31])
    script = script or str(rng.choice(list(SCRIPT_SHARES), p=list(SCRIPT_SHARES.values())))
    seconds, hiss = float(rng.uniform(*_LENGTH_S)), float(10 ** rng.uniform(-4.2, -2.2))
    fast: bool | None = None
    events: tuple[Event, ...] = ()
    if script == "one":
        events = (_inside(rng, str(rng.choice(list(names))), int(rng.integers(4))),)
    elif script == MEDLEY:
        events = _medley(rng, names)
    elif script == "row":
        events = _row(rng, names)
    elif script == "beats":
        seconds = float(rng.uniform(4.0, _LENGTH_S[1]))  # shorter beats could not be told from each other
        events, fast = _beats(rng, names)
    elif script in ("slide", "swell"):
        lasting = SLIDING if script == "slide" else tuple(COMPUTED)
        chosen = str(rng.choice([n for n in names if n in lasting and n not in ("bell", "drum", "guitar")]))
        begin, way = float(rng.uniform(0.05, 0.4)), int(rng.choice((-1, 1)))
        end = begin + float(rng.uniform(0.4, 0.55))
        slide, swell = (way, 0) if script == "slide" else (0, way)
        events = (Event(chosen, begin, end, float(rng.uniform(0.5, 1.0)), slide, swell),)
    return Track(seed, script, events, seconds, hiss, fast)


def wave(of: Track, recordings: Recordings | None = None) -> np.ndarray:
    """The track as samples [K] at 16 kHz, float32, below 1."""
    rng = np.random.default_rng([of.seed, 32])
    out = rng.normal(0, of.hiss, round(of.seconds * RATE_HZ))
    variant: dict[str, int] = {}
    for event in of.events:
        # Beats are the same sound every time.
        seed = variant.setdefault(event.name, int(rng.integers(2**31)))
        first = int(event.begin * len(out))
        piece = _changed(event, (event.end - event.begin) * of.seconds, np.random.default_rng(seed), recordings)
        piece = piece[: len(out) - first]
        out[first : first + len(piece)] += event.gain * piece
    peak = float(np.abs(out).max())
    return (out / max(1.0, peak / 0.99)).astype(np.float32)


def _changed(event: Event, seconds: float, rng: np.random.Generator,
             recordings: Recordings | None) -> np.ndarray:
    takes = (recordings or {}).get(event.name)
    chosen = {event.name: takes[int(rng.integers(len(takes)))]} if takes else {}
    piece = noise(event.name, seconds * (1.6 if event.slide else 1.0), rng, chosen)
    if event.slide:
        # Played faster and faster, or slower and slower: two thirds of an octave up or down.
        share = np.linspace(1.0, 1.6, int(seconds * RATE_HZ))
        at = np.cumsum(share if event.slide > 0 else share[::-1])
        piece = np.interp(at[at < len(piece) - 1], np.arange(len(piece)), piece)
    if event.swell:
        ramp = np.linspace(0.04, 1.0, len(piece))
        piece = piece * (ramp if event.swell > 0 else ramp[::-1])
    return piece


def heard(of: Track, recordings: Recordings | None = None) -> Audio:
    """The track as decoded sound."""
    return Audio(wave=wave(of, recordings)[None], rate_hz=RATE_HZ)


def slots(of: Track, count: int) -> dict[str, np.ndarray]:
    """What is heard in each of `count` equal shares of the track: int64 [count] per fact, -1 where nothing is.

    `name` counts in NAMES; `pitch` and `level` are 0 steady, 1 rising or louder, 2 falling or softer. A share belongs
    to the sound that fills most of it, if it fills a third or holds most of the sound.
    """
    told = {fact: np.full(count, -1) for fact in ("name", "pitch", "level")}
    edges = np.linspace(0, 1, count + 1)
    best = np.zeros(count)
    for event in of.events:
        inside = np.clip(np.minimum(edges[1:], event.end) - np.maximum(edges[:-1], event.begin), 0, None)
        filled = np.maximum(inside * count, inside / (event.end - event.begin))
        mine = (filled > best) & ((inside * count > 1 / 3) | (inside / (event.end - event.begin) > 0.5))
        best = np.where(mine, filled, best)
        told["name"][mine] = NAMES.index(event.name)
        told["pitch"][mine], told["level"][mine] = event.slide % 3, event.swell % 3
    return told


