"""What studies show and ask: clips of the synthetic world as they are, or films cut from the pictures of its parades.

A film is a list of rows of pictures, so its timing costs nothing and every training sample can have one of its own.
Everything is a pure function of (seed, number).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from itertools import combinations
from typing import Protocol

import numpy as np
import torch

from reelm.data.features import SHARD_CLIPS, Features
from reelm.data.questions import ASKS as WORLD_ASKS
from reelm.data.questions import NUMBERS, RANKS, Question, ask, plural, types_of
from reelm.data.varied import mirrored, reversed_in_time
from reelm.data.world import DIRECTIONS, Scene
from reelm.kernels.sprites import COLOURS, KINDS
from reelm.studies.seen import Seen
from reelm.studies.tones import SLICE_S, SOUNDS, Tones

#: The picture of a parade on which nothing is.
EMPTY = 4
#: A blank in the text of a question.
_BLANK = re.compile(r"\{\w+\}")
#: Test samples have numbers of their own, far from those of training.
_TEST = 2**40


@dataclass(frozen=True)
class Sample:
    """One clip for an arm: rows of pictures [T], what is asked, and slices of sound [S,F] if there is any.

    `there`: the words for what these pictures show and this sound holds.
    """

    pictures: np.ndarray
    asked: tuple[Question, ...]
    there: tuple[str, ...] = ()
    mirrored: bool = False
    sound: np.ndarray | None = None


class Films(Protocol):
    """What a study is run on. Training clips and test clips share no scene."""

    @property
    def seen(self) -> Seen:
        """The pictures."""

    def train(self, seed: int, number: int) -> Sample:
        """Training sample `number` of the run `seed`."""

    def test(self, number: int) -> Sample:
        """Test sample `number`, the same for every arm and seed."""

    def words(self) -> list[str]:
        """All questions and answers there can be, to make the vocabulary from."""


@dataclass(frozen=True)
class WorldClips:
    """Clips of the synthetic world, seen at eight moments: the first shards to learn from, the rest to be tested on.

    Training clips also come mirrored and backwards.
    """

    seen: Seen
    features: Features
    train_shards: int
    types: tuple[str, ...]
    asked: int = 4

    @cached_property
    def _scenes(self) -> list[Scene]:
        return [self.features.scene(i)[0] for i in range(len(self.seen.index))]

    @cached_property
    def _of_use(self) -> tuple[list[int], list[int]]:
        """Numbers of the clips about which something can be asked, to learn from and to test on."""
        cut = self.train_shards * SHARD_CLIPS
        fit = [i for i, s in enumerate(self._scenes) if self._types(s)]
        return [i for i in fit if i < cut], [i for i in fit if i >= cut]

    def _types(self, scene: Scene) -> list[str]:
        return [t for t in types_of(scene) if t in self.types]

    def train(self, seed: int, number: int) -> Sample:
        rng = np.random.default_rng([seed, number, 51])
        at = int(rng.choice(self._of_use[0]))
        scene, rows, mirror = self._scenes[at], self.seen.index[at].numpy(), bool(rng.random() < 0.5)
        if mirror:
            scene = mirrored(scene)
        if rng.random() < 0.5:
            scene, rows = reversed_in_time(scene), rows[::-1]
        types = self._types(scene)
        cycle = [types[i % len(types)] for i in range(self.asked)]
        return Sample(rows, tuple(ask(scene, t, seed=int(rng.integers(2**31))) for t in cycle), _words(scene), mirror)

    def test(self, number: int) -> Sample:
        tested = self._of_use[1]
        at = tested[number % len(tested)]
        scene = self._scenes[at]
        asked = tuple(ask(scene, t, seed=1) for t in self._types(scene))
        return Sample(self.seen.index[at].numpy(), asked, _words(scene))

    def words(self) -> list[str]:
        asked = [_BLANK.sub(" ", text) for type in self.types for text in WORLD_ASKS[type]]
        return [*asked, *KINDS, *map(plural, KINDS), *COLOURS, *DIRECTIONS, *RANKS, *NUMBERS.values()]


def _words(scene: Scene) -> tuple[str, ...]:
    return tuple(word for actor in scene.actors for word in (actor.kind, actor.colour))


@dataclass(frozen=True)
class Timeline:
    """Which of a parade's five pictures is shown until when: rising ends in seconds, the last one ends the clip."""

    shown: tuple[int, ...]
    ends_s: tuple[float, ...]

    def at(self, moments_s: np.ndarray) -> np.ndarray:
        """The picture 0..4 at each moment."""
        return np.asarray(self.shown)[np.searchsorted(self.ends_s, moments_s, side="right")]


