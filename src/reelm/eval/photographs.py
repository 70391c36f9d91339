"""Asks a model what photographs show: `python -m reelm.eval.photographs`. None of them was used in training.

An answer counts when it is one of the accepted words of the list, or ends in one ("red fox" for "fox").
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from reelm.data.photographs import HELD_OUT, composed
from reelm.data.questions import normalise
from reelm.data.recordings import stamps
from reelm.errors import ReelmError
from reelm.eval.score import Proportion
from reelm.types import Image

QUESTION = "What is in the picture?"
_SIDE_PX, _GROUND = 320, (200, 205, 200)


def accepted(said: str, words: tuple[str, ...]) -> bool:
    """Whether an answer names one of the words."""
    told = normalise(said)
    return any(told == normalise(word) or told.endswith(f" {normalise(word)}") for word in words)


def measure(model: Any, folder: Path, batch: int = 8) -> tuple[Proportion, list[dict[str, str]]]:
    """The share of photographs named rightly, and every one with what was said.

    `folder` is the folder of `recordings.stamps`. Chance is taken as one in a thousand names.
    """
    asked = [(Image(np.ascontiguousarray(composed(folder / f"{name}.png", _SIDE_PX, _GROUND).transpose(2, 0, 1))),
              QUESTION) for name in HELD_OUT]
    answers = model.answer_many(asked, max_batch=batch, max_tokens=16)
    record = [{"photograph": name, "said": str(said) if isinstance(said, ReelmError) else said.text,
               "accepted": ", ".join(HELD_OUT[name])} for name, said in zip(HELD_OUT, answers, strict=True)]
    right = sum(accepted(r["said"], HELD_OUT[r["photograph"]]) for r in record)
    return Proportion(right, len(record), 0.001), record


def main() -> None:
    """The command line of this module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="reelm-tiny")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    import reelm

    score, record = measure(reelm.load(given.model), stamps(print))
    low, high = score.interval
    for told in record:
        right = accepted(told["said"], HELD_OUT[told["photograph"]])
        print(f"{'+' if right else ' '} {told['photograph']}: {told['said']}")
    print(f"{score.right} of {score.total}: {100 * score.value:.1f} % ({100 * low:.1f}–{100 * high:.1f})")
    if given.out:
        given.out.write_text("".join(json.dumps(r) + "\n" for r in record))


if __name__ == "__main__":
    main()
