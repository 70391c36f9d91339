"""What VQAv2 and VizWiz share: the published way of writing answers down, and a score by what ten people answered."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reelm.tasks.base import Item, Scored, Task
from reelm.tasks.files import need
from reelm.types import Clip

#: How LLaVA and LLaMA-VID end every question that wants a short answer.
SHORTLY = "Answer the question using a single word or phrase."
_SIGNS = ";/[]\"{}()=+\\_-><@`,?!"
#: The published count of replacements is the number of a flag that stands in its place: later full stops stay.
_FULL_STOPS = int(re.UNICODE)
_ARTICLES = ("a", "an", "the")
_NUMBERS = {"none": "0"} | {word: str(value) for value, word in enumerate(
    ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"))}
_CONTRACTED = """
    ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd he'd've
    he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've might've mustn't must've needn't not've
    o'clock oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've somebody'll somebody's
    someone'd someone'd've someone'll someone's something'd something'd've something'll that's there'd there'd've
    there're there's they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's
    what've when's where'd where's where've who'd who'd've who'll who's who've why'll why're why's won't would've
    wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're you've"""
#: A form that lacks one apostrophe -> the whole form. One entry of the published table goes the other way.
_CONTRACTIONS = {form[:place] + form[place + 1:]: form for form in _CONTRACTED.split()
                 for place, sign in enumerate(form) if sign == "'"} | {"somebody'd": "somebodyd"}


def normalised(text: str) -> str:
    """An answer as the VQA script compares it: no punctuation, articles or full stops, numbers as digits, apostrophes
    put back.

    Source: GT-Vision-Lab/VQA, vqaEval.py at c4e6a0e, quirks included; examples in tests/tasks/test_vqa.py.
    """
    words = _unmarked(text.replace("\n", " ").replace("\t", " ").strip()).lower().split()
    kept = [word for word in (_NUMBERS.get(word, word) for word in words) if word not in _ARTICLES]
    return " ".join(_CONTRACTIONS.get(word, word) for word in kept)


def submitted(text: str) -> str:
    """A reply as LLaVA and LLaMA-VID hand it in: commas and question marks go first, a "'s" stands alone.

    Source: haotian-liu/LLaVA, m4c_evaluator.py.
    """
    return normalised(text.lower().replace(",", "").replace("?", "").replace("'s", " 's").strip())


def accuracy(answer: str, answers: Sequence[str]) -> float:
    """The mean, over leaving out each person's answer once, of min(1, how many of the others said the same / 3).

    Differs: none. The published script takes the punctuation out of people's answers only where they differ.
    Source: GT-Vision-Lab/VQA, vqaEval.py at c4e6a0e; by hand in tests/tasks/test_vqa.py.
    """
    said = normalised(answer)
    known = [_unmarked(one) for one in answers] if len(set(answers)) > 1 else list(answers)
    same = known.count(said)
    return sum(min(1.0, (same - (one == said)) / 3) for one in known) / len(known)


def _unmarked(text: str) -> str:
    """Without signs. One that stands beside a space anywhere goes, as do all once a comma parts digits; any other
    becomes a space."""
    goes = bool(re.search(r"\d,\d", text))
    bare = text
    for sign in _SIGNS:
        bare = bare.replace(sign, "" if goes or f"{sign} " in text or f" {sign}" in text else " ")
    return re.sub(r"\.(?!\d)", "", bare, count=_FULL_STOPS)


class PeopleAnswered(Task):
    """Short answers, scored against what people said: `accuracy` of the reply as it would be handed in.

    `empty`: nothing of the reply is left then. `oracle` is what most people said, which is not worth 1 where they
    disagree. `Item.facts["answers"]`: all their answers as a JSON list, "" where only a server has them.
    """

    def asked(self, id: str, picture: Path, text: str, entry: Mapping[str, Any], where: str, **facts: str) -> Item:
        """An item about a picture; `entry["answers"]`, if there, are the answers."""
        told = [need(one, "answer", str, where) for one in need(entry, "answers", list, where)] \
            if "answers" in entry else []
        # As the script would find it: one of the answers, in the form in which it is compared.
        most = Counter(map(normalised, told)).most_common(1)[0][0] if told else ""
        return Item(id, picture.stem, (Clip(picture),), text, answer=most,
                    facts={"answers": json.dumps(told, ensure_ascii=False) if told else "", **facts})

    def chance(self, item: Item) -> float:
        return 0.0

    def score(self, item: Item, text: str) -> dict[str, float]:
        answer = submitted(text)
        scores = {"empty": float(not answer)}
        if item.facts["answers"]:
            scores["accuracy"] = accuracy(answer, json.loads(item.facts["answers"]))
        return scores


def written(path: Path, rows: Sequence[Scored], name: str, key: dict[str, Any]) -> Path:
    """The file a server takes: a list of {`name`: the key of an item's id, "answer"}, for all keys in their order; one
    that was not asked has an empty answer."""
    told = {row.item.id: submitted(row.reply) for row in rows}
    path.write_text(json.dumps([{name: value, "answer": told.get(id, "")} for id, value in key.items()]), "utf-8")
    return path
