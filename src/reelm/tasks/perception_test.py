"""Perception Test: several questions with three options about each short video."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from reelm.tasks.base import Item, Scored, task
from reelm.tasks.choice import DIRECTLY, ChoiceTask, listed
from reelm.tasks.files import need, read_json, video_file, words
from reelm.tasks.letters import Official
from reelm.types import Clip

_FILES = {"test": "mc_question_test.json", "validation": "mc_question_valid.json"}


@task("perception_test")
class PerceptionTest(ChoiceTask):
    """Perception Test, its questions with options: `mc_question_test.json` and `videos/<video_id>.mp4`.

    `submission` writes the file that the server takes, one per reader.
    Differs: in the file of the careful reader a reply without a clear option has `answer_id` -1 and no words; the
    published script calls it the third option.
    Source: Patraucean and others 2023; prompt and official reader after VideoLLaMA 2, tests/tasks/test_letters.py.
    """

    official: ClassVar[Official] = Official(letters=3, text="whole")
    splits = ("area", "reasoning")
    answers_with_server = True
    part: ClassVar[str] = "test"

    def annotations(self, root: Path) -> tuple[Path, ...]:
        return (root / _FILES[self.part],)

    def items(self, root: Path) -> Iterator[Item]:
        file, = self.annotations(root)
        for key, entry in read_json(file, dict).items():
            video = need(need(entry, "metadata", dict, f"{file}, {key}"), "video_id", str, f"{file}, {key}")
            for question in need(entry, "mc_question", list, f"{file}, {key}"):
                where = f"{file}, {key}, question {question.get('id') if isinstance(question, dict) else question}"
                right = need(question, "answer_id", int, where) if not self.answers_with_server else None
                facts = {fact: str(question.get(fact, "")) for fact in self.splits}
                yield self.choice(f"{video}/{need(question, 'id', int, where)}", video,
                                  (Clip(video_file(root / "videos", video)),), need(question, "question", str, where),
                                  words(question, "options", where), right, facts)

    def prompt(self, question: str, options: Sequence[str], facts: Mapping[str, str]) -> str:
        return f"Question: {question}\nOptions:\n{listed(options)}\n{DIRECTLY}"

    def submission(self, rows: Sequence[Scored], folder: Path) -> tuple[Path, ...]:
        files = []
        for reader in ("careful", "official"):
            videos: dict[str, list[dict[str, Any]]] = {}
            for row in rows:
                chosen = self.chosen(row, reader)
                videos.setdefault(row.item.video, []).append({
                    "id": int(row.item.id.rpartition("/")[2]), "answer_id": -1 if chosen is None else chosen,
                    "answer": "" if chosen is None else row.item.options[chosen]})
            files.append(folder / f"perception_test_{reader}.json")
            files[-1].write_text(json.dumps(videos), encoding="utf-8")
        return tuple(files)


@task("perception_test_validation")
class PerceptionTestValidation(PerceptionTest):
    """Perception Test, the validation part, whose answers are public: `mc_question_valid.json` and `videos/`.

    Source: as of `perception_test`.
    """

    answers_with_server = False
    part = "validation"
