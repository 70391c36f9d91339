"""AVQA (train_qa.json, val_qa.json): questions about ten seconds of a VGGSound video that need sight and hearing.

An entry has `id`, `video_name` (YOUTUBEID_000030), `question_text`, four choices under `multi_choice`, and in `answer`
the number of the right one from 0.
"""

from __future__ import annotations

from typing import Any

from reelm.data.convert.entries import Format, Left, Work, lettered, told


def record(entry: dict[str, Any], work: Work) -> dict[str, Any]:
    choices, right = [str(choice).strip() for choice in entry["multi_choice"]], int(entry["answer"])
    if not 0 <= right < len(choices):
        raise Left("an answer that is none of the choices", f"{right} of {len(choices)}")
    turn = lettered(entry["question_text"].strip(), choices, right)
    return {"id": f"avqa-{entry['id']}"} | told("video", work.find(entry["video_name"], "video"), [turn])


FORMAT = Format("train_qa.json, val_qa.json: questions with four choices about VGGSound videos",
                "AVQA, ACM Multimedia 2022, doi:10.1145/3503161.3548291; its release", record)
