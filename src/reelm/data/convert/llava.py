"""LLaVA's mixes (llava_v1_5_mix665k.json and relatives): conversations with one picture each, or none.

`<image>` stands where the picture belongs. Some conversations of ShareGPT in the mix begin with the assistant or end
with the person; such turns teach no answer, are dropped as the published trainer drops them, and are counted.
"""

from __future__ import annotations

from typing import Any

from reelm.data.convert.entries import Format, Left, Work


def record(entry: dict[str, Any], work: Work) -> dict[str, Any]:
    turns = [{"from": turn["from"], "value": turn["value"]} for turn in entry["conversations"]]
    while turns and turns[0]["from"] not in ("human", "system"):
        work.notes["a first turn of the assistant dropped"] += 1
        turns.pop(0)
    while turns and turns[-1]["from"] == "human":
        work.notes["a last turn without an answer dropped"] += 1
        turns.pop()
    if not turns:
        raise Left("no answer in it")
    made: dict[str, Any] = {"id": entry["id"]} if "id" in entry else {}
    for kind in ("image", "video"):
        if entry.get(kind):
            named = entry[kind] if isinstance(entry[kind], list) else [entry[kind]]
            made[kind] = [work.find(name, kind) for name in named]
    return made | {"conversations": turns}


FORMAT = Format("llava_v1_5_mix665k.json and relatives: conversations about pictures (or videos), some of text alone",
                "LLaVA-1.5, arXiv:2310.03744; docs/Finetune_Custom_Data.md of its repository", record)
