"""A small synthetic world: seeded scenes in which objects appear, move, enter and leave, and all is known.

A `Scene` is a description; `render` draws it at any moment, `film` writes it as a real video file with a sound track.
What can be asked of a scene, with answers true by construction, is in `questions.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from reelm.data.tracks import Recordings, Track, heard
from reelm.kernels.sprites import COLOURS, KINDS, sprite
from reelm.types import Audio, Frames

#: name -> (dx, dy) on the screen, y down.
DIRECTIONS = {"left": (-1.0, 0.0), "right": (1.0, 0.0), "up": (0.0, -1.0), "down": (0.0, 1.0)}
#: kinds of scene; each makes some types of question possible.
PLOTS = ("still", "move", "enter", "leave", "crowd", "parade", "pair")
#: width, height in pixels a scene may have.
CANVASES = ((320, 240), (320, 180), (256, 256), (240, 320), (288, 216))
#: a plot of many different still objects: nothing is asked about it, it teaches the connector its words.
GALLERY = "gallery"
#: a plot of one named thing: a photograph, or what the picture tower knows of it.
PHOTO = "photo"
GROUNDS = ("flat", "ramp", "stripes", "checks", "haze")
#: pictures of a film that are drawn together.
_TOGETHER = 24


@dataclass(frozen=True)
class Actor:
    """One object: where it is over the scene's time u in 0..1.

    `start`, `stop`: centre (x, y) in units of the canvas; it goes from one to the other between `shown[0]` and
    `shown[1]` and is drawn only then. `side` is its size in units of the shorter canvas side.
    """

    kind: str
    colour: str
    rgb: tuple[int, int, int]
    side: float
    start: tuple[float, float]
    stop: tuple[float, float]
    shown: tuple[float, float] = (0.0, 1.0)
    turn_deg: float = 0.0
    flip: bool = False
    shade: float = 0.0

    def at(self, u: float) -> tuple[float, float] | None:
        """Centre at time u, or None when it is not on the stage."""
        begin, end = self.shown
        if not begin <= u < end and not (end >= 1.0 and u >= begin):
            return None
        share = (u - begin) / max(end - begin, 1e-6)
        return tuple(a + (b - a) * share for a, b in zip(self.start, self.stop, strict=True))  # type: ignore[return-value]


@dataclass(frozen=True)
class Scene:
    """A whole clip, described. The actor the plot is about stands first."""

    seed: int
    plot: str
    actors: tuple[Actor, ...]
    seconds: float
    canvas_px: tuple[int, int]
    ground: str
    ground_rgb: tuple[tuple[int, int, int], tuple[int, int, int]]
    direction: str = ""
    sound: Track | None = None


#: Nothing to be seen, for a sound alone.
EMPTY = Scene(0, "empty", (), 0.0, (320, 240), "flat", ((0, 0, 0), (0, 0, 0)))


def held_out(kind: str, colour: str) -> bool:
    """Whether this combination is kept for tests: one colour in eight for every kind, all colours equally often."""
    return (KINDS.index(kind) * 3 + list(COLOURS).index(colour)) % len(COLOURS) == 0


def _pick_pair(rng: np.random.Generator, unseen: bool, kinds: Sequence[str] = KINDS) -> tuple[str, str]:
    while True:
        kind, colour = str(rng.choice(list(kinds))), str(rng.choice(list(COLOURS)))
        if held_out(kind, colour) == unseen:
            return kind, colour


def _actor(
    rng: np.random.Generator,
    kind: str,
    colour: str,
    start: tuple[float, float],
    stop: tuple[float, float] | None = None,
    side: float | None = None,
    shown: tuple[float, float] = (0.0, 1.0),
) -> Actor:
    jitter = rng.integers(-14, 15, 3)
    red, green, blue = (int(c) for c in np.clip(np.asarray(COLOURS[colour]) + jitter, 0, 255))
    return Actor(
        kind,
        colour,
        (red, green, blue),
        side or float(rng.uniform(0.26, 0.44)),
        start,
        stop or start,
        shown,
        float(rng.uniform(-14, 14)),
        bool(rng.random() < 0.5),
        float(rng.uniform(-1, 1)),
    )


def _spot(rng: np.random.Generator, margin: float = 0.22) -> tuple[float, float]:
    return float(rng.uniform(margin, 1 - margin)), float(rng.uniform(margin, 1 - margin))


def _spots(rng: np.random.Generator, count: int, apart: float) -> list[tuple[float, float]]:
    """`count` centres at least `apart` from each other; the distance is relaxed slowly if they do not fit."""
    spots: list[tuple[float, float]] = []
    tries = 0
    while len(spots) < count:
        spot = _spot(rng, 0.14)
        if all(np.hypot(spot[0] - x, spot[1] - y) >= apart for x, y in spots):
            spots.append(spot)
        tries += 1
        apart *= 0.995 if tries > 40 else 1.0
    return spots


def _travel(rng: np.random.Generator, direction: str, plot: str) -> tuple[tuple[float, float], tuple[float, float]]:
    """Where a move begins and ends: inside the picture, or from/to beyond its edge for "enter" and "leave"."""
    dx, dy = DIRECTIONS[direction]
    across = float(rng.uniform(0.25, 0.75))
    low, high = float(rng.uniform(0.15, 0.3)), float(rng.uniform(0.7, 0.85))
    low = -0.3 if plot == "enter" else low
    high = 1.3 if plot == "leave" else high
    far = (low, high) if dx + dy > 0 else (1 - low, 1 - high)
    drift = across + float(rng.uniform(-0.06, 0.06))
    return ((far[0], across), (far[1], drift)) if dx else ((across, far[0]), (drift, far[1]))


def _ground(
    rng: np.random.Generator, actors: Sequence[Actor]
) -> tuple[str, tuple[tuple[int, int, int], tuple[int, int, int]]]:
    """A background whose two colours differ clearly from every object on it."""
    inks = np.asarray([a.rgb for a in actors], float)

    def ink() -> tuple[int, int, int]:
        best, gap = rng.integers(20, 236, 3), -1.0
        for _ in range(24):
            rgb = rng.integers(15, 241, 3)
            distance = float(np.linalg.norm(inks - rgb, axis=1).min())
            if distance > gap:
                best, gap = rgb, distance
            if gap > 110:
                break
        return tuple(int(c) for c in best)  # type: ignore[return-value]

    first = ink()
    second = ink()
    blend = float(rng.uniform(0.15, 0.8))
    near = tuple(int(a + (b - a) * blend) for a, b in zip(first, second, strict=True))
    return str(rng.choice(GROUNDS)), (first, near)  # type: ignore[return-value]


def _cast(rng: np.random.Generator, plot: str, unseen: bool) -> tuple[list[Actor], str]:
    """The actors of a plot, the main one first, and the direction of its move."""
    kind, colour = _pick_pair(rng, unseen)
    others = [k for k in KINDS if k != kind]
    if plot in ("move", "enter", "leave", "pair"):
        direction = str(rng.choice(list(DIRECTIONS)))
        start, stop = _travel(rng, direction, plot)
        cast = [_actor(rng, kind, colour, start, stop)]
        if plot == "pair":
            cast.append(_actor(rng, *_pick_pair(rng, unseen, others), _spot(rng), side=float(rng.uniform(0.22, 0.32))))
        return cast, direction
    if plot == "crowd":
        count, strangers = int(rng.integers(1, 6)), int(rng.integers(0, 3))
        side = float(rng.uniform(0.19, 0.27))
        spots = _spots(rng, count + strangers, side * 1.25)
        cast = [_actor(rng, kind, colour, s, side=side) for s in spots[:count]]
        if strangers:
            pair = _pick_pair(rng, unseen, others)
            cast += [_actor(rng, *pair, s, side=side) for s in spots[count:]]
        return cast, ""
    if plot == "parade":
        cuts = [0.0, *(q + float(rng.uniform(-0.04, 0.04)) for q in (0.25, 0.5, 0.75)), 1.0]
        kinds = [str(k) for k in rng.choice(list(KINDS), 4, replace=False)]
        return [
            _actor(
                rng,
                *_pick_pair(rng, unseen, [k]),
                _spot(rng, 0.25),
                side=float(rng.uniform(0.32, 0.5)),
                shown=(cuts[i], cuts[i + 1]),
            )
            for i, k in enumerate(kinds)
        ], ""
    if plot == GALLERY:
        count, side = int(rng.integers(3, 8)), float(rng.uniform(0.2, 0.36))
        spots = _spots(rng, count, side * 1.1)
        return [_actor(rng, *_pick_pair(rng, unseen), s, side=side * float(rng.uniform(0.85, 1.15))) for s in spots], ""
    return [_actor(rng, kind, colour, _spot(rng))], ""


def scene(seed: int, plot: str | None = None, unseen: bool = False) -> Scene:
    """The scene of a seed, always the same one. `unseen` draws only combinations that training never shows."""
    rng = np.random.default_rng([seed, int(unseen), 20260])
    plot = plot or str(rng.choice(PLOTS))
    actors, direction = _cast(rng, plot, unseen)
    ground, rgb = _ground(rng, actors)
    canvas = CANVASES[int(rng.integers(len(CANVASES)))]
    return Scene(seed, plot, tuple(actors), float(rng.uniform(2.5, 6.0)), canvas, ground, rgb, direction)


def backdrop(scene: Scene) -> np.ndarray:
    """The picture behind the actors: float32 [H,W,3]."""
    width, height = scene.canvas_px
    rng = np.random.default_rng([scene.seed, 77])
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    angle, period = float(rng.uniform(0, np.pi)), float(rng.uniform(18, 60))
    along = x * np.cos(angle) + y * np.sin(angle)
    if scene.ground == "ramp":
        mix = (along - along.min()) / (np.ptp(along) + 1e-6)
    elif scene.ground == "stripes":
        mix = (np.sin(2 * np.pi * along / period) > 0).astype(np.float32)
    elif scene.ground == "checks":
        mix = (((x // period) + (y // period)) % 2).astype(np.float32)
    elif scene.ground == "haze":
        coarse = rng.random((6, 8)).astype(np.float32)
        rows = np.linspace(0, 4.999, height), np.linspace(0, 6.999, width)
        r, c = rows[0].astype(int), rows[1].astype(int)
        fr, fc = (rows[0] - r)[:, None], (rows[1] - c)[None]
        top = coarse[r][:, c] * (1 - fc) + coarse[r][:, c + 1] * fc
        mix = top * (1 - fr) + (coarse[r + 1][:, c] * (1 - fc) + coarse[r + 1][:, c + 1] * fc) * fr
    else:
        mix = np.zeros_like(x)
    first, second = (np.asarray(c, np.float32) for c in scene.ground_rgb)
    return first + (second - first) * mix[..., None].astype(np.float32)


def render(scene: Scene, at: Sequence[float]) -> np.ndarray:
    """The scene at times `at` (each 0..1 of its length): uint8 [T,H,W,3]."""
    width, height = scene.canvas_px
    ground = backdrop(scene)
    pictures = [
        sprite(a.kind, a.rgb, max(8, int(a.side * min(width, height))), a.turn_deg, a.flip, a.shade)
        for a in scene.actors
    ]
    frames = np.repeat(ground[None], len(at), axis=0)
    for frame, u in zip(frames, at, strict=True):
        for actor, picture in zip(scene.actors, pictures, strict=True):
            centre = actor.at(float(u))
            if centre is not None:
                _paste(frame, picture, centre)
    return np.clip(frames + 0.5, 0, 255).astype(np.uint8)


def _paste(frame: np.ndarray, picture: np.ndarray, centre: tuple[float, float]) -> None:
    height, width = frame.shape[:2]
    side = len(picture)
    left, top = round(centre[0] * width - side / 2), round(centre[1] * height - side / 2)
    x0, y0, x1, y1 = max(left, 0), max(top, 0), min(left + side, width), min(top + side, height)
    if x0 >= x1 or y0 >= y1:
        return
    cut = picture[y0 - top : y1 - top, x0 - left : x1 - left]
    alpha = cut[..., 3:]
    frame[y0:y1, x0:x1] = frame[y0:y1, x0:x1] * (1 - alpha) + cut[..., :3] * alpha


def midpoints(count: int) -> np.ndarray:
    """The middles of `count` equal shares of 0..1: where the uniform sampler looks."""
    return (np.arange(count) + 0.5) / count


def frames(scene: Scene, count: int = 8) -> Frames:
    """The scene as the uniform sampler would see it, without a file: `count` frames at the midpoints."""
    at = midpoints(count)
    rgb = np.ascontiguousarray(render(scene, at.tolist()).transpose(0, 3, 1, 2))
    return Frames(rgb=rgb, at_s=at * scene.seconds, repeated=np.zeros(count, bool))


def with_sound(scene: Scene, track: Track) -> Scene:
    """The scene with a sound track, as long as the track is."""
    return replace(scene, sound=track, seconds=track.seconds)


def sound(scene: Scene, takes: Recordings | None = None, rate_hz: int = 16000) -> Audio:
    """The scene's sound track; without one a soft beep whenever an actor comes on the stage.

    `takes` are the recordings that the track may need, see `recordings.py`.
    """
    if scene.sound is not None:
        return heard(scene.sound, takes)
    rng = np.random.default_rng([scene.seed, 99])
    wave = rng.normal(0, 0.002, int(scene.seconds * rate_hz))
    for i, actor in enumerate(scene.actors):
        begin = int(actor.shown[0] * scene.seconds * rate_hz)
        time_s = np.arange(min(rate_hz // 5, len(wave) - begin)) / rate_hz
        wave[begin : begin + len(time_s)] += 0.2 * np.sin(2 * np.pi * (440 + 110 * i) * time_s) * np.exp(-12 * time_s)
    return Audio(wave=np.clip(wave, -1, 1)[None].astype(np.float32), rate_hz=rate_hz)


def film(scene: Scene, path: Path, fps: int = 24, takes: Recordings | None = None) -> Path:
    """Writes the scene as a real video file with a sound track, and gives the path back."""
    from reelm.media import write_video

    count = max(8, round(scene.seconds * fps))

    def pictures() -> Iterator[np.ndarray]:
        # Several at a time: the background and the objects are drawn once for all of them.
        for first in range(0, count, _TOGETHER):
            yield from render(scene, [(i + 0.5) / count for i in range(first, min(first + _TOGETHER, count))])

    write_video(path, pictures(), fps, audio=sound(scene, takes))
    return path
