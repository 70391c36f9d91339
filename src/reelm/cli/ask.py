"""`reelm ask FILES… QUESTION`: the answer on stdout, token by token; everything about it on stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer

from reelm.cli import options, terminal
from reelm.errors import UsageError

if TYPE_CHECKING:
    from reelm.types import Answer, Clip

#: The number of the layout of `--json`; it grows when a field is removed or changes its meaning.
SCHEMA = 1
HELP = """Ask a question about files.

Two examples:

reelm ask clip.mp4 "What moves, and where to?"

reelm ask before.jpg after.jpg "What has changed?" --json

The last argument is the question. `-` stands for stdin, once: echo "What is this?" | reelm ask clip.mp4 -, or
cat clip.mp4 | reelm ask - "What is this?". A folder of pictures is a video of 3 pictures per second (--folder-fps). A
file whose name begins with a dash is written ./-clip.mp4. The answer goes to stdout, everything about it to stderr.
"""


def ask(
    parts: Annotated[list[str], typer.Argument(
        metavar="FILES... QUESTION",
        help="Videos, pictures, sounds or folders of pictures, then the question; `-` reads one of them from stdin.")],
    start: Annotated[str | None, typer.Option(help="Begin here: seconds, or 1:02.5, in every file.")] = None,
    end: Annotated[str | None, typer.Option(help="Stop before here: seconds, or 1:15.")] = None,
    fps: options.Fps = None,
    frames: options.Frames = None,
    tokens: options.Tokens = None,
    system: options.System = None,
    sampler: options.Sampler = None,
    compressor: options.Compressor = None,
    folder_fps: options.FolderFps = None,
    no_audio: options.NoAudio = False,
    hear: options.Hear = None,
    max_tokens: options.MaxTokens = 256,
    temperature: options.Temperature = 0.0,
    seed: Annotated[int | None, typer.Option(help="Repeats a draw; needs a temperature above 0.")] = None,
    speech: options.Speech = "auto",
    subtitles: options.Subtitles = None,
    transcriber: options.Transcriber = None,
    device: options.Device = "auto",
    bits: options.Bits = None,
    lora_alpha: options.LoraAlpha = None,
    model: options.Model = "reelm-tiny",
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout instead of text.")] = False,
    show_frames: Annotated[Path | None, typer.Option(
        metavar="SHEET.JPG", help="Write the frames the model saw to this picture.")] = None,
) -> None:
    """The answer to a question about files; see `HELP`."""
    check(fps, frames, show_frames)
    clips, question = split(parts, options.seconds("--start", start or "0"),
                            None if end is None else options.seconds("--end", end), folder_fps)
    readable(clips)
    if seed is not None and temperature == 0:
        terminal.say("note: --seed changes nothing at temperature 0, the answer is the same every time")

    import reelm
    with terminal.busy(f"loading {model}"):
        lm = reelm.load(model, device=device, bits=bits, hear_s=hear,
                        **options.parts(system, sampler, compressor, lora_alpha))
    reply = lm.answer(*clips, question, max_tokens=max_tokens, temperature=temperature, seed=seed, frames=frames,
                      fps=fps, tokens=tokens, audio=not no_audio, stream=None if json else terminal.Stream(),
                      **options.words(speech, subtitles, transcriber))
    told(reply, record(model, question, clips, reply) if json else None)
    if show_frames is not None:
        sheets(show_frames, clips, reply)


def told(reply: Answer, fields: dict[str, Any] | None) -> None:
    """What comes after an answer that was streamed, or the whole of it as JSON.

    Raises: KeyboardInterrupt for an answer that was stopped: what was said is kept, and a script still learns that it
    is not all.
    """
    if fields is None:
        terminal.piece("\n")
    else:
        terminal.as_json(fields)
    report(reply)
    if reply.stop == "cancelled":
        raise KeyboardInterrupt


def check(fps: float | None, frames: int | None, show_frames: Path | None) -> None:
    """Raises: UsageError for options that contradict each other or cannot be carried out, before anything is read."""
    if fps is not None and frames is not None:
        raise UsageError("--fps and --frames contradict each other", remedy="Give one of them")
    if fps is not None and fps <= 0:
        raise UsageError(f"--fps must be above 0, got {fps:g}")
    if show_frames is not None and not show_frames.resolve().parent.is_dir():
        raise UsageError("the folder of --show-frames does not exist", where=str(show_frames))


def split(parts: Sequence[str], start_s: float, end_s: float | None,
          folder_fps: float | None = None) -> tuple[list[Clip], str]:
    """The files as clips, and the question; one of them is read from stdin when it is `-`.

    Raises: UsageError when either is missing, when more than one is `-`, when the question names an existing file, or
    when `folder_fps` is given without a folder.
    """
    from reelm.types import Clip

    *files, question = parts
    if not files:
        raise UsageError(f"there is a file or a question, but not both: {question!r}",
                         remedy='For example: reelm ask clip.mp4 "What happens?"')
    if parts.count("-") > 1:
        raise UsageError(f"`-` stands {parts.count('-')} times, and stdin can be read only once",
                         remedy="Name all but one: a file, or the question")
    if question == "-":
        question = sys.stdin.read().strip()
    elif os.path.exists(question):
        raise UsageError(f"the last argument must be the question, but {question} is a file or folder",
                         remedy="Add the question, or read it from stdin with `-`")
    if not question.strip():
        raise UsageError("the question is empty")
    folders = [os.path.isdir(file) for file in files]
    if folder_fps is not None and not any(folders):
        raise UsageError("--folder-fps is given, but no folder of pictures", remedy="Leave it out")
    return [Clip(from_stdin() if file == "-" else file, start_s, end_s, folder_fps if is_folder else None)
            for file, is_folder in zip(files, folders, strict=True)], question


def from_stdin() -> BinaryIO:
    """The file that comes through stdin, kept so that it can be read more than once.

    Raises: UsageError when nothing is piped in; BudgetError when it is too large.
    """
    from reelm import media

    if sys.stdin.isatty():
        raise UsageError("`-` reads a file from stdin, and nothing is piped into it",
                         remedy='For example: cat clip.mp4 | reelm ask - "What happens?"')
    stream: Any = sys.stdin
    return media.spool(getattr(stream, "buffer", stream), name="standard input")


def readable(clips: Sequence[Clip]) -> None:
    """Opens every file once: one that cannot be read is told at once, not after seconds of loading a model."""
    from reelm import media

    for clip in clips:
        media.open(clip).close()


def record(model: str, question: str, clips: Sequence[Clip], reply: Answer) -> dict[str, Any]:
    """What `--json` prints, the only thing on stdout.

    schema (1), model, question, files [{source, start_s, end_s, used_s: times of the frames seen}], text, audio_used,
    spans [[start_s, end_s]] (times named in the text), tokens {name: count}, seconds {phase: seconds},
    stop ("end", "length", "stop", "cancelled"), notes [sentences]. Fields may be added; a field that goes or changes
    its meaning raises `schema`. Seconds count from the start of the file; `end_s` null means the file's end.
    """
    files = [{"source": clip.name, "start_s": clip.start_s, "end_s": clip.end_s, "used_s": list(times)}
             for clip, times in zip(clips, reply.used_s, strict=True)]
    return {
        "schema": SCHEMA, "model": model, "question": question, "files": files, "text": reply.text,
        "audio_used": reply.audio_used, "spans": [[span.start_s, span.end_s] for span in reply.spans],
        "tokens": dict(reply.tokens), "seconds": dict(reply.seconds), "stop": reply.stop, "notes": list(reply.notes),
    }


def report(reply: Answer) -> None:
    """Notes and one line of account on stderr: what the model saw and heard, what it cost."""
    for note in reply.notes:
        terminal.say(f"note: {note}")
    seen = [f"{len(times)} frames ({min(times):.2f} to {max(times):.2f} s)" for times in reply.used_s if times]
    tokens = ", ".join(f"{count} {name}" for name, count in reply.tokens.items())
    facts = [*seen, "sound heard" if reply.audio_used else "sound not heard", f"tokens: {tokens}"]
    if "first_token" in reply.seconds:
        facts.append(f"first token after {reply.seconds['first_token']:.2f} s")
    if "total" in reply.seconds:
        facts.append(f"all in {reply.seconds['total']:.2f} s")
    if reply.stop == "length":
        facts.append("cut at --max-tokens")
    terminal.say(" · ".join(facts))


def sheets(path: Path, clips: Sequence[Clip], reply: Answer) -> None:
    """The frames the model saw, with their times: one picture per file, the second one named `…-2` and so on."""
    from reelm import media

    shown = 0
    for clip, times in zip(clips, reply.used_s, strict=True):
        with media.open(clip) as reader:
            if not times and reader.info().kind != "image":
                continue
            shown += 1
            target = path if shown == 1 else path.with_name(f"{path.stem}-{shown}{path.suffix}")
            media.contact_sheet(reader.frames(times or [0.0]), target)
        terminal.say(f"frames of {clip.name}: {target}")
    if not shown:
        terminal.say("note: the model saw no frames, so no sheet was written")
