"""States of a run on disk: each a folder with a manifest, there as a whole or not at all.

A state is written beside its place, synced, and renamed into it; older ones go only after that. Whatever moment a
process is killed at, and whichever write fails, the newest complete state is the last one that was finished.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from reelm.errors import CheckpointError
from reelm.train.disk import Disk

MANIFEST = "manifest.json"
#: The form of a state; one of another form is not read.
FORMAT = 1
#: Beginnings of names of folders that are no states: one being written, one being removed.
_NEW, _OLD = "new-", "old-"
Content = bytes | Callable[[Path], object]


class Checkpoints:
    """The states in one folder, of which the `keep` newest stay. Their names must sort by age."""

    def __init__(self, folder: Path, keep: int = 2, disk: Disk | None = None) -> None:
        self.folder, self.keep, self.disk = folder, keep, disk or Disk()

    def save(self, name: str, files: Mapping[str, Content]) -> Path:
        """A new state of these files; the folder it is in.

        Raises: CheckpointError when the disk refuses; the states that were there are then still there.
        """
        place = self.folder / name
        if wrong(place) is None:
            return place
        try:
            self._write(self.folder / f"{_NEW}{name}", place, files)
            self._thin_out()
        except (OSError, SafetensorError) as error:
            newest = self.newest()
            there = f"The newest complete state is {newest.name}" if newest else "There is no complete state yet"
            raise CheckpointError(f"the state {name} could not be saved: {error}", where=str(self.folder),
                                  remedy=f"{there}; free space or mend the disk and start again, it goes on from there"
                                  ) from None
        return place

    def _write(self, new: Path, place: Path, files: Mapping[str, Content]) -> None:
        disk = self.disk
        for leftover in [new, *self.folder.glob(f"{_NEW}*")]:
            if leftover.exists():
                disk.remove(leftover)
        disk.make(new)
        told = {}
        for name, content in files.items():
            disk.write(new / name, content)
            disk.sync(new / name)
            told[name] = {"bytes": (new / name).stat().st_size, "sha256": _sha256(new / name)}
        disk.write(new / MANIFEST, json.dumps({"format": FORMAT, "files": told}, indent=1).encode())
        disk.sync(new / MANIFEST)
        disk.sync(new)
        if place.exists():  # of the same name, and damaged
            self._discard(place)
        disk.rename(new, place)
        disk.sync(self.folder)

    def _thin_out(self) -> None:
        for leftover in self.folder.glob(f"{_OLD}*"):
            self.disk.remove(leftover)
        for place in self._places()[self.keep:]:
            self._discard(place)

    def _discard(self, place: Path) -> None:
        # Under another name first: a state that is half removed must not look like one.
        gone = self.folder / f"{_OLD}{place.name}"
        self.disk.rename(place, gone)
        self.disk.remove(gone)

    def _places(self) -> list[Path]:
        """The folders of states, the newest first."""
        if not self.folder.is_dir():
            return []
        return sorted((path for path in self.folder.iterdir() if path.is_dir()
                       and not path.name.startswith((_NEW, _OLD))), key=lambda path: path.name, reverse=True)

    def newest(self) -> Path | None:
        """The newest state of which every file is there and is what the manifest says; None when there is none."""
        return next((place for place in self._places() if wrong(place) is None), None)

    def damaged(self) -> list[tuple[Path, str]]:
        """States newer than the newest complete one, with what is wrong with them."""
        found = []
        for place in self._places():
            said = wrong(place)
            if said is None:
                break
            found.append((place, said))
        return found


def wrong(place: Path) -> str | None:
    """What makes a state unusable, in words; None when it is complete."""
    try:
        manifest: dict[str, Any] = json.loads((place / MANIFEST).read_text(encoding="utf-8"))
        if manifest["format"] != FORMAT:
            return f"it has format {manifest['format']}, this reelm reads {FORMAT}"
        for name, told in manifest["files"].items():
            size = (place / name).stat().st_size
            if size != told["bytes"]:
                return f"{name} has {size:,} bytes, the manifest says {told['bytes']:,}"
            if _sha256(place / name) != told["sha256"]:
                return f"{name} is not what was written"
    except OSError as error:
        return f"{Path(str(error.filename)).name}: {error.strerror}"
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{MANIFEST} cannot be read: {error!r}"
    return None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
