"""MSVC: captions of clips from several sources, graded for correctness and detail against several references."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from reelm.errors import UsageError
from reelm.tasks.base import Item, task
from reelm.tasks.files import need, read_json
from reelm.tasks.judged import Graded
from reelm.tasks.verdict import read_literal
from reelm.types import Clip


class Msvc(Graded):
    """`msvc.json`: a list of video_path, question, captions; all captions go to the judge together.

    Source: VideoLLaMA 2 (2024), section on captioning.
    """

    def annotations(self, root: Path) -> tuple[Path, ...]:
        return (root / "msvc.json",)

    def items(self, root: Path) -> Iterator[Item]:
        path, = self.annotations(root)
        for number, entry in enumerate(read_json(path, list)):
            where = f"{path}, entry {number}"
            file, question = need(entry, "video_path", str, where), need(entry, "question", str, where)
            captions = need(entry, "captions", list, where)
            if not captions or not all(isinstance(caption, str) for caption in captions):
                raise UsageError("'captions' is no list of texts", where=where,
                                 remedy="Fetch the annotation file again")
            # A clip may come more than once: the number keeps the names apart.
            yield Item(f"{Path(file).stem}_{number}", file, (Clip(root / file),), question, answer=captions[0],
                       facts={"question": question, "captions": json.dumps(captions, ensure_ascii=False)})

    def compared(self, item: Item, text: str) -> str:
        references = json.loads(item.facts["captions"])
        return (f"Question: {item.facts['question']}\nReference captions, all of the same video: {references}\n"
                f"Given caption: {text}")

    def read_verdict(self, reply: str) -> dict[str, float]:
        """The official script adds up every value of the dict, so that a second key spoils the grade."""
        if not self.official:
            return super().read_verdict(reply)
        try:
            return {"score": float(sum(int(value) for value in read_literal(reply).values()))}
        except (TypeError, ValueError, OverflowError):
            raise UsageError("a value that is no number", where=repr(reply[:120]),
                             remedy="Write an integer under 'score'") from None


@task("msvc_correctness")
class MsvcCorrectness(Msvc):
    """Whether the caption is true to the references."""

    quality = "is the caption consistent with the facts in the references, without error or invention?"


@task("msvc_detailedness")
class MsvcDetailedness(Msvc):
    """Whether the caption is as complete and specific as the references."""

    quality = "is the caption complete: does it cover the main points of the references, with specific details?"
