"""What a request may cost at most, checked on decoded sizes before anything is allocated."""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic

from reelm.errors import BudgetError


@dataclass(frozen=True)
class Limits:
    """The most that one request may take; raise a number to allow more, e.g. `Limits(frames=10_000)`.

    `frame_pixels`: width x height of one picture. `frames`: pictures in one `frames()` call. `seconds`: length of the
    sound decoded by one `audio()` call. `decoded_bytes`: memory of what one call returns. `wall_s`: time that one call
    may take (checked at every read and packet; one call inside the decoder can overrun it, in a `Worker` it cannot).
    `source_bytes`: content taken from a stream, a `data:` URI or the network; files on disk may have any size.
    """

    frame_pixels: int = 8192 * 8192
    frames: int = 4096
    seconds: float = 4 * 3600.0
    decoded_bytes: int = 2 << 30
    wall_s: float = 3600.0
    source_bytes: int = 2 << 30

    def check_picture(self, width_px: int, height_px: int, where: str) -> None:
        """Raises: BudgetError if one picture has more than `frame_pixels` pixels."""
        if width_px * height_px > self.frame_pixels:
            raise BudgetError(
                f"a picture of {width_px} x {height_px} = {width_px * height_px:,} pixels, "
                f"more than the {self.frame_pixels:,} allowed", where=where,
                remedy="Scale the file down, or pass Limits(frame_pixels=...)")

    def check_frames(self, count: int, width_px: int, height_px: int, where: str) -> None:
        """Raises: BudgetError if `count` pictures of this size are too many or too large together."""
        self.check_picture(width_px, height_px, where)
        if count > self.frames:
            raise BudgetError(f"{count:,} frames asked, {self.frames:,} allowed", where=where,
                              remedy="Ask for fewer frames, or pass Limits(frames=...)")
        need = count * width_px * height_px * 3
        self._check_bytes(need, f"{count:,} frames of {width_px} x {height_px}", where, "Ask for fewer frames")

    def check_sound(self, seconds: float, rate_hz: int, where: str) -> None:
        """Raises: BudgetError if this much mono float32 sound is too long or too large."""
        if seconds > self.seconds:
            raise BudgetError(f"{seconds:,.1f} s of sound asked, {self.seconds:,.1f} s allowed", where=where,
                              remedy="Cut the clip with start_s and end_s, or pass Limits(seconds=...)")
        self._check_bytes(round(seconds * rate_hz) * 4, f"{seconds:,.1f} s of sound at {rate_hz:,} Hz", where,
                          "Cut the clip with start_s and end_s")

    def check_source(self, size: int, where: str) -> None:
        """Raises: BudgetError if content has more than `source_bytes` bytes."""
        if size > self.source_bytes:
            raise BudgetError(f"has {size:,} bytes or more, {self.source_bytes:,} allowed", where=where,
                              remedy="Give a smaller file, or pass Limits(source_bytes=...)")

    def _check_bytes(self, need: int, what: str, where: str, remedy: str) -> None:
        if need > self.decoded_bytes:
            raise BudgetError(f"{what} take {need:,} bytes, {self.decoded_bytes:,} allowed", where=where,
                              remedy=f"{remedy}, or pass Limits(decoded_bytes=...)")


class Deadline:
    """When a call must be over; `start` begins the next one."""

    def __init__(self, wall_s: float, where: str) -> None:
        self.wall_s, self.where = wall_s, where
        self.start()

    def start(self) -> None:
        self._end = monotonic() + self.wall_s

    def left_s(self) -> float:
        """Seconds left, below 0 when it is over."""
        return self._end - monotonic()

    def check(self) -> None:
        """Raises: BudgetError when the time is over."""
        if self.left_s() < 0:
            raise BudgetError(f"took longer than the {self.wall_s:g} s allowed", where=self.where,
                              remedy="Ask for less, or pass Limits(wall_s=...)")
