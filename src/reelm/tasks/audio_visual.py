"""Sound and picture together, in the manner of AVBench: made clips whose questions nobody can answer with one alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from reelm.tasks.audio_visual_make import KINDS, riddles
from reelm.tasks.base import Item, Made, Tell, Wish, task
from reelm.tasks.choice import DIRECTLY, ChoiceTask, listed
from reelm.tasks.files import need, words
from reelm.tasks.making import Film, Generated
from reelm.tasks.world_make import file_of, write
from reelm.types import Clip

#: Grows when the same wish makes other files.
VERSION = 1


@task("audio_visual")
class AudioVisual(Generated, ChoiceTask):
    """Which object is shown when something is heard (`match`, yes or no in `agree`), how often it is heard while an
    object is shown (`count`), what comes before or after (`next`), and which of four objects hops to it (`hop`).

    The twins of every clip are the controls `mute` and `dark` of `reelm eval`: with one stream all kinds are at chance.
    Source: ours; AVBench's idea, questions that need both streams.
    """

    official = None
    splits = ("type",)

    def make(self, out: Path, wish: Wish, tell: Tell = lambda done, total: None) -> Made:
        """20 questions of every kind unless `wish.each` says otherwise."""
        return self.of(out, wish.seed, wish.each or 20, tell)

    def of(self, out: Path, seed: int, each: int, tell: Tell = lambda done, total: None,
           kinds: Sequence[str] = tuple(KINDS)) -> Made:
        """The questions of these kinds only."""
        asked = {kind: list(riddles(kind, each, seed)) for kind in kinds}
        films: dict[str, Film] = {}
        entries: list[dict[str, Any]] = []
        for number in range(each):
            for kind, several in asked.items():
                one = several[number]
                name = file_of(kind, [other.scene for other in several], number)
                films[name] = partial(write, one.scene)
                entries.append({"id": f"{kind}_{number}", "video": name, "type": kind, "question": one.question,
                                "options": list(one.options), "answer": one.right})
        facts = {"version": VERSION, "seed": seed, "each": each, "kinds": list(kinds)}
        return self.made(out, facts, films, entries, tell)

    def items(self, root: Path) -> Iterator[Item]:
        for entry, where in self.entries(root):
            told = {name: need(entry, name, str, where) for name in ("id", "video", "type", "question")}
            yield self.choice(told["id"], told["video"], (Clip(root / told["video"]),), told["question"],
                              words(entry, "options", where), need(entry, "answer", int, where),
                              {"type": told["type"]})

    def prompt(self, question: str, options: Sequence[str], facts: Mapping[str, str]) -> str:
        return f"{question}\n{listed(options)}\n{DIRECTLY}"
