"""Haystacks with needles: any clips become real video files with a question each, and an annotation file in the form of
VNBench. The same clips, settings and seed give the same files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from reelm import media
from reelm.errors import MediaError, ReelmError, UsageError
from reelm.tasks.base import Made, Tell
from reelm.tasks.making import put
from reelm.tasks.niah_needles import Needle, drawn
from reelm.tasks.niah_questions import SUBTASKS, Riddle, riddle
from reelm.tasks.niah_scores import LETTERS, TRIES
from reelm.types import Audio, Clip, MediaInfo

ANNOTATION = "niah.json"
_CHUNK = 32
_SOUND_HZ = 44_100
_BLOCK_BYTES = 1 << 20
#: Grows when the same settings make other files.
_VERSION = 1


@dataclass(frozen=True)
class Settings:
    """`each`: questions per sub-task. Haystacks are read at `fps`, up to `longest_s`, scaled down to `height_px` (never
    up). A needle stays `needle_s`, and two are at least `gap_s` apart. `kinds`: which sub-tasks."""

    seed: int = 0
    each: int = 2
    longest_s: float = 180.0
    height_px: int = 360
    fps: int = 8
    needle_s: float = 1.0
    gap_s: float = 0.5
    kinds: tuple[str, ...] = tuple(SUBTASKS)

    def __post_init__(self) -> None:
        unknown = [kind for kind in self.kinds if kind not in SUBTASKS]
        if unknown:
            raise UsageError(f"no sub-task {', '.join(unknown)}", remedy=f"Known: {', '.join(SUBTASKS)}")
        if min(self.each, self.fps, self.height_px) < 1 or round(self.needle_s * self.fps) < 1 or self.gap_s < 0:
            raise UsageError(f"settings that show nothing: {asdict(self)}",
                             remedy="each, fps, height_px of 1 or more; needle_s of at least one frame")


@dataclass(frozen=True)
class _Hay:
    path: Path
    info: MediaInfo
    frames: int


def make(clips: Path, out: Path, settings: Settings | None = None, tell: Tell = lambda done, total: None,
         needles: Path | None = None) -> Made:
    """Puts needles into the clips of the folder `clips` and writes videos and questions to a new folder in `out`.

    The folder's name is a digest of settings, clips and `needles` (a folder of one's own pictures), so another choice
    is another folder and the same one is not made twice; an interrupted making goes on where it stopped. Clips too
    short for a sub-task are passed over and told in `notes`.
    Raises: MediaError when there is no usable clip, or too few pictures; UsageError when `clips` is no folder.
    Cost: decodes and encodes every haystack once per question.
    """
    settings = settings or Settings()
    paths = _files(clips, "clips")
    shown = _files(needles, "pictures") if needles is not None else []
    root = out / _digest(paths, shown, settings)
    note = root / "left_out.json"
    if (root / ANNOTATION).is_file():
        entries = json.loads((root / ANNOTATION).read_text("utf-8"))
        return Made(root, len(entries) // TRIES, tuple(json.loads(note.read_text("utf-8"))))
    left_out: list[str] = []
    own = pictures(shown, str(needles), left_out) if needles is not None else {}
    root.mkdir(parents=True, exist_ok=True)
    hay = _haystacks(paths, settings, left_out)
    entries = []
    wanted = [(kind, number) for number in range(settings.each) for kind in settings.kinds]
    for place, (kind, number) in enumerate(wanted):
        entry, passed_over = _one(kind, number, hay, root, settings, own)
        entries += [entry | {"id": f"{kind}_{number}_{t}", "try": t,
                             "options": [*entry["options"][t:], *entry["options"][:t]]} for t in range(TRIES)]
        left_out += passed_over
        tell(place + 1, len(wanted))
    left_out = list(dict.fromkeys(left_out))
    put(note, left_out)
    put(root / ANNOTATION, entries)
    return Made(root, len(wanted), tuple(left_out))


def pictures(paths: Sequence[Path], where: str, left_out: list[str]) -> dict[str, np.ndarray]:
    """One's own pictures uint8 [H,W,3] by the names of their files: "red_fox.jpg" is "red fox".

    Raises: MediaError unless there are four that can be read; UsageError where two have one name.
    """
    found: dict[str, np.ndarray] = {}
    for path in paths:
        name = " ".join(path.stem.replace("_", " ").replace("-", " ").replace(",", " ").split())
        try:
            with media.open(Clip(path)) as reader:
                if (kind := reader.info().kind) != "image":
                    raise MediaError(f"holds {kind}, no picture", where=str(path))
                (rgb,) = reader.frames([0.0]).rgb
        except ReelmError as error:
            left_out.append(str(error))
            continue
        if name.casefold() in (other.casefold() for other in found):
            raise UsageError(f"two pictures are called {name!r}", where=str(path), remedy="Rename one of them")
        found[name] = np.ascontiguousarray(rgb.transpose(1, 2, 0))
    if len(found) < len(LETTERS):
        raise MediaError(f"holds {len(found)} pictures that can be read, {len(LETTERS)} are needed", where=where,
                         remedy="; ".join(left_out) or f"Put {len(LETTERS) - len(found)} more there")
    return found


def _files(folder: Path, of: str) -> list[Path]:
    if not folder.is_dir():
        raise UsageError(f"is not a folder of {of}", where=str(folder), remedy="Give a folder with such files")
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size)


def _digest(paths: Sequence[Path], shown: Sequence[Path], settings: Settings) -> str:
    digest = hashlib.sha256(json.dumps([_VERSION, asdict(settings)], sort_keys=True).encode())
    for path in [*paths, *shown]:
        digest.update(b"needle " if path in shown else b"")
        digest.update(path.name.encode("utf-8", "surrogateescape"))
        with path.open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
    return digest.hexdigest()[:16]


def _haystacks(paths: Sequence[Path], settings: Settings, left_out: list[str]) -> list[_Hay]:
    found = []
    for path in paths:
        try:
            with media.open(Clip(path)) as reader:
                info = reader.info()
        except ReelmError as error:
            left_out.append(str(error))
            continue
        if info.kind != "video":
            left_out.append(f"{path}: holds {info.kind}, no video")
            continue
        found.append(_Hay(path, info, int(min(info.duration_s, settings.longest_s) * settings.fps)))
    if not found:
        raise MediaError(f"no video among {len(paths)} files", remedy="; ".join(left_out) or "Put videos there")
    return found


def _one(kind: str, number: int, hay: Sequence[_Hay], root: Path, settings: Settings, own: Mapping[str, np.ndarray]
         ) -> tuple[dict[str, Any], list[str]]:
    """Writes one video, if it is not there yet; gives its entry, and which clips were passed over for it."""
    done = root / f"{kind}_{number}.json"
    if done.is_file():
        kept = json.loads(done.read_text("utf-8"))
        return kept["entry"], kept["passed_over"]
    rng = np.random.default_rng([settings.seed, list(SUBTASKS).index(kind), number])
    asked = riddle(kind, rng, list(own))
    order = [hay[i] for i in rng.permutation(len(hay))]
    passed_over: list[str] = []
    for one in order:
        try:
            entry = _hidden(root / f"{kind}_{number}.mp4", kind, asked, one, rng, settings, own)
        except MediaError as error:
            passed_over.append(str(error))
            continue
        put(done, {"entry": entry, "passed_over": passed_over})
        return entry, passed_over
    raise MediaError(f"none of {len(hay)} clips can be used for {kind}", where=str(root),
                     remedy=f"{passed_over[0]}; add longer clips, or shorten needle_s and gap_s")


def _hidden(path: Path, kind: str, asked: Riddle, hay: _Hay, rng: np.random.Generator, settings: Settings,
            own: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Writes the haystack with its needles at moments drawn evenly; raises MediaError when it is short or broken."""
    long, gap = round(settings.needle_s * settings.fps), round(settings.gap_s * settings.fps)
    count = len(asked.moments)
    need = count * long + (count - 1) * gap
    if hay.frames < need:
        raise MediaError(f"{hay.frames / settings.fps:.2f} s are too short for {count} needles, which need "
                         f"{need / settings.fps:.2f} s", where=str(hay.path))
    slack = np.sort(rng.integers(0, hay.frames - need + 1, count))
    starts = [int(start) for start in slack + np.arange(count) * (long + gap)]
    _write(path, hay, asked, starts, long, settings, own)
    shift = long if asked.inserted else 0
    return {"video": path.name, "type": kind, "question": asked.text, "options": list(asked.options),
            "gt": asked.answer,
            "needle_time": [(start + i * shift) / settings.fps for i, start in enumerate(starts)],
            "needle_s": long / settings.fps, "length": (hay.frames + shift * count) / settings.fps,
            "haystack": str(hay.path.name)}


