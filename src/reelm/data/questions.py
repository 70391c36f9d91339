"""What can be asked of a scene of the synthetic world: questions, answers true by construction, chance levels."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from reelm.data import sound_questions
from reelm.data.world import DIRECTIONS, PHOTO, Scene
from reelm.kernels.sprites import COLOURS, KINDS

#: plurals that do not just add an s.
PLURALS = {"fish": "fish", "cross": "crosses", "hourglass": "hourglasses"}
NUMBERS = {"one": "1", "two": "2", "three": "3", "four": "4", "five": "5"}


@dataclass(frozen=True)
class Question:
    """A question with its true answer and the chance of guessing it (`options` equally likely answers)."""

    type: str
    text: str
    answer: str
    options: int

    @property
    def chance(self) -> float:
        return 1 / self.options


#: type -> plots in which it can be asked, and the ways to ask it.
PLOTS_OF = {
    "object": ("still", "move"),
    "colour": ("still", "move", "pair"),
    "direction": ("move", "pair"),
    "count": ("crowd",),
    "order": ("parade",),
    "before": ("parade",),
    "come_go": ("enter", "leave"),
    "present": ("still", "move", "crowd", "pair"),
    "caption": ("still", "move", "enter", "leave", "crowd", "parade", "pair", PHOTO),
    "name": (PHOTO,),
    "name_present": (PHOTO,),
}
ASKS = {
    "object": (
        "What object is in the video?",
        "What is this?",
        "Which object do you see?",
        "What is shown in the clip?",
        "Name the object.",
    ),
    "colour": ("What colour is the {kind}?", "What is the color of the {kind}?", "Which colour does the {kind} have?"),
    "direction": (
        "Which way does the {kind} move?",
        "In which direction does the {kind} go?",
        "Where is the {kind} moving?",
        "What direction is the {kind} moving in?",
    ),
    "count": (
        "How many {kinds} are there?",
        "How many {kinds} do you see?",
        "Count the {kinds}.",
        "What is the number of {kinds} in the video?",
    ),
    "order": (
        "Four objects appear one after another. Which is the {rank}?",
        "Which object is shown {rank}?",
        "What is the {rank} object to appear?",
        "What appears {rank}?",
    ),
    "before": (
        "Which appears first, the {a} or the {b}?",
        "What comes first: the {a} or the {b}?",
        "Does the {a} or the {b} appear first?",
    ),
    "come_go": (
        "Does the {kind} enter or leave?",
        "Does the {kind} come into the picture or go out of it?",
        "Is the {kind} entering or leaving?",
    ),
    "present": ("Is there a {kind} in the video?", "Do you see a {kind}?", "Does a {kind} appear?"),
    "caption": (
        "Describe the video.",
        "What happens in the video?",
        "What happens in this clip?",
        "Write a caption for the video.",
    ),
}
ASKS |= sound_questions.ASKS | {
    "name": ("What is in the picture?", "What is this?", "What does the photo show?", "What do you see?"),
    "name_present": ("Is there {thing} in the picture?", "Do you see {thing}?", "Is this {thing}?"),
}
RANKS = ("first", "second", "third", "last")


def a(noun: str) -> str:
    """The noun with its article."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def plural(noun: str) -> str:
    """The noun for more than one."""
    return PLURALS.get(noun, f"{noun}s")


