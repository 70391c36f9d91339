"""Animal Kingdom: what the animals do in a stretch of a video, in free words, graded by a judge."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from reelm.data.convert.animal_kingdom import ASK, entries, stretch
from reelm.data.convert.entries import Left, Work
from reelm.errors import UsageError
from reelm.tasks.base import Item, task
from reelm.tasks.files import named_file, placed
from reelm.tasks.judged import YesAndScore
from reelm.types import Clip


@task("animal_kingdom")
class AnimalKingdom(YesAndScore):
    """`test.txt` of the video grounding, `ak_vg_duration.json` beside it, the videos anywhere under the folder.

    Accuracy and mean grade by a judge. Sentences about one stretch are one item; a stretch is ended with its clip. The
    question is that of `reelm data convert animal-kingdom`.
    Source: Ng and others 2022.
    """

    def annotations(self, root: Path) -> tuple[Path, ...]:
        beside = root / "ak_vg_duration.json"
        return (root / "test.txt", beside) if beside.is_file() else (root / "test.txt",)

    def items(self, root: Path) -> Iterator[Item]:
        path = placed(root / "test.txt")
        work = Work(root)
        for line, entry in entries(path):
            where = f"{path}, line {line}"
            try:
                if isinstance(entry, Left):
                    raise entry
                clip, start_s, end_s, told = stretch(entry)
            except Left as reason:
                raise UsageError(f"{reason.reason}: {reason.said}", where=where,
                                 remedy="Correct the line, or take it out") from None
            yield Item(f"{clip}-{start_s:g}-{end_s:g}", clip, (Clip(named_file(work, clip, where), start_s, end_s),),
                       ASK, answer=told, facts={"question": ASK})
