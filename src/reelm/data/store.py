"""The store: what decoding or a frozen tower gave, kept on disk so that it is made once. See docs/data.md.

An entry is one safetensors file named by its key, with a checksum over its tensors; nothing is ever unpickled. Any
number of processes may share a folder: entries appear whole or not at all, and its size is counted under a lock.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import struct
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, uint8

from reelm.errors import UsageError

if sys.platform != "win32":
    import fcntl

Tensors = dict[str, Tensor]
_KEY = re.compile(r"[0-9a-f]{64}")
#: A full store is emptied to this share of its limit, so that not every further entry has to look through the folder.
_FILLED = 0.9
#: A file on its way that has not grown for so long was left by a process that died.
_ABANDONED_S = 3600.0


class Store:
    """Tensors by key in a folder of at most `limit_bytes`; the entry unused for longest goes first.

    `counts`, of this process: found, made, damaged (a checksum that is wrong: the entry is made again), large (above
    the limit by itself, not kept), unread and unwritten (the disk refused; `trouble` says how). `totals()` is of all
    processes.
    Raises: UsageError if the folder cannot be made.
    """

    def __init__(self, folder: str | Path, limit_bytes: int = 50 << 30) -> None:
        if limit_bytes < 1:
            raise UsageError(f"a store of at most {limit_bytes} bytes", remedy="Give limit_bytes above 0")
        self.folder, self.limit_bytes = Path(folder), limit_bytes
        self.counts: Counter[str] = Counter()
        self.trouble = ""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"no folder for a store: {error.strerror}", where=str(folder)) from None

    def get(self, key: str, make: Callable[[], Tensors]) -> Tensors:
        """What is kept under `key`, else what `make` gives, which is kept. Two that ask at once may both make it."""
        found = self.find(key)
        if found is None:
            found = make()
            self.counts["made"] += 1
            self.put(key, found)
        return found

    def find(self, key: str) -> Tensors | None:
        """What is kept under `key`, now the most recently used, or None. A damaged entry is removed and counted."""
        path = self._path(key)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            self._troubled("unread", path, error)
            return None
        tensors = _intact(data, key)
        if tensors is None:
            self.counts["damaged"] += 1
            with self._excused(path), self._alone() as state:
                if path.exists():
                    path.unlink()
                    state["bytes"] -= len(data)
                state["damaged"] += 1
            return None
        self.counts["found"] += 1
        with suppress(OSError):  # removed by another process since; what was read is whole
            os.utime(path)
        return tensors

    def put(self, key: str, tensors: Mapping[str, Tensor]) -> None:
        """Keeps tensors under `key`. A disk that refuses is no reason to stop: it is counted, see `counts`."""
        path = self._path(key)
        whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        data = save(whole, {"key": key, "sha256": _checksum(whole)})
        if len(data) > self.limit_bytes:
            self.counts["large"] += 1
            return
        part = path.with_name(f"{key}.{uuid.uuid4().hex}.part")
        with self._excused(path):
            try:
                path.parent.mkdir(exist_ok=True)
                part.write_bytes(data)
                with self._alone() as state:
                    if path.exists():
                        state["bytes"] -= path.stat().st_size
                        path.unlink()
                    if state["bytes"] + len(data) > self.limit_bytes:
                        state["removed"] += self._make_room(len(data))
                        state["bytes"] = self._bytes()
                    os.replace(part, path)
                    state["bytes"] += len(data)
                    state["kept"] += 1
            finally:
                part.unlink(missing_ok=True)

    def totals(self) -> dict[str, int]:
        """Of all processes: bytes in the folder, entries kept, removed for room, damaged. The last three start again at
        0 when a process was killed while it counted."""
        with self._alone() as state:
            return dict(state)

    # --- inside ------------------------------------------------------------------------------------------------

    def _path(self, key: str) -> Path:
        if not _KEY.fullmatch(key):
            raise UsageError(f"a key is 64 hexadecimal digits, got {key!r:.80}", remedy="Make it with key_of")
        return self.folder / key[:2] / f"{key}.safetensors"

    @contextmanager
    def _excused(self, path: Path) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._troubled("unwritten", path, error)

    def _troubled(self, what: str, path: Path, error: OSError) -> None:
        self.counts[what] += 1
        self.trouble = f"{path}: {error.strerror or error}"

    @contextmanager
    def _alone(self) -> Iterator[Counter[str]]:
        """What is counted of the folder, while no other process changes it.

        The file is empty meanwhile: whoever is killed in here leaves no count, and the next one counts anew.
        """
        with (self.folder / "count.json").open("a+b") as file:
            if sys.platform != "win32":  # no such lock there: with several processes the folder may outgrow its limit
                fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            try:
                state = Counter(json.loads(file.read()))
            except ValueError:
                state = Counter({"bytes": self._bytes()})
            file.truncate(0)
            yield state
            file.write(json.dumps(state).encode())

    def _bytes(self) -> int:
        return sum(size for _, size, _ in self._entries())

    def _entries(self) -> list[tuple[int, int, Path]]:
        """(time of last use, bytes, path) of every entry; what dead processes left behind is removed on the way."""
        found = []
        for path in self.folder.glob("??/*"):
            try:
                facts = path.stat()
                if path.suffix == ".safetensors":
                    found.append((facts.st_mtime_ns, facts.st_size, path))
                elif time.time() - facts.st_mtime > _ABANDONED_S:
                    path.unlink()
            except FileNotFoundError:
                continue
        return found

    def _make_room(self, size: int) -> int:
        """Removes the entries unused for longest until `size` more bytes fit well; how many it were."""
        entries, removed = sorted(self._entries()), 0
        left = sum(size for _, size, _ in entries)
        while entries and left + size > max(self.limit_bytes * _FILLED, size):
            _, gone, path = entries.pop(0)
            path.unlink(missing_ok=True)
            left -= gone
            removed += 1
        return removed


def _intact(data: bytes, key: str) -> Tensors | None:
    """The tensors of an entry, or None unless it is, to the last bit, what was kept under this key."""
    try:
        tensors = load(data)
        (length,) = struct.unpack_from("<Q", data)
        said = json.loads(data[8:8 + length])["__metadata__"]
    except (SafetensorError, ValueError, KeyError, struct.error):
        return None
    return tensors if said == {"key": key, "sha256": _checksum(tensors)} else None


def _checksum(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(uint8).numpy().data)
    return digest.hexdigest()