def _write(path: Path, hay: _Hay, asked: Riddle, starts: Sequence[int], long: int, settings: Settings,
           own: Mapping[str, np.ndarray]) -> None:
    with media.open(Clip(hay.path)) as reader:
        sound = _sound(reader, hay, starts if asked.inserted else (), long, settings)
        media.write_video(path, _frames(reader, hay, asked, starts, long, settings, own), settings.fps, sound)


def _frames(reader: media.Reader, hay: _Hay, asked: Riddle, starts: Sequence[int], long: int, settings: Settings,
            own: Mapping[str, np.ndarray]) -> Iterator[np.ndarray]:
    """The haystack's frames, in their order, with the needles drawn on them or put between them."""
    moments = dict(zip(starts, asked.moments, strict=True))
    drawn_on: dict[int, tuple[Needle, ...]] = {} if asked.inserted else {
        start + i: needles for start, needles in moments.items() for i in range(long)}
    for first in range(0, hay.frames, _CHUNK):
        numbers = range(first, min(first + _CHUNK, hay.frames))
        seen = reader.frames([hay.info.start_s + number / settings.fps for number in numbers])
        for number, rgb in zip(numbers, seen.rgb, strict=True):
            frame = _scaled(rgb.transpose(1, 2, 0), settings.height_px)
            if asked.inserted and number in moments:
                yield from [drawn(frame, moments[number], own)] * long
            yield drawn(frame, drawn_on.get(number, ()))


