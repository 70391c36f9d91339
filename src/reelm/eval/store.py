"""Answers that are kept: a table on disk under the digest of all that made them, so that a rerun costs nothing."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from reelm.errors import UsageError

_FORM = 1
_WAIT_S = 60.0


class Answers:
    """A file of answers by key. Several processes may write to one file; what `put` returned from outlives a kill.

    Raises: UsageError when the file is something else, or of a newer form.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        try:
            self._base = sqlite3.connect(path, timeout=_WAIT_S)
            self._base.execute("PRAGMA journal_mode=WAL")
            self._base.execute("PRAGMA synchronous=FULL")
            (form,) = self._base.execute("PRAGMA user_version").fetchone()
            if form not in (0, _FORM):
                raise UsageError(f"is of form {form}, this release reads form {_FORM}", where=str(path),
                                 remedy="Name another file, or use the release that wrote it")
            with self._base:
                self._base.execute("CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, value TEXT NOT NULL)")
                self._base.execute(f"PRAGMA user_version={_FORM}")
        except sqlite3.DatabaseError as error:
            raise UsageError(f"is no file of answers ({error})", where=str(path),
                             remedy="Name another file, or remove this one") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._base.close()

    def __len__(self) -> int:
        return int(self._base.execute("SELECT COUNT(*) FROM answers").fetchone()[0])

    def get(self, key: str) -> dict[str, Any] | None:
        """What stands under `key`, None if nothing."""
        found = self._base.execute("SELECT value FROM answers WHERE key = ?", (key,)).fetchone()
        return None if found is None else dict(json.loads(found[0]))

    def put(self, made: Mapping[str, Mapping[str, Any]]) -> None:
        """Keeps all of `made`, on the disk when this returns; a key that is there already stays as it is."""
        with self._base:
            self._base.executemany("INSERT OR IGNORE INTO answers VALUES (?, ?)",
                                   [(key, json.dumps(value)) for key, value in made.items()])
