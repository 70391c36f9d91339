"""Asks a model about unseen scenes of the synthetic world: `python -m reelm.eval.run --items 500`.

Items are new seeds with combinations of object and colour that training never showed. Answers are generated, then
compared exactly after normalisation. Controls: `blind` (no video), `shuffled` (the same frames in another order),
`pairs` (neighbouring frames stay together, the pairs come in another order: what is shown stays readable) and `frozen`
(the middle frame all the time: nothing moves).
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from reelm.data.questions import FACTS, PLOTS_OF, Question, ask, normalise
from reelm.data.recordings import recordings
from reelm.data.sound_questions import PARADES, SCRIPTS_OF
from reelm.data.tracks import RECORDED, track
from reelm.data.world import PHOTO, Scene, film, frames, scene, sound, with_sound
from reelm.errors import ReelmError, UsageError
from reelm.eval.score import Proportion
from reelm.types import AudioVideo, Clip, Frames

#: Seeds of test scenes start here; training draws its seeds from a generator that never reaches this stretch by design.
FIRST_SEED = 9_000_000_000_000_000_000
#: frames that stay together when a control shuffles.
TOGETHER = {"shuffled": 1, "pairs": 2}
CONTROLS = ("none", "blind", *TOGETHER, "frozen", "mute", "dark")
#: controls that only make sense for questions on pictures, and those for questions that need both eyes and ears.
OF_PICTURES, OF_BOTH = (*TOGETHER, "frozen"), ("mute", "dark")
TYPES = tuple(t for t in FACTS if t not in ("name", "name_present"))
#: types asked in pairs, one item with yes and one with no for an answer.
PAIRED = ("present", "sound_present", "agree")


@dataclass(frozen=True)
class Item:
    """One test item: a scene and a question about it."""

    scene: Scene
    question: Question


def items(kind: str, count: int) -> Iterator[Item]:
    """The test items of a type of question, always the same ones; plots or scripts in turn, unseen combinations only.

    Questions on presence come in balanced pairs: about every scene one with yes and one with no for an answer.
    """
    offset = list(TYPES).index(kind) * 1_000_000
    for i in range(count):
        number = i // 2 if kind in PAIRED else i
        staged = _staged(kind, number, FIRST_SEED + offset + number)
        tries = range(i, i + 1000) if kind in PAIRED else (i,)
        asked = (ask(staged, kind, seed=seed) for seed in tries)
        wanted = ("yes", "no")[i % 2] if kind in PAIRED else None
        yield Item(staged, next(q for q in asked if wanted in (None, q.answer)))


def _staged(kind: str, number: int, seed: int) -> Scene:
    if kind not in SCRIPTS_OF:
        plots = [plot for plot in PLOTS_OF[kind] if plot != PHOTO]
        return scene(seed, plots[number % len(plots)], unseen=True)
    scripts = [s for s in SCRIPTS_OF[kind] if kind not in PAIRED or s != "silent"]
    heard = track(seed, scripts[number % len(scripts)])
    while kind == "rhythm" and heard.fast is None:  # one or two beats have none
        seed += 100_000
        heard = track(seed, "beats")
    return with_sound(scene(seed, "parade" if kind in PARADES else "still", unseen=True), heard)


def shuffled(seen: Frames, seed: int, together: int = 1) -> Frames:
    """The same frames in a random order, `together` neighbours at a time; times stay rising."""
    order = np.random.default_rng(seed).permutation(np.arange(len(seen)).reshape(-1, together)).reshape(-1)
    return Frames(rgb=np.ascontiguousarray(seen.rgb[order]), at_s=seen.at_s, repeated=seen.repeated)


def frozen(seen: Frames) -> Frames:
    """The middle frame in the place of every frame."""
    rgb = np.repeat(seen.rgb[len(seen) // 2][None], len(seen), 0)
    return Frames(rgb=rgb, at_s=seen.at_s, repeated=seen.repeated)


def parts_of(item: Item, control: str, files: Path | None) -> tuple[Any, ...]:
    """What the model is given: a real file (if `files` names a folder), frames in memory, or only the question."""
    if control == "blind":
        return (item.question.text,)
    if files is not None:
        path = files / f"{item.scene.seed}.mp4"
        return (Clip(film(item.scene, path, takes=takes_for(item.scene))), item.question.text)
    if item.scene.sound is not None:
        return (_sounding(item, control), item.question.text)
    seen = frames(item.scene)
    if control in TOGETHER:
        seen = shuffled(seen, item.scene.seed, TOGETHER[control])
    if control == "frozen":
        seen = frozen(seen)
    return (seen, item.question.text)


def takes_for(scene: Scene) -> dict[str, list[np.ndarray]]:
    """The recordings that a scene needs, if any; fetched at the first use."""
    events = scene.sound.events if scene.sound else ()
    return _recordings() if any(e.name in RECORDED for e in events) else {}


@cache
def _recordings() -> dict[str, list[np.ndarray]]:
    return recordings(lambda text: print(text, file=sys.stderr))


def _sounding(item: Item, control: str) -> Any:
    """Sound alone, or with pictures where the question needs both; `mute` leaves out the sound, `dark` the pictures."""
    heard = sound(item.scene, takes_for(item.scene))
    if item.question.type not in PARADES or control == "dark":
        return heard
    seen = frames(item.scene)
    return seen if control == "mute" else AudioVideo(seen, heard)


def fits(kind: str, control: str) -> bool:
    """Whether a control makes sense for a type of question."""
    if kind not in TYPES or control not in CONTROLS:
        return False
    return kind in PLOTS_OF if control in OF_PICTURES else kind in PARADES if control in OF_BOTH else True


def measure(
    model: Any, kind: str, count: int, control: str = "none", files: Path | None = None, batch: int = 16
) -> tuple[Proportion, list[dict[str, str]]]:
    """The share of right answers for one type of question, and every item with what was said.

    Raises: UsageError for an unknown type or control, or for shuffled frames read from files.
    """
    if not fits(kind, control) or (files is not None and control != "none"):
        raise UsageError(
            f"cannot measure type {kind!r} under control {control!r}",
            remedy=f"Types: {', '.join(TYPES)}; controls: {', '.join(CONTROLS)}, those of pictures and of sound where "
            "there are some; files go with none",
        )
    record: list[dict[str, str]] = []
    waiting: list[Item] = []
    chance = 0.0
    for item in items(kind, count):
        waiting.append(item)
        chance += item.question.chance if item.question.options else 0.0
        if len(waiting) == batch or len(record) + len(waiting) == count:
            record += answer(model, waiting, control, files)
            waiting = []
    right = sum(normalise(r["said"]) == normalise(r["answer"]) for r in record)
    return Proportion(right, count, chance / max(count, 1)), record


def answer(model: Any, waiting: Sequence[Item], control: str, files: Path | None) -> list[dict[str, str]]:
    """Answers to a few items at once; a failed item counts as a wrong answer and says why."""
    asked = [parts_of(item, control, files) for item in waiting]
    answers = model.answer_many(asked, max_batch=len(asked), max_tokens=40)
    return [
        {
            "seed": str(item.scene.seed),
            "plot": item.scene.plot,
            "question": item.question.text,
            "answer": item.question.answer,
            "said": str(said) if isinstance(said, ReelmError) else said.text,
        }
        for item, said in zip(waiting, answers, strict=True)
    ]


def row(kind: str, control: str, score: Proportion) -> str:
    """One line of the table."""
    low, high = score.interval
    return (
        f"| {kind:<9} | {control:<8} | {score.total:>5} | {100 * score.value:5.1f} "
        f"| {100 * low:5.1f}–{100 * high:5.1f} | {100 * score.chance:5.1f} |"
    )


def main() -> None:
    """The command line of this module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="reelm-tiny")
    parser.add_argument("--items", type=int, default=500)
    parser.add_argument("--types", default=",".join(t for t in TYPES))
    parser.add_argument("--controls", default=",".join(CONTROLS))
    parser.add_argument("--files", action="store_true", help="write every scene as a real MP4 and read it back")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    import reelm

    model = reelm.load(given.model, device=given.device)
    print("| type      | control  | items |     % | 95 % interval | chance |\n|---|---|---|---|---|---|")
    for control in given.controls.split(","):
        for kind in given.types.split(","):
            if kind in TYPES and control in CONTROLS and not fits(kind, control):
                continue
            with tempfile.TemporaryDirectory() as scratch:
                score, record = measure(
                    model, kind, given.items, control, Path(scratch) if given.files else None, given.batch
                )
            said = sum(normalise(r["said"]) == "yes" for r in record)
            print(row(kind, control, score) + (f" yes {100 * said / len(record):.1f}" if kind in PAIRED else ""),
                  flush=True)
            if given.out:
                given.out.mkdir(parents=True, exist_ok=True)
                lines = "\n".join(json.dumps(r) for r in record)
                (given.out / f"{kind}.{control}.jsonl").write_text(lines + "\n")
    print("done", file=sys.stderr)


if __name__ == "__main__":
    main()
