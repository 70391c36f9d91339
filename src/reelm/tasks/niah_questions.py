"""The nine sub-tasks as questions: which needles, how many, what is asked, and four options that give nothing away.

The options are drawn first and the right one among them afterwards, each with the same chance: whoever does not look is
right once in four times, whatever is known about how the questions are made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from reelm.kernels.sprites import KINDS
from reelm.tasks.niah_needles import INKS, WORDS, Needle, objects

#: Where the objects of one moment stand, apart from each other.
_PLACES = ((0.18, 0.22), (0.5, 0.22), (0.82, 0.22), (0.18, 0.7), (0.5, 0.7), (0.82, 0.7))


@dataclass(frozen=True)
class Riddle:
    """`moments`: what is shown together, in order of time. `inserted`: new time is made for them, else they are drawn
    onto the clip. `options` four, in the order of the first try; `answer` is one of them."""

    text: str
    moments: tuple[tuple[Needle, ...], ...]
    inserted: bool
    options: tuple[str, ...]
    answer: str


def riddle(kind: str, rng: np.random.Generator, own: Sequence[str] = ()) -> Riddle:
    """A question of the sub-task `kind`; the same generator state gives the same question.

    `own`: the names of one's own pictures, four or more, which sub-tasks of pictures that share nothing then show.
    """
    return SUBTASKS[kind](rng, own if kind in OF_OWN else ())


def _pick(rng: np.random.Generator, things: Sequence[str], count: int) -> list[str]:
    return [things[i] for i in rng.permutation(len(things))[:count]]


def _kinds(rng: np.random.Generator, own: Sequence[str]) -> list[str]:
    """Four objects that share nothing, or four of one's own pictures."""
    if own:
        return _pick(rng, own, 4)
    return [f"{colour} {kind}" for colour, kind in
            zip(_pick(rng, list(INKS), 4), _pick(rng, KINDS, 4), strict=True)]


def _near(rng: np.random.Generator, own: Sequence[str]) -> list[str]:
    """Four objects that differ in one thing only, so that each must be seen well: all of one kind, or of one colour."""
    if rng.integers(2):
        (kind,) = _pick(rng, KINDS, 1)
        return [f"{colour} {kind}" for colour in _pick(rng, list(INKS), 4)]
    (colour,) = _pick(rng, list(INKS), 1)
    return [f"{colour} {kind}" for kind in _pick(rng, KINDS, 4)]


def _words(rng: np.random.Generator, own: Sequence[str]) -> list[str]:
    return _pick(rng, WORDS, 4)


_Names = Callable[[np.random.Generator, Sequence[str]], list[str]]
_Make = Callable[[np.random.Generator, Sequence[str]], Riddle]


def _retrieval(names: _Names, how: str, inserted: bool, text: str) -> _Make:
    def make(rng: np.random.Generator, own: Sequence[str]) -> Riddle:
        options = names(rng, own)
        answer = options[rng.integers(4)]
        return Riddle(text, ((Needle(how, answer),),), inserted, tuple(options), answer)

    return make


def _ordering(names: _Names, how: str, inserted: bool, text: str) -> _Make:
    def make(rng: np.random.Generator, own: Sequence[str]) -> Riddle:
        shown = names(rng, own)
        orders = list(permutations(shown))
        options = [orders[i] for i in rng.permutation(len(orders))[:4]]
        answer = options[rng.integers(4)]
        return Riddle(text, tuple((Needle(how, name),) for name in answer), inserted,
                      tuple(", ".join(option) for option in options), ", ".join(answer))

    return make


def _four_numbers(rng: np.random.Generator, first: int) -> tuple[tuple[str, ...], int]:
    """Four numbers in a row in any order, and one of them."""
    numbers = [int(n) for n in rng.permutation(np.arange(first, first + 4))]
    return tuple(map(str, numbers)), numbers[rng.integers(4)]


def _count_words(rng: np.random.Generator, own: Sequence[str]) -> Riddle:
    options, count = _four_numbers(rng, 1)
    return Riddle("How many times does a line with a secret word appear in this video?",
                  tuple((Needle("text", word),) for word in _pick(rng, WORDS, count)), False, options, str(count))


def _count_pictures(rng: np.random.Generator, own: Sequence[str]) -> Riddle:
    options, count = _four_numbers(rng, 1)
    (name,) = _pick(rng, own or objects(), 1)
    shown = f'the picture "{name}"' if own else f"a picture of a {name}"
    return Riddle(f"How many times is the video interrupted by {shown}?",
                  ((Needle("picture", name),),) * count, True, options, str(count))


def _count_objects(rng: np.random.Generator, own: Sequence[str]) -> Riddle:
    """Several objects at several moments: all of them are to be counted, over frames and over time."""
    options, count = _four_numbers(rng, int(rng.integers(2, 6)))
    moments = int(rng.integers(max(1, -(-count // len(_PLACES))), min(count, 4) + 1))
    (name,) = _pick(rng, objects(), 1)
    each = np.ones(moments, int)
    for _ in range(count - moments):
        open_ones = np.flatnonzero(each < len(_PLACES))
        each[open_ones[rng.integers(len(open_ones))]] += 1
    shown = tuple(tuple(Needle("object", name, _PLACES[p]) for p in rng.permutation(len(_PLACES))[:n]) for n in each)
    return Riddle(f"Objects of one kind, each a {name}, are put into this video at one or more moments. How many are "
                  "they in all?", shown, False, options, str(count))


#: The names of VNBench. `edit` draws onto the clip; `insert1` shows pictures that share nothing, `insert2` pictures
#: that differ in one thing only.
SUBTASKS: dict[str, _Make] = {
    "ret_edit": _retrieval(_words, "text", False, "What is the secret word that is written in this video?"),
    "ret_insert1": _retrieval(_kinds, "picture", True, "Which picture is the video interrupted by?"),
    "ret_insert2": _retrieval(_near, "picture", True, "Which picture is the video interrupted by?"),
    "ord_edit": _ordering(_words, "text", False, "In which order do the secret words appear in this video?"),
    "ord_insert1": _ordering(_kinds, "picture", True, "In which order do the pictures that interrupt this video come?"),
    "ord_insert2": _ordering(_near, "picture", True, "In which order do the pictures that interrupt this video come?"),
    "cnt_edit1": _count_words,
    "cnt_edit2": _count_objects,
    "cnt_insert": _count_pictures,
}
#: Sub-tasks that can show one's own pictures; `insert2` needs pictures that differ in one known thing.
OF_OWN = ("ret_insert1", "ord_insert1", "cnt_insert")
