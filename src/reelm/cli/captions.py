"""Where captions go: JSON lines or SRT files that are whole whenever the program ends, and can be gone on with."""

from __future__ import annotations

import json
import os
import re
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from reelm.cli import terminal
from reelm.errors import MediaError, UsageError
from reelm.types import Answer

#: The number of the layout of a JSON line; it grows when a field is removed or changes its meaning.
SCHEMA = 1
#: Times in SRT are milliseconds; what agrees to one of them is the same time.
_SAME_S = 0.0015


@dataclass(frozen=True)
class Settings:
    """What decides a caption; stands in every JSON line, so that lines of different runs are never mixed."""

    model: str
    question: str
    every_s: float | None
    frames: int | None
    audio: bool
    max_tokens: int


@dataclass(frozen=True)
class Caption:
    """One caption of [start_s, end_s) of a file; a still picture has no times."""

    path: Path
    start_s: float | None
    end_s: float | None
    answer: Answer


class Captions(ABC):
    """An output. In a `with` block; `has` what was there before, `write` appends one caption whole."""

    def __enter__(self) -> Captions:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    @abstractmethod
    def has(self, path: Path, start_s: float | None) -> bool: ...

    @abstractmethod
    def accepts(self, path: Path, kind: str) -> None:
        """Raises: MediaError when this output cannot hold captions of such a medium."""

    @abstractmethod
    def write(self, caption: Caption) -> None: ...

    @abstractmethod
    def close(self) -> None: ...


class JsonLines(Captions):
    """One JSON object per line: schema, file, start_s, end_s, text, used_s, audio_used, stop, notes and the settings.

    Raises: UsageError when the file exists and is not to be gone on with, or holds lines of other settings.
    """

    def __init__(self, out: Path | None, settings: Settings, resume: bool) -> None:
        self.settings = settings
        self._done: set[tuple[str, float | None]] = set()
        self._file = Appended(out, resume, "\n", _begins_line)
        try:
            for number, line in enumerate(self._file.whole.split("\n")[:-1], 1):
                self._known(line, f"{out}:{number}")
        except UsageError:
            self._file.close()
            raise

    def _known(self, line: str, where: str) -> None:
        try:
            record = json.loads(line)
            theirs = {name: record[name] for name in asdict(self.settings)}
            self._done.add((record["file"], record["start_s"]))
        except (ValueError, KeyError, TypeError):
            raise foreign(where) from None
        differ = [name for name, value in asdict(self.settings).items() if theirs[name] != value]
        if differ:
            raise UsageError("was made with other settings: " + ", ".join(
                f"{name} {theirs[name]!r}, not {getattr(self.settings, name)!r}" for name in differ),
                where=where, remedy="Give the same options again, or another --out")

    def has(self, path: Path, start_s: float | None) -> bool:
        return (str(path), start_s) in self._done

    def accepts(self, path: Path, kind: str) -> None:
        """Every medium."""

    def write(self, caption: Caption) -> None:
        answer = caption.answer
        record: dict[str, Any] = {
            "schema": SCHEMA, "file": str(caption.path), "start_s": caption.start_s, "end_s": caption.end_s,
            "text": answer.text, "used_s": list(answer.used_s[0]), "audio_used": answer.audio_used,
            "stop": answer.stop, "notes": list(answer.notes), **asdict(self.settings)}
        self._file.append(json.dumps(record, ensure_ascii=False) + "\n")

    def close(self) -> None:
        self._file.close()


class SubRip(Captions):
    """SRT: stdout or `out` for one video, `out/NAME.srt` each for several. White space in a caption becomes a blank.

    Raises: UsageError as `JsonLines`, and when several videos have no folder to go to.
    """

    def __init__(self, out: Path | None, files: Sequence[Path], every_s: float | None, resume: bool) -> None:
        folder = out is not None and (out.is_dir() or len(files) > 1)
        if len(files) > 1 and (out is None or out.is_file()):
            raise UsageError(f"{len(files)} files do not fit into one SRT", where=str(out or "stdout"),
                             remedy="Name a folder with --out")
        self._places = dict.fromkeys(files, out)
        if folder and out is not None:
            out.mkdir(parents=True, exist_ok=True)
            self._places = _named(out, files)
            there = [place for place in self._places.values() if place and place.exists()]
            if there and not resume:
                raise UsageError("exists", where=str(there[0]), remedy="--resume goes on with it; or another --out")
        elif out is not None and out.exists() and not resume:
            raise UsageError("exists", where=str(out), remedy="--resume goes on with it; or another --out")
        self._every_s, self._resume = every_s, resume
        self._begun: set[Path] = set()
        self._path: Path | None = None
        self._file = Appended(None, False, "", _begins_cue)
        self._starts: list[float] = []

    def has(self, path: Path, start_s: float | None) -> bool:
        place = self._places[path]
        if place is None or not place.exists():
            return False
        self._turn_to(path)
        return start_s is not None and any(abs(start_s - known) < _SAME_S for known in self._starts)

    def accepts(self, path: Path, kind: str) -> None:
        if kind == "image":
            raise MediaError("a still picture has no time, so SRT cannot hold its caption", where=str(path),
                             remedy="Use --format jsonl")

    def write(self, caption: Caption) -> None:
        self._turn_to(caption.path)
        assert caption.start_s is not None and caption.end_s is not None, "stills are not accepted"
        self._starts.append(caption.start_s)
        text = " ".join(caption.answer.text.split()) or "(no words)"
        self._file.append(_cue(len(self._starts), _stamp(caption.start_s), _stamp(caption.end_s), text))

    def close(self) -> None:
        self._file.close()
        place = None if self._path is None else self._places[self._path]
        if place is not None and self._starts != sorted(self._starts):
            _sort(place)  # a stretch that failed before was made later

    def _turn_to(self, path: Path) -> None:
        if path == self._path:
            return
        self.close()
        self._file = Appended(self._places[path], self._resume or path in self._begun, "\n\n", _begins_cue)
        self._path, self._starts = path, [_seconds(stamp) for stamp in _CUE.findall(self._file.whole)]
        every_s = self._every_s
        strange = [start_s for start_s in self._starts
                   if abs(start_s - (round(start_s / every_s) * every_s if every_s else 0)) > _SAME_S]
        if strange or (self._file.whole and not self._starts):
            raise foreign(str(self._places[path]))
        self._begun.add(path)


