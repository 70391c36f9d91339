"""Options that several verbs share: how they are written, what the shell completes, how a time is read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from reelm.errors import UsageError


def model_names(incomplete: str) -> Iterator[str]:
    """The names of models that begin so, then the folders."""
    from reelm.cli.model import RANDOM, TINY

    yield from (name for name in (TINY, *RANDOM) if name.startswith(incomplete))
    typed = Path(incomplete)
    parent = typed if incomplete.endswith("/") else typed.parent
    try:
        found = sorted(path for path in parent.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError:
        return
    yield from (f"{path}/" for path in found if str(path).startswith(incomplete.rstrip("/")))


def families(incomplete: str) -> Iterator[str]:
    """The families of parts that begin so."""
    from reelm.registry import FAMILIES

    yield from (name for name in FAMILIES if name.startswith(incomplete))


def devices(incomplete: str) -> Iterator[str]:
    yield from (name for name in ("auto", "cpu", "cuda", "mps") if name.startswith(incomplete))


def system_names(incomplete: str) -> Iterator[str]:
    """The systems with a recipe that begin so."""
    from reelm.systems.recipes import recipes

    yield from (name for name in recipes() if name.startswith(incomplete))


Model = Annotated[str, typer.Option("--model", "-m", help="A name of `reelm model list`, or a folder.",
                                    autocompletion=model_names)]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.", autocompletion=devices)]
Frames = Annotated[int | None, typer.Option(min=1, help="Look at this many frames in all.")]
Fps = Annotated[float | None, typer.Option(help="Look at this many frames per second.")]
FolderFps = Annotated[float | None, typer.Option(help="So many pictures of a folder fill a second; 3 unless given.")]
NoAudio = Annotated[bool, typer.Option("--no-audio", help="Do not listen to the sound track.")]
Tokens = Annotated[int | None, typer.Option(min=1, help="The most tokens that all media of a question may become; "
                                            "frames and compressors are chosen to fit.")]
Compressor = Annotated[list[str] | None, typer.Option(metavar="KIND[,NAME=VALUE]", help="Reduce tokens: pool, drop, "
                                                      "pool,h=4,w=4, before:pool,h=12; may stand several times.")]
Sampler = Annotated[str | None, typer.Option(metavar="KIND[,NAME=VALUE]", help="How frames are chosen, for example "
                                             "fps,fps=2; see `reelm parts sampler`.")]
System = Annotated[str | None, typer.Option(metavar="NAME", help="Ask as a system of `reelm systems` does, or as a "
                                            "recipe file says.", autocompletion=system_names)]
LoraAlpha = Annotated[float | None, typer.Option(help="Another strength for the model's LoRA; 0 leaves it out.")]
Hear = Annotated[float | None, typer.Option(metavar="SECONDS", help="Hear all of a sound up to so many seconds, not "
                                            "only the stretches that a published model was trained on.")]
Bits = Annotated[int | None, typer.Option(metavar="8|4", help="Load the model in fewer bits.")]
MaxTokens = Annotated[int, typer.Option(min=1, help="The longest answer, in tokens.")]
Temperature = Annotated[float, typer.Option(min=0.0, help="0 always takes the likeliest word.")]
Speech = Annotated[str, typer.Option(metavar="auto|always|off", help="When words that are said stand in the prompt; "
                                     "auto: when a question is about them.")]
Subtitles = Annotated[Path | None, typer.Option(metavar="FILE.srt", help="What is said in the first file. A text track "
                                                "inside a file is found without this.")]
Transcriber = Annotated[str | None, typer.Option(metavar="TOOL[:MODEL]", help="Speech to text where there are no "
                                                 "subtitles, for example whisper:small.")]


def parts(system: str | None, sampler: str | None, compressor: list[str] | None,
          lora_alpha: float | None = None) -> dict[str, Any]:
    """The options about parts as `reelm.load` takes them."""
    return {"system": system, "sampler": sampler, "compressor": compressor or None, "lora_alpha": lora_alpha}


def words(speech: str, subtitles: Path | None, transcriber: str | None) -> dict[str, Any]:
    """The three options about words as `VideoLM.answer` takes them."""
    if transcriber is None:
        return {"speech": speech, "subtitles": subtitles}
    from reelm.model import transcribers

    return {"speech": speech, "subtitles": subtitles, "transcriber": transcribers.transcriber(transcriber)}


def seconds(name: str, text: str) -> float:
    """Seconds written as 62.5, 1:02.5 or 0:01:02.5.

    Raises: UsageError that names the option or command.
    """
    try:
        fields = [float(field) for field in text.split(":")]
    except ValueError:
        fields = []
    if not 1 <= len(fields) <= 3 or not all(0 <= field < float("inf") for field in fields):
        raise UsageError(f"{name} is not a time: {text!r}", remedy="Write seconds (62.5) or minutes (1:02.5)")
    return sum(field * 60**i for i, field in enumerate(reversed(fields)))
