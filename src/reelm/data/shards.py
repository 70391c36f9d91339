"""Shards: records with their media in tar files of the `webdataset` form, and an index with offsets and checksums.

A folder holds `index.json`, and for every `shard-000000.tar` a `shard-000000.json`. A sample is a run of members with
one key: `000000000.json`, the record, and `000000000.0.mp4`, `000000000.1.wav` …, its media. See docs/data.md.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, BinaryIO, cast

from reelm import media
from reelm.data.records import Examined, Finding, Record
from reelm.data.rows import FORM, INDEX, RecordError, file_of, is_shards
from reelm.data.tars import END_BYTES, Content, Tar, place
from reelm.errors import MediaError, ReelmError, UsageError
from reelm.media.content import content_of, is_folder
from reelm.types import Clip, Message, Part

#: The number of the form of the index files; it grows when a field goes or changes its meaning.
SCHEMA = 1
_BLOCK_BYTES = 1 << 20
#: How many indexes of shards a reader keeps in memory.
_KEPT = 64


@dataclass(frozen=True)
class Written:
    """What `write` made: numbers of shards, samples and bytes, what was left out, and how much was there before."""

    shards: int
    samples: int
    bytes: int
    left_out: tuple[dict[str, Any], ...]
    found: int


# --- writing -------------------------------------------------------------------------------------------------------


def write(rows: Iterable[Examined], out: str | Path, *, limit_bytes: int = 1 << 30, on_bad: str = "fail",
          step: Callable[[Examined], None] = lambda row: None) -> Written:
    """Puts records (as `examined` gives them) with their media into shards of at most `limit_bytes`.

    A sample that is larger by itself gets a shard of its own. A shard appears whole or not at all; the same call goes
    on after the last whole one, and compares what is there with the records. `index.json` comes last.

    Raises: RecordError or MediaError at a row that is no record or whose media cannot be read, unless `on_bad` is
    "skip": it is left out and listed in the index of its shard. UsageError if the folder holds other shards. MediaError
    if the disk refuses.
    """
    if limit_bytes < 1 or on_bad not in ("fail", "skip"):
        raise UsageError(f"limit_bytes {limit_bytes}, on_bad {on_bad!r}", remedy="on_bad is fail or skip")
    folder = Path(out)
    with _explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for part in folder.glob(".*.part"):
            part.unlink()
        source = enumerate(rows)
        parts = _found(folder, source, step)
        found = len(parts)
        shard = _Shard(folder, len(parts), sum(len(part["samples"]) for part in parts))
        try:
            for number, row in source:
                if not shard.take(number, row, limit_bytes, on_bad):
                    parts.append(shard.close())
                    shard = _Shard(folder, len(parts), shard.next)
                    shard.take(number, row, None, on_bad)
                step(row)
            if not shard.samples and not parts:
                raise RecordError("no record can be used", where=str(folder),
                                  remedy="`reelm data check` lists what is wrong")
            if shard.last > shard.first:
                parts.append(shard.close())
        finally:
            shard.drop()
        place(folder / INDEX, _json(_whole(folder, parts)))
    return Written(len(parts), sum(len(part["samples"]) for part in parts), sum(part["bytes"] for part in parts),
                   tuple(bad for part in parts for bad in part["left_out"]), found)


class _Shard:
    """A shard on its way: its tar file (begun with the first sample) and what its index will say."""

    def __init__(self, folder: Path, number: int, first_key: int) -> None:
        self.folder, self.name, self.next = folder, f"shard-{number:06d}", first_key
        self.first = self.last = -1
        self.samples: list[dict[str, Any]] = []
        self.left_out: list[dict[str, Any]] = []
        self._rows = hashlib.sha256()
        self._tar = Tar(folder / f"{self.name}.tar")

    def take(self, number: int, row: Examined, limit_bytes: int | None, on_bad: str) -> bool:
        """Adds a row, or lists it as left out; False if it does not fit any more."""
        try:
            if row.record is None:
                raise RecordError(row.findings[0].said, remedy="`reelm data check` lists everything that is wrong")
            fits = self._add(row.record, limit_bytes)
        except ReelmError as error:
            line, id = (one := row.record or row.findings[0]).line, one.id
            if on_bad == "fail":
                raise type(error)(error.what, where=f"line {line}" + (f": {error.where}" if error.where else ""),
                                  remedy=error.remedy) from error
            self.left_out.append({"line": line, "id": id, "why": str(error), "kind": type(error).__name__})
            fits = True
        if fits:
            self.first, self.last = number if self.first < 0 else self.first, number + 1
            self._rows.update(_told(row))
        return fits

    def close(self) -> dict[str, Any]:
        """Puts the tar file and then its index in their places; the index's content."""
        self._tar.close()
        part = {"schema": SCHEMA, "form": f"{FORM}: one shard", "tar": self._tar.path.name, "bytes": self._tar.bytes,
                "sha256": self._tar.sha256, "rows": [self.first, self.last] if self.last >= 0 else [0, 0],
                "rows_sha256": self._rows.hexdigest(), "left_out": self.left_out, "samples": self.samples}
        place(self.folder / f"{self.name}.json", _json(part))
        return part

    def drop(self) -> None:
        self._tar.drop()

    def _add(self, record: Record, limit_bytes: int | None) -> bool:
        key = f"{self.next:09d}"
        with ExitStack() as stack:
            files = [_open(clip, stack) for clip in record.clips]
            names = [f"{key}.{number}{suffix}" for number, (_, _, suffix) in enumerate(files)]
            text = _json(_as_json(record, names))
            contents = [Content(f"{key}.json", io.BytesIO(text), len(text))]
            contents += [Content(name, file, size) for name, (file, size, _) in zip(names, files, strict=True)]
            needed = sum(one.needs for one in contents) + END_BYTES
            if self.samples and limit_bytes is not None and self._tar.bytes + needed > limit_bytes:
                return False
            members = self._tar.add(contents)
        self.samples.append({"key": key, "id": record.id, "members": members})
        self.next += 1
        return True


