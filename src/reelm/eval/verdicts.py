"""Verdicts on disk: one SQLite file, addressed by content, shared by any number of processes."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from reelm.errors import UsageError
from reelm.types import Message

_FORM = 1
_TABLE = """CREATE TABLE IF NOT EXISTS verdicts (
    key TEXT PRIMARY KEY, judge TEXT NOT NULL, version TEXT NOT NULL, prompt TEXT NOT NULL, settings TEXT NOT NULL,
    reply TEXT NOT NULL, model TEXT NOT NULL, at REAL NOT NULL) WITHOUT ROWID"""
_COLUMNS = ("key", "judge", "version", "prompt", "settings", "reply", "model", "at")
#: How long a process waits for another that is writing.
_BUSY_S = 30.0


def spoken(messages: Sequence[Message]) -> list[dict[str, str]]:
    """Messages as every chat model takes them: role and text.

    Raises: UsageError for a part that is not text: a judge reads only.
    """
    for message in messages:
        if odd := [part for part in message.parts if not isinstance(part, str)]:
            raise UsageError(f"a judge reads text, not {type(odd[0]).__name__}", remedy="Describe it in words")
    return [{"role": one.role, "content": "\n".join(map(str, one.parts))} for one in messages]


def key_of(judge: str, version: str, messages: Sequence[Message], settings: Mapping[str, Any]) -> str:
    """SHA-256 of everything that a reply depends on."""
    whole = json.dumps([_FORM, judge, version, spoken(messages), dict(settings)], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(whole.encode("utf-8", "surrogatepass")).hexdigest()


class Verdicts:
    """The replies of judges by key. Only replies that could be read are put here; a later one replaces an earlier.

    Raises: UsageError if the file is not such a database or cannot be written.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._lock = threading.Lock()
        with self._explained():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._base = sqlite3.connect(self.path, timeout=_BUSY_S, check_same_thread=False, isolation_level=None)
            self._base.execute("PRAGMA journal_mode=WAL")
            self._base.execute(_TABLE)
            found = [row[1] for row in self._base.execute("PRAGMA table_info(verdicts)")]
        if tuple(found) != _COLUMNS:
            raise UsageError(f"its table has the columns {', '.join(found)}", where=str(path),
                             remedy="Name another file: this one was written by something else")

    def find(self, key: str) -> str | None:
        """The reply kept under `key`, or None."""
        with self._explained(), self._lock:
            row = self._base.execute("SELECT reply FROM verdicts WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def keep(self, key: str, judge: str, version: str, messages: Sequence[Message], settings: Mapping[str, Any],
             reply: str, model: str) -> None:
        """Keeps a reply for good: it is on disk when this returns."""
        row = (key, judge, version, json.dumps(spoken(messages)), json.dumps(dict(settings), sort_keys=True),
               reply.encode("utf-8", "replace").decode(), model, time.time())
        with self._explained(), self._lock:
            self._base.execute(f"INSERT OR REPLACE INTO verdicts VALUES ({', '.join('?' * len(row))})", row)

    def __len__(self) -> int:
        with self._explained(), self._lock:
            return int(self._base.execute("SELECT count(*) FROM verdicts").fetchone()[0])

    def close(self) -> None:
        self._base.close()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise UsageError(f"the verdicts cannot be kept here: {error}", where=str(self.path),
                             remedy="Name another file, or delete this one: its verdicts are asked for again") from None
