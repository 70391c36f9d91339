"""Animal Kingdom's video grounding as actions: what an animal does in a stretch of a video.

train.txt and test.txt have a line for each sentence: CLIP start end##sentence, in seconds. Sentences about the same
stretch are one record. A stretch is ended where ak_vg_duration.json, if it lies beside the list, says that the clip
ends, as the published loader does.
"""

from __future__ import annotations

from pathlib import Path

from reelm.data.convert.entries import Entries, Format, Left, Work, lines, told, whole

ASK = "Say what the animals do here."
Stretch = tuple[str, float, float]
Entry = tuple[str, float, float, float | None, list[str]]


def entries(path: Path) -> Entries:
    """One entry per stretch: (clip, start, end, seconds of the clip or None, sentences)."""
    beside = path.with_name("ak_vg_duration.json")
    lasts = whole(beside) if beside.is_file() else {}
    found: dict[Stretch, tuple[int, list[str]]] = {}
    for number, line in lines(path):
        head, mark, sentence = line.partition("##")
        try:
            clip, start, end = head.split()
            stretch = (clip, float(start), float(end))
        except ValueError:
            mark = ""
        if not mark or not sentence.strip():
            yield number, Left("cannot be read", line[:200])
            continue
        found.setdefault(stretch, (number, []))[1].append(sentence.strip())
    for (clip, start_s, end_s), (number, sentences) in found.items():
        length = lasts.get(clip, {}).get("duration")
        yield number, (clip, start_s, end_s, None if length is None else float(length), sentences)


def stretch(entry: Entry) -> tuple[str, float, float, str]:
    """(clip, start, end, what happens): ended with its clip, sentences joined, each once. Raises: Left."""
    clip, start_s, end_s, length_s, sentences = entry
    end_s = end_s if length_s is None else min(end_s, length_s)
    if not 0 <= start_s < end_s:
        raise Left("a stretch that ends before it begins", f"{clip} {start_s:g} {end_s:g}")
    return clip, start_s, end_s, " ".join(dict.fromkeys(sentences))


def record(entry: Entry, work: Work) -> dict[str, object]:
    clip, start_s, end_s, answer = stretch(entry)
    work.notes["a stretch ended with its clip"] += end_s < entry[2]
    work.notes["a sentence joined to another about the same stretch"] += len(entry[4]) - 1
    medium = {"path": work.find(clip, "video"), "start_s": start_s, "end_s": end_s}
    return {"id": f"{clip}-{start_s:g}-{end_s:g}"} | told("video", medium, [(ASK, answer)])


FORMAT = Format("video_grounding's train.txt and test.txt: what animals do in stretches of videos",
                "Animal Kingdom, arXiv:2204.08129; README_video_grounding.md of its repository", record, entries)
