"""GQA: questions about what stands where in a picture, answered with a word or two."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from reelm.tasks.base import Item, Scored, task
from reelm.tasks.exact import ExactTask
from reelm.tasks.files import need, read_json
from reelm.tasks.vqa import SHORTLY
from reelm.types import Clip


def predicted(text: str) -> str:
    """A reply as LLaVA and LLaMA-VID hand it in. Source: haotian-liu/LLaVA, convert_gqa_for_eval.py."""
    return text.strip().rstrip(".").lower()


@task("gqa")
class GQA(ExactTask):
    """`testdev_balanced_questions.json` and `images/<imageId>.jpg`.

    A question is binary unless its structure is a query; `binary_official` and `open_official` are the published
    accuracy over each kind. `submission` writes the predictions as the benchmark's own script reads them.
    Differs: consistency, validity, plausibility, grounding and distribution need files that the release lacks for this
    part; they are not computed, nor are they by LLaVA.
    Source: Hudson and Manning 2019; prompt and official comparison after LLaVA and LLaMA-VID.
    """

    splits = ("kind", "structural", "semantic")

    def annotations(self, root: Path) -> tuple[Path, ...]:
        return (root / "testdev_balanced_questions.json",)

    def items(self, root: Path) -> Iterator[Item]:
        path, = self.annotations(root)
        for key, entry in read_json(path, dict).items():
            where = f"{path}, {key}"
            question, picture = need(entry, "question", str, where), need(entry, "imageId", str, where)
            types = need(entry, "types", dict, where)
            structural, semantic = (need(types, name, str, where) for name in ("structural", "semantic"))
            yield Item(key, picture, (Clip(root / "images" / f"{picture}.jpg"),), f"{question}\n{SHORTLY}",
                       answer=need(entry, "answer", str, where), facts={
                           "question": question, "kind": "open" if structural == "query" else "binary",
                           "structural": structural, "semantic": semantic})

    def score(self, item: Item, text: str) -> dict[str, float]:
        official = float(predicted(text) == item.answer)
        return super().score(item, text) | {"accuracy_official": official, f"{item.facts['kind']}_official": official}

    def submission(self, rows: Sequence[Scored], folder: Path) -> tuple[Path, ...]:
        path = folder / "testdev_balanced_predictions.json"
        path.write_text(json.dumps([{"questionId": row.item.id, "prediction": predicted(row.reply)} for row in rows]),
                        "utf-8")
        return (path,)