def foreign(where: str) -> UsageError:
    """What is there was not made by us with these options, so it stays untouched."""
    return UsageError("is no output of this command with these options", where=where, remedy="Choose another --out")


def _begins_line(text: str) -> bool:
    mark = '{"schema": '
    return text.startswith(mark) or mark.startswith(text)


def _begins_cue(text: str) -> bool:
    return re.fullmatch(r"\d+(\n([\d:,> -]*|[\d:,]+ --> [\d:,]+\n.*\n?))?", text) is not None


class Appended:
    """A file that grows by whole pieces, each with one write, so that a killed program leaves at most the last one
    unfinished. With `resume` such an unfinished end is taken away first, if `ours` says that it is the beginning of a
    piece. `end` closes a piece; `whole` is the text of those that were there.

    Raises: UsageError when the file exists without `resume`, is another's, cannot be written, or is being written.
    """

    def __init__(self, path: Path | None, resume: bool, end: str, ours: Callable[[str], bool]) -> None:
        self.whole = ""
        self._handle = -1
        if path is None:
            return
        if path.exists() and not resume:
            raise UsageError("exists", where=str(path), remedy="--resume goes on with it; or another --out")
        try:
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o666)
            _claim(self._handle, path)
            self.whole = self._mended(path, end.encode(), ours)
        except (OSError, UnicodeDecodeError) as error:
            self.close()
            raise UsageError(f"cannot be written: {getattr(error, 'strerror', None) or error}", where=str(path),
                             remedy="Check the folder, its permissions and the free space") from None

    def _mended(self, path: Path, end: bytes, ours: Callable[[str], bool]) -> str:
        content = path.read_bytes()
        kept = content.rfind(end) + len(end) if end in content else 0
        if kept < len(content):
            if not ours(content[kept:].decode("utf-8", errors="replace")):
                self.close()
                raise foreign(str(path))
            os.ftruncate(self._handle, kept)
            terminal.say(f"{path}: its last caption was not finished ({len(content) - kept} bytes); it is made again")
        return content[:kept].decode("utf-8")

    def append(self, piece: str) -> None:
        if self._handle < 0:
            sys.stdout.write(piece)
            sys.stdout.flush()
            return
        data = memoryview(piece.encode("utf-8"))
        while data:  # one write, unless the disk takes only a part
            data = data[os.write(self._handle, data):]

    def close(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


def _claim(handle: int, path: Path) -> None:
    """Two runs on one output would mix their lines. Windows has no such lock; there it is up to the person."""
    try:
        import fcntl
    except ImportError:
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise UsageError("another run is writing it", where=str(path), remedy="Wait for it, or choose another --out"
                         ) from None


def _named(folder: Path, files: Sequence[Path]) -> dict[Path, Path | None]:
    """`folder/NAME.srt` for each; the whole name stays (a.mp4 and a.mkv differ), equal names get a number."""
    places: dict[Path, Path | None] = {}
    taken: dict[str, int] = {}
    for path in files:
        taken[path.name] = taken.get(path.name, 0) + 1
        number = f"-{taken[path.name]}" if taken[path.name] > 1 else ""
        places[path] = folder / f"{path.name}{number}.srt"
    return places


def _cue(number: int, start: str, end: str, text: str) -> str:
    return f"{number}\n{start} --> {end}\n{text}\n\n"


def _sort(place: Path) -> None:
    """The cues of a file in the order of their times, numbered anew; the file is replaced whole."""
    cues = sorted(_WHOLE_CUE.findall(place.read_text("utf-8")), key=lambda cue: _seconds(cue[0]))
    scratch = place.with_name(place.name + ".partial")
    scratch.write_text("".join(_cue(number, *cue) for number, cue in enumerate(cues, 1)), "utf-8")
    os.replace(scratch, place)


_CUE = re.compile(r"^(\d+:\d\d:\d\d,\d{3}) --> ", re.MULTILINE)
_WHOLE_CUE = re.compile(r"^(\d+:\d\d:\d\d,\d{3}) --> (\d+:\d\d:\d\d,\d{3})\n(.*)\n$", re.MULTILINE)


def _stamp(second: float) -> str:
    minutes, milliseconds = divmod(round(second * 1000), 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{milliseconds // 1000:02d},{milliseconds % 1000:03d}"


def _seconds(stamp: str) -> float:
    hours, minutes, rest = stamp.replace(",", ".").split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(rest)
