"""`reelm caption FILES-OR-FOLDERS…`: a caption for every file, or for every stretch of it, as JSON lines or SRT."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reelm.cli import options, terminal
from reelm.cli.captions import Caption, Captions, JsonLines, Settings, SubRip
from reelm.cli.failures import INTERRUPTED
from reelm.cli.progress import Progress
from reelm.errors import MediaError, PolicyError, ReelmError, UsageError
from reelm.types import Answer, Clip

if TYPE_CHECKING:
    from reelm.model.front import VideoLM

#: A rest this short at the end of a file is no stretch of its own (a track that ends a little later than the other).
REST_S = 0.1
#: So many reasons are told of one bad file.
TOLD = 3
HELP = """Write captions of files, or of all media in folders.

reelm caption clips/ --out captions.jsonl

reelm caption talk.mp4 --every 10 --format srt --out talk.srt

One JSON object per caption and line; SRT has one file per video. Interrupted? The same command with --resume goes on
where it stopped: whole captions stay, a half-written last one is taken away and made again. A file that cannot be
captioned is listed and counted, and the others are not touched by it; with --resume it is tried again.
Exit code: 0 all captioned, 3 some file could not be (the rest is written), 130 interrupted; 2, 4, 5 before any work.
"""


class Format(StrEnum):
    """What is written."""

    jsonl = "jsonl"
    srt = "srt"


def caption(
    sources: Annotated[list[Path], typer.Argument(metavar="FILES-OR-FOLDERS...", help="Media; a folder means all in "
                                                  "it and below. Hidden files are left out.")],
    out: Annotated[Path | None, typer.Option(help="Write here; SRT of several files needs a folder. Else stdout.")]
    = None,
    format: Annotated[Format, typer.Option(help="JSON lines or subtitles.")] = Format.jsonl,
    every: Annotated[float | None, typer.Option(metavar="SECONDS", help="One caption per stretch this long.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with what --out holds.")] = False,
    question: Annotated[str, typer.Option("--question", "-q", help="What the model is asked.")] = "Describe the video.",
    batch: Annotated[int, typer.Option(min=1, help="Captions made together; written when all of them are.")] = 4,
    frames: options.Frames = None,
    no_audio: options.NoAudio = False,
    max_tokens: options.MaxTokens = 64,
    device: options.Device = "auto",
    model: options.Model = "reelm-tiny",
) -> None:
    """Captions of files and folders; see `HELP`."""
    if every is not None and not every > REST_S:
        raise UsageError(f"--every must be above {REST_S} s, got {every:g}")
    if resume and out is None:
        raise UsageError("--resume needs --out", remedy="There is nothing to go on with on stdout")
    settings = Settings(model, question, every, frames, not no_audio, max_tokens)
    files, passed_over = found(sources, out)
    for path, reason in passed_over:
        terminal.say(f"passed over: {path} ({reason})")
    with captions(format, out, files, settings, resume) as target:
        import reelm

        with terminal.busy(f"loading {model}"):
            lm = reelm.load(model, device=device, keep_bytes=0)  # every stretch is asked about once
        run = Run(lm, target, settings, Progress(files, of_bytes=every is not None))
        try:
            run.through(files, batch)
        except KeyboardInterrupt:
            terminal.say(f"\ninterrupted after {run.progress.made} captions"
                         + (": the same command with --resume goes on" if out is not None else ""))
            raise typer.Exit(INTERRUPTED) from None
    run.report(files)
    if run.bad:
        raise typer.Exit(MediaError.exit_code)


def captions(format: Format, out: Path | None, files: list[Path], settings: Settings, resume: bool) -> Captions:
    """Where the captions go."""
    if format is Format.jsonl:
        return JsonLines(out, settings, resume)
    return SubRip(out, files, settings.every_s, resume)


def found(sources: Iterable[Path], out: Path | None) -> tuple[list[Path], list[tuple[Path, str]]]:
    """The files meant, each once and in order, and what is passed over, with the reason.

    A file that is named is always taken, so that the run says what is wrong with it. Folders are sorted by name.
    Raises: UsageError when nothing is left.
    """
    taken: dict[Path, Path] = {}
    passed_over = []
    for source in sources:
        for path in inside(source) if source.is_dir() else (source,):
            place = path.resolve()
            if out is not None and place == out.resolve():
                reason = "it is the output"
            elif place in taken:
                reason = f"already there as {taken[place]}"
            else:
                reason = no_media(path) if path != source else ""
            if reason:
                passed_over.append((path, reason))
            else:
                taken[place] = path
    if not taken:
        raise UsageError(f"there is no media in {', '.join(map(str, sources))}", remedy="Name files or another folder")
    return list(taken.values()), passed_over


def inside(folder: Path) -> Iterator[Path]:
    """The files in a folder and below, without hidden ones, sorted."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts):
            yield path