@dataclass(frozen=True)
class Cut:
    """Base of the films that are cut from parades; `frames` evenly spaced looks at `seconds` of film."""

    seen: Seen
    features: Features
    train_shards: int
    frames: int
    seconds: float

    @cached_property
    def cast(self) -> list[list[tuple[str, str]]]:
        """Kind and colour of the four objects of each parade."""
        return [[(a.kind, a.colour) for a in self.features.scene(i)[0].actors] for i in range(len(self.seen.index))]

    def pick(self, rng: np.random.Generator, tested: bool) -> int:
        """A parade to learn from, or one to test on."""
        cut = self.train_shards * SHARD_CLIPS
        return int(rng.integers(cut, len(self.cast)) if tested else rng.integers(cut))

    def train(self, seed: int, number: int) -> Sample:
        return self.film(np.random.default_rng([seed, number, 52]), tested=False)

    def test(self, number: int) -> Sample:
        return self.film(np.random.default_rng([_TEST, number, 52]), tested=True)

    def film(self, rng: np.random.Generator, tested: bool) -> Sample:
        """A film of this kind."""
        raise NotImplementedError

    def sample(self, parade: int, timeline: Timeline, asked: tuple[Question, ...], frames: int = 0,
               sound: np.ndarray | None = None, heard: Sequence[str] = ()) -> Sample:
        """The film of a timeline, at `frames` evenly spaced looks (0: as many as usual)."""
        frames = frames or self.frames
        looks = timeline.at((np.arange(frames) + 0.5) / frames * self.seconds)
        there = [word for at in sorted(set(looks.tolist()) - {EMPTY}) for word in self.cast[parade][at]]
        return Sample(self.seen.index[parade].numpy()[looks], asked, (*there, *heard), sound=sound)

    def words(self) -> list[str]:
        return [*_ASKED, *KINDS, *COLOURS, *SOUNDS, "yes", "no", "1", "2", "3", "4"]


#: The questions about films, by type.
ASKS = {
    "first": "Which object appears first?",
    "last": "Which object appears last?",
    "number": "How many objects appear?",
    "brief": "Which object is shown for the shorter time?",
    "long": "Which object is shown for the longer time?",
    "shown": "Which object appears {rank}?",
    "heard": "Which sound comes {rank}?",
    "when": "Which object is there at the {sound}?",
    "agree": "Does every new object come with a sound?",
}
_ASKED = [*(_BLANK.sub(" ", text) for text in ASKS.values()), *RANKS]


def question(type: str, answer: str, options: int, **words: str) -> Question:
    """A question about a film."""
    return Question(type, ASKS[type].format(**words), answer, options)


@dataclass(frozen=True)
class Flashes(Cut):
    """One to four objects flash up one after another, each for a share of the film between `low` and `high`."""

    low: float = 1 / 40
    high: float = 1 / 8

    def film(self, rng: np.random.Generator, tested: bool) -> Sample:
        parade, count = self.pick(rng, tested), int(rng.integers(1, 5))
        cast = rng.permutation(4)[:count]
        lengths = np.exp(rng.uniform(np.log(self.low), np.log(self.high), count)) * self.seconds
        gaps = rng.dirichlet(np.ones(count + 1)) * (self.seconds - lengths.sum())
        shown, ends, now = [EMPTY], [float(gaps[0])], float(gaps[0])
        for i in range(count):
            shown += [int(cast[i]), EMPTY]
            ends += [now + float(lengths[i]), now + float(lengths[i] + gaps[i + 1])]
            now = ends[-1]
        timeline = Timeline(tuple(shown), (*ends[:-1], self.seconds))
        names = [kind for kind, _ in self.cast[parade]]
        asked = (question("first", names[cast[0]], len(KINDS)), question("last", names[cast[-1]], len(KINDS)),
                 question("number", str(count), 4))
        return self.sample(parade, timeline, asked)


