"""Media made small enough to stand inside a page: a short MP4, sound alone, or a JPEG, each as a `data:` URI."""

from __future__ import annotations

import base64
import io
import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image as Pillow

from reelm import media
from reelm.errors import BudgetError, MediaError
from reelm.media import Limits
from reelm.types import Audio, Clip, Image, MediaInfo

#: What one medium may take of a page, as text: 300 kB of content.
MOST_BYTES = 400_000
LONGEST_S, FPS, SIDE_PX, PICTURE_PX = 15, 8, 320, 640
#: (longer side, quality of x264) from good to poor; the first that fits is taken.
_STEPS = ((SIDE_PX, 30), (SIDE_PX, 36), (224, 38), (160, 42))
#: Longest stretch of sound alone, from whole to poor.
_SOUND_S = (60.0, 20.0, 5.0)
_SOUND_HZ, _SOUND_BPS = 16_000, 32_000
_QUALITIES = (82, 60, 35)
#: Frames are decoded at full size, so many at a time.
_CHUNK = 8
#: A page must not wait for one file.
_LIMITS = Limits(wall_s=60.0)


@dataclass(frozen=True)
class Small:
    """`uri` holds the whole content; `said`: in which way it differs from the medium, in words for the reader."""

    kind: Literal["video", "audio", "image"]
    uri: str
    said: str


def small(medium: Clip | Image, most_bytes: int = MOST_BYTES) -> Small:
    """The medium as a browser plays it, its `uri` no longer than `most_bytes`.

    A clip above 15 s becomes a digest of 120 pictures, 8 a second, without sound; of sound alone the first minute is
    kept. `said` tells. Raises: ReelmError if it cannot be read; BudgetError if it cannot be made so small.
    """
    if isinstance(medium, Image):
        return _picture(medium.rgb, most_bytes)
    with media.open(medium, _LIMITS) as reader:
        info = reader.info()
        if info.kind == "image":
            return _picture(reader.frames([0.0]).rgb[0], most_bytes)
        if info.kind == "audio":
            return _sound(medium, info, most_bytes)
        return _film(reader, info, most_bytes)


def _film(reader: media.Reader, info: MediaInfo, most_bytes: int) -> Small:
    whole = info.duration_s <= LONGEST_S
    rate = min(FPS, info.fps or FPS)
    count = max(1, math.ceil(min(info.duration_s, LONGEST_S) * rate - 1e-6)) if whole else FPS * LONGEST_S
    heard, said = _heard(reader, info) if whole else (None, "")
    pictures = list(_pictures(reader, info, count))
    fps = count / info.duration_s if whole and info.duration_s > 0 else float(FPS)
    told = [f"{count} pictures" + (f", {fps:.3g} a second" if whole else f" of {info.duration_s:.0f} s, {FPS} a second,"
                                   f" {info.duration_s * FPS / count:.3g} times as fast, without its sound"), said]
    with tempfile.TemporaryDirectory() as folder:
        for side_px, crf in _STEPS:
            path = Path(folder) / f"{side_px}_{crf}.mp4"
            shown = (np.asarray(_fitted(one, side_px)) for one in pictures)
            media.write_video(path, shown, fps, heard, crf=crf, options={"g": "48"}, sound_bps=_SOUND_BPS)
            uri = _uri("video/mp4", path.read_bytes())
            if len(uri) <= most_bytes:
                return Small("video", uri, "; ".join(filter(None, told)))
    raise _too_large(info.source, len(uri), most_bytes)


def _pictures(reader: media.Reader, info: MediaInfo, count: int) -> Iterator[Pillow.Image]:
    """`count` small pictures, evenly over the clip."""
    at_s = info.start_s + np.arange(count) * info.duration_s / count
    for first in range(0, count, _CHUNK):
        for rgb in reader.frames(at_s[first:first + _CHUNK].tolist()).rgb:
            yield _fitted(Pillow.fromarray(np.ascontiguousarray(rgb.transpose(1, 2, 0))), SIDE_PX)


def _heard(reader: media.Reader, info: MediaInfo) -> tuple[Audio | None, str]:
    """The clip's sound on the clock of the small film, and what is to be said about it."""
    try:
        heard = reader.audio(_SOUND_HZ)
    except MediaError as error:
        return None, f"without its sound: {error}"
    return (None, "") if heard is None else (replace(heard, start_s=max(0.0, heard.start_s - info.start_s)), "")


def _sound(clip: Clip, info: MediaInfo, most_bytes: int) -> Small:
    with tempfile.TemporaryDirectory() as folder:
        for longest_s in _SOUND_S:
            end_s = min(info.end_s, info.start_s + longest_s)
            with media.open(replace(clip, end_s=end_s), _LIMITS) as reader:
                heard = reader.audio(_SOUND_HZ)
            assert heard is not None
            path = media.write_sound(Path(folder) / "sound.m4a", replace(heard, start_s=0.0), _SOUND_BPS)
            uri = _uri("audio/mp4", path.read_bytes())
            if len(uri) <= most_bytes:
                cut = f", the first {longest_s:g} s of {info.duration_s:.0f} s" if end_s < info.end_s else ""
                return Small("audio", uri, f"sound alone{cut}")
    raise _too_large(info.source, len(uri), most_bytes)


def _picture(rgb: np.ndarray, most_bytes: int) -> Small:
    whole = Pillow.fromarray(np.ascontiguousarray(rgb.transpose(1, 2, 0)))
    for side_px, quality in zip((PICTURE_PX, SIDE_PX, SIDE_PX // 2), _QUALITIES, strict=True):
        buffer = io.BytesIO()
        shown = _fitted(whole, side_px)
        shown.save(buffer, "JPEG", quality=quality)
        uri = _uri("image/jpeg", buffer.getvalue())
        if len(uri) <= most_bytes:
            smaller = "" if shown.size == whole.size else f", scaled down from {whole.width} x {whole.height}"
            return Small("image", uri, f"a picture of {shown.width} x {shown.height}{smaller}")
    raise _too_large("a picture", len(uri), most_bytes)


def _fitted(picture: Pillow.Image, side_px: int) -> Pillow.Image:
    """No larger than a square of `side_px`; never enlarged."""
    scale = side_px / max(picture.size)
    if scale >= 1:
        return picture
    return picture.resize((max(2, round(picture.width * scale)), max(2, round(picture.height * scale))),
                          Pillow.Resampling.BOX)


def _uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _too_large(where: str, size: int, most_bytes: int) -> BudgetError:
    return BudgetError(f"takes {size:,} bytes at its smallest, {most_bytes:,} are left", where=where,
                       remedy="Raise the page's limit")
