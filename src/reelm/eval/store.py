"""What is kept for good: a table on disk under the digest of all that made it, so that a rerun costs nothing."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

from reelm.errors import UsageError

#: The number of the layout of such a file: tables of a key and a JSON object each.
_FORM = 1
_WAIT_S = 60.0


class Kept:
    """A table of JSON objects by key in a SQLite file; what `put` returned from outlives a kill.

    Several processes and threads may read and write one file; one that is busy is waited for. `table`: the name of the
    table; `newest`: whether a later object takes the place of an earlier one of its key (else the first one stays).
    Raises: UsageError when the file is something else, of a newer form, or cannot be written.
    """

    table: ClassVar[str]
    newest: ClassVar[bool] = False

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._lock = threading.Lock()
        with self._explained():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._base = sqlite3.connect(self.path, timeout=_WAIT_S, check_same_thread=False, isolation_level=None)
            self._base.execute("PRAGMA journal_mode=WAL")
            self._base.execute("PRAGMA synchronous=FULL")
            with self._transaction():
                self._made()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def __len__(self) -> int:
        return int(self._rows(f"SELECT COUNT(*) FROM {self.table}")[0][0])

    def get(self, key: str) -> dict[str, Any] | None:
        """What stands under `key`, None if nothing."""
        found = self._rows(f"SELECT value FROM {self.table} WHERE key = ?", key)
        return dict(json.loads(found[0][0])) if found else None

    def put(self, made: Mapping[str, Mapping[str, Any]]) -> None:
        """Keeps all of `made` or, if the process dies here, nothing of it; it is on the disk when this returns."""
        word = "REPLACE" if self.newest else "IGNORE"
        rows = [(key, json.dumps(value)) for key, value in made.items()]
        with self._explained(), self._lock, self._transaction():
            self._base.executemany(f"INSERT OR {word} INTO {self.table} VALUES (?, ?)", rows)

    def close(self) -> None:
        self._base.close()

    def converted(self, columns: tuple[str, ...]) -> str | None:
        """The SELECT of keys and JSON objects from a table of an older form with these columns; None: unknown."""
        return None

    def _rows(self, statement: str, *values: str) -> list[tuple[Any, ...]]:
        with self._explained(), self._lock:
            return self._base.execute(statement, values).fetchall()

    def _made(self) -> None:
        """The table, in its present form."""
        (form,) = self._base.execute("PRAGMA user_version").fetchone()
        if form not in (0, _FORM):
            raise UsageError(f"is of form {form}, this release reads form {_FORM}", where=str(self.path),
                             remedy="Name another file, or use the release that wrote it")
        columns = tuple(row[1] for row in self._base.execute(f"PRAGMA table_info({self.table})"))
        if columns in ((), ("key", "value")):
            self._base.execute(f"CREATE TABLE IF NOT EXISTS {self.table} (key TEXT PRIMARY KEY, value TEXT NOT NULL)")
        else:
            self._convert(columns)
        self._base.execute(f"PRAGMA user_version={_FORM}")

    def _convert(self, columns: tuple[str, ...]) -> None:
        taken = self.converted(columns)
        if taken is None:
            raise UsageError(f"its table {self.table} has the columns {', '.join(columns)}", where=str(self.path),
                             remedy="Name another file: this one was written by something else")
        self._base.execute("CREATE TABLE converted (key TEXT PRIMARY KEY, value TEXT NOT NULL)")
        self._base.execute(f"INSERT INTO converted {taken}")
        self._base.execute(f"DROP TABLE {self.table}")
        self._base.execute(f"ALTER TABLE converted RENAME TO {self.table}")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        # Begun as a writer: one that reads first and then finds another has written would fail without waiting.
        self._base.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            if self._base.in_transaction:
                self._base.execute("ROLLBACK")
            raise
        self._base.execute("COMMIT")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise UsageError(f"is no file of {self.table}, or cannot be used as one ({error})", where=str(self.path),
                             remedy="Name another file, or remove this one: what it keeps is asked for again") from None


class Answers(Kept):
    """The answers of models; the first one to a key stays, so that a run and its repetition tell the same."""

    table = "answers"
