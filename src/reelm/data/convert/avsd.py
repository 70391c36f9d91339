"""AVSD: ten questions and answers about a Charades video, as one conversation. Both published forms are read.

DSTC7 (train_set4DSTC7-AVSD.json): {"dialogs": [{"image_id", "dialog": [{"question", "answer"}], "caption",
"summary"}]}; video-dialog.com (avsd_train.json): {ID: {"data": [{"question", "answer"}], "summary", "script"}}.
Caption, script and summary were hidden from the person who asked, and are not used.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from reelm.data.convert.entries import Entries, Format, Left, Work, told, whole

_HIDDEN = "__UNDISCLOSED__"


def entries(path: Path) -> Entries:
    """One entry per video, (id, rounds); the line is its number."""
    given = whole(path)
    if "dialogs" in given:
        pairs = [(one.get("image_id"), one.get("dialog")) for one in given["dialogs"]]
    else:
        pairs = [(name, one.get("data")) for name, one in given.items()]
    yield from enumerate(pairs, 1)


def record(entry: tuple[str, list[dict[str, Any]]], work: Work) -> dict[str, Any]:
    name, rounds = entry
    told_rounds = [(one["question"], one["answer"]) for one in rounds]
    kept = [pair for pair in told_rounds if all(text.strip() and text.strip() != _HIDDEN for text in pair)]
    work.notes["a round without a question or an answer dropped"] += len(told_rounds) - len(kept)
    if not kept:
        raise Left("no round with an answer", name)
    return {"id": name} | told("video", work.find(name, "video"), kept)


FORMAT = Format("train_set4DSTC7-AVSD.json or avsd_train.json: dialogues about Charades videos",
                "AVSD, arXiv:1901.09107 and DSTC7 track 3, arXiv:1806.00525", record, entries)
