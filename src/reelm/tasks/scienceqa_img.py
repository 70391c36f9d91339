"""ScienceQA-IMG: questions from school books that come with a picture."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from reelm.errors import UsageError
from reelm.tasks.base import Item, task
from reelm.tasks.choice import BY_LETTER, ChoiceTask, Reader, listed
from reelm.tasks.files import need, read_json, words
from reelm.tasks.letters import LETTERS
from reelm.types import Clip

_LAST = 5


class ScienceReader:
    """A reply that is a letter, begins with one ("B. words"), or says "The answer is B" with any sign behind, once.

    Source: haotian-liu/LLaVA, eval_science_qa.py of version 1.5, as used by LLaMA-VID; examples in
    tests/tasks/test_scienceqa_img.py.
    """

    def read(self, reply: str, options: Sequence[str]) -> int | None:
        if reply in tuple(LETTERS[:_LAST]) or re.match(rf"[{LETTERS[:_LAST]}]\. ", reply):
            letter = reply[0]
        else:
            said = re.findall(r"The answer is ([A-Z]).", reply)
            letter = said[0] if len(said) == 1 else ""
        known = LETTERS[:min(_LAST, len(options))]
        return known.index(letter) if letter and letter in known else None


@task("scienceqa_img")
class ScienceQAImg(ChoiceTask):
    """`problems.json`, `pid_splits.json` and `images/test/<id>/<image>`; only the questions of "test" with a picture.

    The hint, where there is one, stands before the question as "Context: ...".
    Source: Lu and others 2022; prompt and official reader after LLaVA 1.5 and LLaMA-VID.
    """

    official: ClassVar[Reader | None] = ScienceReader()
    splits = ("subject", "grade")

    def annotations(self, root: Path) -> tuple[Path, ...]:
        return root / "problems.json", root / "pid_splits.json"

    def items(self, root: Path) -> Iterator[Item]:
        problems, parts = self.annotations(root)
        entries, test = read_json(problems, dict), need(read_json(parts, dict), "test", list, str(parts))
        for key in test:
            where = f"{problems}, {key}"
            if key not in entries:
                raise UsageError("has no such problem", where=where, remedy="Take both files of one release")
            entry = entries[key]
            if entry.get("image") is None:
                continue
            facts = {name: need(entry, name, str, where) for name in ("subject", "grade", "hint")}
            yield self.choice(key, key, (Clip(root / "images" / "test" / key / need(entry, "image", str, where)),),
                              need(entry, "question", str, where), words(entry, "choices", where),
                              need(entry, "answer", int, where), facts)

    def prompt(self, question: str, options: Sequence[str], facts: Mapping[str, str]) -> str:
        context = f"Context: {facts['hint']}\n" if facts["hint"] else ""
        return f"{context}{question}\n{listed(options, '{letter}. {option}')}\n{BY_LETTER}"