def no_media(path: Path) -> str:
    """Why a file in a folder is none of ours, judged by its first bytes; empty when it is, or when it has none."""
    from reelm import media

    if not os.access(path, os.R_OK) or path.stat().st_size == 0:
        return ""  # taken, so that it is counted as bad
    try:
        media.open(Clip(path)).close()
    except (MediaError, PolicyError) as error:
        return error.what
    return ""


@dataclass(frozen=True)
class Job:
    """One caption to be made."""

    path: Path
    clip: Clip
    start_s: float | None  # None for a still picture, which has no time
    end_s: float | None
    share: float  # of its file


class Run:
    """The work: jobs in, captions out, what went wrong by file."""

    def __init__(self, lm: VideoLM, target: Captions, settings: Settings, progress: Progress) -> None:
        self.lm, self.target, self.settings, self.progress = lm, target, settings, progress
        self.bad: dict[Path, list[str]] = {}
        self.already = 0

    def through(self, files: list[Path], batch: int) -> None:
        """All files; captions are written in the order of the jobs, group by group.

        Raises: KeyboardInterrupt; what was finished is written then.
        """
        jobs = self.jobs(files)
        with self.progress:
            while group := list(islice(jobs, batch)):
                results = self.answers(group)
                for job, result in zip(group, results, strict=True):
                    self.take(job, result)
                if any(isinstance(result, Answer) and result.stop == "cancelled" for result in results):
                    raise KeyboardInterrupt

    def jobs(self, files: list[Path]) -> Iterator[Job]:
        """What is left to do, file by file: a file is opened when its turn has come."""
        for path in files:
            try:
                stretches = list(self.stretches(path))
            except ReelmError as error:
                self.fails(path, None, error)
                self.progress.skip(path)
                continue
            for job in stretches:
                if self.target.has(path, job.start_s):
                    self.already += 1
                    self.progress.skip(path, job.share)
                else:
                    yield job

    def stretches(self, path: Path) -> Iterator[Job]:
        from reelm import media

        with media.open(Clip(path)) as reader:
            info = reader.info()
        self.target.accepts(path, info.kind)
        if info.kind == "image":
            yield Job(path, Clip(path), None, None, 1.0)
            return
        every_s = self.settings.every_s or info.duration_s
        count = max(1, math.ceil((info.duration_s - REST_S) / every_s - 1e-9)) if self.settings.every_s else 1
        for number in range(count):
            start_s = info.start_s + number * every_s
            end_s = info.end_s if number + 1 == count else start_s + every_s
            clip = Clip(path) if count == 1 else Clip(path, start_s, None if number + 1 == count else end_s)
            yield Job(path, clip, start_s, end_s, 1 / count)

    def answers(self, group: list[Job]) -> list[Answer | Exception]:
        """One result per job. A fault that stops the whole group is narrowed down to the job that has it."""
        ask: dict[str, Any] = {"max_tokens": self.settings.max_tokens, "frames": self.settings.frames,
                               "audio": self.settings.audio}
        items = [(job.clip, self.settings.question) for job in group]
        try:
            return list(self.lm.answer_many(items, max_batch=len(group), **ask))
        except Exception as fault:
            if len(group) == 1:
                return [fault]
            return [self.answers([job])[0] for job in group]

    def take(self, job: Job, result: Answer | Exception) -> None:
        if isinstance(result, Exception):
            self.fails(job.path, job.start_s, result)
        elif result.stop != "cancelled":
            self.target.write(Caption(job.path, job.start_s, job.end_s, result))
            self.progress.made += 1
        self.progress.done(job.path, job.share)

    def fails(self, path: Path, at_s: float | None, error: Exception) -> None:
        what = error.what if isinstance(error, ReelmError) else f"{type(error).__name__}: {error} (a fault of reelm)"
        if path not in self.bad:
            self.progress.bad += 1
            self.progress.say(f"bad file {self.progress.bad}: {path}: {what}")
        self.bad.setdefault(path, []).append((f"at {at_s:g} s: " if at_s else "") + what)

    def report(self, files: list[Path]) -> None:
        """The account at the end: every bad file, then the counts."""
        for path, reasons in self.bad.items():
            more = f" and {len(reasons) - TOLD} more" if len(reasons) > TOLD else ""
            terminal.say(f"not captioned: {path}: {'; '.join(reasons[:TOLD])}{more}")
        said = [f"{self.progress.made} captions made"]
        said += [f"{self.already} were there before"] if self.already else []
        said += [f"{len(files)} files, {len(self.bad)} of them bad"]
        terminal.say(", ".join(said))
