"""VideoNIAH: needles in haystacks, in VNBench's own data or in videos made here from any clips (`niah_make.make`)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from reelm.errors import UsageError
from reelm.tasks import niah_make
from reelm.tasks.base import Item, Made, Scored, Task, Tell, Wish, task
from reelm.tasks.letters import careful as chosen
from reelm.tasks.niah_make import ANNOTATION
from reelm.tasks.niah_scores import LETTERS, careful, official, official_letter
from reelm.types import Clip

#: Ours, and the file that VNBench is published as; one of them lies in the folder.
ANNOTATIONS = (ANNOTATION, "VNBench-main-4try.json")
_NEEDED = {"video": str, "question": str, "options": list, "gt": str, "type": str, "try": int}



@task("niah")
class Niah(Task):
    """Retrieval, ordering and counting of needles, nine sub-tasks; a question counts when all four turns of its options
    are answered rightly.

    `circular` in the summary is the figure to publish: the mean over sub-tasks of circular accuracy. Guessing each try
    by itself gives 1/256, guessing once and keeping to it 1/4. `official_circular`: the same by
    the published script.
    Source: VideoNIAH (VNBench); scorers equal to the recorded ones in tests/tasks/test_niah_scores.py.
    Differs: the published generator is not public; needles of `niah_make` are ours.
    """

    splits = ("type",)
    takes = ("clips", "needles")

    def make(self, out: Path, wish: Wish, tell: Tell = lambda done, total: None) -> Made:
        """2 questions of every sub-task unless `wish.each` says otherwise, in the videos of `wish.clips`."""
        if wish.clips is None:
            raise UsageError("niah needs videos to hide needles in", remedy="--clips DIR for videos of your own, or "
                             "--data DIR with VNBench")
        return niah_make.make(wish.clips, out, niah_make.Settings(seed=wish.seed, each=wish.each or 2), tell,
                              wish.needles)

    def annotations(self, root: Path) -> tuple[Path, ...]:
        found = [root / name for name in ANNOTATIONS if (root / name).is_file()]
        if len(found) != 1:
            raise UsageError(f"{len(found)} annotation files, expected one of {', '.join(ANNOTATIONS)}",
                             where=str(root), remedy="Point --data at VNBench, or make it: reelm eval niah --clips DIR")
        return tuple(found)

    def items(self, root: Path) -> Iterator[Item]:
        (file,) = self.annotations(root)
        entries = json.loads(file.read_text("utf-8"))
        if not isinstance(entries, list):
            raise UsageError(f"holds {type(entries).__name__}, expected a list of entries", where=str(file))
        known: dict[tuple[str, str, str], str] = {}
        for place, entry in enumerate(entries):
            _check(entry, f"{file}, entry {place}")
            # The published entries carry no number of their own: the four tries of an item share all three of these.
            same = (entry["video"], entry["type"], entry["question"])
            group = known.setdefault(same, f"{entry['type']}_{len(known)}")
            facts = {"type": entry["type"], "group": group, "try": str(entry["try"])}
            facts |= {"length": f"{entry['length']:g}"} if "length" in entry else {}
            # Questions put into one clip are not independent, whatever the files are called.
            yield Item(f"{group}_{entry['try']}", entry.get("haystack", entry["video"]),
                       (Clip(_path(root, entry["video"])),), _prompt(entry), tuple(map(str, entry["options"])),
                       LETTERS[entry["options"].index(entry["gt"])], facts)

    def chance(self, item: Item) -> float:
        return 1 / len(item.options)

    def score(self, item: Item, text: str) -> dict[str, float]:
        return {"accuracy": float(chosen(text, item.options) == LETTERS.index(item.answer)),
                "official": float(official_letter(text) == item.answer)}

    def summary(self, rows: Sequence[Scored]) -> dict[str, float]:
        told = careful([(row.item.facts["type"], row.item.facts["group"], row.scores["accuracy"]) for row in rows])
        whole = official([{"question_id": f"{facts['group']}_{facts['try']}", "type": facts["type"],
                           "gt": row.item.answer, "pred": row.reply}
                          for row in rows for facts in [row.item.facts]])
        return told | {"official_circular": whole["overall"]}


def _prompt(entry: dict[str, Any]) -> str:
    choices = [f"{letter}. {option}" for letter, option in zip(LETTERS, entry["options"], strict=True)]
    return "\n".join([entry["question"], *choices, "Answer with the option's letter from the given choices directly."])


def _path(root: Path, video: str) -> Path:
    """Published paths begin with a slash that means the data's folder."""
    return root / video.lstrip("/")


def _check(entry: Any, where: str) -> None:
    if not isinstance(entry, dict):
        raise UsageError(f"is {type(entry).__name__}, expected an object", where=where)
    for name, form in _NEEDED.items():
        if not isinstance(entry.get(name), form):
            raise UsageError(f"{name!r} is {entry.get(name)!r}, expected {form.__name__}", where=where)
    if len(entry["options"]) != len(LETTERS) or entry["options"].count(entry["gt"]) != 1:
        raise UsageError(f"options {entry['options']} do not hold the answer {entry['gt']!r} once among four",
                         where=where)
