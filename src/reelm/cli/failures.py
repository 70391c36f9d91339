"""How a verb ends when it cannot go on: one message, in three parts, and an exit code a script can rely on.

0 ok, 1 internal, 2 usage, 3 media, 4 model or checkpoint, 5 budget or policy, 130 interrupted.
"""

from __future__ import annotations

import functools
import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec

import typer

from reelm.errors import ReelmError

P = ParamSpec("P")
INTERRUPTED = 130

#: Set by `reelm --debug`: the full traceback goes to stderr instead of a file.
debug = False


def guarded(verb: Callable[P, Any]) -> Callable[P, None]:
    """The verb, with every way it can fail turned into a message on stderr and an exit code."""

    @functools.wraps(verb)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            verb(*args, **kwargs)
            sys.stdout.flush()
        except (typer.Exit, typer.Abort):
            raise
        except ReelmError as error:
            if debug:
                traceback.print_exc()
            sys.stderr.write(explain(error))
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            sys.stderr.write("\ninterrupted\n")
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:
            leave_pipe()
            raise typer.Exit(0) from None
        except Exception as error:
            if is_typers_own(error):
                raise
            unexpected(error)
            raise typer.Exit(1) from None

    return run


def explain(error: ReelmError) -> str:
    """`error: what`, then `where: …` and `do: …` on lines of their own where they are known."""
    text = f"error: {error.what}\n"
    if error.where:
        text += f"where: {error.where}\n"
    if error.remedy:
        text += f"what to do: {error.remedy}\n"
    return text


def is_typers_own(error: Exception) -> bool:
    """Whether typer itself explains this error (a bad option value); its classes moved between releases."""
    return hasattr(error, "format_message") and hasattr(error, "exit_code")


def leave_pipe() -> None:
    """Whoever read our output has gone: what is still buffered goes nowhere, quietly."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def unexpected(error: Exception) -> None:
    """A short message for a fault of ours, and the traceback where it can be found."""
    if debug:
        traceback.print_exc()
        where = "the traceback above"
    else:
        where = str(write_log(error))
    sys.stderr.write(
        f"error: {type(error).__name__}: {error}\n"
        f"where: inside reelm; details in {where}\n"
        "what to do: This is a fault of reelm, please report it with those details\n"
    )


def write_log(error: Exception) -> Path:
    """The traceback and the command in a new file, readable by this user only."""
    handle, name = tempfile.mkstemp(prefix="reelm-error-", suffix=".log")
    with os.fdopen(handle, "w", encoding="utf-8") as log:
        log.write(f"command: {sys.argv[1:]}\n")
        log.writelines(traceback.format_exception(error))
    return Path(name)
