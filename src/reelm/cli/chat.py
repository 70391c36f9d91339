"""`reelm chat FILES…`: questions about clips, one after another, each knowing those before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reelm.cli import ask, options, terminal
from reelm.cli.failures import explain
from reelm.cli.lines import LineReader
from reelm.cli.transcript import save
from reelm.errors import ReelmError, UsageError
from reelm.types import Answer, Clip

if TYPE_CHECKING:
    from reelm.model.chat import Chat

HELP = """Talk about files: every question knows the ones before, and no clip is decoded or read twice.

reelm chat clip.mp4

Then type questions; /help lists the commands. Ctrl-C stops an answer, Ctrl-D or /quit ends the chat.

From a script: printf 'What is it?\\nWhere?\\n' | reelm chat clip.mp4. Answers go to stdout, everything else to stderr;
the exit code is then that of the first line that failed. A line that begins with a blank is always a question.
"""


def chat(
    files: Annotated[list[str] | None, typer.Argument(metavar="[FILES]...", help="Videos, pictures or sounds.")] = None,
    frames: options.Frames = None,
    tokens: options.Tokens = None,
    system: options.System = None,
    sampler: options.Sampler = None,
    compressor: options.Compressor = None,
    no_audio: options.NoAudio = False,
    hear: options.Hear = None,
    max_tokens: options.MaxTokens = 256,
    temperature: options.Temperature = 0.0,
    speech: options.Speech = "auto",
    subtitles: options.Subtitles = None,
    transcriber: options.Transcriber = None,
    device: options.Device = "auto",
    bits: options.Bits = None,
    lora_alpha: options.LoraAlpha = None,
    model: options.Model = "reelm-tiny",
    json: Annotated[bool, typer.Option("--json", help="One line of JSON per answer, as `reelm ask --json`.")] = False,
) -> None:
    """A conversation about files; see `HELP`."""
    clips = [Clip(file) for file in files or ()]
    ask.readable(clips)

    import reelm
    from reelm.model.chat import Chat

    with terminal.busy(f"loading {model}"):
        lm = reelm.load(model, device=device, bits=bits, hear_s=hear,
                        **options.parts(system, sampler, compressor, lora_alpha))
    asking = {"max_tokens": max_tokens, "temperature": temperature, "frames": frames, "tokens": tokens,
              "audio": not no_audio, **options.words(speech, subtitles, transcriber)}
    session = Session(Chat(lm, *clips), model, asking, json)
    reader = LineReader([f"/{name}" for name in COMMANDS])
    if reader.interactive:
        terminal.say(f"{', '.join(map(str, files or ['no file yet: /add FILE']))} · /help lists the commands")
    while (line := reader.read()) is not None and session.take(line):
        pass
    if session.exit_code and not reader.interactive:
        raise typer.Exit(session.exit_code)


class Session:
    """The chat as the person sees it. `exit_code` is that of the first line that failed, 0 if none did."""

    def __init__(self, chat: Chat, model: str, asking: dict[str, Any], json: bool) -> None:
        self.chat, self.model, self.asking, self.json = chat, model, asking, json
        self.exit_code = 0
        self._told: set[str] = set()

    def take(self, line: str) -> bool:
        """Carries out one line, a command or a question; False when it ends the chat."""
        if not line.strip():
            return True
        try:
            if line.startswith("/"):
                return self.command(line)
            self.question(line.strip())
        except ReelmError as error:
            terminal.say(explain(error).rstrip())
            self.exit_code = self.exit_code or error.exit_code
        except KeyboardInterrupt:
            terminal.say("\nstopped before the first word; the chat goes on")
        return True

    def command(self, line: str) -> bool:
        name, _, rest = line[1:].partition(" ")
        if name not in COMMANDS:
            raise UsageError(f"there is no command /{name}",
                             remedy=f"Known: {', '.join(f'/{known}' for known in COMMANDS)}; a question that begins "
                                    "with a slash needs a blank before it")
        COMMANDS[name].run(self, rest.strip())
        return name != "quit"

    def question(self, text: str) -> None:
        with terminal.streaming("looking") as stream:
            reply = self.chat.ask(text, stream=None if self.json else stream, **self.asking)
        if self.json:
            terminal.json_line(ask.record(self.model, text, self.clips, reply))
        else:
            terminal.piece("\n")
        for note in reply.notes:
            if note not in self._told:  # what holds for every answer is said once; /used repeats it
                terminal.say(f"note: {note}")
        self._told |= set(reply.notes)
        if reply.stop == "cancelled":
            terminal.say("stopped; the chat goes on")

    @property
    def clips(self) -> list[Clip]:
        """The clips of the chat: the command line adds nothing else."""
        return [medium for medium in self.chat.media if isinstance(medium, Clip)]

    @property
    def last(self) -> Answer:
        """Raises: UsageError when nothing was answered yet."""
        if not self.chat.exchanges:
            raise UsageError("no question was answered yet", remedy="Ask one first")
        return self.chat.exchanges[-1].answer

    def seen_by_last(self) -> list[tuple[Clip, tuple[float, ...]]]:
        """The clips of the last answer with the times of the frames it used."""
        return list(zip(self.clips, self.last.used_s, strict=False))  # clips that still wait have no times


# --- commands ---------------------------------------------------------------------------------------------------------


def add(session: Session, rest: str) -> None:
    clip = Clip(_path(rest, "/add FILE"))
    ask.readable([clip])
    session.chat.add(clip)
    terminal.say(f"{clip.name} is clip {len(session.clips)}; the next question is about it too")


def at(session: Session, rest: str) -> None:
    """Another stretch of a clip: instead of it while it waits for its first question, beside it afterwards."""
    from reelm import media

    *which, span = rest.split() or [""]
    clips = session.clips
    number = int(which[0]) if len(which) == 1 and which[0].isdecimal() else len(clips) if not which else 0
    if not 1 <= number <= len(clips):
        raise UsageError(f"there is no clip {' '.join(which) or 'yet'}; the chat has {len(clips)}",
                         remedy="/at 1:02-1:15 for the last clip, /at 1 1:02-1:15 for the first, /at all for all of it")
    start_s, end_s = _stretch(span)
    clip = replace(clips[number - 1], start_s=start_s, end_s=end_s)
    with media.open(clip) as reader:
        if reader.info().kind == "image":
            raise UsageError("is a still picture and has no stretches", where=clip.name)
    place = number - 1 - (len(clips) - len(session.chat.waiting))
    if place >= 0:
        session.chat.waiting[place] = clip
    else:
        session.chat.add(clip)
    terminal.say(f"the next question is about {_named(clip)}")


def _stretch(span: str) -> tuple[float, float | None]:
    if span == "all":
        return 0.0, None
    start, dash, end = span.partition("-")
    if not dash:
        raise UsageError(f"/at needs a stretch, got {span!r}", remedy="For example /at 1:02-1:15, /at 62- or /at all")
    return options.seconds("/at", start or "0"), options.seconds("/at", end) if end else None


def frames(session: Session, rest: str) -> None:
    word, _, name = rest.partition(" ")
    if word == "sheet":
        if not name.strip():
            raise UsageError("/frames sheet needs a file", remedy="/frames sheet seen.jpg")
        clips = [clip for clip, _ in session.seen_by_last()]
        ask.sheets(Path(name.strip()).expanduser(), clips, session.last)
    elif word in ("auto", ""):
        if word:
            session.asking["frames"] = None
        number = session.asking["frames"]
        terminal.say("frames: " + (f"{number} of each clip" if number else "as many as the model was made for"))
    elif word.isdecimal() and int(word) and not name:
        session.asking["frames"] = int(word)
        terminal.say(f"frames: {word} of each clip, from the next question on (their clips are looked at anew)")
    else:
        raise UsageError(f"/frames {rest} is not understood", remedy="/frames 16, /frames auto or /frames sheet F.jpg")


def used(session: Session, rest: str) -> None:
    from reelm.media.sheet import clock_text

    reply = session.last
    for number, (clip, times) in enumerate(session.seen_by_last(), 1):
        at_s = ", ".join(clock_text(second) for second in times)
        terminal.say(f"{number} {_named(clip)}" + (f": {len(times)} frames at {at_s}" if times else ""))
    ask.report(reply)
    terminal.say("seconds: " + ", ".join(f"{phase} {spent:.3f}" for phase, spent in reply.seconds.items()))


def keep(session: Session, rest: str) -> None:
    path = _path(rest, "/save FILE.md or FILE.json")
    save(path, session.model, session.chat.exchanges)
    terminal.say(f"{len(session.chat.exchanges)} questions with their answers: {path}")


def explain_commands(session: Session, rest: str) -> None:
    width = max(len(f"/{name} {command.usage}") for name, command in COMMANDS.items())
    for name, command in COMMANDS.items():
        terminal.say(f"{f'/{name} {command.usage}':{width}}  {command.about}")
    terminal.say("Anything else is a question. Ctrl-C stops an answer.")


def leave(session: Session, rest: str) -> None:
    """Nothing to do: `Session.command` knows that this one ends the chat."""


@dataclass(frozen=True)
class Command:
    """What a word after a slash does."""

    usage: str
    about: str
    run: Callable[[Session, str], None]


COMMANDS = {
    "add": Command("FILE", "one more video, picture or sound", add),
    "at": Command("[N] 1:02-1:15", "look at this stretch of clip N (the last one); /at all for the whole", at),
    "frames": Command("[N | auto | sheet F.jpg]", "how many frames to look at; a picture of those used", frames),
    "used": Command("", "what the last answer saw, heard and cost", used),
    "save": Command("FILE", "the conversation as .md to read or .json to work with", keep),
    "help": Command("", "this list", explain_commands),
    "quit": Command("", "end the chat (so does Ctrl-D)", leave),
}


def _path(text: str, usage: str) -> Path:
    """A path as typed after a command: the whole rest of the line, quotes around it allowed."""
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        text = text[1:-1]
    if not text:
        raise UsageError("a file name is missing", remedy=usage)
    return Path(text).expanduser()


def _named(clip: Clip) -> str:
    from reelm.media.sheet import clock_text

    if clip.start_s == 0 and clip.end_s is None:
        return clip.name
    return f"{clip.name} {clock_text(clip.start_s)}-{clock_text(clip.end_s) if clip.end_s is not None else 'end'}"
