"""Questions about unseen scenes of the synthetic world: which scene each is about, and the scenes as real files.

Every scene shows combinations of object and colour that training never showed; its seed is one training never draws.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from reelm.data.noises import COMPUTED
from reelm.data.questions import FACTS, PLOTS_OF, Question, ask
from reelm.data.sound_questions import PARADES, SCRIPTS_OF
from reelm.data.tracks import NAMES, RECORDED, Recordings, Track, track
from reelm.data.world import PHOTO, Scene, film, scene, with_sound
from reelm.errors import CheckpointError

#: Seeds of test scenes start here; training draws its seeds from a generator that never reaches this stretch by design.
FIRST_SEED = 9_000_000_000_000_000_000
#: How far the scenes of one seed of a benchmark lie from those of the next, and those of two types.
_NEXT_SEED, _NEXT_TYPE = 1_000_000_000, 1_000_000
TYPES = tuple(t for t in FACTS if t not in ("name", "name_present"))
#: types asked in pairs, one item with yes and one with no for an answer.
PAIRED = ("present", "sound_present", "agree")
FPS = 12
#: A beat needs three to have a rhythm; who has fewer is drawn again, so far away.
_REDRAWN = 100_000


@dataclass(frozen=True)
class Asked:
    """A scene and a question about it."""

    scene: Scene
    question: Question


def items(kind: str, count: int, seed: int = 0, sounds: Sequence[str] = NAMES) -> Iterator[Asked]:
    """The test items of a type of question, always the same ones; plots or scripts in turn, unseen combinations only.

    Questions on presence come in balanced pairs: about every scene one with yes and one with no for an answer. `sounds`
    are those that may be heard.
    """
    offset = seed * _NEXT_SEED + list(TYPES).index(kind) * _NEXT_TYPE
    for i in range(count):
        number = i // 2 if kind in PAIRED else i
        staged = _staged(kind, number, FIRST_SEED + offset + number, sounds)
        tries = range(i, i + 1000) if kind in PAIRED else (i,)
        asked = (ask(staged, kind, seed=each) for each in tries)
        wanted = ("yes", "no")[i % 2] if kind in PAIRED else None
        yield Asked(staged, next(q for q in asked if wanted in (None, q.answer)))


def _staged(kind: str, number: int, seed: int, sounds: Sequence[str]) -> Scene:
    if kind not in SCRIPTS_OF:
        plots = [plot for plot in PLOTS_OF[kind] if plot != PHOTO]
        return scene(seed, plots[number % len(plots)], unseen=True)
    scripts = [s for s in SCRIPTS_OF[kind] if kind not in PAIRED or s != "silent"]
    heard = track(seed, scripts[number % len(scripts)], sounds)
    while kind == "rhythm" and heard.fast is None:
        seed += _REDRAWN
        heard = track(seed, "beats", sounds)
    return with_sound(scene(seed, "parade" if kind in PARADES else "still", unseen=True), heard)


def options(asked: Asked) -> int:
    """One in how many a guess that sees and hears nothing is right, at best."""
    # Scripts of tracks come in turn and one of them is silence: who always says "nothing" is right about those.
    return len(SCRIPTS_OF["sound"]) if asked.question.type == "sound" else asked.question.options


def takes_for(heard: Track | None) -> Recordings:
    """The recordings that a track needs, if any; fetched at the first use. Raises: CheckpointError without them."""
    return recorded() if heard is not None and any(e.name in RECORDED for e in heard.events) else {}


@cache
def recorded() -> Recordings:
    """Every recorded sound of the world. Raises: CheckpointError if a package cannot be had."""
    from reelm.data.recordings import recordings

    return recordings(lambda text: print(text, file=sys.stderr))


def names() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The sounds that can be had here, and what there is to say about those that cannot."""
    try:
        recorded()
    except CheckpointError as error:
        return tuple(COMPUTED), (f"only computed sounds are heard: {error}",)
    return NAMES, ()


def file_of(kind: str, scenes: Sequence[Scene], number: int) -> str:
    """The name of a scene's file; two questions about one scene share it."""
    return f"{kind}_{list(scenes).index(scenes[number])}.mp4"


def write(staged: Scene, path: Path) -> None:
    """The scene with its sound as a real file."""
    film(staged, path, FPS, takes_for(staged.sound))
