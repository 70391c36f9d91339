"""POPE: is this object in the picture? Half of the objects asked for are not there."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import fmean

from reelm.errors import UsageError
from reelm.tasks.base import Item, Scored, Task, task
from reelm.tasks.files import need, read_lines
from reelm.tasks.vqa import SHORTLY
from reelm.types import Clip

#: How the objects that are not there were chosen: by chance, the most frequent ones, those that go with what is there.
KINDS = ("random", "popular", "adversarial")


def official_yes(text: str) -> bool:
    """Whether the published script takes a reply for a yes: whatever has no "No", "no" or "not" between spaces before
    the first full stop, commas aside.

    Source: haotian-liu/LLaVA, eval_pope.py, as used by LLaMA-VID.
    """
    return not {"No", "not", "no"} & set(text.split(".")[0].replace(",", "").split(" "))


def careful_yes(text: str) -> bool | None:
    """Whether the first sentence of a reply says yes; None if it says neither or both.

    A yes or no at its beginning decides; else a denial is a no, and "there is" without one a yes.
    """
    plain = text.casefold().replace("\u2019", "'")
    said = next((found for part in re.split(r"[.!?;\n]", plain) if (found := re.findall(r"[\w']+", part))), [])
    if {"yes", "no"} <= set(said):
        return None
    if said[:1] in (["yes"], ["no"]):
        return said[0] == "yes"
    if any(word in ("no", "not", "none", "cannot") or word.endswith("n't") for word in said):
        return False
    return True if "yes" in said or said[:2] in (["there", "is"], ["there", "are"]) else None


@task("pope")
class POPE(Task):
    """`coco_pope_random.json`, `coco_pope_popular.json`, `coco_pope_adversarial.json` and `val2014/`.

    `accuracy` with care, `accuracy_official` as LLaVA's script reads; `unread`: neither yes nor no, which is wrong.
    `summary`: precision, recall, F1 and the rate of yes for each kind, by both readers; F1 is published as the mean
    over the kinds too. A figure whose denominator is 0 is left out, where the script would fail.
    Source: Li and others 2023; prompt and official reader after LLaVA and LLaMA-VID.
    """

    splits = ("kind",)

    def annotations(self, root: Path) -> tuple[Path, ...]:
        return tuple(root / f"coco_pope_{kind}.json" for kind in KINDS)

    def items(self, root: Path) -> Iterator[Item]:
        for kind, path in zip(KINDS, self.annotations(root), strict=True):
            for place, entry in enumerate(read_lines(path)):
                where = f"{path}, entry {place}"
                picture, question, label = (need(entry, key, str, where) for key in ("image", "text", "label"))
                if label not in ("yes", "no"):
                    raise UsageError(f"'label' is {label[:40]!r}", where=where, remedy="It must be yes or no")
                yield Item(f"{kind}/{need(entry, 'question_id', int, where)}", picture,
                           (Clip(root / "val2014" / picture),), f"{question}\n{SHORTLY}", answer=label,
                           facts={"kind": kind, "question": question})

    def chance(self, item: Item) -> float:
        return 0.5

    def score(self, item: Item, text: str) -> dict[str, float]:
        right, read = item.answer == "yes", careful_yes(text)
        return {"accuracy": float(read is right), "accuracy_official": float(official_yes(text) is right),
                "unread": float(read is None)}

    def summary(self, rows: Sequence[Scored]) -> dict[str, float]:
        readers: dict[str, Callable[[str], bool | None]] = {"": careful_yes, "official ": official_yes}
        told: dict[str, float] = {}
        for prefix, reader in readers.items():
            for kind in KINDS:
                pairs = [(reader(row.reply), row.item.answer == "yes") for row in rows
                         if row.item.facts["kind"] == kind]
                told |= {f"{prefix}{kind} {name}": value for name, value in _rates(pairs).items()}
            f1 = [value for name, value in told.items() if name in [f"{prefix}{kind} f1" for kind in KINDS]]
            told |= {f"{prefix}mean f1": fmean(f1)} if len(f1) == len(KINDS) else {}
        return told


def _rates(pairs: Sequence[tuple[bool | None, bool]]) -> dict[str, float]:
    """Of (said yes, is so): precision, recall, F1 and the rate of yes, as far as they are defined."""
    if not pairs:
        return {}
    hits = sum(said is True and so for said, so in pairs)
    yes, there = sum(said is True for said, _ in pairs), sum(so for _, so in pairs)
    told = {"precision": hits / yes} if yes else {}
    told |= {"recall": hits / there} if there else {}
    told |= {"f1": 2 * hits / (yes + there)} if yes and there and hits else {}
    return told | {"yes rate": yes / len(pairs)}
