"""Asks a model about unseen scenes of the synthetic world: `python -m reelm.eval.run --items 500`.

Items are those of the task `world` (`reelm eval world` asks them of real files), seen as the uniform sampler would see
them, without a file. Answers are generated, then compared exactly after normalisation. Controls: `blind` (no video),
`shuffled` (the same frames in another order), `pairs` (neighbouring frames stay together, the pairs come in another
order: what is shown stays readable) and `frozen` (the middle frame all the time: nothing moves).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from reelm.data.questions import PLOTS_OF, normalise
from reelm.data.sound_questions import PARADES
from reelm.data.world import frames, sound
from reelm.errors import ReelmError, UsageError
from reelm.eval.score import Proportion
from reelm.tasks.world_make import PAIRED, TYPES, Asked, items, takes_for
from reelm.types import AudioVideo, Frames

#: frames that stay together when a control shuffles.
TOGETHER = {"shuffled": 1, "pairs": 2}
CONTROLS = ("none", "blind", *TOGETHER, "frozen", "mute", "dark")
#: controls that only make sense for questions on pictures, and those for questions that need both eyes and ears.
OF_PICTURES, OF_BOTH = (*TOGETHER, "frozen"), ("mute", "dark")


def shuffled(seen: Frames, seed: int, together: int = 1) -> Frames:
    """The same frames in a random order, `together` neighbours at a time; times stay rising."""
    order = np.random.default_rng(seed).permutation(np.arange(len(seen)).reshape(-1, together)).reshape(-1)
    return Frames(rgb=np.ascontiguousarray(seen.rgb[order]), at_s=seen.at_s, repeated=seen.repeated)


def frozen(seen: Frames) -> Frames:
    """The middle frame in the place of every frame."""
    rgb = np.repeat(seen.rgb[len(seen) // 2][None], len(seen), 0)
    return Frames(rgb=rgb, at_s=seen.at_s, repeated=seen.repeated)


def parts_of(item: Asked, control: str) -> tuple[Any, ...]:
    """What the model is given: frames and sound in memory, or only the question."""
    if control == "blind":
        return (item.question.text,)
    if item.scene.sound is not None:
        return (_sounding(item, control), item.question.text)
    seen = frames(item.scene)
    if control in TOGETHER:
        seen = shuffled(seen, item.scene.seed, TOGETHER[control])
    if control == "frozen":
        seen = frozen(seen)
    return (seen, item.question.text)


def _sounding(item: Asked, control: str) -> Any:
    """Sound alone, or with pictures where the question needs both; `mute` leaves out the sound, `dark` the pictures."""
    heard = sound(item.scene, takes_for(item.scene.sound))
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
    model: Any, kind: str, count: int, control: str = "none", batch: int = 16
) -> tuple[Proportion, list[dict[str, str]]]:
    """The share of right answers for one type of question, and every item with what was said.

    Raises: UsageError for an unknown type or control.
    """
    if not fits(kind, control):
        raise UsageError(
            f"cannot measure type {kind!r} under control {control!r}",
            remedy=f"Types: {', '.join(TYPES)}; controls: {', '.join(CONTROLS)}, those of pictures and of sound where "
            "there are some",
        )
    record: list[dict[str, str]] = []
    waiting: list[Asked] = []
    chance = 0.0
    for item in items(kind, count):
        waiting.append(item)
        chance += item.question.chance if item.question.options else 0.0
        if len(waiting) == batch or len(record) + len(waiting) == count:
            record += answer(model, waiting, control)
            waiting = []
    right = sum(normalise(r["said"]) == normalise(r["answer"]) for r in record)
    return Proportion(right, count, chance / max(count, 1)), record


def answer(model: Any, waiting: Sequence[Asked], control: str) -> list[dict[str, str]]:
    """Answers to a few items at once; a failed item counts as a wrong answer and says why."""
    asked = [parts_of(item, control) for item in waiting]
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
            score, record = measure(model, kind, given.items, control, given.batch)
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
