"""The process that a `Worker` starts: it reads requests from one socket, decodes, and answers on the same."""

from __future__ import annotations

import contextlib
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from reelm.errors import BudgetError, MediaError, ReelmError
from reelm.media.limits import Limits
from reelm.media.reader import Reader, open
from reelm.media.wire import Wire, clip_in, info_out

Reply = tuple[dict[str, Any], list[np.ndarray]]


def _info(reader: Reader, asked: dict[str, Any]) -> Reply:
    return info_out(reader.info())


def _frames(reader: Reader, asked: dict[str, Any]) -> Reply:
    frames = reader.frames(asked["at_s"])
    return {"still": frames.still}, [frames.rgb, frames.at_s, frames.repeated]


def _audio(reader: Reader, asked: dict[str, Any]) -> Reply:
    sound = reader.audio(asked["rate_hz"])
    return ({}, []) if sound is None else ({"rate_hz": sound.rate_hz, "start_s": sound.start_s}, [sound.wave])


def _subtitles(reader: Reader, asked: dict[str, Any]) -> Reply:
    return {"cues": [[cue.start_s, cue.end_s, cue.text] for cue in reader.subtitles(asked["side"])]}, []


def _beside(reader: Reader, asked: dict[str, Any]) -> Reply:
    return {"paths": [str(path) for path in reader.beside()]}, []


VERBS: dict[str, Callable[[Reader, dict[str, Any]], Reply]] = {
    "ready": lambda reader, asked: ({}, []), "info": _info, "frames": _frames, "audio": _audio,
    "subtitles": _subtitles, "beside": _beside}


def confine(memory_bytes: int) -> None:
    """Address space as it is now plus `memory_bytes`, no core file, and no file larger than nothing.

    Where the system knows no such limits (Windows, parts of macOS) the process runs without them.
    """
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + memory_bytes
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def serve(wire: Wire) -> None:
    """Answers requests until the parent is gone."""
    settings, _ = wire.receive(0)
    limits = Limits(**settings["limits"])
    confine(settings["memory_bytes"])
    reader: Reader | None = None
    while True:
        try:
            asked, arrays = wire.receive(limits.source_bytes)
        except (EOFError, OSError):
            return
        try:
            if asked["verb"] == "open":
                if reader is not None:
                    reader.close()
                reader = open(clip_in(asked["clip"], arrays), limits)
                facts, out = {}, []  # type: Reply
            elif reader is None:
                raise MediaError("no clip is open", where="the decoding process")
            else:
                facts, out = VERBS[asked["verb"]](reader, asked)
                facts["notes"] = reader.notes
        except ReelmError as error:
            facts, out = _said(error), []
        except MemoryError:
            memory = settings["memory_bytes"]
            facts, out = _said(BudgetError(f"needs more than the {memory:,} bytes of memory allowed",
                                           remedy="Ask for less, or give the worker more memory_bytes")), []
        del arrays
        wire.send(facts, out)


def _said(error: ReelmError) -> dict[str, Any]:
    return {"error": type(error).__name__, "what": error.what, "where": error.where, "remedy": error.remedy}


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this process itself
    serve(Wire(socket.socket(fileno=int(sys.argv[1]))))
