"""Questions that need eyes and ears: which scene with which sound each is about, four or fewer answers, all as likely.

Sounds are computed, so nothing is fetched. What is seen and what is heard are drawn apart from each other: neither
alone says anything about the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from reelm.data.noises import COMPUTED
from reelm.data.tracks import Event, Track
from reelm.data.world import Actor, Scene, scene, with_sound
from reelm.tasks import world_make

#: Seeds of these scenes, beyond those of the tasks `world` and `temporal`.
_FIRST_SEED = 9_150_000_000_000_000_000
_NEXT_SEED, _NEXT_KIND = 1_000_000_000, 1_000_000
_SECONDS, _COUNTED_SECONDS, _HISS = 6.0, 8.0, 0.001
#: Short sounds that are one each, so that they can be counted.
_SINGLE = ("bell", "whistle", "drum", "guitar", "flute", "organ", "horn", "trumpet", "violin")
#: How long a counted sound is, and where in a quarter of the track a sound lies: inside of every object's time.
_BEAT, _INSIDE = 0.025, (0.06, 0.2)


@dataclass(frozen=True)
class Riddle:
    """A scene with its sound, a question, its options and which of them is right."""

    scene: Scene
    question: str
    options: tuple[str, ...]
    right: int


def riddles(kind: str, count: int, seed: int = 0) -> Iterator[Riddle]:
    """The first questions of a kind, always the same ones."""
    offset = _FIRST_SEED + seed * _NEXT_SEED + list(KINDS).index(kind) * _NEXT_KIND
    yield from KINDS[kind](count, seed, offset)


def _shuffled(staged: Scene, question: str, options: list[str], answer: str, rng: np.random.Generator) -> Riddle:
    several = tuple(options[i] for i in rng.permutation(len(options)))
    return Riddle(staged, question, several, several.index(answer))


def _of_the_world(kind: str) -> Callable[[int, int, int], Iterator[Riddle]]:
    """The world's own questions on a parade and a sound, with their options."""

    def make(count: int, seed: int, offset: int) -> Iterator[Riddle]:
        for number, asked in enumerate(world_make.items(kind, count, seed, tuple(COMPUTED))):
            kinds = [actor.kind for actor in asked.scene.actors]
            if kind in world_make.PAIRED:
                yield Riddle(asked.scene, asked.question.text, ("yes", "no"), int(asked.question.answer == "no"))
            else:
                yield _shuffled(asked.scene, asked.question.text, kinds, asked.question.answer,
                                np.random.default_rng([offset + number, 7]))

    return make


def _each(make: Callable[[Scene, np.random.Generator], Riddle]) -> Callable[[int, int, int], Iterator[Riddle]]:
    def several(count: int, seed: int, offset: int) -> Iterator[Riddle]:
        for number in range(count):
            place = offset + number
            yield make(scene(place, "parade", unseen=True), np.random.default_rng([place, 7]))

    return several


def _heard(staged: Scene, name: str, quarter: int, rng: np.random.Generator) -> Scene:
    """The scene with one sound inside a quarter of its time."""
    begin, end = (quarter / 4 + share for share in _INSIDE)
    event = Event(name, begin, end, float(rng.uniform(0.5, 1.0)))
    return with_sound(staged, Track(staged.seed, "one", (event,), _SECONDS, _HISS))


def _sound_of(rng: np.random.Generator, names: tuple[str, ...] = tuple(COMPUTED)) -> str:
    return names[int(rng.integers(len(names)))]


def _count(staged: Scene, rng: np.random.Generator) -> Riddle:
    """Every object has another number of sounds, none to three, and so has every number an object."""
    name, numbers = _sound_of(rng, _SINGLE), [int(n) for n in rng.permutation(4)]
    middles = [begin + (end - begin) * (k + 1) / (number + 1)
               for (begin, end), number in zip((actor.shown for actor in staged.actors), numbers, strict=True)
               for k in range(number)]
    events = tuple(Event(name, middle - _BEAT / 2, middle + _BEAT / 2, 0.8) for middle in middles)
    whole = with_sound(staged, Track(staged.seed, "beats", events, _COUNTED_SECONDS, _HISS))
    which = int(rng.integers(4))
    return _shuffled(whole, f"How many times do you hear the {name} while the {staged.actors[which].kind} is shown?",
                     ["0", "1", "2", "3"], str(numbers[which]), rng)


def _next(staged: Scene, rng: np.random.Generator) -> Riddle:
    """The object after that of the sound, or before it. The options are those that can be it."""
    name, after, place = _sound_of(rng), bool(rng.integers(2)), int(rng.integers(3))
    kinds = [actor.kind for actor in staged.actors]
    several, quarter = (kinds[1:], place) if after else (kinds[:3], place + 1)
    text = (f"You hear the {name} once. Which object is the {'next' if after else 'last'} to appear "
            f"{'after' if after else 'before'} the one that is shown then?")
    return _shuffled(_heard(staged, name, quarter, rng), text, several, several[place], rng)


def _hop(staged: Scene, rng: np.random.Generator) -> Riddle:
    """All four objects are there all the time, and one after another each hops."""
    name, quarter = _sound_of(rng), int(rng.integers(4))
    turns = [int(turn) for turn in rng.permutation(4)]
    hopping = tuple(piece for place, (actor, turn) in enumerate(zip(staged.actors, turns, strict=True))
                    for piece in _hops(actor, 0.14 + 0.24 * place, turn / 4))
    kinds = [actor.kind for actor in staged.actors]
    return _shuffled(_heard(replace(staged, actors=hopping), name, quarter, rng),
                     f"Which object hops when you hear the {name}?", kinds, kinds[turns.index(quarter)], rng)


def _hops(actor: Actor, x: float, begin: float) -> Iterator[Actor]:
    """The object on the ground, up, down again and on the ground."""
    ground, top = (x, 0.66), (x, 0.36)
    first, middle, last = begin + _INSIDE[0] - 0.03, begin + sum(_INSIDE) / 2, begin + _INSIDE[1] + 0.03
    for start, stop, shown in ((ground, ground, (0.0, first)), (ground, top, (first, middle)),
                               (top, ground, (middle, last)), (ground, ground, (last, 1.0))):
        yield replace(actor, start=start, stop=stop, shown=shown, side=0.22)


KINDS: dict[str, Callable[[int, int, int], Iterator[Riddle]]] = {
    "match": _of_the_world("match"), "agree": _of_the_world("agree"), "count": _each(_count), "next": _each(_next),
    "hop": _each(_hop)}
