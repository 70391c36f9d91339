"""Reading what a judge wrote: an object with a few keys, checked field by field.

`careful` readers look for the object anywhere in the reply and refuse what the prompt did not allow. `official` readers
do what VideoLLaMA 2's scripts do: the whole reply is a Python dict literal, a score loses its decimals.
"""

from __future__ import annotations

import ast
import json
from typing import Any

from reelm.errors import UsageError

#: Judges that write a whole book are cut here before anything is looked for.
_LONGEST = 20_000


def read_object(reply: str) -> dict[str, Any]:
    """The first JSON object or Python dict literal in the reply, inside a code fence or among other words too.

    Raises: UsageError if there is none.
    """
    text = reply[:_LONGEST]
    for start in (place for place, sign in enumerate(text) if sign == "{"):
        try:
            found, _ = json.JSONDecoder(parse_constant=_refuse).raw_decode(text, start)
        except (ValueError, RecursionError):
            found = _literal(text[start:])
        if isinstance(found, dict):
            return found
    raise UsageError("no object in braces", where=_shown(reply), remedy="Write one object and nothing else")


def read_literal(reply: str) -> dict[str, Any]:
    """The reply as one Python dict literal, as VideoLLaMA 2's scripts read it.

    Raises: UsageError if it is anything else.
    """
    try:
        found = ast.literal_eval(reply)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise UsageError("not a Python dict literal", where=_shown(reply), remedy="Write one dict and nothing else")
    return found


def field(found: dict[str, Any], name: str) -> Any:
    """The value under `name`, whatever the case of its letters. Raises: UsageError without it."""
    for key, value in found.items():
        if isinstance(key, str) and key.strip().lower() == name.lower():
            return value
    raise UsageError(f"no {name!r} among {', '.join(map(repr, list(found)[:8])) or 'no keys'}",
                     remedy=f"Write the key {name!r}")


def grade(found: dict[str, Any], name: str = "score", high: int = 5) -> float:
    """The grade under `name`, 0..`high`, decimals kept. Raises: UsageError outside, or for anything but a number."""
    value = field(found, name)
    try:
        number = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else float("nan")
    except (ValueError, OverflowError):
        number = float("nan")
    if not 0 <= number <= high:
        raise UsageError(f"{name!r} is {str(value)[:40]!r}, not a number from 0 to {high}",
                         remedy=f"Write a number from 0 to {high}")
    return number


def whole_grade(found: dict[str, Any], name: str = "score") -> float:
    """The grade as VideoLLaMA 2's scripts take it: int() of whatever stands there, so that 4.8 gives 4.

    Raises: UsageError where int() fails.
    """
    try:
        return float(int(found[name]))
    except (KeyError, TypeError, ValueError, OverflowError):
        raise UsageError(f"no whole number under {name!r}", remedy=f"Write an integer under {name!r}") from None


def yes(found: dict[str, Any], name: str) -> bool:
    """Whether "yes" stands under `name`, else "no". Raises: UsageError for anything else."""
    value = field(found, name)
    word = value.strip().strip(".").lower() if isinstance(value, str) else value
    answers = {"yes": True, "no": False, True: True, False: False}
    if not isinstance(word, str | bool) or word not in answers:
        raise UsageError(f"{name!r} is {str(value)[:40]!r}, not 'yes' or 'no'", remedy="Write 'yes' or 'no'")
    return answers[word]


def _literal(text: str) -> object:
    """The Python literal that `text` begins with, up to a closing brace; None if there is none."""
    for end in [place for place, sign in enumerate(text) if sign == "}"][:32]:
        try:
            return ast.literal_eval(text[: end + 1])
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            continue
    return None


def _refuse(constant: str) -> object:
    raise ValueError(constant)


def _shown(reply: str) -> str:
    return repr(reply if len(reply) <= 120 else f"{reply[:120]}...")
