"""Decoding in a process of its own, for files of strangers: what kills the decoder kills nothing else.

The child imports no torch, may use so much memory and time, writes no file, and is ended and replaced when it dies or
takes too long. The two speak in lengths, JSON and plain arrays, never in pickles: a child that has been taken over by a
file can say wrong things about that file, but cannot run anything here.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import numpy as np

from reelm import errors
from reelm.errors import BudgetError, MediaError, ReelmError, UsageError
from reelm.media.limits import Deadline, Limits
from reelm.media.wire import Wire, clip_out, info_in
from reelm.types import Audio, Clip, Cue, Frames, MediaInfo

Read = TypeVar("Read")
#: What the parent waits beyond `wall_s`, so that the child can say itself that the time is over.
_GRACE_S = 2.0
#: Threads of numerical libraries reserve address space, which is what the memory limit counts.
_LEAN = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}


class Worker:
    """A decoder in a process of its own: `with Worker(limits) as worker: worker.open(clip).frames([1.0])`.

    `open` gives a reader with the methods of `reelm.media.Reader`. `memory_bytes` is what the child may use beyond what
    it needs to start. The process starts with the first request, serves one request at a time (others wait), and is
    replaced after a crash. `kill` ends it from another thread; the request under way then raises MediaError.
    """

    def __init__(self, limits: Limits | None = None, memory_bytes: int = 4 << 30) -> None:
        self.limits, self.memory_bytes = limits or Limits(), memory_bytes
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._wire: Wire | None = None
        self._holds: Clip | None = None

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """The process that decodes, None while there is none."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def open(self, clip: Clip) -> RemoteReader:
        """A reader of the clip whose work is done in the child. Raises: as `reelm.media.open`."""
        return RemoteReader(self, clip)

    def kill(self) -> None:
        """Ends the child at once, whatever it does; the next request starts another."""
        process = self._process
        if process is not None:
            process.kill()

    def close(self) -> None:
        """Ends the child; the worker can be asked again and will start another."""
        with self._lock:
            self._end()

    def ask(self, clip: Clip, verb: str, **more: Any) -> tuple[dict[str, Any], list[np.ndarray]]:
        """The child's reply to one request about a clip: facts and arrays.

        Raises: what the child raised, MediaError if it died, BudgetError if it took too long.
        """
        with self._lock:
            deadline = Deadline(self.limits.wall_s + _GRACE_S, clip.name)
            wire = self._running(deadline)
            try:
                if self._holds is not clip:
                    source, arrays = clip_out(clip, self.limits)
                    wire.send({"verb": "open", "clip": source}, arrays, deadline)
                    self._holds = None
                    self._reply(wire, deadline)
                    self._holds = clip
                wire.send({"verb": verb, **more}, [], deadline)
                return self._reply(wire, deadline)
            except TimeoutError:
                self._end()
                raise BudgetError(f"took longer than the {self.limits.wall_s:g} s allowed, and was stopped",
                                  where=clip.name, remedy="Ask for less, or pass Limits(wall_s=...)") from None
            except (EOFError, OSError, ValueError, KeyError, TypeError, RecursionError) as error:
                raise MediaError(f"the process that decodes it {self._how_it_ended(error)}", where=clip.name,
                                 remedy="Do not trust this file; other files are not affected") from None

    def _reply(self, wire: Wire, deadline: Deadline) -> tuple[dict[str, Any], list[np.ndarray]]:
        facts, arrays = wire.receive(self.limits.decoded_bytes + (256 << 20), deadline)
        if "error" not in facts:
            return facts, arrays
        kind = getattr(errors, str(facts["error"]), MediaError)
        fits = isinstance(kind, type) and issubclass(kind, ReelmError)
        raise (kind if fits else MediaError)(str(facts["what"]), where=str(facts["where"]),
                                             remedy=str(facts["remedy"]))

    def _running(self, deadline: Deadline) -> Wire:
        if self._wire is not None and self.pid is not None:
            return self._wire
        self._end()
        ours, theirs = socket.socketpair()
        settings = {"limits": asdict(self.limits), "memory_bytes": self.memory_bytes}
        package = str(Path(__file__).parents[2])
        path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH", "")]))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "reelm.media.worker_child", str(theirs.fileno())], pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env=os.environ | _LEAN | {"PYTHONPATH": path})
        theirs.close()
        self._wire, self._holds = Wire(ours), None
        self._wire.send(settings, [], deadline)
        return self._wire

    def _how_it_ended(self, error: Exception) -> str:
        """In words; the child is gone afterwards, also where only its words made no sense."""
        process = self._process
        code = None
        if process is not None:
            try:
                code = process.wait(timeout=_GRACE_S)
            except subprocess.TimeoutExpired:
                code = None
        self._end()
        if code is None:
            return f"gave a reply that makes no sense ({error}) and was stopped"
        if code < 0:
            return f"died of signal {-code} ({signal.Signals(-code).name})"
        return f"ended with code {code}"

    def _end(self) -> None:
        if self._wire is not None:
            self._wire.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._process = self._wire = self._holds = None