@dataclass(frozen=True)
class Intruders(Cut):
    """An object is on the stage all the time, but for `low_s` to `high_s` seconds in which another one replaces it.

    `frames` looks are at `frames / seconds` per second; where `test_frames` says so, the test looks more often.
    `brief` seconds are those of the test, whatever the training films have.
    """

    low_s: float = 1.0
    high_s: float = 2.0
    brief_s: tuple[float, float] = (0.15, 0.4)
    test_frames: int = field(default=0)

    def film(self, rng: np.random.Generator, tested: bool) -> Sample:
        low_s, high_s = self.brief_s if tested else (self.low_s, self.high_s)
        parade = self.pick(rng, tested)
        stays, comes = (int(i) for i in rng.permutation(4)[:2])
        length_s = float(rng.uniform(low_s, high_s))
        begin_s = float(rng.uniform(0.3, self.seconds - length_s - 0.3))
        timeline = Timeline((stays, comes, stays), (begin_s, begin_s + length_s, self.seconds))
        names = [kind for kind, _ in self.cast[parade]]
        asked = question("brief", names[comes], len(KINDS)), question("long", names[stays], len(KINDS))
        return self.sample(parade, timeline, asked, self.test_frames if tested else 0)


@cache
def _plans(slices: int) -> tuple[np.ndarray, np.ndarray]:
    """All threes of slices at least two apart, and all pairs of such threes that nowhere come near each other."""
    inside = range(2, slices - 1)
    plans = np.array([p for p in combinations(inside, 3) if min(p[1] - p[0], p[2] - p[1]) >= 2])
    gap = np.abs(plans[:, None, :, None] - plans[None, :, None, :]).min((2, 3))
    return plans, np.argwhere(gap >= 2)


def _two_plans(rng: np.random.Generator, slices: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Two threes of slices, each as likely as the other to be where it is, so that one alone tells nothing."""
    plans, pairs = _plans(slices)
    first, second = pairs[int(rng.integers(len(pairs)))]
    return tuple(int(i) for i in plans[first]), tuple(int(i) for i in plans[second])


@dataclass(frozen=True)
class Sounding(Cut):
    """Four objects, one after another, and sounds: three different ones anywhere, or one that marks every entrance.

    Asked of the first kind: which object is there at a sound (needs both streams), what is shown or heard at which
    place (needs one). Of the second: whether the sounds come with the objects, in half of the films they do not.
    """

    tones: Tones = field(default_factory=Tones)

    def film(self, rng: np.random.Generator, tested: bool) -> Sample:
        parade, slices = self.pick(rng, tested), round(self.seconds / SLICE_S)
        entries, elsewhere = _two_plans(rng, slices)
        cast = tuple(int(i) for i in rng.permutation(4))
        timeline = Timeline(cast, (*(e * SLICE_S for e in entries), self.seconds))
        names = [self.cast[parade][i][0] for i in cast]
        if rng.random() < 0.5:
            at, played, asked = self._told(rng, slices, entries, names)
        else:
            agrees = bool(rng.random() < 0.5)
            at, played = entries if agrees else elsewhere, [str(rng.choice(list(SOUNDS)))] * 3
            asked = (question("agree", "yes" if agrees else "no", 2),)
        sound = self.tones.track(rng, slices, dict(zip(at, played, strict=True)), tested)
        return self.sample(parade, timeline, asked, sound=sound, heard=played)

    @staticmethod
    def _told(rng: np.random.Generator, slices: int, entries: tuple[int, ...],
              names: Sequence[str]) -> tuple[tuple[int, ...], list[str], tuple[Question, ...]]:
        free = [i for i in range(1, slices) if i not in entries and i + 1 not in entries]
        at = tuple(sorted(int(i) for i in rng.choice(free, 3, replace=False)))
        played = [str(s) for s in rng.permutation(list(SOUNDS))[:3]]
        which, rank, heard = int(rng.integers(3)), int(rng.integers(4)), int(rng.integers(3))
        there = names[int(np.searchsorted(entries, at[which], side="right"))]
        return at, played, (
            question("when", there, 4, sound=played[which]),
            question("shown", names[rank], 4, rank=RANKS[rank]),
            question("heard", played[heard], 3, rank=("first", "second", "last")[heard]),
        )


def moments(films: Films, samples: Sequence[Sample]) -> torch.Tensor:
    """Pictures of some samples, float32 [B,T,h,w,D], mirrored where a sample says so."""
    frames = films.seen.frames(torch.from_numpy(np.stack([s.pictures for s in samples])))
    turned = torch.tensor([s.mirrored for s in samples])
    return torch.where(turned[:, None, None, None, None], frames.flip(3), frames)
