"""What goes where: stdout carries the answer and nothing else, stderr everything about it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from rich.console import Console
from rich.table import Table

#: Neither console interprets `[...]` in file names or answers as markup, nor colours numbers in them.
out = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True)


def say(text: str) -> None:
    """One line of progress or remark on stderr."""
    err.print(text)


@contextmanager
def busy(text: str) -> Iterator[None]:
    """Shows `text` with a turning wheel while the block runs; on anything but a terminal it shows nothing."""
    if not err.is_terminal:
        yield
        return
    with err.status(text):
        yield


def piece(text: str) -> None:
    """A piece of an answer, at once. On a terminal, control characters of a model must not steer it."""
    if sys.stdout.isatty():
        text = "".join(c for c in text if c.isprintable() or c in "\n\t")
    sys.stdout.write(text)
    sys.stdout.flush()


class Stream:
    """Prints the pieces of an answer as they come, without the white space at its two ends.

    `at_first` is called before the first piece is shown.
    """

    def __init__(self, at_first: Callable[[], object] = lambda: None) -> None:
        self._held = ""
        self._begun = False
        self._at_first = at_first

    def __call__(self, text: str) -> None:
        text = self._held + text if self._begun else text.lstrip()
        if not text:
            return
        if not self._begun:
            self._begun = True
            self._at_first()
        shown = text.rstrip()
        self._held = text[len(shown):]
        piece(shown)


@contextmanager
def streaming(text: str) -> Iterator[Stream]:
    """A `Stream`; until its first piece, a terminal shows `text` with a turning wheel."""
    with ExitStack() as wheel:
        wheel.enter_context(busy(text))
        yield Stream(wheel.close)


def json_line(value: Any) -> None:
    """`value` as one line of JSON on stdout."""
    piece(json.dumps(value, ensure_ascii=False) + "\n")


def as_json(value: Any) -> None:
    """`value` as the only thing on stdout: UTF-8 JSON, two spaces of indent, one newline at the end."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table on stdout; piped into another program it is as wide as its text, one row a line."""
    if not out.is_terminal:
        widths = [max(len(row[i]) for row in [columns, *rows]) for i in range(len(columns))]
        for row in [columns, *rows]:
            sys.stdout.write("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
            sys.stdout.write("\n")
        sys.stdout.flush()
        return
    grid = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        grid.add_column(name, overflow="fold")
    for row in rows:
        grid.add_row(*row)
    out.print(grid)