def _scaled(rgb: np.ndarray, height_px: int) -> np.ndarray:
    height, width = rgb.shape[:2]
    if height <= height_px:
        return np.ascontiguousarray(rgb)
    size = (max(2, round(width * height_px / height)), height_px)
    return np.asarray(Image.fromarray(np.ascontiguousarray(rgb)).resize(size, Image.Resampling.BOX))


def _sound(reader: media.Reader, hay: _Hay, starts: Sequence[int], long: int, settings: Settings) -> Audio | None:
    """The haystack's sound, silent where pictures are put in, on the clock of the written file."""
    heard = reader.audio(_SOUND_HZ)
    if heard is None:
        return None
    whole = np.zeros((1, round(hay.frames / settings.fps * _SOUND_HZ)), np.float32)
    late = max(0, round((heard.start_s - hay.info.start_s) * _SOUND_HZ))
    part = heard.wave[:, :max(0, whole.shape[1] - late)]
    whole[:, late:late + part.shape[1]] = part
    at = [round(start / settings.fps * _SOUND_HZ) for start in starts]
    silence = np.zeros((1, round(long / settings.fps * _SOUND_HZ)), np.float32)
    pieces = np.split(whole, at, axis=1)
    joined = [pieces[0], *(piece for rest in pieces[1:] for piece in (silence, rest))]
    return Audio(np.concatenate(joined, axis=1), _SOUND_HZ)
