"""MMBench: abilities by the dozen, options in every order, pictures inside the table."""

from __future__ import annotations

import base64
import binascii
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any, ClassVar

from reelm.errors import UsageError
from reelm.tasks.base import Item, Scored, task
from reelm.tasks.choice import BY_LETTER, ChoiceTask, Reader, listed
from reelm.tasks.files import need, read_parquet, read_table
from reelm.tasks.letters import LETTERS
from reelm.types import Clip

#: A question has the same number below this in all of its turns; the turn is what stands above.
_TURN = 1_000_000
_OPTIONS = LETTERS[:4]
#: A shorter field names the row that has the picture.
_SHORTEST = 64


class MMBenchReader:
    """A reply that is a letter in either case; else "the answer is B." anywhere, the first letter that stands so; else
    a reply that is part of one option only.

    Differs: LLaVA's script asks a judge about what is left; here that is unread.
    Source: haotian-liu/LLaVA, eval_mmbench.py; examples in tests/tasks/test_mmbench.py.
    """

    def read(self, reply: str, options: Sequence[str]) -> int | None:
        known, said = LETTERS[:len(options)], reply.lower()
        letter = reply.strip(".").strip().upper()
        if letter in tuple(known):
            return known.index(letter)
        named = [place for place, one in enumerate(known) if f"the answer is {one.lower()}." in said]
        inside = [place for place, option in enumerate(options) if said in option.lower()]
        return named[0] if named else inside[0] if len(inside) == 1 else None


