"""What generated benchmarks share: a folder named after what is in it, files that are whole or not there, an
annotation that is written last."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from reelm.errors import UsageError
from reelm.tasks.base import Made, Task, Tell
from reelm.tasks.files import need, read_json

#: Writes one video to the path it is given.
Film = Callable[[Path], object]


class Generated(Task):
    """A benchmark that is made here: `<name>.json` with its "items" beside the videos they name."""

    def annotations(self, root: Path) -> tuple[Path, ...]:
        file = root / f"{self.name}.json"
        if not file.is_file():
            raise UsageError("no annotation file", where=str(file),
                             remedy=f"Leave out --data: `reelm eval {self.name}` makes what it needs")
        return (file,)

    def entries(self, root: Path) -> Iterator[tuple[dict[str, Any], str]]:
        """The entries of the annotation, each with where it stands."""
        (file,) = self.annotations(root)
        for place, entry in enumerate(need(read_json(file, dict), "items", list, str(file))):
            yield entry, f"{file}, entry {place}"

    def made(self, out: Path, facts: Mapping[str, Any], films: Mapping[str, Film], items: Sequence[Mapping[str, Any]],
             tell: Tell, notes: tuple[str, ...] = ()) -> Made:
        """Writes the films that are not there yet into a folder of `out` named after `facts`, then the annotation.

        `facts`: whatever makes the files what they are; one more "version" when the same wish makes other files.
        """
        root = out / digest(facts)
        root.mkdir(parents=True, exist_ok=True)
        wanted = [(name, film) for name, film in films.items() if not (root / name).is_file()]
        for done, (name, film) in enumerate(wanted, 1):
            film(root / name)
            tell(done, len(wanted))
        if not (root / f"{self.name}.json").is_file():
            put(root / f"{self.name}.json", {**facts, "items": list(items)})
        return Made(root, len(films), notes)


def digest(facts: Mapping[str, Any]) -> str:
    """Sixteen digits that differ where the facts do."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def put(path: Path, value: Any) -> None:
    """Writes JSON that is either there in whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(value, indent=1), "utf-8")
    partial.replace(path)
