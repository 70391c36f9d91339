"""Reading lines from a person or from a pipe, with what makes typing pleasant where there is a person."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Sequence
from types import ModuleType

from reelm.cli import terminal

PROMPT = "> "


class LineReader:
    """Lines of standard input, one at a time.

    A person at a terminal gets a prompt, editing, the lines of before on the arrow keys, and Tab, which completes
    `commands` and file names. Nothing typed is kept after the end. From a pipe the lines come as they are.
    """

    def __init__(self, commands: Sequence[str]) -> None:
        self.interactive = sys.stdin.isatty()
        self._commands = commands
        if self.interactive and sys.stdout.isatty() and (editor := _editor()):
            editor.set_completer_delims("")  # what is completed is the whole line
            editor.set_completer(self.complete)
            libedit = "libedit" in (editor.__doc__ or "")  # macOS
            editor.parse_and_bind("bind ^I rl_complete" if libedit else "tab: complete")

    def read(self) -> str | None:
        """The next line without its end; None after the last. Ctrl-C at the prompt drops the line begun.

        Raises: KeyboardInterrupt when there is no person whose line it could drop.
        """
        if not self.interactive:
            line = sys.stdin.readline()
            return line.rstrip("\r\n") if line else None
        while True:
            try:
                return input(PROMPT)
            except EOFError:
                terminal.say("")
                return None
            except KeyboardInterrupt:
                terminal.say("\n/quit or Ctrl-D ends the chat")

    def complete(self, line: str, state: int) -> str | None:
        """The `state`-th whole line that `line` may become, None after the last (what readline asks for)."""
        found = self.completions(line)
        return found[state] if state < len(found) else None

    def completions(self, line: str) -> list[str]:
        """Commands that begin with `line`, or, after a command, the files that begin with its last argument."""
        if not line.startswith("/"):
            return []
        command, blank, rest = line.partition(" ")
        if not blank:
            return [f"{known} " for known in self._commands if known.startswith(command)]
        word, _, name = rest.partition(" ")
        head = f"{command} {word} " if (command, word) == ("/frames", "sheet") else f"{command} "
        typed = os.path.expanduser(name if head.endswith("sheet ") else rest)
        paths = sorted(glob.glob(glob.escape(typed) + "*"))
        return [head + path + ("/" if os.path.isdir(path) else "") for path in paths]


def _editor() -> ModuleType | None:
    """The standard library's line editor, which then serves `input`; Windows has its own in the console."""
    try:
        import readline
    except ImportError:
        return None
    return readline
