"""Video-Bench: thirteen data sets at three levels: what is seen, what must be known besides, what should be done."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import ClassVar

import numpy as np

from reelm.errors import UsageError
from reelm.tasks.base import Item, Scored, task
from reelm.tasks.choice import ChoiceTask, listed
from reelm.tasks.files import need, read_json
from reelm.tasks.letters import LETTERS, Official
from reelm.types import Clip

#: Level -> data set -> its weight in the level's figure.
LEVELS = {
    "video-exclusive understanding": {"ActivityNet": 1.0, "MSVD": 1.0, "MSRVTT": 1.0, "TGIF": 1.0, "Youcook2": 1.0,
                                      "Ucfcrime": 1.0, "MOT": 0.5},
    "prior knowledge": {"TVQA": 1.0, "MV": 1.0, "NBA": 1.0},
    "comprehension and decision-making": {"Driving-exam": 0.5, "Driving-decision-making": 1.0, "SQA3D": 1.0},
}
_COUNTS = ("zero", "one", "two", "three", "four", "five", "six")
_LAST = 6
#: How the published prompts of so many options differ in what stands around the options.
_BEFORE = {6: "Choices: "}
_AFTER = {3: " ", 5: " "}


def closest_option(reply: np.ndarray, options: np.ndarray) -> int:
    """The option whose vector has the largest cosine with that of the reply; the first of equal ones.

    Shapes: `reply` [D], `options` [n,D], embeddings of the reply and of "A. words", "B. words" and so on.
    Source: Video-Bench, the mapping by sentence-T5; equal to the recorded letters, tests/tasks/test_video_bench.py.
    """
    sizes = np.linalg.norm(options, axis=1) * np.linalg.norm(reply)
    return int(np.argmax(options @ reply / np.maximum(sizes, 1e-12)))


def judged_letter(reply: str) -> str | None:
    """The letter in a judge's reply; None unless it is strict JSON with one of A to F as "maximum probability".

    None is left out of the figures, not counted as wrong.
    Source: Video-Bench, the mapping by a judge; equal to the recorded rows, tests/tasks/test_video_bench.py.
    """
    try:
        letter = json.loads(reply)["maximum probability"]
    except (ValueError, KeyError, TypeError):
        return None
    return letter if isinstance(letter, str) and len(letter) == 1 and letter in LETTERS[:_LAST] else None


@task("video_bench")
class VideoBench(ChoiceTask):
    """Video-Bench: `Eval_QA/<data set>_QA_new.json`, and the videos where each entry's `vid_path` says, under the root.

    `summary`: a figure per level, its data sets weighted as published, and their mean; a level or the whole is left out
    as long as one of its data sets has no reply.
    Differs: published figures map replies to options by a judge or by sentence vectors, neither of which reads letters
    (`judged_letter`, `closest_option`); here the careful reader does. There is no official reader without a model.
    Source: Ning and others 2023; weights and prompt after PKU-YuanGroup/Video-Bench.
    """

    official: ClassVar[Official | None] = None
    splits = ("level", "data_set")

    def annotations(self, root: Path) -> tuple[Path, ...]:
        return tuple(root / "Eval_QA" / f"{name}_QA_new.json" for sets in LEVELS.values() for name in sets)

    def items(self, root: Path) -> Iterator[Item]:
        levels = {name: level for level, sets in LEVELS.items() for name in sets}
        for (name, level), file in zip(levels.items(), self.annotations(root), strict=True):
            for key, entry in read_json(file, dict).items():
                where = f"{file}, {key}"
                choices = need(entry, "choices", dict, where)
                letters, right = "".join(choices), need(entry, "answer", str, where)
                if letters != LETTERS[:len(choices)] or not 2 <= len(choices) <= _LAST or right not in choices:
                    raise UsageError(f"options {letters!r} with the answer {right!r}", where=where,
                                     remedy="Compare the entry with the official file")
                yield self.choice(f"{name}/{key}", f"{name}/{need(entry, 'video_id', str, where)}",
                                  (Clip(root / need(entry, "vid_path", str, where)),),
                                  need(entry, "question", str, where),
                                  [str(need(choices, letter, (str, int, float), where)) for letter in letters],
                                  LETTERS.index(right), {"level": level, "data_set": name})

    def prompt(self, question: str, options: Sequence[str], facts: Mapping[str, str]) -> str:
        count = len(options)
        letters = ", ".join(LETTERS[:count])
        return (f"{question}{_BEFORE.get(count, ' ')}{listed(options, '{letter}.{option}', ' ')} \n Among the "
                f"{_COUNTS[count]} options {letters} above, the one closest to the correct answer is:"
                f"{_AFTER.get(count, '')}")

    def summary(self, rows: Sequence[Scored]) -> dict[str, float]:
        right: dict[str, list[float]] = {}
        for row in rows:
            right.setdefault(row.item.facts["data_set"], []).append(row.scores["accuracy"])
        figures = {level: sum(weight * fmean(right[name]) for name, weight in sets.items()) / sum(sets.values())
                   for level, sets in LEVELS.items() if set(sets) <= set(right)}
        return {**figures, "mean over levels": fmean(figures.values())} if len(figures) == len(LEVELS) else figures
