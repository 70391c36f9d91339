"""What is hidden in a haystack: lines of text, full pictures and small objects, all drawn by code."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from reelm.errors import UsageError
from reelm.kernels.sprites import COLOURS, KINDS, sprite

#: What the lines of text say; words that no two of which look alike.
WORDS = ("amber", "basil", "canyon", "dolphin", "ember", "falcon", "glacier", "harbour", "indigo", "jasmine", "kettle",
         "lantern", "meadow", "nutmeg", "orchid", "pebble", "quartz", "ribbon", "saffron", "timber", "umbra", "velvet",
         "willow", "yonder")
_PAPER = (236, 232, 222)
#: Black and white are left out: one of them would drown in a night, the other in snow.
INKS = {name: rgb for name, rgb in COLOURS.items() if name not in ("black", "white")}


@dataclass(frozen=True)
class Needle:
    """One appearance: `name` is what the answer key calls it, `kind` how it is shown.

    `kind` "text": a line at the lower edge; "picture": the whole frame; "object": something pasted into the frame.
    `at` (objects): the middle, as shares of width and height.
    """

    kind: str
    name: str
    at: tuple[float, float] = (0.5, 0.5)


def objects() -> list[str]:
    """The names of everything that can be drawn: colour and kind."""
    return [f"{colour} {kind}" for kind in KINDS for colour in INKS]


def drawn(frame: np.ndarray, needles: Sequence[Needle], own: Mapping[str, np.ndarray] | None = None) -> np.ndarray:
    """A copy of `frame` uint8 [H,W,3] with the needles on it; `own` are pictures uint8 [H,W,3] that stand for a name.

    Raises: UsageError for an unknown kind or name.
    """
    for needle in needles:
        if needle.kind not in _PENS:
            raise UsageError(f"no needle of kind {needle.kind!r}", remedy=f"One of: {', '.join(_PENS)}")
        picture = (own or {}).get(needle.name) if needle.kind == "picture" else None
        frame = _PENS[needle.kind](frame, needle) if picture is None else _fitted(frame, picture)
    return frame


def _fitted(frame: np.ndarray, picture: np.ndarray) -> np.ndarray:
    """A picture as large as the frame allows, whole, on paper."""
    height, width = frame.shape[:2]
    share = min(height / picture.shape[0], width / picture.shape[1])
    high, wide = (max(1, round(side * share)) for side in picture.shape[:2])
    paper = np.empty_like(frame)
    paper[:] = _PAPER
    top, left = (height - high) // 2, (width - wide) // 2
    paper[top:top + high, left:left + wide] = np.asarray(Image.fromarray(picture).resize((wide, high)))
    return paper


def _text(frame: np.ndarray, needle: Needle) -> np.ndarray:
    """A white line with a dark edge, like a subtitle, as large as the frame's width allows."""
    height, width = frame.shape[:2]
    line = f"The secret word is {needle.name}."
    size = max(8, round(height / 12))
    while size > 8 and ImageFont.load_default(size).getlength(line) > 0.94 * width:
        size -= 1
    picture = Image.fromarray(frame)
    ImageDraw.Draw(picture).text((width / 2, height * 0.88), line, fill=(255, 255, 255), stroke_fill=(0, 0, 0),
                                 stroke_width=max(1, size // 10), font=ImageFont.load_default(size), anchor="mm")
    return np.asarray(picture)


def _picture(frame: np.ndarray, needle: Needle) -> np.ndarray:
    paper = np.empty_like(frame)
    paper[:] = _PAPER
    return _pasted(paper, needle.name, (0.5, 0.5), 0.8)


def _object(frame: np.ndarray, needle: Needle) -> np.ndarray:
    return _pasted(frame, needle.name, needle.at, 0.26)


def _pasted(frame: np.ndarray, name: str, at: tuple[float, float], share: float) -> np.ndarray:
    """The object `name` on the frame, `share` of the frame's shorter side wide, wholly inside it."""
    colour, _, kind = name.partition(" ")
    if colour not in INKS or kind not in KINDS:
        raise UsageError(f"no object {name!r} can be drawn", remedy="See objects()")
    height, width = frame.shape[:2]
    side = max(2, round(share * min(height, width)))
    top = min(max(0, round(at[1] * height - side / 2)), height - side)
    left = min(max(0, round(at[0] * width - side / 2)), width - side)
    stamp = sprite(kind, INKS[colour], side)
    frame = frame.copy()
    under = frame[top:top + side, left:left + side].astype(np.float32)
    cover = stamp[..., 3:]
    frame[top:top + side, left:left + side] = np.rint(under * (1 - cover) + stamp[..., :3] * cover).astype(np.uint8)
    return frame


_PENS: dict[str, Callable[[np.ndarray, Needle], np.ndarray]] = {"text": _text, "picture": _picture, "object": _object}
