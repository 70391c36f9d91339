"""AVSD: questions about what happens and sounds in a video of people at home, graded by a judge."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from reelm.tasks.base import Item, task
from reelm.tasks.files import need, read_json
from reelm.tasks.judged import YesAndScore
from reelm.tasks.sound import turns
from reelm.types import Clip


class HeardAndSeen(YesAndScore):
    """A list of id (or none), video (a path under the root) and conversations; every question is an item."""

    says = "binary_pred"
    file: ClassVar[str]
    #: Asked in place of what stands in the file.
    asked: ClassVar[str] = ""

    def annotations(self, root: Path) -> tuple[Path, ...]:
        return (root / self.file,)

    def items(self, root: Path) -> Iterator[Item]:
        path, = self.annotations(root)
        for place, entry in enumerate(read_json(path, list)):
            where = f"{path}, entry {place}"
            video = need(entry, "video", str, where)
            for number, (question, answer) in enumerate(turns(entry, where)):
                question = self.asked or question
                yield Item(f"{place}/{number}", video, (Clip(root / video),), question, answer=answer,
                           facts={"question": question})

    def official_accuracy(self, found: dict[str, Any]) -> dict[str, float]:
        """yes / all: everything but the small word itself is wrong."""
        return {"accuracy": float(found.get(self.says) == "yes")}


@task("avsd")
class Avsd(HeardAndSeen):
    """`instruction_val.json`. Source: Alamri et al. 2019; VideoLLaMA 2, audio_visual branch."""

    file = "instruction_val.json"
