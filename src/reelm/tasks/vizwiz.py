"""VizWiz: questions that blind people asked about pictures they took, often ones that cannot be answered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

from reelm.tasks.base import Item, Scored, task
from reelm.tasks.files import need, read_json
from reelm.tasks.vqa import SHORTLY, PeopleAnswered, submitted, written

_UNSURE = "When the provided information is insufficient, respond with 'Unanswerable'."


@task("vizwiz")
class VizWiz(PeopleAnswered):
    """`test.json` and `test/`; the answers are with the server, whose file `submission` writes.

    `unanswerable`: how often the reply is that.
    Source: Gurari and others 2018; prompt after LLaVA and LLaMA-VID, answers handed in and scored as of `vqa`.
    """

    answers_with_server = True
    part: ClassVar[str] = "test"

    def annotations(self, root: Path) -> tuple[Path, ...]:
        return (root / f"{self.part}.json",)

    def items(self, root: Path) -> Iterator[Item]:
        path, = self.annotations(root)
        for place, entry in enumerate(read_json(path, list)):
            where = f"{path}, entry {place}"
            picture, question = need(entry, "image", str, where), need(entry, "question", str, where)
            facts = {name: need(entry, name, str, where) for name in self.splits}
            yield self.asked(picture, root / self.part / picture, f"{question}\n{_UNSURE}\n{SHORTLY}", entry, where,
                             question=question, **facts)

    def score(self, item: Item, text: str) -> dict[str, float]:
        return super().score(item, text) | {"unanswerable": float(submitted(text) == "unanswerable")}

    def submission(self, rows: Sequence[Scored], folder: Path) -> tuple[Path, ...]:
        return (written(folder / "vizwiz.json", rows, "image", {row.item.id: row.item.id for row in rows}),)


@task("vizwiz_validation")
class VizWizValidation(VizWiz):
    """VizWiz, the validation part, whose answers are public: `val.json` and `val/`. Source: as of `vizwiz`."""

    answers_with_server = False
    part = "val"
    splits = ("answer_type",)
