"""The media zoo: every kind of file that people have, made by code, and what happens when it is opened.

`make zoo` prints the table; `tests/media/test_zoo.py` holds every row to what is expected of it.
"""

from __future__ import annotations

import base64
import io
import os
import struct
import sys
import tempfile
import threading
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from PIL import Image as Pillow

from media.coded import CODECS, SIZE, number_in, picture, remux, tone, write_numbered, write_sound
from media.counted import CASES, COUNT, asked_and_wrong, written
from reelm import media
from reelm.errors import ReelmError
from reelm.types import Clip

FRAMES, FPS = 40, 25


@dataclass(frozen=True)
class Animal:
    """`make(folder)` writes the file and gives the clip; what happens must match `expect`."""

    name: str
    make: Callable[[Path], Clip]
    expect: str


def met(clip: Clip) -> str:
    """What happens when the clip is opened, looked at and listened to, in one line."""
    try:
        with media.open(clip) as reader:
            info = reader.info()
            said = info.kind
            if info.kind != "audio":
                frames = reader.frames(info.frame_times_s)
                said += f" {info.width_px}x{info.height_px}, {_numbers(frames.rgb)}"
                said += f" in {info.duration_s:.2f} s" if info.kind == "video" else ""
            sound = reader.audio(16_000)
            said += f", sound {sound.duration_s:.2f} s" if sound is not None else ""
            cues = reader.subtitles()
            said += f", {len(cues)} subtitle lines" if cues else ""
            notes = "; ".join(reader.notes)
            return f"{said} [{notes}]" if notes else said
    except ReelmError as error:
        return f"{type(error).__name__}: {error.what}"


def _numbers(rgb: np.ndarray) -> str:
    """Which numbered pictures these are: "pictures 0-39" where none is missing or wrong."""
    if rgb.shape[2:] != SIZE[::-1]:
        return f"{len(rgb)} pictures"
    seen = [number_in(one) for one in rgb]
    if len(seen) == 1:
        return f"picture {seen[0]}"
    if seen != sorted(set(seen)) or seen[0] < 0:
        return f"WRONG {seen}"
    gone = seen[-1] - seen[0] + 1 - len(seen)
    return f"pictures {seen[0]}-{seen[-1]}" + (f" without {gone}" if gone else "")


def _numbered(name: str, **how: Any) -> Callable[[Path], Clip]:
    return lambda folder: Clip(write_numbered(folder / name, how.pop("count", FRAMES), FPS, **dict(how)))


def _bytes(name: str, content: bytes) -> Callable[[Path], Clip]:
    def make(folder: Path) -> Clip:
        (folder / name).write_bytes(content)
        return Clip(folder / name)
    return make


def patched(suffix: str, *changes: tuple[bytes, int, str, float]) -> Callable[[Path], Clip]:
    """A numbered video in which, after every occurrence of a marker, a field is overwritten: a header that lies."""
    def make(folder: Path) -> Clip:
        if suffix == ".avi":
            path = Path(str(written(folder, "motion jpeg.avi", FRAMES)[0].source))
        else:
            path = write_numbered(folder / f"honest{len(changes)}{suffix}", FRAMES, FPS)
        data = bytearray(path.read_bytes())
        for marker, offset, form, value in changes:
            at = data.find(marker)
            assert at >= 0, marker
            while at >= 0:
                struct.pack_into(form, data, at + len(marker) + offset, value)
                at = data.find(marker, at + 1)
        path = folder / f"lies{len(changes)}{suffix}"
        path.write_bytes(data)
        return Clip(path)
    return make


#: 10 hours in every header of an MP4: movie (1000 per second), track, media (12800 per second), edit.
TEN_HOURS = ((b"mvhd", 16, ">I", 36_000_000), (b"tkhd", 20, ">I", 36_000_000), (b"mdhd", 16, ">I", 36_000 * 12_800),
             (b"elst", 8, ">I", 36_000_000))
_NO_TIME = ((b"mvhd", 16, ">I", 0), (b"tkhd", 20, ">I", 0), (b"mdhd", 16, ">I", 0))


def _remuxed(name: str, shift_s: float, suffix: str = ".mp4") -> Callable[[Path], Clip]:
    def make(folder: Path) -> Clip:
        source = write_numbered(folder / f"plain{shift_s}{suffix}", FRAMES, FPS, options={"g": "12", "bf": "2"})
        return Clip(remux(source, folder / name, shift_s=shift_s))
    return make


def _cut(name: str, share: float) -> Callable[[Path], Clip]:
    def make(folder: Path) -> Clip:
        path = write_numbered(folder / name, FRAMES, FPS, audio=tone(1.6))
        path = path if name.endswith(".mkv") else remux(path, folder / f"tail-{name}")
        path.write_bytes(path.read_bytes()[:int(path.stat().st_size * share)])
        return Clip(path)
    return make


def _sound(suffix: str) -> Callable[[Path], Clip]:
    return lambda folder: Clip(write_sound(folder / f"tone.{suffix}", tone(1.5, 44_100, 440.0, (0.5, 0.25)),
                                           CODECS[suffix], "stereo"))


