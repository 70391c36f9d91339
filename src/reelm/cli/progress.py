"""How far a long run is, and about how long it still takes, on stderr."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.status import Status

from reelm.cli import terminal

#: Off a terminal a line stays, so there are few of them.
QUIET_S = 15.0


class Progress:
    """Counts files and captions. On a terminal one line that changes, elsewhere a line now and then.

    Every file weighs the same, or its bytes where long files mean more work (`of_bytes`). The time left is what the
    rest will take at the speed so far; work that was skipped does not count as speed.
    """

    def __init__(self, files: Sequence[Path], *, of_bytes: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self.weights = {path: float(_bytes(path) if of_bytes else 1) for path in files}
        self.made = self.bad = 0
        self._left = sum(self.weights.values())
        self._worked = 0.0
        self._shares = dict.fromkeys(files, 0.0)
        self._clock, self._began, self._shown_at = clock, clock(), clock()
        self._line = Status("", console=terminal.err) if terminal.err.is_terminal else None

    def __enter__(self) -> Self:
        self._began = self._shown_at = self._clock()
        if self._line:
            self._line.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        if self._line:
            self._line.stop()

    def done(self, path: Path, share: float) -> None:
        """`share` of a file was worked on."""
        self._worked += self.weights[path] * share
        self.skip(path, share)
        now = self._clock()
        if self._line:
            self._line.update(self.text())
        elif now - self._shown_at >= QUIET_S:
            self._shown_at = now
            self.say(self.text())

    def skip(self, path: Path, share: float = 1.0) -> None:
        """`share` of a file needs no work."""
        self._left -= self.weights[path] * share
        self._shares[path] += share

    @property
    def left_s(self) -> float | None:
        """About how long the rest takes, None while nothing was worked on."""
        if not self._worked:
            return None
        return max(0.0, (self._clock() - self._began) * self._left / self._worked)

    def text(self) -> str:
        files = sum(share > 1 - 1e-9 for share in self._shares.values())
        left = "" if self.left_s is None else f" · about {spoken(self.left_s)} left"
        bad = f" · {self.bad} bad" if self.bad else ""
        return f"{files} of {len(self._shares)} files · {self.made} captions{bad}{left}"

    def say(self, text: str) -> None:
        terminal.say(text)


def _bytes(path: Path) -> int:
    try:
        return max(1, path.stat().st_size)
    except OSError:
        return 1  # it will be told as a bad file


def spoken(seconds: float) -> str:
    """Seconds as m:ss or h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
