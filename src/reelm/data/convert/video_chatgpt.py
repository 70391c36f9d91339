"""Video-ChatGPT's VideoInstruct-100K: a question and an answer about an ActivityNet video, [{"q", "a", "video_id"}]."""

from __future__ import annotations

from typing import Any

from reelm.data.convert.entries import Format, Work, told


def record(entry: dict[str, Any], work: Work) -> dict[str, Any]:
    """Differs: the published training script puts the video behind every second question; here it stands before all."""
    return {"id": entry["video_id"]} | told("video", work.find(entry["video_id"], "video"), [(entry["q"], entry["a"])])


FORMAT = Format("VideoInstruct100K.json: questions and answers about ActivityNet videos",
                "Video-ChatGPT, arXiv:2306.05424; its convert_instruction_json_to_training_format.py", record)