def _open(clip: Clip, stack: ExitStack) -> tuple[BinaryIO, int, str]:
    """The bytes of a medium, their number, and how its member's name ends."""
    if is_folder(clip):
        raise MediaError("is a folder of pictures, which no shard holds", where=clip.name,
                         remedy="Make a video of it (reelm.media.write_video)")
    content = content_of(clip, media.Limits())
    file = stack.enter_context(content.open())
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    suffix = (content.path or Path("")).suffix.lower()
    return file, size, suffix if suffix[1:].isalnum() and suffix.isascii() and suffix != ".json" else ".bin"


def _as_json(record: Record, names: Sequence[str]) -> dict[str, Any]:
    media_of = iter(zip(record.clips, record.kinds, names, strict=True))

    def piece(part: Part) -> dict[str, Any]:
        if isinstance(part, str):
            return {"type": "text", "text": part}
        clip, kind, name = next(media_of)
        stretch = {"start_s": clip.start_s} | ({} if clip.end_s is None else {"end_s": clip.end_s})
        return {"type": kind, "path": name} | stretch

    messages = [{"role": message.role, "content": [piece(part) for part in message.parts]}
                for message in record.messages]
    replies = {} if record.chosen is None else {"chosen": record.chosen, "rejected": record.rejected}
    return {"id": record.id, "line": record.line, "messages": messages} | replies


def _told(row: Examined) -> bytes:
    """A row, so that another one is noticed when a stopped run goes on."""
    if row.record is None:
        return _json([asdict(found) for found in row.findings])
    return _json([_as_json(row.record, [clip.name for clip in row.record.clips])])


