"""Pictures one after the other that are no video track: a folder of pictures, an animated WebP."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

from reelm.errors import MediaError, ReelmError
from reelm.media.content import Content, content_of
from reelm.media.limits import Deadline, Limits
from reelm.media.picture import TRANSPARENT
from reelm.media.source import PICTURES, sniff
from reelm.media.still import opened, read_still, size_of
from reelm.types import Clip

#: Pictures of a folder per second, where the clip does not say: what VideoLLaMA 2 takes folders of frames for.
FOLDER_FPS = 3.0
#: Browsers show a picture that asks for 10 ms or less for 100 ms; people make their animations in front of them.
_SHORTEST_MS, _INSTEAD_MS = 10, 100


@dataclass(frozen=True)
class Slides:
    """`times_s` float64 [F], when each picture begins; the last stays until `end_s`. `read(numbers)` decodes those of
    the rising sequence in one pass: (number, uint8 [3,H,W]), all of (`width_px`, `height_px`).
    """

    container: str
    codec: str
    times_s: np.ndarray
    end_s: float
    width_px: int
    height_px: int
    shortfall: tuple[str, ...]
    read: Callable[[Sequence[int]], Iterator[tuple[int, np.ndarray]]]

    @property
    def rate(self) -> float:
        return len(self.times_s) / self.end_s if self.end_s else 0.0


def folder_slides(clip: Clip, limits: Limits, deadline: Deadline, note: Callable[[str], None]) -> Slides:
    """The pictures of a folder in natural order (2 before 10), each 1 / `folder_fps` seconds long.

    Hidden files are passed over; other files that are no pictures are named in the shortfall. Pictures of another size
    than the first are scaled to it, with a note. Raises: MediaError if there is no picture or the folder is unreadable.
    """
    where, folder = clip.name, Path(str(clip.source))
    try:
        names = sorted((entry.name for entry in folder.iterdir() if not entry.name.startswith(".")), key=_natural)
    except OSError as error:
        raise MediaError(f"cannot be read: {error.strerror}", where=where, remedy="Check its permissions") from None
    pictures: list[tuple[Content, str]] = []
    others: list[str] = []
    for name in names:
        deadline.check()
        found = _picture(folder / name, limits)
        if found is None:
            others.append(name)
        else:
            pictures.append(found)
    if not pictures:
        raise MediaError(f"is a folder without pictures ({len(others)} other files)", where=where,
                         remedy="Name one file in it, or a folder of pictures")
    short = (f"{len(others)} of {len(names)} entries of the folder are no pictures: "
             f"{', '.join(others[:3])}{', ...' if len(others) > 3 else ''}",) if others else ()
    width, height = size_of(*pictures[0], limits)

    def read(numbers: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        for number in numbers:
            deadline.check()
            rgb, notes = read_still(*pictures[number], limits)
            for sentence in notes:
                note(sentence)
            yield number, _scaled(rgb, width, height, note)

    rate = clip.folder_fps or FOLDER_FPS
    kinds = "+".join(sorted({kind for _, kind in pictures}))
    return Slides("folder", kinds, np.arange(len(pictures)) / rate, len(pictures) / rate, width, height, short, read)


def webp_slides(content: Content, limits: Limits, deadline: Deadline, note: Callable[[str], None]) -> Slides:
    """The pictures of an animated WebP, once through; later loops are not played.

    Cost: every request decodes from the beginning up to its last picture, because each builds on those before.
    Raises: MediaError if it is damaged; BudgetError if the canvas is too large.
    """
    shape, delays_ms, promised = _webp_chunks(content, limits, deadline)
    limits.check_picture(*shape, content.name)
    short: tuple[str, ...] = () if promised else ("the file ends inside a picture",)
    quick = sum(delay <= _SHORTEST_MS for delay in delays_ms)
    if quick and len(delays_ms) > 1:
        short += (f"{quick} pictures ask for {_SHORTEST_MS} ms or less; they last {_INSTEAD_MS} ms, as in browsers",)
    shown = [delay if delay > _SHORTEST_MS else _INSTEAD_MS for delay in delays_ms]
    begins = np.concatenate([[0], np.cumsum(shown)]) / 1000

    def read(numbers: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        asked = set(numbers)
        with opened(content, PICTURES["webp"]) as picture:
            for number in range(max(numbers) + 1):
                deadline.check()
                picture.seek(number)
                picture.load()
                if number in asked:
                    pixels = np.asarray(picture.convert("RGBA"))
                    if (pixels[:, :, 3] < 255).any():
                        note(TRANSPARENT)
                    yield number, pixels[:, :, :3].transpose(2, 0, 1)

    return Slides("webp", "webp", begins[:-1], float(begins[-1]), *shape, short, read)


def _webp_chunks(content: Content, limits: Limits,
                 deadline: Deadline) -> tuple[tuple[int, int], list[int], bool]:
    """((width, height), milliseconds of every picture, whether the last is whole), read without decoding."""
    delays: list[int] = []
    with content.open() as file:
        head = file.read(30)
        shape = (int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1)
        end = file.seek(0, 2)
        limits.check_source(end, content.name)  # Pillow takes the whole file into memory
        at = 12
        while at + 8 <= end:
            deadline.check()
            file.seek(at)
            chunk = file.read(24)
            at += 8 + (size := int.from_bytes(chunk[4:8], "little")) + size % 2
            if chunk[:4] == b"ANMF" and len(chunk) == 24 and at <= end + 1:
                delays.append(int.from_bytes(chunk[20:23], "little"))
    if not delays:
        raise MediaError("is an animated WebP without a whole picture", where=content.name,
                         remedy="Copy or download it again")
    return shape, delays, at <= end + 1


def _picture(path: Path, limits: Limits) -> tuple[Content, str] | None:
    try:
        content = content_of(Clip(path), limits)
        kind = sniff(content)
    except ReelmError:
        return None
    return (content, kind) if kind in PICTURES else None


def _natural(name: str) -> list[tuple[int, int, str]]:
    """Numbers inside a name compare as numbers: frame2 before frame10, and 007 before 7 where all else is equal."""
    parts = re.findall(r"\d+|\D+", name)
    return [(0, int(part), part) if part.isascii() and part.isdigit() else (1, 0, part.casefold()) for part in parts]


def _scaled(rgb: np.ndarray, width: int, height: int, note: Callable[[str], None]) -> np.ndarray:
    if rgb.shape[1:] == (height, width):
        return rgb
    note(f"the picture size changes on the way; scaled to {width} x {height}")
    picture = Pillow.fromarray(np.ascontiguousarray(rgb.transpose(1, 2, 0)))
    return np.asarray(picture.resize((width, height), Pillow.Resampling.BILINEAR)).transpose(2, 0, 1)
