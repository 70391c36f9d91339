"""Which decoded picture belongs to which tick: seek where requests are sparse, decode through where they are dense."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import av
import numpy as np

from reelm.media.index import VideoTrack

#: Decoding this many packets further costs about as much as a seek (which refills the decoder).
_SEEK_WORTH_PACKETS = 16


class Decoder:
    """Decodes single pictures of one open container by tick; `note` receives every shortfall as a sentence."""

    def __init__(self, container: Any, track: VideoTrack, note: Callable[[str], None]) -> None:
        self._container, self._track, self._note = container, track, note
        self._stream = container.streams[track.stream]
        if self._stream.codec_context is not None:
            self._stream.thread_type = "AUTO"
        at = np.flatnonzero(track.key)
        order = np.argsort(track.pts[at], kind="stable")
        self._key_ticks, self._key_at = track.pts[at][order], at[order]
        self._place: dict[int, int] = {}
        for place, tick in enumerate(track.pts.tolist()):
            self._place.setdefault(tick, place)
        self._frames: Iterator[tuple[int, Any]] | None = None
        self._ahead: tuple[int, Any] | None = None
        self._position = -1

    def pictures(self, ticks: Sequence[int]) -> Iterator[tuple[int, int, Any]]:
        """(tick asked, tick of the picture got, frame) for every tick of the rising sequence that can be shown.

        Got differs from asked only where the asked picture cannot be decoded: it is then the one before it.
        """
        for tick in ticks:
            got, frame = self._exact(tick)
            if frame is not None:
                if got != tick:
                    self._note(f"the picture at tick {tick} cannot be decoded; the one before it is given")
                elif frame.is_corrupt:
                    self._note("a picture is damaged and given as the decoder concealed it")
                yield tick, got, frame
            else:
                self._note(f"the picture at tick {tick} cannot be decoded, nor any before it")

    def _exact(self, tick: int) -> tuple[int, Any]:
        """The picture at `tick`; if decoding from the nearest key does not give it, from earlier keys."""
        near = int(np.searchsorted(self._key_ticks, tick, side="right")) - 1
        best: tuple[int, Any] = (-1, None)
        tries = [near] + [key for key in (near - 1, near - 2) if key >= 0] + [-1] if near >= 0 else [-1]
        for attempt, key in enumerate(dict.fromkeys(tries)):
            self._go_to(key, fresh=attempt > 0)
            got, frame = self._last_until(tick)
            if frame is not None and got == tick and not frame.is_corrupt:
                return got, frame
            if frame is not None and (best[1] is None or got > best[0]):
                best = got, frame
            if self._track.ordinal:
                break
        return best

    def _go_to(self, key: int, *, fresh: bool) -> None:
        """Makes sure that decoding runs and has begun at or before key number `key` (-1: the file's start)."""
        place = int(self._key_at[key]) if key >= 0 and not self._track.ordinal else 0
        running = self._frames is not None and not fresh
        if running and self._position + _SEEK_WORTH_PACKETS >= place:
            return
        if running and self._track.ordinal:
            return
        self._ahead = None
        self._frames = self._decode(self._packets(key, place))

    def _last_until(self, tick: int) -> tuple[int, Any]:
        """The last picture that begins at or before `tick`; stops as soon as it is certain."""
        best: tuple[int, Any] = (-1, None)
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
            copies -= item[0] == tick
            if item[0] == tick and copies <= 0:
                return best

    def _packets(self, key: int, place: int) -> Iterator[Any]:
        """Packets of the track from a place at or before `place` on."""
        packets = self._seek(key, place)
        try:
            for packet in packets:
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
        self._rewind()
        return self._container.demux(self._stream)

    def _rewind(self) -> None:
        """To the first packet; a file that cannot seek there is read on from where it stands, which is its start."""
        first = int(self._track.pts[0]) if len(self._track.pts) else 0
        for tick in (min(first, int(self._track.pts.min()), 0), first):
            try:
                self._container.seek(tick, stream=self._stream)
                return
            except (av.error.FFmpegError, OSError):
                continue

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
