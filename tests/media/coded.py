"""Videos that say which frame is which: a frame's number stands in its pixels as large black and white blocks."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from reelm.media import write_video
from reelm.types import Audio

BLOCK_PX = 16
ACROSS, BITS = 4, 12
#: Suffix of a sound file -> the encoder that fills it.
CODECS = {"wav": "pcm_s16le", "flac": "flac", "mp3": "libmp3lame", "ogg": "libopus", "m4a": "aac", "mka": "flac",
          "opus": "libopus", "aiff": "pcm_s16be"}
SIZE = (ACROSS * BLOCK_PX, 2 * BITS // ACROSS * BLOCK_PX)  # width, height


def picture(number: int) -> np.ndarray:
    """uint8 [96,64,3]: twelve bits of `number`, then the same bits inverted, so that a blend of two is noticed."""
    bits = [(number >> bit) & 1 for bit in range(BITS)]
    blocks = np.array(bits + [1 - bit for bit in bits], dtype=np.uint8).reshape(-1, ACROSS)
    grey = np.kron(blocks, np.ones((BLOCK_PX, BLOCK_PX), np.uint8)) * 215 + 20
    return np.repeat(grey[:, :, None], 3, axis=2).astype(np.uint8)


def number_in(rgb: np.ndarray) -> int:
    """The number in a decoded uint8 [3,96,64] picture; -1 where the blocks contradict each other."""
    middle = rgb.mean(axis=0).reshape(-1, BLOCK_PX, ACROSS, BLOCK_PX)[:, 4:-4, :, 4:-4].mean(axis=(1, 3)).reshape(-1)
    bits, inverse = middle[:BITS] > 128, middle[BITS:] > 128
    return int(sum(int(bit) << place for place, bit in enumerate(bits))) if (bits != inverse).all() else -1


def write_numbered(path: Path, count: int, fps: float = 25, **how: object) -> Path:
    """A video of `count` numbered pictures; `how` goes to `write_video`."""
    write_video(path, (picture(number) for number in range(count)), fps, **how)  # type: ignore[arg-type]
    return path


def tone(seconds: float, rate_hz: int = 16_000, hz: float = 440.0, loudness: Iterable[float] = (0.5,)) -> Audio:
    """A sine, one channel per entry of `loudness`."""
    at = np.arange(round(seconds * rate_hz)) / rate_hz
    wave = np.stack([level * np.sin(2 * np.pi * hz * at) for level in loudness])
    return Audio(wave.astype(np.float32), rate_hz)


def write_sound(path: Path, sound: Audio, codec: str, layout: str) -> Path:
    """A sound file without any picture."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=48_000 if codec == "libopus" else sound.rate_hz, layout=layout)
        frame = av.AudioFrame.from_ndarray(sound.wave, format="fltp", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = sound.rate_hz, 0, Fraction(1, sound.rate_hz)
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def remux(source: Path, target: Path, *, shift_s: float = 0.0,
          keep_types: tuple[str, ...] = ("video", "audio")) -> Path:
    """The same packets in another container, all times moved by `shift_s`."""
    with av.open(str(source)) as from_, av.open(str(target), "w", options={"avoid_negative_ts": "disabled"}) as to:
        streams = {s.index: to.add_stream_from_template(s) for s in from_.streams if s.type in keep_types}
        for packet in from_.demux():
            if packet.dts is None and packet.pts is None or packet.stream_index not in streams:
                continue
            ticks = round(Fraction(shift_s).limit_denominator(10_000) / packet.time_base)
            packet.pts = None if packet.pts is None else packet.pts + ticks
            packet.dts = None if packet.dts is None else packet.dts + ticks
            packet.stream = streams[packet.stream_index]
            to.mux(packet)
    return target


def with_matrix(mp4: bytes, a: float, b: float, c: float, d: float) -> bytes:
    """The MP4 with another display matrix in its first track header."""
    start = mp4.find(b"tkhd") + 4 + 40
    fixed = [round(value * 65536) for value in (a, b, 0, c, d, 0)] + [0, 0, 1 << 30]
    fixed[2] = fixed[5] = 0
    return mp4[:start] + struct.pack(">9i", *fixed) + mp4[start + 36:]


#: What the file asks for -> (display matrix, what undoes it in an [H,W,3] array).
TURNS = {
    "quarter clockwise": ((0, 1, -1, 0), lambda rgb: np.rot90(rgb, 1)),
    "quarter back": ((0, -1, 1, 0), lambda rgb: np.rot90(rgb, -1)),
    "upside down": ((-1, 0, 0, -1), lambda rgb: np.rot90(rgb, 2)),
    "mirrored": ((-1, 0, 0, 1), lambda rgb: rgb[:, ::-1]),
    "mirrored and turned": ((0, 1, 1, 0), lambda rgb: rgb.transpose(1, 0, 2)),
}
