"""Temporal understanding in the manner of TempCompass: clips that differ in nothing but time, asked in four forms."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from reelm.tasks.base import Item, Made, Scored, Tell, Wish, task
from reelm.tasks.choice import DIRECTLY, ChoiceTask, listed
from reelm.tasks.files import need, words
from reelm.tasks.letters import LETTERS, careful, worded
from reelm.tasks.making import Film, Generated
from reelm.tasks.temporal_make import ASPECTS, Pair, pair, write
from reelm.types import Clip

#: Grows when the same wish makes other files.
VERSION = 1
FORMS = ("multi-choice", "yes_no", "caption_matching", "captioning")
#: Forms that show letters, whose options can be turned.
_LETTERED = ("multi-choice", "caption_matching")
_SIDES = "ab"


@task("temporal")
class Temporal(Generated, ChoiceTask):
    """Five aspects (action, direction, speed, order of events, attribute change) in four forms: a choice, yes or no,
    one of two captions, a caption of one's own that is read for the options' words.

    The two clips of a pair hold the same pictures, each once, in another order. `pairs` in the summary: the share of
    questions that are right about both clips of a pair; who does not see time gets none of them right, and who guesses
    each time by itself the square of chance.
    Source: Liu and others 2024, TempCompass: aspects, forms and conflicting pairs.
    Differs: clips are drawn, not filmed; a caption is read by rules, not by a language model; one statement per pair is
    asked with yes or no; `official` is None, the published rules of reading are not reproduced.
    """

    official = None
    splits = ("aspect", "form", "cell")

    def make(self, out: Path, wish: Wish, tell: Tell = lambda done, total: None) -> Made:
        """8 pairs of every aspect unless `wish.each` says otherwise; a pair has two clips and eight questions."""
        return self.of(out, wish.seed, wish.each or 8, tell)

    def of(self, out: Path, seed: int, each: int, tell: Tell = lambda done, total: None,
           aspects: Sequence[str] = tuple(ASPECTS)) -> Made:
        """The pairs of these aspects only."""
        films: dict[str, Film] = {}
        entries: list[dict[str, Any]] = []
        for number in range(each):
            for aspect in aspects:
                name, both = f"{aspect}_{number}", pair(aspect, number, seed)
                films |= {f"{name}{side}.mp4": partial(write, both.states, way)
                          for side, way in zip(_SIDES, both.ways, strict=True)}
                entries += asked(name, both, np.random.default_rng([seed, number, list(ASPECTS).index(aspect), 6]))
        facts = {"version": VERSION, "seed": seed, "each": each, "aspects": list(aspects)}
        return self.made(out, facts, films, entries, tell)

    def items(self, root: Path) -> Iterator[Item]:
        for entry, where in self.entries(root):
            told = {name: need(entry, name, str, where)
                    for name in ("id", "pair", "video", "aspect", "form", "question", "caption")}
            facts = {name: told[name] for name in ("pair", "aspect", "form", "caption")}
            yield self.choice(told["id"], told["pair"], (Clip(root / told["video"]),), told["question"],
                              words(entry, "options", where), need(entry, "answer", int, where),
                              facts | {"cell": f"{told['aspect']}/{told['form']}"})

    def prompt(self, question: str, options: Sequence[str], facts: Mapping[str, str]) -> str:
        return f"{question}\n{listed(options)}\n{DIRECTLY}" if facts["form"] in _LETTERED else question

    def score(self, item: Item, text: str) -> dict[str, float]:
        read = _READERS[item.facts["form"]](text, item)
        return {"accuracy": float(read is not None and LETTERS[read] == item.answer), "unread": float(read is None)}

    def oracle(self, item: Item) -> str:
        plain = {"yes_no": item.options[LETTERS.index(item.answer)], "captioning": item.facts["caption"]}
        return plain.get(item.facts["form"], item.answer)

    def rotations(self, item: Item) -> tuple[Item, ...]:
        return super().rotations(item) if item.facts["form"] in _LETTERED else (item,)

    def summary(self, rows: Sequence[Scored]) -> dict[str, float]:
        """"pairs", and of every aspect and form "pairs_…": both clips of a pair right, where both were asked."""
        groups: dict[tuple[str, ...], list[float]] = defaultdict(list)
        for row in rows:
            facts = row.item.facts
            key = (facts["aspect"], facts["form"], facts["pair"], facts.get("turned", ""))
            groups[key].append(row.scores["accuracy"])
        whole = {key: min(values) for key, values in groups.items() if len(values) == len(_SIDES)}
        if not whole:
            return {}
        kinds = dict.fromkeys([*ASPECTS, *FORMS])
        several = {kind: [right for key, right in whole.items() if kind in key[:2]] for kind in kinds}
        told = {f"pairs_{kind}": sum(some) / len(some) for kind, some in several.items() if some}
        return {"pairs": sum(whole.values()) / len(whole)} | told


def asked(name: str, both: Pair, rng: np.random.Generator) -> list[dict[str, Any]]:
    """The eight questions about a pair; both clips are asked the same, and only the answer differs."""
    options = [both.options[i] for i in rng.permutation(len(both.options))]
    stated = both.ways[int(rng.integers(2))]
    captions = [both.ways[i].caption for i in rng.permutation(2)]
    entries = []
    for side, way in zip(_SIDES, both.ways, strict=True):
        for form, (question, several, right) in {
            "multi-choice": (both.question, options, options.index(way.option)),
            "yes_no": (f"{stated.asks} Answer yes or no.", ["yes", "no"], int(way is not stated)),
            "caption_matching": ("Which caption fits the video?", captions, captions.index(way.caption)),
            "captioning": (f"Write one sentence about this video. Say {both.wants}.", options,
                           options.index(way.option)),
        }.items():
            entries.append({"id": f"{name}{side}_{form}", "pair": name, "video": f"{name}{side}.mp4",
                            "aspect": both.aspect, "form": form, "question": question, "options": several,
                            "answer": right, "caption": way.caption})
    return entries


def _chosen(text: str, item: Item) -> int | None:
    return careful(text, item.options)


def _yes_no(text: str, item: Item) -> int | None:
    return worded(text, item.options)


def _caption(text: str, item: Item) -> int | None:
    """Which option a caption says: by its words; an order by which object is named when."""
    if item.facts["aspect"] != "order":
        return worded(re.sub(r"\b(left|right|up|down)wards?\b", r"\1", text, flags=re.IGNORECASE), item.options)
    kinds = [re.findall(r"the (\w+)", option) for option in item.options]
    found = {kind: re.search(rf"\b{kind}(?:e?s)?\b", text, re.IGNORECASE) for kind in kinds[0]}
    if not all(found.values()):
        return None
    said = sorted(found, key=lambda kind: found[kind].start())  # type: ignore[union-attr]
    return kinds.index(said) if said in kinds else None


_READERS: dict[str, Callable[[str, Item], int | None]] = {
    "multi-choice": _chosen, "yes_no": _yes_no, "caption_matching": _chosen, "captioning": _caption}
