"""WavCaps (as_final.json, bbc_final.json, fsd_final.json, sb_final.json): captions of sounds.

One object: `num_captions_per_audio` and `data`, a list with `id`, `caption` (`caption_1`, … where there are several)
and `duration`. `audio` only says "wav_path"; the published files are called by the id, ID.flac (of AudioSet, whose ids
end with .wav, the same name with .flac). SoundBible's first release was the bare list.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from reelm.data.convert.entries import Entries, Format, Left, Work, told, whole

ASK = "Describe what can be heard."


def entries(path: Path) -> Entries:
    """One entry per caption; the line is the number of the sound."""
    given = whole(path)
    count = 1 if isinstance(given, list) else int(given["num_captions_per_audio"])
    for number, sound in enumerate(given if isinstance(given, list) else given["data"], 1):
        for at in range(1, count + 1):
            key = "caption" if count == 1 else f"caption_{at}"
            yield number, {"id": sound.get("id"), "caption": sound.get(key)}


def record(entry: dict[str, Any], work: Work) -> dict[str, Any]:
    if entry["id"] is None or not (entry["caption"] or "").strip():
        raise Left("no id or no caption", str(entry["id"]))
    return {"id": str(entry["id"])} | told("audio", work.find(str(entry["id"]), "audio"), [(ASK, entry["caption"])])


FORMAT = Format("as_final.json, bbc_final.json, fsd_final.json, sb_final.json: captions of sounds",
                "WavCaps, arXiv:2303.17395; its README and json_files", record, entries)
