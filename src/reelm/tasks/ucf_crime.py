"""UCF-Crime: which of thirteen crimes a surveillance camera recorded, or that nothing happened."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import ClassVar

from reelm.data.convert.entries import Left, Work, lettered
from reelm.data.convert.ucf_crime import ASK, CLASSES, class_of, entries
from reelm.errors import UsageError
from reelm.tasks.base import Item, Scored, task
from reelm.tasks.choice import ChoiceTask, Reader
from reelm.tasks.files import named_file, placed
from reelm.tasks.letters import careful
from reelm.types import Clip

#: Lists of test videos; the first that is there is read.
LISTS = ("Anomaly_Test.txt", "Temporal_Anomaly_Annotation_for_Testing_Videos.txt", "Temporal_Anomaly_Annotation.txt")


@task("ucf_crime")
class UCFCrime(ChoiceTask):
    """A published list of test videos, and the videos anywhere under the folder, found by name.

    `binary`: whether anything happens, right or wrong whatever the crime; an unread reply is wrong in both. `summary`:
    the mean over classes, how many anomalies raise an alarm (of whatever crime), and how many normal videos do. All
    items have the same options, so a table of what was taken for what can be made. The question is that of
    `reelm data convert ucf-crime`: training and measuring ask the same.
    Source: Sultani and others 2018. There is no published reader of replies.
    """

    official: ClassVar[Reader | None] = None
    splits = ("class",)

    def annotations(self, root: Path) -> tuple[Path, ...]:
        return (next((root / name for name in LISTS if (root / name).is_file()), root / LISTS[0]),)

    def items(self, root: Path) -> Iterator[Item]:
        path, = self.annotations(root)
        work = Work(placed(path).parent)
        for line, entry in entries(path):
            where = f"{path}, line {line}"
            try:
                if isinstance(entry, Left):
                    raise entry
                video, given, _ = entry
                name = class_of(video, given)
            except Left as reason:
                raise UsageError(f"{reason.reason}: {reason.said}", where=where,
                                 remedy="Place the official file there") from None
            yield self.choice(Path(video).stem, Path(video).stem, (Clip(named_file(work, video, where)),), ASK,
                              list(CLASSES.values()), list(CLASSES).index(name), {"class": name})

    def prompt(self, question: str, options: Sequence[str], facts: Mapping[str, str]) -> str:
        return lettered(question, options, 0)[0]

    def score(self, item: Item, text: str) -> dict[str, float]:
        alarm = alarmed(text, item.options)
        right = alarm is not None and alarm == (item.facts["class"] != "Normal")
        return super().score(item, text) | {"binary": float(right)}

    def summary(self, rows: Sequence[Scored]) -> dict[str, float]:
        classes: dict[str, list[float]] = {}
        alarms: dict[str, list[bool]] = {"anomalies found": [], "false alarms": []}
        for row in rows:
            classes.setdefault(row.item.facts["class"], []).append(row.scores["accuracy"])
            side = "false alarms" if row.item.facts["class"] == "Normal" else "anomalies found"
            alarms[side].append(alarmed(row.reply, row.item.options) is True)
        told = {"mean over classes": fmean(map(fmean, classes.values()))} if classes else {}
        return told | {side: fmean(found) for side, found in alarms.items() if found}


def alarmed(reply: str, options: Sequence[str]) -> bool | None:
    """Whether a reply names a crime, whichever; None if it names no option."""
    read = careful(reply, options)
    return None if read is None else options[read] != CLASSES["Normal"]