def _picture(name: str, mode: str = "RGB", pictures: int = 1, **how: Any) -> Callable[[Path], Clip]:
    def make(folder: Path) -> Clip:
        first, *rest = (Pillow.fromarray(picture(number)).convert(mode) for number in range(5, 5 + pictures))
        if mode == "RGBA":
            first.putalpha(100)
        first.save(folder / name, **({"save_all": True, "append_images": rest} if rest else {}), **how)
        return Clip(folder / name)
    return make


def folder_of(pictures: int, *others: str, name: str = "frames") -> Callable[[Path], Clip]:
    def make(folder: Path) -> Clip:
        (folder / name).mkdir()
        for number in range(pictures):
            Pillow.fromarray(picture(number)).save(folder / name / f"frame {number}.png")
        for other in others:
            (folder / name / other).write_text("no picture\n")
        return Clip(folder / name)
    return make


def _from_memory(form: Callable[[bytes], Any]) -> Callable[[Path], Clip]:
    return lambda folder: Clip(form(write_numbered(folder / "memory.mp4", FRAMES, FPS, audio=tone(1.6)).read_bytes()))


def _piped(data: bytes) -> Any:
    """The bytes through a real pipe, as stdin would bring them."""
    read, write = os.pipe()

    def feed() -> None:
        with os.fdopen(write, "wb") as pipe:
            pipe.write(data)

    thread = threading.Thread(target=feed)
    thread.start()
    with os.fdopen(read, "rb") as pipe:
        kept = media.spool(pipe, name="a pipe")
    thread.join()
    return kept


def _uri(data: bytes) -> str:
    return "data:video/mp4;base64," + base64.b64encode(data).decode()


def odd_sized(folder: Path) -> Clip:
    """63 x 95 in 4:2:0, which only few codecs can hold."""
    import av

    with av.open(str(folder / "odd.mkv"), "w") as out:
        stream = out.add_stream("ffv1", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = 63, 95, "yuv420p"
        for number in range(FRAMES):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture(number)[:95, :63].copy(), format="rgb24")))
        out.mux(stream.encode(None))
    return Clip(folder / "odd.mkv")


_WHOLE = r"video 64x96, pictures 0-39 in 1\.60 s"
_IHDR = b"IHDR" + struct.pack(">2I", 60_000, 60_000) + b"\x08\x02\0\0\0"
_PNG_BOMB = (b"\x89PNG\r\n\x1a\n\0\0\0\r" + _IHDR + struct.pack(">I", zlib.crc32(_IHDR))
             + b"\0\0\0\x08IDAT" + bytes(12))
