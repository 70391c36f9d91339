"""Video-MME: three questions with four options about each of 900 short, medium and long videos."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from reelm import media
from reelm.errors import UsageError
from reelm.tasks.base import Item, Scored, task
from reelm.tasks.choice import DIRECTLY, ChoiceTask, listed
from reelm.tasks.files import need, read_parquet, video_file, words
from reelm.tasks.letters import LETTERS, Official
from reelm.types import Clip, Part

_FILE = "test-00000-of-00001.parquet"
DURATIONS = ("short", "medium", "long")
DOMAINS = ("Knowledge", "Film & Television", "Sports Competition", "Artistic Performance", "Life Record",
           "Multilingual")
#: The one prefix of the script with a B in it; two commas are missing there, so that "Best answer:" alone stays.
_JOINED_PREFIX = "Best answer:Best option:"


def script_letter(response: str) -> str:
    """The letter that the benchmark's own script finds in a response: the first of A to D anywhere, "" if none."""
    found = re.search("[ABCD]", response.replace(_JOINED_PREFIX, ""))
    return found[0] if found else ""


def script_table(answers: Iterable[tuple[str, str, str, str]]) -> dict[tuple[str, str], float]:
    """What that script reports, in percent: (short, medium, long or all; a domain or Overall) -> right / answered.

    `answers` are (duration, domain, right letter, response). A response without a letter leaves the denominator too;
    where nothing was answered the script says 0.
    """
    counts: dict[tuple[str, str], list[int]] = {
        (block, domain): [0, 0] for block in (*DURATIONS, "all") for domain in (*DOMAINS, "Overall")}
    for duration, domain, right, response in answers:
        letter = script_letter(response)
        for block in (duration, "all"):
            for row in (domain, "Overall"):
                counts[block, row][0] += letter == right
                counts[block, row][1] += letter != ""
    return {key: 100 * right / answered if answered else 0.0 for key, (right, answered) in counts.items()}


@task("video_mme")
class VideoMME(ChoiceTask):
    """Video-MME without subtitles: `test-00000-of-00001.parquet` and `videos/<id>.mp4`, the id being that of its url.

    `summary` is the table of the benchmark's own script over the official reader's letters, in percent.
    Differs: letters of the file ("A. Lamps.") are written anew before the options, always with one space.
    Source: Fu and others 2024; prompt and official reader after VideoLLaMA 2, tests/tasks/test_letters.py; table equal
    to the recorded one, tests/tasks/test_video_mme.py.
    """

    official: ClassVar[Official] = Official(letters=4, text="part", cut_last=True, digits_spelled=True)
    splits: ClassVar[tuple[str, ...]] = ("duration", "domain", "sub_category", "task_type")

    def annotations(self, root: Path) -> tuple[Path, ...]:
        return (root / _FILE,)

    def items(self, root: Path) -> Iterator[Item]:
        for place, entry in enumerate(read_parquet(root / _FILE)):
            where = f"{root / _FILE}, row {place}"
            _, marked, name = need(entry, "url", str, where).partition("watch?v=")
            if not marked or not name:
                raise UsageError(f"no watch?v= in {entry['url']!r}", where=where,
                                 remedy="Place the official file there")
            options, right = _choices(entry, where)
            facts = {fact: need(entry, fact, str, where) for fact in VideoMME.splits}
            facts |= self.beside(root, name)
            yield self.choice(need(entry, "question_id", str, where), name, (Clip(video_file(root / "videos", name)),),
                              need(entry, "question", str, where), options, right, facts)

    def beside(self, root: Path, name: str) -> dict[str, str]:
        """Further facts about the video `name`."""
        return {}

    def prompt(self, question: str, options: Sequence[str], facts: Mapping[str, str]) -> str:
        return ("Select the best answer to the following multiple-choice question based on the video. Respond with "
                f"only the letter (A, B, C, or D) of the correct option.\n{question}\n"
                f"{listed(options, '{letter}. {option}')}\n{DIRECTLY} The best answer is: ")

    def summary(self, rows: Sequence[Scored]) -> dict[str, float]:
        table = script_table((row.item.facts["duration"], row.item.facts["domain"], row.item.answer,
                              LETTERS[self.official.read(row.reply, row.item.options)]) for row in rows)
        return {f"official % {block}: {row}": value for (block, row), value in table.items()}


@task("video_mme_subtitles")
class VideoMMESubtitles(VideoMME):
    """Video-MME with subtitles: `subtitles/<id>.srt` too, the lines shown in `frames` frames spread over the video.

    A line shown in several of those frames is repeated, as published. A video without a file of subtitles is asked
    without; the fact `subtitles` splits the two. The lines are read when the item is asked, as the video is opened.
    Units: `frames` as many as the model is shown, 16 by default.
    Source: as of `video_mme`; the frames are those of `frame_sample` of June 2024, by their true times.
    """

    splits = (*VideoMME.splits, "subtitles")

    def __init__(self, frames: int = 16) -> None:
        self.frames = frames

    def beside(self, root: Path, name: str) -> dict[str, str]:
        there = (root / "subtitles" / f"{name}.srt").is_file()
        return {"subtitles": "yes" if there else "no", "video_file": str(video_file(root / "videos", name)),
                "subtitle_file": str(root / "subtitles" / f"{name}.srt") if there else ""}

    def ask(self, item: Item) -> tuple[Part, ...]:
        if not item.facts["subtitle_file"]:
            return (*item.media, item.text)
        lines = self.lines(Path(item.facts["video_file"]), Path(item.facts["subtitle_file"]))
        return (*item.media, "This video's subtitles are listed below:\n" + "\n".join(lines) + f"\n{item.text}")

    def lines(self, video: Path, subtitles: Path) -> list[str]:
        """The lines on the screen at the frames that a model of `frames` frames sees, in order, repeats kept."""
        from reelm.parts.samplers.uniform import uniform_indices

        with media.open(Clip(video)) as reader:
            times = reader.info().frame_times_s
            cues = reader.subtitles(subtitles)
            at_s = times[uniform_indices(len(times), self.frames, "rounded_segments")]
        shown = (next((cue.text for cue in cues if cue.start_s <= second <= cue.end_s), None) for second in at_s)
        return [text for text in shown if text is not None]


def _choices(entry: Any, where: str) -> tuple[list[str], int]:
    """The four options without their letters, and which is right."""
    options, right = words(entry, "options", where), need(entry, "answer", str, where)
    found = [re.match(rf"{letter}\.\s*(.*)", option, re.DOTALL)
             for letter, option in zip("ABCD", options, strict=False)]
    texts = [one[1] for one in found if one]
    if len(options) != 4 or len(texts) != 4 or right not in ("A", "B", "C", "D"):
        raise UsageError(f"options {list(options)} with the answer {right!r}", where=where,
                         remedy="There should be four, after the letters A. to D.")
    return texts, LETTERS.index(right)
