"""Numbered videos in every codec, container, distance of key frames and spacing, and how many pictures come wrong."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image as Pillow

from media.coded import SIZE, TURNS, number_in, picture, with_matrix
from reelm import media
from reelm.types import Clip

COUNT = 150
RATE = 29.97
os.environ.setdefault("SVT_LOG", "0")  # this encoder would write on the terminal
_STEADY = {"scenecut": "0", "b-adapt": "0"}


@dataclass(frozen=True)
class Case:
    """How a numbered video is written. `tick_s`: how finely its container counts time. `turn`: one of `TURNS`."""

    codec: str
    options: dict[str, str] = field(default_factory=dict)
    pix_fmt: str = "yuv420p"
    variable: bool = False
    fps: float = RATE
    tick_s: float = 1e-4
    turn: str = ""


def _x264(codec: str = "libx264", **settings: object) -> dict[str, str]:
    wanted = {key.replace("_", "-"): value for key, value in settings.items()}
    if codec == "libx265":
        return {"x265-params": ":".join(f"{k}={v}" for k, v in (wanted | {"log-level": "none", "pools": 1}).items())}
    return {"x264-params": ":".join(f"{k}={v}" for k, v in (_STEADY | wanted).items())}


def _av1(gop: int) -> dict[str, str]:
    return {"preset": "8", "crf": "5", "g": str(gop), "svtav1-params": "lp=1"}


_ALT_REF = {"g": "60", "deadline": "good", "cpu-used": "5", "auto-alt-ref": "1", "lag-in-frames": "16", "crf": "30",
            "b": "0"}
_VP9 = {"g": "30", "deadline": "realtime", "cpu-used": "8", "crf": "30", "b": "0"}
_RICH = {"b": "6000000"}
_MS = 0.0006
CASES: dict[str, Case] = {
    "h264, every frame a key.mp4": Case("libx264", _x264(keyint=1)),
    "h264, short GOP, B-frames.mp4": Case("libx264", _x264(keyint=12, bframes=3)),
    "h264, one GOP, deep B-pyramid.mp4": Case("libx264", _x264(keyint=1000, bframes=8, b_pyramid="normal")),
    "h264, open GOP.mp4": Case("libx264", _x264(keyint=24, bframes=4, open_gop=1)),
    "h264, open GOP.mkv": Case("libx264", _x264(keyint=24, bframes=4, open_gop=1), tick_s=_MS),
    "h264, intra refresh.mp4": Case("libx264", _x264(keyint=24, bframes=2, intra_refresh=1)),
    "h264, intra refresh.mkv": Case("libx264", _x264(keyint=24, bframes=2, intra_refresh=1), tick_s=_MS),
    "h264, variable rate.mp4": Case("libx264", _x264(keyint=30, bframes=3), variable=True),
    "h264, variable rate.mkv": Case("libx264", _x264(keyint=30, bframes=3), variable=True, tick_s=_MS),
    "h264, milliseconds.mkv": Case("libx264", _x264(keyint=30, bframes=3), tick_s=_MS),
    "h264, B-frames.avi": Case("libx264", _x264(keyint=24, bframes=3)),
    "h264, B-frames.ts": Case("libx264", _x264(keyint=24, bframes=3)),
    "h264, B-frames.flv": Case("libx264", _x264(keyint=24, bframes=3), tick_s=_MS),
    "h264, 10 bits.mov": Case("libx264", _x264(keyint=24, bframes=3), "yuv420p10le"),
    "h264, turned.mp4": Case("libx264", _x264(keyint=24, bframes=3), turn="quarter clockwise"),
    "h264, upside down, variable.mov": Case("libx264", _x264(keyint=9, bframes=2), variable=True, turn="upside down"),
    "h265, B-frames.mp4": Case("libx265", _x264("libx265", keyint=30, bframes=4)),
    "h265, open GOP.mkv": Case("libx265", _x264("libx265", keyint=24, bframes=4, open_gop=1), tick_s=_MS),
    "h265, 10 bits, variable.mp4": Case("libx265", _x264("libx265", keyint=40, bframes=3), "yuv420p10le", True),
    "h265, turned back.mp4": Case("libx265", _x264("libx265", keyint=20), turn="quarter back"),
    "av1.mp4": Case("libsvtav1", _av1(30)),
    "av1, 10 bits.mkv": Case("libsvtav1", _av1(64), "yuv420p10le", tick_s=_MS),
    "av1, variable.webm": Case("libsvtav1", _av1(40), variable=True, tick_s=_MS),
    "vp8.webm": Case("libvpx", _VP9 | {"auto-alt-ref": "1", "lag-in-frames": "8", "b": "2000000"}, tick_s=_MS),
    "vp9.webm": Case("libvpx-vp9", _VP9, tick_s=_MS),
    "vp9, hidden references.webm": Case("libvpx-vp9", _ALT_REF, tick_s=_MS),
    "vp9, hidden references, variable.webm": Case("libvpx-vp9", _ALT_REF, variable=True, tick_s=_MS),
    "vp9, hidden references.mp4": Case("libvpx-vp9", _ALT_REF),
    "mpeg4, B-frames.avi": Case("mpeg4", _RICH | {"g": "12", "bf": "2"}, fps=25),
    "mpeg4, B-frames.mp4": Case("mpeg4", _RICH | {"g": "12", "bf": "2"}, fps=25),
    "mpeg2, B-frames.mpg": Case("mpeg2video", _RICH | {"g": "12", "bf": "2"}, fps=25),
    "mpeg2, B-frames.ts": Case("mpeg2video", _RICH | {"g": "12", "bf": "2"}, fps=25),
    "wmv2.wmv": Case("wmv2", _RICH | {"g": "12"}, fps=25, tick_s=_MS),
    "motion jpeg.avi": Case("mjpeg", _RICH, "yuvj420p", fps=25),
    "raw.avi": Case("rawvideo", fps=25),
    "ffv1.mkv": Case("ffv1", {"g": "12"}, fps=25, tick_s=_MS),
    "prores 4444.mov": Case("prores_ks", {}, "yuva444p10le", fps=25),
    "animation.mov": Case("qtrle", {"g": "12"}, "argb", fps=25),
    "moving, variable.gif": Case("gif", {}, "rgb8", variable=True, fps=25, tick_s=0.006),
    "moving.png": Case("apng", {}, "rgb24", fps=25),
    "moving, variable.webp": Case("pillow", variable=True, fps=25, tick_s=1e-9),
    "folder of pictures": Case("folder", fps=25),
}
#: A file of each kind of difficulty, for the run that everybody makes.
FEW = ("h264, open GOP.mp4", "h264, variable rate.mkv", "h264, B-frames.avi", "h265, turned back.mp4", "av1.mp4",
       "vp9, hidden references, variable.webm", "mpeg4, B-frames.avi", "moving, variable.gif",
       "moving, variable.webp", "folder of pictures")


def written(folder: Path, name: str, count: int = COUNT) -> tuple[Clip, np.ndarray]:
    """The numbered video and the times at which its pictures were meant to begin."""
    case, path = CASES[name], folder / name
    rng = np.random.default_rng(sum(map(ord, name)))
    times = np.arange(count) / case.fps
    if case.variable:
        times = np.concatenate([[0.0], np.cumsum(rng.integers(2, 13, count - 1))]) / 100
    if case.codec == "folder":
        path.mkdir()
        for number in range(count):
            Pillow.fromarray(picture(number)).save(path / f"frame{number}.png")
        return Clip(path, folder_fps=case.fps), times
    if case.codec == "pillow":
        pictures = [Pillow.fromarray(picture(number)) for number in range(count)]
        lengths = [round(step * 1000) for step in np.diff(times)] + [40]
        pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=lengths, lossless=True, method=0)
        return Clip(path), times
    _encode(path, case, times)
    if case.turn:
        path.write_bytes(with_matrix(path.read_bytes(), *TURNS[case.turn][0]))
    return Clip(path), times


def _encode(path: Path, case: Case, times: np.ndarray) -> None:
    rate = Fraction(case.fps).limit_denominator(1001)
    base = (Fraction(1, 100) if case.codec == "gif" else Fraction(1, 90_000)) if case.variable else 1 / rate
    form = "mpeg" if path.suffix == ".mpg" else "apng" if path.suffix == ".png" else None
    with av.open(str(path), "w", format=form) as out:
        stream = out.add_stream(case.codec, rate=rate, options=case.options | {"threads": "1"})
        turned = "quarter" in case.turn
        stream.width, stream.height = SIZE[::-1] if turned else SIZE
        stream.pix_fmt, stream.codec_context.time_base = case.pix_fmt, base
        for number, second in enumerate(times):
            rgb = picture(number)
            if case.turn:  # stored the way that the file's matrix turns upright
                rgb = {"quarter clockwise": np.rot90(rgb, -1 + 2), "quarter back": np.rot90(rgb, -1),
                       "upside down": np.rot90(rgb, 2)}[case.turn]
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24").reformat(format=case.pix_fmt)
            frame.pts, frame.time_base = round(Fraction(second).limit_denominator(90_000) / base), base
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


def requests(times: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """Random, sorted sparse, exact starts in any order, dense, backwards, everything."""
    end = times[-1] + 0.2
    return [rng.uniform(-0.1, end, 40), np.sort(rng.uniform(0, end, 8)), times[rng.integers(0, len(times), 30)],
            np.sort(rng.uniform(0, end, 60)), times[::-1][:20], times]


def asked_and_wrong(clip: Clip, meant: np.ndarray, tick_s: float, seed: int = 0) -> tuple[int, int]:
    """(pictures asked, pictures that are not the one on the screen at that second or carry another time)."""
    asked = wrong = 0
    rng = np.random.default_rng(seed)
    with media.open(clip) as reader:
        times = reader.info().frame_times_s
        np.testing.assert_allclose(times, meant, atol=tick_s, rtol=0)
        for request in requests(times, rng):
            frames = reader.frames(request)
            shown = np.maximum(np.searchsorted(times, request + 1e-6, side="right") - 1, 0)
            numbers = np.array([number_in(rgb) for rgb in frames.rgb])
            wrong += int(((numbers != shown) | (frames.at_s != times[shown])).sum())
            asked += len(request)
        assert [note for note in reader.notes if note != "transparency is ignored"] == []
    return asked, wrong