def _found(folder: Path, source: Iterator[tuple[int, Examined]], step: Callable[[Examined], None]
           ) -> list[dict[str, Any]]:
    """The whole shards of a run that was stopped, once the records they were made of have gone by again."""
    parts: list[dict[str, Any]] = []
    while (path := folder / f"shard-{len(parts):06d}.json").exists():
        part = _loaded(path, path.read_bytes())
        first, last = part["rows"]
        rows, tar = hashlib.sha256(), folder / part["tar"]
        for _ in range(last - first):
            _, row = next(source, (0, None))
            if row is not None:
                rows.update(_told(row))
                step(row)
        if rows.hexdigest() != part["rows_sha256"]:
            raise UsageError(f"{path.name} was made of other records", where=str(folder),
                             remedy="Name another folder, or remove this one")
        if not tar.is_file() or tar.stat().st_size != part["bytes"]:
            raise MediaError("is missing or has another size than its index says", where=str(tar),
                             remedy=f"Remove {path.name} and all later shards, then run the same command again")
        parts.append(part)
    return parts


def _whole(folder: Path, parts: list[dict[str, Any]]) -> dict[str, Any]:
    shards = [{"tar": part["tar"], "index": (index := f"{Path(part['tar']).stem}.json"),
               "samples": len(part["samples"]), "bytes": part["bytes"], "sha256": part["sha256"],
               "index_sha256": hashlib.sha256((folder / index).read_bytes()).hexdigest()} for part in parts]
    return {"form": FORM, "schema": SCHEMA, "samples": sum(one["samples"] for one in shards),
            "left_out": sum(len(part["left_out"]) for part in parts), "shards": shards}


def _json(value: Any) -> bytes:
    return (json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n").encode("utf-8", "surrogatepass")


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise MediaError(f"the shards cannot be written: {error.strerror or error}", where=str(folder),
                         remedy="Free some space; the same command goes on after the last whole shard") from None


# --- reading -------------------------------------------------------------------------------------------------------


class Shards:
    """The records of a folder of shards, any of them at once; what is read is compared with its checksum.

    The media of a record are in memory. Raises: UsageError if there is no index, or it is of an unknown form.
    """

    def __init__(self, folder: str | Path) -> None:
        index = file_of(folder)
        self.folder = index.parent
        if not is_shards(index):
            raise UsageError("is no folder of shards", where=str(folder), remedy="Make one with `reelm data shard`")
        self._shards = _loaded(index, index.read_bytes())["shards"]
        for name in (shard[key] for shard in self._shards for key in ("tar", "index")):
            if Path(name).name != name or name in ("", "..", "."):
                raise UsageError(f"names {name!r:.80}, which lies elsewhere", where=str(index),
                                 remedy="Shards lie beside their index; take them from whom you trust")
        self._ends = list(accumulate(shard["samples"] for shard in self._shards))
        self._indexes: OrderedDict[int, dict[str, Any]] = OrderedDict()

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, at: int) -> Record:
        """Record `at`. Raises: MediaError that names shard and member if a byte of it is not what was written."""
        shard, sample = self._sample(at)
        tar = self.folder / shard["tar"]
        try:
            with tar.open("rb") as file:
                data = {one["name"]: _checked(file, one, f"{tar}: {one['name']}") for one in sample["members"]}
        except OSError as error:
            raise MediaError(f"cannot be read: {error.strerror or error}", where=str(tar),
                             remedy="Bring the shard back, or make the shards again") from None
        return _record(json.loads(data.pop(f"{sample['key']}.json")), data, tar)

    def told(self, at: int) -> tuple[str, str]:
        """(id, where) of a sample, for messages; from the index alone where that can be read."""
        shard = self._shards[bisect_right(self._ends, at)]
        try:
            _, sample = self._sample(at)
        except MediaError:
            return "", f"{self.folder / shard['tar']}"
        return str(sample["id"]), f"{self.folder / shard['tar']}: {sample['key']}"

    def examined(self) -> Iterator[Examined]:
        """Every record, or in what way it is damaged; a shard that differs outside of its samples comes after them."""
        at = 0
        for shard in self._shards:
            whole = True
            for _ in range(shard["samples"]):
                try:
                    one = Examined(self[at], (), (at + 1) / len(self))
                except MediaError as error:
                    found = Finding(at + 1, self.told(at)[0], "damaged", f"{error.where}: {error.what}")
                    one, whole = Examined(None, (found,), (at + 1) / len(self)), False
                at += 1
                yield one
            if whole and (said := self._damage(shard)):
                yield Examined(None, (Finding(at, "", "damaged", f"{shard['tar']}: {said}"),), at / len(self))

    def _sample(self, at: int) -> tuple[dict[str, Any], dict[str, Any]]:
        if not 0 <= at < len(self):
            raise IndexError(at)
        number = bisect_right(self._ends, at)
        shard = self._shards[number]
        if number not in self._indexes:
            path = self.folder / shard["index"]
            try:
                data = path.read_bytes()
            except OSError as error:
                raise MediaError(f"cannot be read: {error.strerror or error}", where=str(path),
                                 remedy="Make the shards again") from None
            if hashlib.sha256(data).hexdigest() != shard["index_sha256"]:
                raise MediaError("is not what was written (its checksum differs)", where=str(path),
                                 remedy="Copy it again, or make the shards again")
            self._indexes[number] = _loaded(path, data)
            if len(self._indexes) > _KEPT:
                self._indexes.popitem(last=False)
        return shard, self._indexes[number]["samples"][at - (self._ends[number] - shard["samples"])]

    def _damage(self, shard: dict[str, Any]) -> str:
        digest = hashlib.sha256()
        try:
            with (self.folder / shard["tar"]).open("rb") as file:
                while block := file.read(_BLOCK_BYTES):
                    digest.update(block)
        except OSError as error:
            return f"cannot be read: {error.strerror or error}"
        return "" if digest.hexdigest() == shard["sha256"] else "its checksum differs"


