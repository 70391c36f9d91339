"""Which decoded picture belongs to which tick: seek where requests are sparse, decode through where they are dense."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import av
import numpy as np

from reelm.errors import MediaError
from reelm.media.index import VideoTrack

#: Decoding this many packets further costs about as much as a seek (which refills the decoder).
_SEEK_WORTH_PACKETS = 16
_NEVER = int(np.iinfo(np.int64).min)


class Decoder:
    """Decodes single pictures of one file by tick; `note` receives every shortfall as a sentence.

    `open_container` gives the file, opened anew; it is called again only where the file cannot seek to its start.
    `check` is called for every packet, and raises when the time is over.
    """

    def __init__(self, open_container: Callable[[], Any], track: VideoTrack, note: Callable[[str], None],
                 check: Callable[[], None]) -> None:
        self._open, self._track, self._note, self._check = open_container, track, note, check
        self._container: Any = None
        self._stream: Any = None
        at = np.flatnonzero(track.key)
        order = np.argsort(track.pts[at], kind="stable")
        self._key_ticks, self._key_at = track.pts[at][order], at[order]
        self._place: dict[int, int] = {}
        for place, tick in enumerate(track.pts.tolist()):
            self._place.setdefault(tick, place)
        self._hopeless: set[int] = set()  # keys after which earlier keys did not help: not tried again
        self._frames: Iterator[tuple[int, Any]] | None = None
        self._ahead: tuple[int, Any] | None = None
        self._position, self._last_tick = -1, _NEVER
        self._reopen()

    def close(self) -> None:
        """Gives the file back."""
        self._frames = self._ahead = None
        if self._container is not None:
            self._container.close()
            self._container = None

    def _reopen(self) -> None:
        self.close()
        self._container = self._open()
        self._stream = self._container.streams[self._track.stream]
        if self._stream.codec_context is None:
            raise MediaError(f"the pictures' codec ({self._track.codec}) is not known here", where=self._container.name,
                             remedy="Convert the video, for example to H.264")
        self._stream.thread_type = "AUTO"

    def pictures(self, ticks: Sequence[int]) -> Iterator[tuple[int, int, Any]]:
        """(tick asked, tick of the picture got, frame) for every tick of the rising sequence that can be shown.

        Got differs from asked only where the asked picture cannot be decoded: it is then the one before it. A tick
        with no readable picture at or before it is left out.
        """
        for tick in ticks:
            got, frame = self._exact(tick)
            if frame is not None:
                if got != tick:
                    self._note("a picture cannot be decoded; the one before it is given, with its own time")
                elif frame.is_corrupt:
                    self._note("a picture is damaged and given as the decoder concealed it")
                yield tick, got, frame

    def _exact(self, tick: int) -> tuple[int, Any]:
        """The picture at `tick`; if decoding from the nearest key does not give it, from earlier keys."""
        near = int(np.searchsorted(self._key_ticks, tick, side="right")) - 1
        best: tuple[int, Any] = (_NEVER, None)
        tries = [near] + [key for key in (near - 1, near - 2) if key >= 0] + [-1] if near >= 0 else [-1]
        if near in self._hopeless:
            tries = [near]
        for attempt, key in enumerate(dict.fromkeys(tries)):
            self._go_to(key, fresh=attempt > 0 or tick <= self._last_tick)
            got, frame = self._last_until(tick)
            if frame is not None and got == tick and not frame.is_corrupt:
                return got, frame
            if frame is not None and (best[1] is None or got > best[0]):
                best = got, frame
            if self._track.ordinal:
                break
        self._hopeless.add(near)
        return best

    def _go_to(self, key: int, *, fresh: bool) -> None:
        """Makes sure that decoding runs and has begun at or before key number `key` (-1: the file's start)."""
        place = int(self._key_at[key]) if key >= 0 and not self._track.ordinal else 0
        running = self._frames is not None and not fresh
        if running and self._position + _SEEK_WORTH_PACKETS >= place:
            return
        if running and self._track.ordinal:
            return
        self._ahead, self._last_tick, self._position = None, _NEVER, place
        packets = self._seek(key, place)
        self._frames = self._decode(self._watched(packets))

    def _last_until(self, tick: int) -> tuple[int, Any]:
        """The last picture that begins at or before `tick`; stops as soon as it is certain."""
        best: tuple[int, Any] = (_NEVER, None)
        copies = self._track.copies.get(tick, 1)
        while True:
            item = self._ahead if self._ahead is not None else next(self._frames or iter(()), None)
            self._ahead = None
            if item is None:
                return best
            if item[0] > tick:
                self._ahead = item
                return best
            best = item
            self._last_tick = item[0]
            copies -= item[0] == tick
            if item[0] == tick and copies <= 0:
                return best

    def _watched(self, packets: Iterator[Any]) -> Iterator[Any]:
        """The packets, while `_position` follows them."""
        try:
            for packet in packets:
                self._check()
                if packet.pts is not None:
                    self._position = self._place.get(packet.pts, self._position)
                yield packet
        except (av.error.FFmpegError, OSError) as error:
            self._note(f"reading stopped inside the file: {getattr(error, 'strerror', None) or error}")

    def _seek(self, key: int, place: int) -> Iterator[Any]:
        """Seeks, and checks by the first packet where the seek has really led; earlier until it is early enough."""
        if key >= 0 and not self._track.ordinal:
            for earlier in range(key, max(-1, key - 4), -1):
                try:
                    self._container.seek(int(self._key_ticks[earlier]), stream=self._stream)
                except (av.error.FFmpegError, OSError):
                    break
                packets = self._container.demux(self._stream)
                first = next(packets, None)
                if first is not None and first.pts is not None and self._place.get(first.pts, place + 1) <= place:
                    return _with_first(first, packets)
        self._reopen()  # back to the first packet, in the one way that works for every file
        return self._container.demux(self._stream)

    def _decode(self, packets: Iterator[Any]) -> Iterator[tuple[int, Any]]:
        """(tick, frame) in the order of presentation."""
        context = self._stream.codec_context
        count = 0
        for batch in self._batches(packets, context):
            for frame in batch:
                tick = count if self._track.ordinal else frame.pts
                count += 1
                if tick is not None:
                    yield int(tick), frame

    def _batches(self, packets: Iterator[Any], context: Any) -> Iterator[list[Any]]:
        failed = 0
        for packet in packets:
            if packet.size == 0:
                continue
            try:
                yield packet.decode()
            except (av.error.FFmpegError, ValueError):
                failed += 1
        try:
            yield context.decode(None)
        except (av.error.FFmpegError, ValueError):
            failed += 1
        if failed:
            self._note(f"{failed} picture packet(s) could not be decoded")


def _with_first(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    yield first
    yield from rest
