"""How a worker and its child speak: a length, a JSON object, then the bytes of arrays it names. No pickles."""

from __future__ import annotations

import json
import os
import socket
import struct
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np

from reelm.media.content import content_of
from reelm.media.limits import Deadline, Limits
from reelm.types import Clip, MediaInfo

_MOST_JSON_BYTES = 64 << 20
_TYPES = ("uint8", "float64", "float32", "bool")


class Wire:
    """One end of the connection. Every call keeps to the deadline and raises TimeoutError after it."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end

    def close(self) -> None:
        self._end.close()

    def send(self, facts: dict[str, Any], arrays: Sequence[np.ndarray], deadline: Deadline | None = None) -> None:
        """Raises: OSError if nobody listens any more."""
        plain = [np.ascontiguousarray(array) for array in arrays]
        text = json.dumps(facts | {"arrays": [[array.dtype.name, list(array.shape)] for array in plain]}).encode()
        self._wait(deadline)
        self._end.sendall(struct.pack(">I", len(text)) + text)
        for array in plain:
            self._wait(deadline)
            self._end.sendall(array.reshape(-1).view(np.uint8).data)

    def receive(self, most_bytes: int, deadline: Deadline | None = None) -> tuple[dict[str, Any], list[np.ndarray]]:
        """(facts, arrays). Raises: EOFError if the other end is gone; ValueError if what comes makes no sense, or the
        arrays together are larger than `most_bytes`, before they are allocated.
        """
        size, = struct.unpack(">I", self._exactly(4, deadline))
        if size > _MOST_JSON_BYTES:
            raise ValueError(f"{size:,} bytes of facts")
        facts = json.loads(self._exactly(size, deadline))
        if not isinstance(facts, dict):
            raise ValueError("no object")
        arrays = []
        for name, shape in facts.pop("arrays", ()):
            if name not in _TYPES or not all(isinstance(side, int) and side >= 0 for side in shape):
                raise ValueError(f"an array of {name} {shape}")
            count = int(np.prod([int(side) for side in shape], dtype=object)) * np.dtype(name).itemsize
            most_bytes -= count
            if most_bytes < 0:
                raise ValueError(f"an array of {count:,} bytes")
            arrays.append(np.frombuffer(self._exactly(count, deadline), dtype=name).reshape(shape))
        return facts, arrays

    def _exactly(self, count: int, deadline: Deadline | None) -> bytearray:
        data = bytearray(count)
        view, done = memoryview(data), 0
        while done < count:
            self._wait(deadline)
            got = self._end.recv_into(view[done:])
            if not got:
                raise EOFError("the other end is gone")
            done += got
        return data

    def _wait(self, deadline: Deadline | None) -> None:
        if deadline is not None:
            if deadline.left_s() <= 0:
                raise TimeoutError
            self._end.settimeout(deadline.left_s())


def clip_out(clip: Clip, limits: Limits) -> tuple[dict[str, Any], list[np.ndarray]]:
    """The clip as facts and, where its source lies in memory or in an open file, its bytes."""
    facts: dict[str, Any] = {"start_s": clip.start_s, "end_s": clip.end_s, "folder_fps": clip.folder_fps}
    if isinstance(clip.source, str | Path):
        is_data = str(clip.source)[:5].lower() == "data:"
        return facts | {"source": str(clip.source) if is_data else os.path.abspath(clip.source),
                        "name": clip.name}, []
    content = content_of(clip, limits)
    with content.open() as file:
        size = file.seek(0, os.SEEK_END)
        limits.check_source(size, clip.name)
        file.seek(0)
        return facts | {"name": clip.name}, [np.frombuffer(file.read(), dtype=np.uint8)]


def clip_in(facts: dict[str, Any], arrays: Sequence[np.ndarray]) -> Clip:
    """The clip again, in the child."""
    source = facts["source"] if "source" in facts else arrays[0].tobytes()
    return Clip(source, facts["start_s"], facts["end_s"], facts["folder_fps"])


def info_out(info: MediaInfo) -> tuple[dict[str, Any], list[np.ndarray]]:
    facts = asdict(info)
    return facts, [facts.pop("frame_times_s")]


def info_in(facts: dict[str, Any], arrays: Sequence[np.ndarray]) -> MediaInfo:
    """Only what a `MediaInfo` has, each in its own type."""
    kind = facts["kind"]
    if kind not in ("video", "image", "audio"):
        raise ValueError(f"a kind {kind!r}")
    return MediaInfo(
        cast(Literal["video", "image", "audio"], kind), str(facts["source"]), float(facts["start_s"]),
        float(facts["end_s"]), arrays[0].astype(np.float64), fps=float(facts["fps"]), width_px=int(facts["width_px"]),
        height_px=int(facts["height_px"]), has_audio=bool(facts["has_audio"]),
        audio_rate_hz=int(facts["audio_rate_hz"]), container=str(facts["container"]),
        video_codec=str(facts["video_codec"]), audio_codec=str(facts["audio_codec"]),
        shortfall=tuple(str(sentence) for sentence in facts["shortfall"]))
