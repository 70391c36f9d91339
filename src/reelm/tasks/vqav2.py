"""VQAv2: short questions about photographs, each with ten people's answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from reelm.errors import UsageError
from reelm.tasks.base import Item, Scored, task
from reelm.tasks.files import need, read_json
from reelm.tasks.vqa import SHORTLY, PeopleAnswered, written


def _questions(path: Path) -> list[Any]:
    return list(need(read_json(path, dict), "questions", list, str(path)))


def _picture(root: Path, part: str, entry: Any, where: str) -> Path:
    return root / part / f"COCO_{part}_{need(entry, 'image_id', int, where):012d}.jpg"


@task("vqav2")
class VQAv2(PeopleAnswered):
    """The questions of test-dev: `v2_OpenEnded_mscoco_test-dev2015_questions.json` and `test2015/`.

    The server wants an answer to every question of `v2_OpenEnded_mscoco_test2015_questions.json`, which is read too:
    in the file of `submission` those outside test-dev are empty, as LLaVA hands them in.
    Source: Goyal and others 2017; prompt after LLaVA and LLaMA-VID, answers handed in and scored as of `vqa`.
    """

    answers_with_server = True

    def annotations(self, root: Path) -> tuple[Path, ...]:
        return tuple(root / f"v2_OpenEnded_mscoco_{part}2015_questions.json" for part in ("test-dev", "test"))

    def items(self, root: Path) -> Iterator[Item]:
        path, whole = self.annotations(root)
        known = {need(entry, "question_id", int, str(whole)) for entry in _questions(whole)}
        for place, entry in enumerate(_questions(path)):
            where = f"{path}, question {place}"
            key, question = need(entry, "question_id", int, where), need(entry, "question", str, where)
            if key not in known:
                raise UsageError(f"question {key} is not in {whole.name}", where=where,
                                 remedy="Take both files of one release")
            yield self.asked(str(key), _picture(root, "test2015", entry, where), f"{question}\n{SHORTLY}", {}, where,
                             question=question, whole=str(whole))

    def submission(self, rows: Sequence[Scored], folder: Path) -> tuple[Path, ...]:
        keys = {str(entry["question_id"]): entry["question_id"] for whole in {row.item.facts["whole"] for row in rows}
                for entry in _questions(Path(whole))}
        return (written(folder / "vqav2.json", rows, "question_id", keys),)


@task("vqav2_validation")
class VQAv2Validation(PeopleAnswered):
    """The validation part, whose answers are public: `v2_OpenEnded_mscoco_val2014_questions.json`,
    `v2_mscoco_val2014_annotations.json` and `val2014/`. Source: as of `vqav2`.
    """

    splits = ("answer_type",)

    def annotations(self, root: Path) -> tuple[Path, ...]:
        return root / "v2_OpenEnded_mscoco_val2014_questions.json", root / "v2_mscoco_val2014_annotations.json"

    def items(self, root: Path) -> Iterator[Item]:
        path, answers = self.annotations(root)
        told = {need(entry, "question_id", int, str(answers)): entry
                for entry in need(read_json(answers, dict), "annotations", list, str(answers))}
        for place, entry in enumerate(_questions(path)):
            where = f"{path}, question {place}"
            key, question = need(entry, "question_id", int, where), need(entry, "question", str, where)
            if key not in told:
                raise UsageError(f"question {key} has no answers in {answers.name}", where=where,
                                 remedy="Take both files of one release")
            yield self.asked(str(key), _picture(root, "val2014", entry, where), f"{question}\n{SHORTLY}", told[key],
                             f"{answers}, question {key}", question=question,
                             answer_type=need(told[key], "answer_type", str, f"{answers}, question {key}"))
