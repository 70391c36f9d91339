"""Small pictures of the frames that an answer used, made only when somebody looks."""

from __future__ import annotations

import io
import weakref
from collections.abc import Hashable, Iterator, Sequence
from typing import Any

import numpy as np
from PIL import Image as Pillow

from reelm.errors import MediaError, ReelmError
from reelm.media.content import identity
from reelm.media.reader import open as open_clip
from reelm.types import Clip, Frames, Image, Thumbnail

HEIGHT_PX = 90
#: So many per medium at most, spread over its frames.
MOST = 12


class Thumbnails:
    """Called, it gives the pictures of `media` at `used_s` (one tuple of seconds per medium).

    Until then it holds the names of files and weak references to media in memory, so an answer keeps no frame alive and
    is free to be kept itself. It pickles; media in memory are left behind then.
    Raises when called: MediaError for a file that has changed or gone since.
    """

    def __init__(self, media: Sequence[Any], used_s: Sequence[tuple[float, ...]]) -> None:
        self._used_s = tuple(used_s)
        self._clips = {number: (medium, _stamp(medium)) for number, medium in enumerate(media)
                       if isinstance(medium, Clip)}
        self._memory = {number: weakref.ref(medium) for number, medium in enumerate(media)
                        if isinstance(medium, Frames | Image)}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_memory": {}}

    def __call__(self) -> tuple[Thumbnail, ...]:
        return tuple(picture for number in range(len(self._used_s)) for picture in self._of(number))

    def _of(self, number: int) -> Iterator[Thumbnail]:
        times = self._used_s[number]
        if number in self._clips:
            yield from _of_file(number, *self._clips[number], times)
            return
        medium = self._memory[number]() if number in self._memory else None
        if isinstance(medium, Image):
            yield Thumbnail(number, None, _jpeg(medium.rgb))
        elif isinstance(medium, Frames):
            for index in _spread(len(medium)):
                yield Thumbnail(number, None if medium.still else times[index], _jpeg(medium.rgb[index]))


def _of_file(number: int, clip: Clip, stamp: Hashable, times: tuple[float, ...]) -> Iterator[Thumbnail]:
    if _stamp(clip) != stamp:
        raise MediaError("the file has changed since the answer", where=clip.name)
    with open_clip(clip) as reader:
        if not times and reader.info().kind != "image":
            return
        for index in _spread(len(times) or 1):  # one at a time: whole frames of a large video are never held together
            at_s = times[index] if times else 0.0
            yield Thumbnail(number, at_s if times else None, _jpeg(reader.frames([at_s]).rgb[0]))


def _stamp(clip: Clip) -> Hashable:
    try:
        return identity(clip)
    except (OSError, ValueError, ReelmError):
        return None


def _spread(count: int) -> list[int]:
    return np.linspace(0, count - 1, min(count, MOST)).round().astype(int).tolist() if count else []


def _jpeg(rgb: np.ndarray) -> bytes:
    picture = Pillow.fromarray(np.ascontiguousarray(rgb.transpose(1, 2, 0)))
    width = max(1, min(4 * HEIGHT_PX, round(picture.width * HEIGHT_PX / picture.height)))
    small = picture.resize((width, HEIGHT_PX), Pillow.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=80)
    return buffer.getvalue()
