"""What can be asked of a scene with a sound track: questions on the sound alone, and on sound and picture together."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from reelm.data.tracks import NAMES, Event, Track

if TYPE_CHECKING:
    from reelm.data.world import Actor, Scene

Facts = Callable[["Scene", np.random.Generator], tuple[dict[str, str], str, int]]

#: type -> scripts of tracks in which it can be asked. Those in PARADES also need a parade to look at.
SCRIPTS_OF = {
    "sound": ("one", "beats", "slide", "swell", "silent"),
    "sound_order": ("row",),
    "sound_count": ("beats",),
    "sound_present": ("one", "row", "beats", "slide", "swell", "silent"),
    "pitch": ("slide",),
    "level": ("swell",),
    "rhythm": ("beats",),
    "match": ("one",),
    "agree": ("one",),
}
#: types that ask which object was to be seen when a sound was heard.
PARADES = ("match", "agree")
ASKS = {
    "sound": ("What do you hear?", "What sound is it?", "What can be heard?", "Name the sound."),
    "sound_order": ("Which sound is the {rank}?", "What do you hear {rank}?", "What is the {rank} sound?"),
    "sound_count": ("How many times do you hear the {name}?", "How often does the {name} sound?",
                    "Count the sounds of the {name}."),
    "sound_present": ("Do you hear a {name}?", "Can a {name} be heard?", "Is there the sound of a {name}?"),
    "pitch": ("Does the pitch rise or fall?", "Does the {name} go up or down in pitch: rises or falls?"),
    "level": ("Does the sound get louder or softer?", "Is the {name} getting louder or softer?"),
    "rhythm": ("Is the rhythm fast or slow?", "Does the {name} sound in a fast or in a slow rhythm?"),
    "match": ("Which object is shown when you hear the {name}?", "What is in the picture when the {name} sounds?",
              "What do you see while you hear the {name}?"),
    "agree": ("Is the {kind} shown when you hear the {name}?", "Do you hear the {name} while the {kind} is shown?",
              "Does the {name} sound together with the {kind}?"),
}
_RANKS = {2: ("first", "last"), 3: ("first", "second", "last"), 4: ("first", "second", "third", "last")}


def _track(scene: Scene) -> Track:
    assert scene.sound is not None
    return scene.sound


def _first(scene: Scene) -> dict[str, str]:
    return {"name": _track(scene).events[0].name}


def _sound(scene: Scene, rng: np.random.Generator) -> tuple[dict[str, str], str, int]:
    events = _track(scene).events
    return {}, events[0].name if events else "nothing", len(NAMES) + 1


def _order(scene: Scene, rng: np.random.Generator) -> tuple[dict[str, str], str, int]:
    events = _track(scene).events
    at = int(rng.integers(len(events)))
    return {"rank": _RANKS[len(events)][at]}, events[at].name, len(events)


def _present(scene: Scene, rng: np.random.Generator) -> tuple[dict[str, str], str, int]:
    there = sorted({e.name for e in _track(scene).events})
    absent = [n for n in NAMES if n not in there]
    yes = bool(there) and bool(rng.random() < 0.5)
    return {"name": str(rng.choice(there if yes else absent))}, "yes" if yes else "no", 2


def shown_at(scene: Scene, event: Event) -> Actor | None:
    """The object of a parade that stands on the stage in the middle of a sound."""
    return next((a for a in scene.actors if a.shown[0] <= event.middle < a.shown[1]), None)


def _match(scene: Scene, rng: np.random.Generator) -> tuple[dict[str, str], str, int]:
    actor = shown_at(scene, _track(scene).events[0])
    assert actor is not None
    return _first(scene), actor.kind, 4


def _agree(scene: Scene, rng: np.random.Generator) -> tuple[dict[str, str], str, int]:
    actor = shown_at(scene, _track(scene).events[0])
    assert actor is not None
    yes = bool(rng.random() < 0.5)
    others = [a.kind for a in scene.actors if a is not actor]
    return _first(scene) | {"kind": actor.kind if yes else str(rng.choice(others))}, "yes" if yes else "no", 2


FACTS: dict[str, Facts] = {
    "sound": _sound,
    "sound_order": _order,
    "sound_count": lambda s, r: (_first(s), str(len(_track(s).events)), 5),
    "sound_present": _present,
    "pitch": lambda s, r: (_first(s), "rises" if _track(s).events[0].slide > 0 else "falls", 2),
    "level": lambda s, r: (_first(s), "louder" if _track(s).events[0].swell > 0 else "softer", 2),
    "rhythm": lambda s, r: (_first(s), "fast" if _track(s).fast else "slow", 2),
    "match": _match,
    "agree": _agree,
}


def types_of(scene: Scene) -> list[str]:
    """The types of question on sound that make sense for this scene; none when it has no track."""
    track = scene.sound
    if track is None:
        return []
    types = [t for t, scripts in SCRIPTS_OF.items() if track.script in scripts]
    left_out = set(() if scene.plot == "parade" else PARADES) | ({"rhythm"} if track.fast is None else set())
    return [t for t in types if t not in left_out]
