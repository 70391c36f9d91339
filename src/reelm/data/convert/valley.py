"""Valley's instructions (Valley_instruct_65k.json, …_73k.json): conversations about videos of VATEX and Jukin Media.

An entry has `source`, `video`, `v_id` and `conversations` with `<video>` in them. VATEX clips are ten seconds of a
longer video, and `v_id` ends with them: YOUTUBEID_000010_000020. They are taken cut (a file named by `v_id`) or uncut
(a file named by `video`, of which the record takes the stretch).
"""

from __future__ import annotations

import re
from typing import Any

from reelm.data.convert.entries import Format, Left, Work

_STRETCH = re.compile(r".+_(\d{6})_(\d{6})")


def record(entry: dict[str, Any], work: Work) -> dict[str, Any]:
    turns = [{"from": turn["from"], "value": turn["value"]} for turn in entry["conversations"]]
    return {"id": entry.get("id", entry["v_id"]), "video": medium(entry, work), "conversations": turns}


def medium(entry: dict[str, Any], work: Work) -> Any:
    stretch = _STRETCH.fullmatch(entry["v_id"]) if entry["source"].upper() == "VATEX" else None
    if stretch is None:
        return work.find(entry["video"], "video")
    try:
        return work.find(entry["v_id"], "video")
    except Left:
        work.missing.pop(entry["v_id"], None)
        work.notes["a stretch of an uncut VATEX video"] += 1
        return {"path": work.find(entry["video"], "video"), "start_s": float(stretch[1]), "end_s": float(stretch[2])}


FORMAT = Format("Valley_instruct_65k.json or _73k.json: conversations about VATEX and Jukin videos",
                "Valley, arXiv:2306.07207; the card of Valley-Instruct-65k", record)