class _Member(io.BytesIO):
    """A medium in memory with a name for messages."""

    def __init__(self, data: bytes, name: str) -> None:
        super().__init__(data)
        self.name = name

    def __reduce__(self) -> tuple[Any, ...]:
        return _Member, (self.getvalue(), self.name)


def _checked(file: BinaryIO, member: dict[str, Any], where: str) -> bytes:
    file.seek(member["offset"])
    data = file.read(member["bytes"])
    if len(data) != member["bytes"] or hashlib.sha256(data).hexdigest() != member["sha256"]:
        raise MediaError(f"{member['bytes']:,} bytes at {member['offset']:,} are not what was written (checksum)",
                         where=where, remedy="Copy the shard again, or make the shards again")
    return data


def _record(told: dict[str, Any], data: dict[str, bytes], tar: Path) -> Record:
    kinds: list[str] = []

    def part(piece: dict[str, Any]) -> Part:
        if piece["type"] == "text":
            return str(piece["text"])
        kinds.append(piece["type"])
        member = cast(BinaryIO, _Member(data[piece["path"]], f"{tar}: {piece['path']}"))
        return Clip(member, piece["start_s"], piece.get("end_s"))

    messages = tuple(Message(turn["role"], tuple(map(part, turn["content"]))) for turn in told["messages"])
    return Record(told["id"], messages, told["line"], tuple(kinds), told.get("chosen"),
                  told.get("rejected"))


def _loaded(path: Path, data: bytes) -> dict[str, Any]:
    try:
        told: dict[str, Any] = json.loads(data)
    except ValueError:
        raise MediaError("is damaged: no JSON", where=str(path),
                         remedy="Copy it again, or make the shards again") from None
    if told.get("schema") != SCHEMA:
        raise UsageError(f"is of form {told.get('schema')}, this version reads {SCHEMA}", where=str(path),
                         remedy="Make the shards again, or use the version that made them")
    return told
