"""EgoSchema: one question with five options about each three-minute video from a camera that somebody wears."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from reelm.tasks.base import Item, Scored, task
from reelm.tasks.choice import DIRECTLY, ChoiceTask, listed
from reelm.tasks.files import need, read_json, video_file
from reelm.tasks.letters import Official
from reelm.types import Clip


@task("egoschema")
class EgoSchema(ChoiceTask):
    """EgoSchema: `questions.json` and `good_clips_git/<q_uid>.mp4`; `subset_answers.json`, if there, tells 500 answers.

    The other answers are with the server; `submission` writes the file it takes, one per reader.
    Differs: in the file of the careful reader a reply without a clear option is -1, which is wrong wherever it counts;
    the published script calls it the third option.
    Source: Mangalam and others 2023; prompt and official reader after VideoLLaMA 2, tests/tasks/test_letters.py.
    """

    official: ClassVar[Official] = Official(letters=5, glued=" ")
    answers_with_server = True

    def annotations(self, root: Path) -> tuple[Path, ...]:
        known = root / "subset_answers.json"
        return (root / "questions.json", known) if known.is_file() else (root / "questions.json",)

    def items(self, root: Path) -> Iterator[Item]:
        questions, *known = self.annotations(root)
        answers = read_json(known[0], dict) if known else {}
        for place, entry in enumerate(read_json(questions, list)):
            where = f"{questions}, entry {place}"
            name = need(entry, "q_uid", str, where)
            options = [need(entry, f"option {number}", str, where) for number in range(5)]
            right = need(answers, name, int, str(known[0])) if name in answers else None
            yield self.choice(name, name, (Clip(video_file(root / "good_clips_git", name)),),
                              need(entry, "question", str, where), options, right)

    def prompt(self, question: str, options: Sequence[str], facts: Mapping[str, str]) -> str:
        return ("Select the best answer to the following multiple-choice question based on the video.\n"
                f"{question}\nOptions:\n{listed(options)}\n{DIRECTLY} The best answer is: ")

    def submission(self, rows: Sequence[Scored], folder: Path) -> tuple[Path, ...]:
        files = []
        for reader in ("careful", "official"):
            files.append(folder / f"egoschema_{reader}.csv")
            with files[-1].open("w", encoding="utf-8", newline="") as file:
                file.write("q_uid, answer\n")
                chosen = (self.chosen(row, reader) for row in rows)
                file.writelines(f"{row.item.id}, {-1 if one is None else one}\n"
                                for row, one in zip(rows, chosen, strict=True))
        return tuple(files)
