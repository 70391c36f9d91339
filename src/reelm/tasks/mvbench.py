"""MVBench: twenty tasks about what moves and changes, each a JSON file of its own over videos of eleven data sets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, ClassVar

from reelm.errors import UsageError
from reelm.tasks.base import Item, Scored, task
from reelm.tasks.choice import DIRECTLY, ChoiceTask, listed
from reelm.tasks.files import need, read_json, words
from reelm.tasks.letters import Official
from reelm.types import Clip

#: Name of a task -> folder of its videos under `video/`. Its file is the name in small letters with underscores.
FOLDERS = {
    "Action Sequence": "star/Charades_v1_480", "Action Prediction": "star/Charades_v1_480",
    "Action Antonym": "ssv2_video", "Fine-grained Action": "Moments_in_Time_Raw/videos",
    "Unexpected Action": "FunQA_test/test", "Object Existence": "clevrer/video_validation",
    "Object Interaction": "star/Charades_v1_480", "Object Shuffle": "perception/videos",
    "Moving Direction": "clevrer/video_validation", "Action Localization": "sta/sta_video",
    "Scene Transition": "scene_qa/video", "Action Count": "perception/videos",
    "Moving Count": "clevrer/video_validation", "Moving Attribute": "clevrer/video_validation",
    "State Change": "perception/videos", "Fine-grained Pose": "nturgbd", "Character Order": "perception/videos",
    "Egocentric Navigation": "vlnqa", "Episodic Reasoning": "tvqa/frames_fps3_hq",
    "Counterfactual Inference": "clevrer/video_validation",
}
#: The tasks whose questions are about a stretch, `start` to `end` in seconds.
BOUNDED = ("Action Sequence", "Action Prediction", "Object Interaction", "Action Localization", "Episodic Reasoning")
#: The task whose videos are folders of pictures, and how many of them are a second.
PICTURES, PICTURES_FPS = "Episodic Reasoning", 3.0


def stem(name: str) -> str:
    """How the file of a task is called: "Fine-grained Pose" is in fine_grained_pose.json."""
    return name.lower().replace(" ", "_").replace("-", "_")


@task("mvbench")
class MVBench(ChoiceTask):
    """MVBench as published: `json/<task>.json`, `video/<folder>/...`; five tasks are asked of the stretch they name.

    That needs the whole videos; archives that hold stretches already cut out belong to `mvbench_unclipped`.
    Its overall figure is the mean over items, not over tasks; "mean over tasks" stands beside it.
    Source: Li and others 2023; prompt and official reader after VideoLLaMA 2, tests/tasks/test_letters.py.
    """

    official: ClassVar[Official] = Official(glued=", ", text="part")
    splits = ("task",)
    clipped: ClassVar[bool] = True

    def annotations(self, root: Path) -> tuple[Path, ...]:
        return tuple(root / "json" / f"{stem(name)}.json" for name in FOLDERS)

    def items(self, root: Path) -> Iterator[Item]:
        for (name, folder), file in zip(FOLDERS.items(), self.annotations(root), strict=True):
            for place, entry in enumerate(read_json(file, list)):
                where = f"{file}, entry {place}"
                video = f"{folder}/{need(entry, 'video', str, where)}"
                options, answer = words(entry, "candidates", where), need(entry, "answer", str, where)
                if options.count(answer) != 1:
                    raise UsageError(f"the answer {answer!r} stands {options.count(answer)} times among the candidates",
                                     where=where, remedy="Compare the entry with the official file")
                clip = self._clip(root / "video" / video, name, entry, where)
                yield self.choice(f"{stem(name)}/{place}", video, (clip,), need(entry, "question", str, where), options,
                                  options.index(answer), {"task": name})

    def _clip(self, path: Path, name: str, entry: Any, where: str) -> Clip:
        start_s, end_s = 0.0, None
        if self.clipped and name in BOUNDED:
            start_s, end_s = (float(need(entry, key, (int, float), where)) for key in ("start", "end"))
            if not 0 <= start_s < end_s:
                raise UsageError(f"a stretch from {start_s} s to {end_s} s", where=where,
                                 remedy="Compare the entry with the official file")
        return Clip(path, start_s, end_s, PICTURES_FPS if name == PICTURES else None)

    def prompt(self, question: str, options: Sequence[str], facts: Mapping[str, str]) -> str:
        return f"Question: {question}\nOptions:\n{listed(options)}\n{DIRECTLY}"

    def summary(self, rows: Sequence[Scored]) -> dict[str, float]:
        right: dict[str, list[float]] = {}
        for row in rows:
            right.setdefault(row.item.facts["task"], []).append(row.scores["accuracy"])
        return {"mean over tasks": fmean(fmean(scores) for scores in right.values())} if right else {}


@task("mvbench_unclipped")
class MVBenchUnclipped(MVBench):
    """MVBench over whole files: no stretch is cut out, either on purpose or because the files are stretches already.

    Never to be compared with `mvbench`. Source: as of `mvbench`.
    """

    clipped = False
