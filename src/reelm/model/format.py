"""The form of `config.json` has a number; a file of an older form is brought up to date while it is read.

Whoever changes what a key means, removes one or adds one that older files must not lack, raises `FORMAT` by one and
adds the step from the number before to `STEPS`. Steps stay for ever: they are what keeps old model folders loading.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from reelm.errors import CheckpointError

#: The form that is written today.
FORMAT = 1

Fields = dict[str, Any]


def _numbered(fields: Fields) -> Fields:
    """0 to 1: the first files had no number; apart from that nothing changed."""
    return fields


#: number -> the step from that form to the next.
STEPS: dict[int, Callable[[Fields], Fields]] = {0: _numbered}


def up_to_date(fields: Mapping[str, Any], where: str = "config.json of a reelm model") -> Fields:
    """The fields of a config file in today's form, whatever older form they were written in; `fields` stays as it is.

    Raises: CheckpointError for a newer form, and for a number that is none.
    """
    found = fields.get("format", 0)
    if isinstance(found, bool) or not isinstance(found, int) or found < 0:
        raise CheckpointError(f"format is {found!r}, expected a number from 0 to {FORMAT}", where=where,
                              remedy="Take config.json again from where the model came from")
    if found > FORMAT:
        raise CheckpointError(f"it has format {found}, this reelm reads formats 0 to {FORMAT}", where=where,
                              remedy="The model was saved by a newer reelm: update with `pip install -U reelm`")
    current = dict(fields)
    for number in range(found, FORMAT):
        current = STEPS[number](current)
    return {**current, "format": FORMAT}