def caption(scene: Scene) -> str:
    """One true sentence about the whole scene."""
    main = scene.actors[0]
    thing = a(f"{main.colour} {main.kind}")
    if scene.plot == PHOTO:
        return f"A picture of {a(main.kind)}."
    if scene.plot == "parade":
        names = [a(f"{x.colour} {x.kind}") for x in scene.actors]
        return f"First {names[0]}, then {names[1]}, then {names[2]} and at last {names[3]} appear."
    if scene.plot == "crowd":
        count = sum(x.kind == main.kind for x in scene.actors)
        word = next(w for w, n in NUMBERS.items() if n == str(count))
        if count == 1:
            return f"There is one {main.colour} {main.kind}."
        return f"There are {word} {main.colour} {plural(main.kind)}."
    if scene.plot == "still":
        return f"There is {thing} that stays still."
    verb = {"enter": "enters the picture, moving", "leave": "moves out of the picture, going"}.get(scene.plot, "moves")
    where = f" near {a(f'{scene.actors[1].colour} {scene.actors[1].kind}')}" if scene.plot == "pair" else ""
    return f"{thing[0].upper()}{thing[1:]} {verb} {scene.direction}{where}."


def _order(scene: Scene, rng: np.random.Generator) -> tuple[dict[str, str], str, int]:
    at = int(rng.integers(4))
    return {"rank": RANKS[at]}, scene.actors[at].kind, 4


def _before(scene: Scene, rng: np.random.Generator) -> tuple[dict[str, str], str, int]:
    i, j = (int(n) for n in rng.choice(4, 2, replace=False))
    return {"a": scene.actors[i].kind, "b": scene.actors[j].kind}, scene.actors[min(i, j)].kind, 2


def _present(scene: Scene, rng: np.random.Generator) -> tuple[dict[str, str], str, int]:
    there = {x.kind for x in scene.actors}
    absent = [k for k in KINDS if k not in there]
    yes = bool(rng.random() < 0.5)
    return {"kind": scene.actors[0].kind if yes else str(rng.choice(absent))}, "yes" if yes else "no", 2


def _name_present(scene: Scene, rng: np.random.Generator) -> tuple[dict[str, str], str, int]:
    from reelm.data.named import names

    yes = bool(rng.random() < 0.5)
    thing = scene.actors[0].kind if yes else str(rng.choice([n for n in names() if n != scene.actors[0].kind]))
    return {"thing": a(thing)}, "yes" if yes else "no", 2


Facts = Callable[[Scene, np.random.Generator], tuple[dict[str, str], str, int]]
#: type -> (words for the question, answer, number of equally likely answers)
FACTS: dict[str, Facts] = {
    "object": lambda s, r: ({}, s.actors[0].kind, len(KINDS)),
    "colour": lambda s, r: ({"kind": s.actors[0].kind}, s.actors[0].colour, len(COLOURS)),
    "direction": lambda s, r: ({"kind": s.actors[0].kind}, s.direction, len(DIRECTIONS)),
    "count": lambda s, r: (
        {"kinds": plural(s.actors[0].kind)},
        str(sum(x.kind == s.actors[0].kind for x in s.actors)),
        5,
    ),
    "order": _order,
    "before": _before,
    "come_go": lambda s, r: ({"kind": s.actors[0].kind}, {"enter": "enters", "leave": "leaves"}[s.plot], 2),
    "present": _present,
    "caption": lambda s, r: ({}, caption(s), 0),
} | sound_questions.FACTS | {
    "name": lambda s, r: ({}, s.actors[0].kind, 1000),
    "name_present": _name_present,
}


def ask(scene: Scene, type: str, seed: int = 0) -> Question:
    """A question of this type about the scene, the same for the same seed."""
    rng = np.random.default_rng([scene.seed, seed, list(FACTS).index(type)])
    words, answer, options = FACTS[type](scene, rng)
    text = str(rng.choice(ASKS[type])).format(**words)
    return Question(type, text, answer, options)


def types_of(scene: Scene) -> list[str]:
    """The types of question that make sense for what is to be seen in this scene."""
    return [t for t, plots in PLOTS_OF.items() if scene.plot in plots]


def normalise(text: str) -> str:
    """An answer as it is compared: lower case, no articles or punctuation, number words as digits."""
    words = re.findall(r"[a-z0-9]+", text.lower())
    words = [NUMBERS.get(w, w) for w in words if w not in ("a", "an", "the")]
    return " ".join(words)