@task("mmbench")
class MMBench(ChoiceTask):
    """One table in the folder, `*.tsv` or `*.parquet`, as published (`mmbench_dev_20230712.tsv` and later ones).

    The early tables hold every question once for each turn of its options (index + 1000000 per turn); of a table
    without them the turns are made. `circular` is the figure to publish: a question counts when it is answered rightly
    in all of its turns; `vanilla` is the first turn alone. Questions that `limit` cut in the middle are in neither.
    `submission` writes the sheet that the server takes.
    Source: Liu and others 2023; prompt and official reader after LLaVA and LLaMA-VID.
    """

    official: ClassVar[Reader | None] = MMBenchReader()
    splits = ("category", "l2-category")
    answers_with_server = True  # those of the test part

    def annotations(self, root: Path) -> tuple[Path, ...]:
        found = sorted(path for form in ("*.tsv", "*.parquet") for path in root.glob(form))
        if len(found) != 1:
            raise UsageError(f"{len(found)} tables (*.tsv, *.parquet) where one is expected", where=str(root),
                             remedy="Place one official table there, for example mmbench_dev_20230712.tsv")
        return tuple(found)

    def items(self, root: Path) -> Iterator[Item]:
        path, = self.annotations(root)
        rows = read_table(path) if path.suffix == ".tsv" else read_parquet(path)
        numbers = [_number(row, f"{path}, row {place}") for place, row in enumerate(rows)]
        if twice := [str(number) for number, count in Counter(numbers).items() if count > 1]:
            raise UsageError(f"'index' {', '.join(twice[:3])} stands more than once", where=str(path),
                             remedy="Place the official file there")
        pictures = _Pictures(dict(zip(numbers, rows, strict=True)))
        turned = any(number >= _TURN for number in numbers)
        for place, (number, row) in enumerate(zip(numbers, rows, strict=True)):
            item = self._item(number, row, pictures.of(number, f"{path}, row {place}"), f"{path}, row {place}")
            if turned:
                yield item
                continue
            for by in range(len(item.options)):
                one = self.rotated(item, by)
                yield replace(one, id=str(number + by * _TURN), facts={**one.facts, "turn": str(by)})

    def _item(self, number: int, row: Mapping[str, Any], picture: bytes, where: str) -> Item:
        options: list[str] = []
        for letter in _OPTIONS:
            if not (option := _told(row, letter)):
                break
            options.append(option)
        right, group = _told(row, "answer"), str(number % _TURN)
        if len(options) < 2 or (right and right not in tuple(LETTERS[:len(options)])):
            raise UsageError(f"{len(options)} options with the answer {right[:40]!r}", where=where,
                             remedy="Compare the entry with the official file")
        facts = {"group": group, "turn": str(number // _TURN), "hint": _told(row, "hint"),
                 **{name: _told(row, name) for name in self.splits}}
        return self.choice(str(number), group, (Clip(picture),), need(row, "question", str, where), options,
                           LETTERS.index(right) if right else None, facts)

    def prompt(self, question: str, options: Sequence[str], facts: Mapping[str, str]) -> str:
        hint = f"{facts['hint']}\n" if facts["hint"] else ""
        return f"{hint}{question}\n{listed(options, '{letter}. {option}')}\n{BY_LETTER}"

    def rotations(self, item: Item) -> tuple[Item, ...]:
        return (item,)  # its turns are items already

    def summary(self, rows: Sequence[Scored]) -> dict[str, float]:
        told: dict[str, float] = {}
        for suffix, score in (("", "accuracy"), (" official", "accuracy_official")):
            groups: dict[str, list[Scored]] = {}
            for row in rows:
                if score in row.scores:
                    groups.setdefault(row.item.facts["group"], []).append(row)
            whole = [some for some in groups.values() if len(some) == len(some[0].item.options)]
            hits = {some[0].item.facts["group"]: min(row.scores[score] for row in some) for some in whole}
            kinds = {some[0].item.facts["group"]: some[0].item.facts["l2-category"] for some in whole}
            first = [row.scores[score] for some in whole for row in some if row.item.facts["turn"] == "0"]
            told |= {f"circular{suffix}": fmean(hits.values()), f"vanilla{suffix}": fmean(first)} if first else {}
            told |= {f"circular{suffix}: {kind}": fmean(hits[group] for group in hits if kinds[group] == kind)
                     for kind in sorted(set(kinds.values()))}
        return told

    def submission(self, rows: Sequence[Scored], folder: Path) -> tuple[Path, ...]:
        try:
            from openpyxl import Workbook
            from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE
        except ImportError:
            raise UsageError("the server's sheet needs openpyxl", remedy="pip install 'reelm[eval]'") from None
        book = Workbook()
        book.active.append(["index", "question", *_OPTIONS, "prediction", "answer"])
        for line, row in enumerate(rows, 2):
            options = [*row.item.options, *[""] * (len(_OPTIONS) - len(row.item.options))]
            told = [row.item.facts["question"], *options, row.reply, row.item.answer]
            book.active.cell(line, 1, int(row.item.id))
            for column, text in enumerate(told, 2):
                cell = book.active.cell(line, column, ILLEGAL_CHARACTERS_RE.sub("\ufffd", text))
                cell.data_type = "s"  # a reply may begin with the sign of a formula
        path = folder / "mmbench.xlsx"
        book.save(path)
        return (path,)


class _Pictures:
    """The pictures of a table by the number of their row; turns of a question share one."""

    def __init__(self, rows: Mapping[int, Mapping[str, Any]]) -> None:
        self._rows = rows
        self._decoded: dict[str, bytes] = {}

    def of(self, number: int, where: str) -> bytes:
        """Raises: UsageError where there is none, or it is no base64."""
        found = self._rows[number].get("image")
        if isinstance(found, str) and len(found) <= _SHORTEST and found.isdigit() and int(found) in self._rows:
            found = self._rows[int(found)].get("image")
        if isinstance(found, Mapping):
            found = found.get("bytes")
        if isinstance(found, bytes) and found:
            return found
        try:
            if not isinstance(found, str) or not found:
                raise ValueError(f"there is {type(found).__name__}")
            if found not in self._decoded:
                self._decoded[found] = base64.b64decode(found, validate=True)
            return self._decoded[found]
        except (ValueError, binascii.Error) as error:
            raise UsageError(f"'image' holds no picture in base64: {error}", where=where,
                             remedy="Compare the entry with the official file") from None


def _number(row: Mapping[str, Any], where: str) -> int:
    found = row.get("index")
    if isinstance(found, bool) or not (isinstance(found, int) or (isinstance(found, str) and found.isdigit())):
        raise UsageError(f"'index' is {str(found)[:40]!r}, not a number", where=where,
                         remedy="Compare the entry with the official file")
    return int(found)


def _told(row: Mapping[str, Any], name: str) -> str:
    """The text of a field; "" where it is absent or says nan or none, as the scripts take it."""
    found = row.get(name)
    text = "" if found is None else str(found)
    return "" if text.lower() in ("nan", "none") else text
