"""MUSIC-AVQA: questions about performances that need sight, hearing or both."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reelm.errors import UsageError
from reelm.tasks.base import Item, task
from reelm.tasks.exact import ExactTask
from reelm.tasks.files import need, read_json, video_file
from reelm.tasks.sound import turns
from reelm.types import Clip

_BLANK = re.compile(r"<\w+>")


@task("music_avqa")
class MusicAVQA(ExactTask):
    """`avqa-test.json` as released (question_content with blanks, templ_values, anser, type), or a list of id,
    video, conversations under the same name; videos in `videos`.

    Source: Li et al. 2022; official comparison after VideoLLaMA 2, audio_visual branch.
    """

    splits = ("needs", "about")

    def annotations(self, root: Path) -> tuple[Path, ...]:
        return (root / "avqa-test.json",)

    def items(self, root: Path) -> Iterator[Item]:
        path, = self.annotations(root)
        for place, entry in enumerate(read_json(path, list)):
            where = f"{path}, entry {place}"
            if isinstance(entry, dict) and "conversations" in entry:
                yield from _talk(entry, where, root)
            else:
                yield _released(entry, where, root)


def _released(entry: Any, where: str, root: Path) -> Item:
    name = need(entry, "video_id", str, where)
    needs, about = _list(entry, "type", where, 2)
    blanks = _BLANK.findall(need(entry, "question_content", str, where))
    question = entry["question_content"]
    for blank, value in zip(blanks, _list(entry, "templ_values", where, len(blanks)), strict=True):
        question = question.replace(blank, value, 1)
    return Item(str(need(entry, "question_id", (int, str), where)), name, (Clip(video_file(root / "videos", name)),),
                question, answer=need(entry, "anser", str, where),
                facts={"question": question, "needs": needs, "about": about})


def _talk(entry: Any, where: str, root: Path) -> Iterator[Item]:
    key, video = need(entry, "id", (str, int), where), need(entry, "video", str, where)
    for number, (question, answer) in enumerate(turns(entry, where)):
        yield Item(f"{key}/{number}" if number else str(key), video, (Clip(root / "videos" / video),), question,
                   answer=answer, facts={"question": question, "needs": "", "about": ""})


def _list(entry: Any, key: str, where: str, count: int) -> list[str]:
    """The list that the release writes as a text inside the JSON, of `count` texts."""
    try:
        found = json.loads(need(entry, key, str, where))
    except ValueError:
        found = None
    if not isinstance(found, list) or len(found) != count or not all(isinstance(one, str) for one in found):
        raise UsageError(f"{key!r} must hold {count} texts, found {str(entry[key])[:60]!r}", where=where,
                         remedy="Compare the entry with the official file")
    return found