ANIMALS = (
    Animal("two words.mp4", _numbered("two words.mp4"), _WHOLE + "$"),
    Animal("Größe 漢字 🎬.mp4", _numbered("Größe 漢字 🎬.mp4"), _WHOLE + "$"),
    Animal("-begins with a dash.mp4", _numbered("-dash.mp4"), _WHOLE + "$"),
    Animal("100%d [1].mp4", _numbered("100%d [1].mp4"), _WHOLE + "$"),
    Animal("colon:name.mp4", _numbered("colon:name.mp4"), _WHOLE + "$"),
    Animal("video named .jpg", _numbered("holiday.mkv", codec="libx264"), _WHOLE + "$"),
    Animal("one frame.mp4", _numbered("one.mp4", count=1), r"video 64x96, picture 0 in 0\.04 s$"),
    Animal("odd size.mkv", odd_sized, r"video 63x95, 40 pictures in 1\.60 s$"),
    Animal("with sound.mov", _numbered("sound.mov", audio=tone(1.6)), _WHOLE + r", sound 1\.6\d s$"),
    Animal("header of 10 hours.mp4", patched(".mp4", *TEN_HOURS), _WHOLE),
    Animal("header of 10 hours.mkv", patched(".mkv", (b"\x44\x89\x88", 0, ">d", 36e6)),
           r"pictures 0-39.*header promises 36000\.00 s"),
    Animal("header of no length.mp4", patched(".mp4", *_NO_TIME), "pictures 0-39"),
    Animal("header of 9999 frames.avi", patched(".avi", (b"avih", 20, "<I", 9999), (b"vids", 28, "<I", 9999)),
           "pictures 0-39.*header promises"),
    Animal("header of 100x the size.mp4", patched(".mp4", (b"avc1" + bytes(7) + b"\1", 16, ">I", 640 << 16 | 960)),
           _WHOLE),
    Animal("begins late.mkv", _remuxed("late.mkv", 10.0, ".mkv"), _WHOLE),
    Animal("begins at -0.9 s.mp4", _remuxed("negative.mp4", -0.9), "video 64x96, pictures 23-39"),
    Animal("edit list with a delay.mp4", _remuxed("delay.mp4", 0.5), _WHOLE),
    Animal("cut at half.mkv", _cut("cut.mkv", 0.5), r"pictures 0-\d+.*header promises"),
    Animal("index lost.mp4", _cut("cut.mp4", 0.5), "MediaError: .*ends too early|MediaError: cannot be opened"),
    Animal("still.gif", _picture("still.gif"), "image 64x96, picture 5$"),
    Animal("still.webp", _picture("still.webp"), "image 64x96, picture 5$"),
    Animal("still.avif", _picture("still.avif"), "image 64x96, picture 5$"),
    Animal("still, transparent.png", _picture("still.png", "RGBA"), r"image 64x96, picture 5 \[transparency"),
    Animal("moving.gif", _picture("a.gif", pictures=9, duration=80), r"video 64x96, pictures 5-13 in 0\.72 s$"),
    Animal("moving, without delays.gif", _picture("quick.gif", pictures=9, duration=0),
           r"video 64x96, pictures 5-13 in 0\.90 s"),
    Animal("moving, without delays.webp", _picture("quick.webp", pictures=9, duration=10, lossless=True),
           r"pictures 5-13 in 0\.90 s \[9 pictures ask for 10 ms or less"),
    Animal("moving, transparent.webp", _picture("clear.webp", "RGBA", pictures=3, duration=80, lossless=True),
           r"pictures 5-7 in 0\.24 s \[transparency"),
    Animal("moving.png", _picture("a.png", pictures=9, duration=80), r"video 64x96, pictures 5-13 in 0\.72 s"),
    Animal("sound.aac", lambda folder: Clip(write_sound(folder / "tone.aac", tone(1.5, 44_100), "aac", "mono")),
           r"audio, sound 1\.5\d s$"),
    *(Animal(f"sound.{suffix}", _sound(suffix), r"audio, sound 1\.5\d s") for suffix in CODECS),
    Animal("folder of 12 pictures", folder_of(12), r"video 64x96, pictures 0-11 in 4\.00 s$"),
    Animal("folder with other files", folder_of(3, "notes.txt", ".hidden", name="mixed"),
           r"pictures 0-2 in 1\.00 s \[1 of 4 entries of the folder are no pictures: notes\.txt"),
    Animal("folder without pictures", folder_of(0, "notes.txt", name="none"), "MediaError: is a folder without"),
    Animal("bytes", _from_memory(bytes), _WHOLE + ", sound"),
    Animal("bytearray", _from_memory(bytearray), _WHOLE + ", sound"),
    Animal("memoryview", _from_memory(lambda data: cast(Any, memoryview(data))), _WHOLE + ", sound"),
    Animal("open binary file", _from_memory(io.BytesIO), _WHOLE + ", sound"),
    Animal("data: URI", _from_memory(_uri), _WHOLE + ", sound"),
    Animal("pipe", _from_memory(_piped), _WHOLE + ", sound"),
    Animal("playlist named .mp4", _bytes("list.mp4", b"#EXTM3U\n#EXTINF:9,\nb.ts\n"), "PolicyError: is a playlist"),
    Animal("https: address", lambda folder: Clip("https://example.org/a.mp4"), "PolicyError: .*only local files"),
    Animal("concat: address", lambda folder: Clip("concat:a.mp4|b.mp4"), "PolicyError: .*only local files"),
    Animal("photo.heic", _bytes("a.heic", b"\0\0\0\x18ftypheic" + bytes(99)), "MediaError: is a HEIC file"),
    Animal("paper.pdf", _bytes("a.pdf", b"%PDF-1.7\n" + bytes(99)), "MediaError: is a PDF file"),
    Animal("text named .mp4", _bytes("a.mp4", b"hello\n" * 99), "MediaError: is text, not a media file"),
    Animal("empty.mp4", _bytes("empty.mp4", b""), "MediaError: is empty"),
    Animal("60,000 x 60,000.png", _bytes("bomb.png", _PNG_BOMB), "BudgetError: .*3,?600,?000,?000"),
    Animal("60,000 x 60,000.gif", _bytes("bomb.gif", b"GIF89a" + struct.pack("<2H", 60_000, 60_000) + bytes(3)
                                         + b"\x2c" + struct.pack("<4H", 0, 0, 60_000, 60_000) + b"\0\x08\x01\0\0;"),
           "BudgetError: .*3,?600,?000,?000"),
)


def main(arguments: list[str]) -> int:
    """Prints the table, then the pictures that come wrong among those asked of every numbered video."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        print(f"{'file':40s} what happened")
        for animal in ANIMALS:
            print(f"{animal.name:40s} {met(animal.make(folder))[:400]}")
        asked = wrong = 0
        print(f"\n{'numbered video (' + str(COUNT) + ' pictures)':50s} wrong of asked")
        for name, case in CASES.items():
            count, bad = asked_and_wrong(*written(folder, name), case.tick_s)
            asked, wrong = asked + count, wrong + bad
            print(f"{name:50s} {bad:5d} of {count}")
        print(f"\n{wrong} wrong of {asked:,} pictures asked, {len(CASES)} videos")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