class RemoteReader:
    """A `Reader` whose decoding happens in a worker's process; the same methods, the same results."""

    def __init__(self, worker: Worker, clip: Clip) -> None:
        self.clip, self.limits = clip, worker.limits
        self.notes: list[str] = []
        self._worker = worker
        self._info: MediaInfo | None = None
        self._ask("ready", lambda facts, arrays: None)

    def __enter__(self) -> RemoteReader:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Nothing is held here; the child gives the file back when it is asked about another."""

    def info(self) -> MediaInfo:
        """As `Reader.info`."""
        if self._info is None:
            self._info = replace(self._ask("info", info_in), source=self.clip.name)
        return self._info

    def frames(self, at_s: Sequence[float]) -> Frames:
        """As `Reader.frames`."""
        def seen(facts: dict[str, Any], arrays: list[np.ndarray]) -> Frames:
            rgb, times, repeated = arrays
            return Frames(rgb, times, repeated, still=bool(facts["still"]))

        return self._ask("frames", seen, at_s=[float(second) for second in at_s])

    def audio(self, rate_hz: int) -> Audio | None:
        """As `Reader.audio`."""
        def heard(facts: dict[str, Any], arrays: list[np.ndarray]) -> Audio | None:
            return Audio(arrays[0], int(facts["rate_hz"]), float(facts["start_s"])) if arrays else None

        return self._ask("audio", heard, rate_hz=rate_hz)

    def subtitles(self, side: str | Path | None = None) -> tuple[Cue, ...]:
        """As `Reader.subtitles`."""
        def said(facts: dict[str, Any], arrays: list[np.ndarray]) -> tuple[Cue, ...]:
            return tuple(Cue(float(start), float(end), str(text)) for start, end, text in facts["cues"])

        return self._ask("subtitles", said, side=None if side is None else os.path.abspath(side))

    def beside(self) -> tuple[Path, ...]:
        """As `Reader.beside`."""
        return self._ask("beside", lambda facts, arrays: tuple(Path(name) for name in facts["paths"]))

    def _ask(self, verb: str, read: Callable[[dict[str, Any], list[np.ndarray]], Read], **more: Any) -> Read:
        """What `read` makes of the reply; the child's word is checked like that of any stranger."""
        try:
            facts, arrays = self._worker.ask(self.clip, verb, **more)
            self.notes = list(dict.fromkeys([*self.notes, *(str(note) for note in facts["notes"])]))
            return read(facts, arrays)
        except (KeyError, TypeError, ValueError, IndexError, UsageError) as error:
            if isinstance(error, UsageError) and error.where:
                raise  # the child's own, about what was asked
            raise MediaError(f"the process that decodes it gave a reply that makes no sense ({error})",
                             where=self.clip.name, remedy="Do not trust this file") from None
