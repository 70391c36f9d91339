"""The synthetic world as a benchmark: unseen scenes as real files with sound, asked as reelm-tiny is asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from reelm.data.questions import normalise
from reelm.data.tracks import NAMES
from reelm.tasks.base import Item, Made, Tell, Wish, task
from reelm.tasks.files import need
from reelm.tasks.making import Film, Generated
from reelm.tasks.world_make import TYPES, file_of, items, names, options, write
from reelm.types import Clip

#: Grows when the same wish makes other files.
VERSION = 1
#: A caption has no one right form.
KINDS = tuple(kind for kind in TYPES if kind != "caption")


@task("world")
class World(Generated):
    """What is seen, how it moves, how many, in which order; what is heard, how often, how it changes; and what is seen
    while something is heard. A reply counts when it equals the answer but for case, articles and number words.

    Source: ours; the scenes of `reelm.data.world` with combinations of object and colour that training never shows.
    """

    splits = ("type",)

    def make(self, out: Path, wish: Wish, tell: Tell = lambda done, total: None) -> Made:
        """20 questions of every type unless `wish.each` says otherwise.

        Recorded sounds (animals, speech) come from packages that are fetched once; without them only computed sounds
        are asked for, which is another set of questions in another folder, and told.
        """
        sounds, notes = names()
        return self.of(out, wish.seed, wish.each or 20, tell, sounds=sounds, notes=notes)

    def of(self, out: Path, seed: int, each: int, tell: Tell = lambda done, total: None, *,
           kinds: Sequence[str] = KINDS, sounds: Sequence[str] = NAMES, notes: tuple[str, ...] = ()) -> Made:
        """The questions of these types only, with these sounds."""
        asked = {kind: list(items(kind, each, seed, sounds)) for kind in kinds}
        films: dict[str, Film] = {}
        entries: list[dict[str, Any]] = []
        for number in range(each):
            for kind, several in asked.items():
                one = several[number]
                name = file_of(kind, [other.scene for other in several], number)
                films[name] = partial(write, one.scene)
                entries.append({"id": f"{kind}_{number}", "video": name, "type": kind, "plot": one.scene.plot,
                                "question": one.question.text, "answer": one.question.answer, "options": options(one)})
        facts = {"version": VERSION, "seed": seed, "each": each, "kinds": list(kinds), "sounds": list(sounds)}
        return self.made(out, facts, films, entries, tell, notes)

    def items(self, root: Path) -> Iterator[Item]:
        for entry, where in self.entries(root):
            told = {name: need(entry, name, str, where) for name in ("id", "video", "type", "question", "answer")}
            facts = {"type": told["type"], "options": str(need(entry, "options", int, where))}
            yield Item(told["id"], told["video"], (Clip(root / told["video"]),), told["question"],
                       answer=told["answer"], facts=facts)

    def chance(self, item: Item) -> float:
        return 1 / int(item.facts["options"])

    def score(self, item: Item, text: str) -> dict[str, float]:
        return {"accuracy": float(normalise(text) == normalise(item.answer))}
