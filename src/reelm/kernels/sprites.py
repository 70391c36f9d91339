"""Objects and colours of the synthetic world and of needles in haystacks, drawn by code: nothing has to be licensed.

A kind is a list of strokes in a unit square (x to the right, y down). A stroke is (pen, shape, numbers): the pen
"fill" paints the object, "dark" paints a darker detail on it, "cut" takes away; the shape is a polygon or an ellipse.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw

Stroke = tuple[str, str, tuple[float, ...]]

#: name -> RGB; the eight colours a question may ask for.
COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (220, 30, 35),
    "orange": (245, 135, 20),
    "yellow": (245, 225, 45),
    "green": (40, 165, 60),
    "blue": (40, 80, 225),
    "purple": (140, 50, 185),
    "white": (248, 248, 248),
    "black": (18, 18, 18),
}


def _turned(points: int, outer: float, inner: float, phase: float = -90.0) -> tuple[float, ...]:
    """A star (or, with inner = outer, a regular polygon of twice the points) around the centre."""
    numbers: list[float] = []
    for i in range(2 * points):
        radius, angle = (outer, inner)[i % 2], math.radians(phase + 180.0 * i / points)
        numbers += [0.5 + radius * math.cos(angle), 0.5 + radius * math.sin(angle)]
    return tuple(numbers)


def _petals(count: int) -> list[Stroke]:
    strokes: list[Stroke] = []
    for i in range(count):
        angle = 2 * math.pi * i / count
        x, y = 0.5 + 0.27 * math.cos(angle), 0.5 + 0.27 * math.sin(angle)
        strokes.append(("fill", "ellipse", (x - 0.18, y - 0.18, x + 0.18, y + 0.18)))
    return [*strokes, ("dark", "ellipse", (0.36, 0.36, 0.64, 0.64))]


def _wheels(*centres: float) -> list[Stroke]:
    return [("dark", "ellipse", (x - 0.12, 0.62, x + 0.12, 0.86)) for x in centres]


SHAPES: dict[str, list[Stroke]] = {
    "ball": [("fill", "ellipse", (0.06, 0.06, 0.94, 0.94)), ("dark", "ellipse", (0.22, 0.18, 0.4, 0.34))],
    "square": [("fill", "poly", (0.1, 0.1, 0.9, 0.1, 0.9, 0.9, 0.1, 0.9))],
    "triangle": [("fill", "poly", (0.5, 0.06, 0.96, 0.9, 0.04, 0.9))],
    "star": [("fill", "poly", _turned(5, 0.48, 0.2))],
    "heart": [
        ("fill", "ellipse", (0.05, 0.1, 0.53, 0.56)),
        ("fill", "ellipse", (0.47, 0.1, 0.95, 0.56)),
        ("fill", "poly", (0.08, 0.43, 0.92, 0.43, 0.5, 0.95)),
        ("fill", "poly", (0.3, 0.3, 0.7, 0.3, 0.5, 0.7)),
    ],
    "cross": [
        (
            "fill",
            "poly",
            (
                0.36,
                0.06,
                0.64,
                0.06,
                0.64,
                0.36,
                0.94,
                0.36,
                0.94,
                0.64,
                0.64,
                0.64,
                0.64,
                0.94,
                0.36,
                0.94,
                0.36,
                0.64,
                0.06,
                0.64,
                0.06,
                0.36,
                0.36,
                0.36,
            ),
        )
    ],
    "ring": [("fill", "ellipse", (0.05, 0.05, 0.95, 0.95)), ("cut", "ellipse", (0.27, 0.27, 0.73, 0.73))],
    "moon": [("fill", "ellipse", (0.08, 0.05, 0.92, 0.95)), ("cut", "ellipse", (0.36, 0.0, 1.1, 0.84))],
    "house": [
        ("fill", "poly", (0.5, 0.06, 0.96, 0.46, 0.04, 0.46)),
        ("fill", "poly", (0.14, 0.46, 0.86, 0.46, 0.86, 0.93, 0.14, 0.93)),
        ("dark", "poly", (0.42, 0.62, 0.58, 0.62, 0.58, 0.93, 0.42, 0.93)),
        ("dark", "poly", (0.2, 0.54, 0.34, 0.54, 0.34, 0.68, 0.2, 0.68)),
    ],
    "tree": [
        ("fill", "poly", (0.5, 0.03, 0.78, 0.36, 0.22, 0.36)),
        ("fill", "poly", (0.5, 0.2, 0.88, 0.58, 0.12, 0.58)),
        ("fill", "poly", (0.5, 0.38, 0.96, 0.8, 0.04, 0.8)),
        ("dark", "poly", (0.42, 0.8, 0.58, 0.8, 0.58, 0.97, 0.42, 0.97)),
    ],
    "fish": [
        ("fill", "ellipse", (0.04, 0.24, 0.74, 0.76)),
        ("fill", "poly", (0.64, 0.5, 0.97, 0.22, 0.97, 0.78)),
        ("dark", "ellipse", (0.16, 0.38, 0.26, 0.48)),
        ("dark", "poly", (0.38, 0.36, 0.52, 0.5, 0.38, 0.64)),
    ],
    "car": [
        ("fill", "poly", (0.03, 0.5, 0.2, 0.48, 0.33, 0.26, 0.7, 0.26, 0.82, 0.48, 0.97, 0.52, 0.97, 0.74, 0.03, 0.74)),
        ("dark", "poly", (0.36, 0.32, 0.5, 0.32, 0.5, 0.47, 0.28, 0.47)),
        ("dark", "poly", (0.55, 0.32, 0.67, 0.32, 0.74, 0.47, 0.55, 0.47)),
        *_wheels(0.25, 0.75),
    ],
    "boat": [
        ("fill", "poly", (0.04, 0.66, 0.96, 0.66, 0.8, 0.92, 0.2, 0.92)),
        ("fill", "poly", (0.54, 0.06, 0.9, 0.58, 0.54, 0.58)),
        ("fill", "poly", (0.46, 0.16, 0.46, 0.58, 0.16, 0.58)),
        ("dark", "poly", (0.47, 0.04, 0.52, 0.04, 0.52, 0.66, 0.47, 0.66)),
    ],
    "cup": [
        ("fill", "ellipse", (0.58, 0.28, 0.97, 0.7)),
        ("cut", "ellipse", (0.67, 0.37, 0.88, 0.61)),
        ("fill", "poly", (0.08, 0.18, 0.74, 0.18, 0.68, 0.86, 0.14, 0.86)),
        ("dark", "ellipse", (0.1, 0.13, 0.72, 0.25)),
    ],
    "key": [
        ("fill", "ellipse", (0.03, 0.28, 0.45, 0.7)),
        ("cut", "ellipse", (0.13, 0.39, 0.31, 0.59)),
        (
            "fill",
            "poly",
            (
                0.4,
                0.43,
                0.97,
                0.43,
                0.97,
                0.74,
                0.88,
                0.74,
                0.88,
                0.56,
                0.78,
                0.56,
                0.78,
                0.7,
                0.69,
                0.7,
                0.69,
                0.56,
                0.4,
                0.56,
            ),
        ),
    ],
    "umbrella": [
        ("fill", "ellipse", (0.04, 0.06, 0.96, 0.98)),
        ("cut", "poly", (0.0, 0.52, 1.0, 0.52, 1.0, 1.0, 0.0, 1.0)),
        ("dark", "poly", (0.47, 0.5, 0.53, 0.5, 0.53, 0.88, 0.47, 0.88)),
        ("dark", "poly", (0.34, 0.82, 0.53, 0.82, 0.53, 0.89, 0.34, 0.89)),
    ],
    "cloud": [
        ("fill", "ellipse", (0.03, 0.42, 0.42, 0.8)),
        ("fill", "ellipse", (0.2, 0.2, 0.64, 0.7)),
        ("fill", "ellipse", (0.46, 0.3, 0.82, 0.72)),
        ("fill", "ellipse", (0.62, 0.44, 0.97, 0.8)),
        ("fill", "poly", (0.2, 0.55, 0.8, 0.55, 0.8, 0.8, 0.2, 0.8)),
    ],
    "flower": _petals(6),
    "mushroom": [
        ("fill", "ellipse", (0.04, 0.08, 0.96, 0.92)),
        ("cut", "poly", (0.0, 0.52, 1.0, 0.52, 1.0, 1.0, 0.0, 1.0)),
        ("fill", "poly", (0.38, 0.5, 0.62, 0.5, 0.68, 0.94, 0.32, 0.94)),
        ("dark", "ellipse", (0.22, 0.24, 0.38, 0.4)),
        ("dark", "ellipse", (0.56, 0.18, 0.72, 0.34)),
    ],
    "drop": [("fill", "ellipse", (0.18, 0.36, 0.82, 0.97)), ("fill", "poly", (0.5, 0.03, 0.78, 0.54, 0.22, 0.54))],
    "bolt": [("fill", "poly", (0.6, 0.03, 0.18, 0.56, 0.44, 0.56, 0.34, 0.97, 0.82, 0.4, 0.54, 0.4))],
    "flag": [
        ("fill", "poly", (0.2, 0.06, 0.95, 0.12, 0.78, 0.32, 0.95, 0.54, 0.2, 0.56)),
        ("dark", "poly", (0.11, 0.03, 0.2, 0.03, 0.2, 0.97, 0.11, 0.97)),
    ],
    "hourglass": [
        ("fill", "poly", (0.16, 0.06, 0.84, 0.06, 0.5, 0.52)),
        ("fill", "poly", (0.5, 0.48, 0.84, 0.94, 0.16, 0.94)),
        ("dark", "poly", (0.12, 0.03, 0.88, 0.03, 0.88, 0.11, 0.12, 0.11)),
        ("dark", "poly", (0.12, 0.89, 0.88, 0.89, 0.88, 0.97, 0.12, 0.97)),
    ],
    "ladder": [
        ("fill", "poly", (0.22, 0.03, 0.34, 0.03, 0.34, 0.97, 0.22, 0.97)),
        ("fill", "poly", (0.66, 0.03, 0.78, 0.03, 0.78, 0.97, 0.66, 0.97)),
        *[("fill", "poly", (0.3, y, 0.7, y, 0.7, y + 0.08, 0.3, y + 0.08)) for y in (0.12, 0.32, 0.52, 0.72)],
    ],
}

KINDS: tuple[str, ...] = tuple(SHAPES)


@lru_cache(maxsize=64)
def mask(kind: str, side_px: int = 192) -> tuple[Image.Image, Image.Image]:
    """(coverage, detail) of a kind, two anti-aliased grey pictures of side_px; detail is where the object is darker."""
    scale = 2 * side_px
    cover, dark = Image.new("L", (scale, scale)), Image.new("L", (scale, scale))
    pens = {"fill": ((cover, 255), (dark, 0)), "dark": ((cover, 255), (dark, 255)), "cut": ((cover, 0), (dark, 0))}
    for pen, shape, numbers in SHAPES[kind]:
        points = [n * scale for n in numbers]
        for picture, ink in pens[pen]:
            draw = ImageDraw.Draw(picture)
            draw.polygon(points, fill=ink) if shape == "poly" else draw.ellipse(points, fill=ink)
    size = (side_px, side_px)
    return cover.resize(size, Image.Resampling.BOX), dark.resize(size, Image.Resampling.BOX)


def sprite(
    kind: str, rgb: tuple[int, int, int], side_px: int, turn_deg: float = 0.0, flip: bool = False, shade: float = 0.0
) -> np.ndarray:
    """A picture of one object: float32 [side, side, 4], RGB 0..255 and coverage 0..1.

    `shade` -1..1 darkens the top or the bottom.
    """
    cover, dark = mask(kind)
    if flip:
        cover, dark = cover.transpose(Image.Transpose.FLIP_LEFT_RIGHT), dark.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if turn_deg:
        cover, dark = (p.rotate(turn_deg, Image.Resampling.BILINEAR) for p in (cover, dark))
    size = (side_px, side_px)
    a, d = (np.asarray(p.resize(size, Image.Resampling.BOX), np.float32) / 255 for p in (cover, dark))
    colour = np.asarray(rgb, np.float32)
    detail = colour * 0.45 if colour.mean() > 70 else colour + 90
    ramp = 1 + 0.25 * shade * np.linspace(-1, 1, side_px, dtype=np.float32)[:, None, None]
    body = np.clip((colour * (1 - d[..., None]) + detail * d[..., None]) * ramp, 0, 255)
    return np.concatenate([body, a[..., None]], axis=2)
