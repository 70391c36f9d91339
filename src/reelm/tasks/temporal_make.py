"""Pairs of clips that show the very same pictures in another order: nothing but time tells them apart.

A subject is a row of states, each one picture. A way is an order in which every state is shown once, so that whoever
looks at single pictures, or at all of them as a heap, sees the same in both clips of a pair.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import permutations
from pathlib import Path

import numpy as np

from reelm import media
from reelm.data.questions import a
from reelm.data.world import Actor, Scene, midpoints, render, scene
from reelm.kernels.sprites import COLOURS

FPS, MOMENTS = 12, 48
#: Seeds of these scenes, beyond those of the task `world`.
_FIRST_SEED = 9_100_000_000_000_000_000
_NEXT_SEED, _NEXT_ASPECT = 1_000_000_000, 1_000_000


@dataclass(frozen=True)
class Way:
    """One of the two clips of a pair: `option` is what is right about it, `caption` a true sentence, `asks` a question
    whose answer is yes. `course`: the state that is shown at each moment."""

    option: str
    caption: str
    asks: str
    course: tuple[int, ...]


@dataclass(frozen=True)
class Pair:
    """Two clips of one subject. `question` asks for an option; `wants` says what a caption has to tell. `options` hold
    those of both ways, in no order."""

    aspect: str
    question: str
    wants: str
    options: tuple[str, ...]
    ways: tuple[Way, Way]
    states: tuple[Scene, ...]


def course(motion: Callable[[np.ndarray], np.ndarray]) -> tuple[int, ...]:
    """The states in the order that follows a motion (time 0..1 -> place 0..1) most closely, each once."""
    place = motion(midpoints(MOMENTS))
    rank = np.empty(MOMENTS, int)
    rank[np.argsort(place, kind="stable")] = np.arange(MOMENTS)
    return tuple(int(state) for state in rank)


def _swing(turns: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    """To and fro: once there and back with every whole turn, from 0."""
    return lambda u: 1 - np.abs((turns(u) % 1) * 2 - 1)


def _leaps(u: np.ndarray) -> np.ndarray:
    """Eight places in an order without neighbours, a while at each."""
    block = np.floor(u * 8)
    return ((block * 3) % 8 + u * 8 - block) / 8


_ONWARD = course(lambda u: u)
_BACK = _ONWARD[::-1]
_THERE_AND_BACK = course(_swing(lambda u: u))
_BACK_AND_THERE = course(lambda u: 1 - _swing(lambda v: v)(u))
_FAST = course(_swing(lambda u: 3 * u))
_FASTER = course(_swing(lambda u: 0.4 * u + 1.4 * u**2))
_LEAPS = course(_leaps)


def pair(aspect: str, number: int, seed: int = 0) -> Pair:
    """Pair `number` of an aspect, always the same one."""
    place = _FIRST_SEED + seed * _NEXT_SEED + list(ASPECTS).index(aspect) * _NEXT_ASPECT + number
    # Of a parade, because its background differs clearly from four objects and their colours.
    return ASPECTS[aspect](scene(place, "parade", unseen=True), np.random.default_rng([place, 5]))


def _states(stage: Scene, actors: Iterator[Actor]) -> tuple[Scene, ...]:
    return tuple(replace(stage, actors=(replace(actor, shown=(0.0, 1.0)),), seconds=MOMENTS / FPS) for actor in actors)


def _placed(actor: Actor, at: Sequence[float], side: float = 0.3) -> Actor:
    spot = (float(at[0]), float(at[1]))
    return replace(actor, start=spot, stop=spot, side=side)


def _thing(actor: Actor) -> str:
    return f"{actor.colour} {actor.kind}"


def _between(one: str, two: str, share: float) -> tuple[int, int, int]:
    red, green, blue = (round(x + (y - x) * share) for x, y in zip(COLOURS[one], COLOURS[two], strict=True))
    return red, green, blue


def _line(stage: Scene, across: bool, where: float) -> tuple[Scene, ...]:
    """The object at places along a line, from left to right or from top to bottom."""
    along = 0.18 + 0.64 * midpoints(MOMENTS)
    return _states(stage, (_placed(stage.actors[0], (s, where) if across else (where, s)) for s in along))


def _two(rng: np.random.Generator, ways: Sequence[Way]) -> tuple[Way, Way]:
    first, second = (ways[i] for i in rng.permutation(len(ways))[:2])
    return first, second


def _direction(stage: Scene, rng: np.random.Generator) -> Pair:
    thing, across = _thing(stage.actors[0]), bool(rng.integers(2))
    names = ("right", "left") if across else ("down", "up")
    ways = [Way(name, f"The {thing} moves {name}.", f"Does the {thing} move {name}?", order)
            for name, order in zip(names, (_ONWARD, _BACK), strict=True)]
    return Pair("direction", f"In which direction does the {thing} move?",
                f"in which direction the {thing} moves: left, right, up or down", ("left", "right", "up", "down"),
                _two(rng, ways), _line(stage, across, float(rng.uniform(0.35, 0.65))))


def _speed(stage: Scene, rng: np.random.Generator) -> Pair:
    thing = _thing(stage.actors[0])
    steady, changing = ("slowly", "fast"), ("faster and faster", "slower and slower")
    courses = (_THERE_AND_BACK, _FAST), (_FASTER, _FASTER[::-1])
    which = int(rng.integers(2))
    ways = [Way(name, f"The {thing} moves to and fro {name}.", f"Does the {thing} move to and fro {name}?", order)
            for name, order in zip((steady, changing)[which], courses[which], strict=True)]
    return Pair("speed", f"How does the {thing} move to and fro?",
                f"how the {thing} moves to and fro: slowly, fast, faster and faster or slower and slower",
                (*steady, *changing), _two(rng, ways),
                _line(stage, bool(rng.integers(2)), float(rng.uniform(0.35, 0.65))))


def _action(stage: Scene, rng: np.random.Generator) -> Pair:
    thing = _thing(stage.actors[0])
    angle = 2 * np.pi * (midpoints(MOMENTS) + float(rng.random()))
    wide, high = (0.3 * min(stage.canvas_px) / side for side in stage.canvas_px)
    ring = ((0.5 + wide * np.cos(turn), 0.5 + high * np.sin(turn)) for turn in angle)
    told = {"round in a circle": ("goes", "go", _ONWARD), "to and fro": ("goes", "go", _THERE_AND_BACK),
            "from place to place": ("leaps", "leap", _LEAPS)}
    ways = [Way(f"{does} {how}", f"The {thing} {does} {how}.", f"Does the {thing} {do} {how}?", order)
            for how, (does, do, order) in told.items()]
    options = tuple(way.option for way in ways)
    return Pair("action", f"What does the {thing} do?",
                f"what the {thing} does: whether it {', '.join(options[:-1])} or {options[-1]}", options,
                _two(rng, ways), _states(stage, (_placed(stage.actors[0], at, 0.28) for at in ring)))


def _order(stage: Scene, rng: np.random.Generator) -> Pair:
    cast = stage.actors[:3]
    blocks = np.arange(MOMENTS).reshape(3, -1)
    orders = list(permutations(range(3)))
    chosen = [orders[i] for i in rng.permutation(len(orders))[:4]]

    def way(order: Sequence[int]) -> Way:
        first, second, third = (f"the {cast[i].kind}" for i in order)
        listed = f"{first}, then {second}, then {third}"
        return Way(listed, f"First {listed} appear.", f"Does {first} appear first, then {second}, then {third}?",
                   tuple(int(state) for i in order for state in blocks[i]))

    ways = [way(order) for order in chosen]
    states = tuple(one for actor in cast for one in _states(stage, iter([actor])) * (MOMENTS // 3))
    names = ", ".join(sorted(a(actor.kind) for actor in cast))
    return Pair("order", "In which order do the objects appear?",
                f"in which order the objects appear ({names}), naming the first one first",
                tuple(one.option for one in ways), (ways[0], ways[1]), states)


def _attribute(stage: Scene, rng: np.random.Generator) -> Pair:
    actor, share = stage.actors[0], midpoints(MOMENTS)
    other = next((one for one in stage.actors if one.colour != actor.colour), None)
    courses = (_ONWARD, _BACK), (_THERE_AND_BACK, _BACK_AND_THERE)
    which = int(rng.integers(2))
    if other is None or rng.integers(2):
        thing = _thing(actor)
        does = ("grows", "shrinks"), ("grows and then shrinks", "shrinks and then grows")
        do = {name: name.replace("grows", "grow").replace("shrinks", "shrink") for both in does for name in both}
        states = _states(stage, (_placed(actor, (0.5, 0.5), 0.14 + 0.5 * s) for s in share))
        question, wants = f"How does the size of the {thing} change?", f"how the size of the {thing} changes"
    else:
        thing, one, two = actor.kind, actor.colour, other.colour
        there, back = f"turns from {one} to {two}", f"turns from {two} to {one}"
        does = (there, back), (f"{there} and back to {one}", f"{back} and back to {two}")
        do = {name: f"turn{name.removeprefix('turns')}" for both in does for name in both}
        states = _states(stage, (replace(_placed(actor, (0.5, 0.5), 0.42), rgb=_between(one, two, s)) for s in share))
        question, wants = f"How does the colour of the {thing} change?", f"how the colour of the {thing} changes"
    options = tuple(name for both in does for name in both)
    ways = [Way(name, f"The {thing} {name}.", f"Does the {thing} {do[name]}?", order)
            for name, order in zip(does[which], courses[which], strict=True)]
    return Pair("attribute", question, f"{wants}: whether it {', '.join(options[:-1])} or {options[-1]}", options,
                _two(rng, ways), states)


#: The aspects of TempCompass: the kind of motion, its direction, its speed, the order of events, what changes.
ASPECTS: dict[str, Callable[[Scene, np.random.Generator], Pair]] = {
    "action": _action, "direction": _direction, "speed": _speed, "order": _order, "attribute": _attribute}


@lru_cache(maxsize=1)
def pictures(states: tuple[Scene, ...]) -> tuple[np.ndarray, ...]:
    """Every state as a picture uint8 [H,W,3]; the two clips of a pair are made of the same ones."""
    shown = {state: render(state, [0.0])[0] for state in dict.fromkeys(states)}
    return tuple(shown[state] for state in states)


def write(states: tuple[Scene, ...], way: Way, path: Path) -> None:
    """The clip as a real file, without sound."""
    seen = pictures(states)
    media.write_video(path, (seen[state] for state in way.course), FPS)
