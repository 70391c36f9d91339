"""Training records: conversations about media, read from the forms in which people have them. See docs/data.md."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from reelm.data.rows import RecordError, Row, file_of, is_shards, rows
from reelm.errors import UsageError
from reelm.types import Clip, Message, Part

#: What a tag and a key may call a medium; a medium of a CSV is called "file", because its kind is not said there.
KINDS = ("image", "video", "audio")
#: Every name of a role that is read, and whose turn it is.
ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}
#: Where the turns stand; one of them per record.
BODIES = ("conversations", "messages", "prompt")
REPLIES = ("chosen", "rejected")
_TAG = re.compile(rf"<({'|'.join(KINDS)})>")
_KNOWN = {*BODIES, *REPLIES, *KINDS, *(f"{kind}s" for kind in KINDS), "id", "system"}


@dataclass(frozen=True)
class Record:
    """A conversation to learn from, its media as `Clip`s in the places of their tags; nothing is opened yet.

    `line`: where it begins in its file, from 1. `kinds`: what the file calls each medium ("image", "video", "audio",
    "file"), in order. With `chosen` and `rejected`, two replies of which the first is preferred, the messages end with
    the user's; otherwise with the assistant's. `unused`: keys of the file that have no meaning here.
    """

    id: str
    messages: tuple[Message, ...]
    line: int
    kinds: tuple[str, ...] = ()
    chosen: str | None = None
    rejected: str | None = None
    unused: tuple[str, ...] = ()

    @property
    def clips(self) -> tuple[Clip, ...]:
        """The media, in the order of the conversation."""
        return tuple(part for message in self.messages for part in message.parts if isinstance(part, Clip))


@dataclass(frozen=True)
class Finding:
    """Something wrong with a record: its line, its id ("" when it has none), a word for the kind, a sentence."""

    line: int
    id: str
    kind: str
    said: str


@dataclass(frozen=True)
class Examined:
    """One row: the record, None when something is wrong with it, and all that is. `read` as in `Row`."""

    record: Record | None
    findings: tuple[Finding, ...]
    read: float


def records(path: str | Path, media: str | Path | None = None) -> Iterator[Record]:
    """The records of a file (.jsonl, .json, .csv, .tsv, or a folder with one CSV), one at a time.

    `media`: the folder from which names of media count; that of the file unless given.
    Raises: RecordError, with file and line, at the first record that is wrong; UsageError if there is no such file.
    """
    for one in examined(path, media):
        if one.record is None:
            found = one.findings[0]
            raise RecordError(found.said, where=f"{file_of(path)}:{found.line}",
                              remedy="`reelm data check` lists everything that is wrong with the file")
        yield one.record


def examined(path: str | Path, media: str | Path | None = None) -> Iterator[Examined]:
    """Every record of a file, or what is wrong with it; media are not looked at, but those of shards are compared
    with their checksums.

    Raises: UsageError if there is no such file or no such folder of media.
    """
    file = file_of(path)
    if is_shards(file):
        from reelm.data.shards import Shards  # which gives records, so it stands above this module

        if media is not None:
            raise UsageError("shards hold their media", where=str(file), remedy="Leave the folder of media out")
        yield from Shards(file).examined()
        return
    folder = Path(media) if media is not None else file.parent
    if not folder.is_dir():
        raise UsageError("no such folder of media", where=str(folder))
    none = True
    for row in rows(file):
        none = False
        yield examine(row, folder, file.name)
    if none:
        yield Examined(None, (Finding(1, "", "form", "the file holds no record"),), 1.0)


def examine(row: Row, folder: Path, name: str) -> Examined:
    """The record of one row of the file `name`, whose media count from `folder`, or what is wrong with it."""
    return _Reading(row, folder, name).result()


class _Wrong(Exception):
    """Ends the reading of one turn or medium; it is then a finding."""

    def __init__(self, kind: str, said: str) -> None:
        super().__init__(kind, said)
        self.kind, self.said = kind, said


@dataclass
class _Reading:
    """One row on its way to a record; everything wrong is collected, so that it can be mended at once."""

    row: Row
    folder: Path
    name: str
    findings: list[Finding] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    waiting: dict[str, list[Clip]] = field(default_factory=dict)
    lacking: Counter[str] = field(default_factory=Counter)  # tags for which no medium was left
    gaps: bool = False  # a turn or medium could not be read: whether all fit together cannot be told
    id: str = ""

    def result(self) -> Examined:
        data, row = self.row.data, self.row
        if data is None:
            self._found("form", row.broken)
            return Examined(None, tuple(self.findings), row.read)
        self.id = f"{self.name}:{row.line}"
        if isinstance(data.get("id"), str | int) and data["id"] != "":
            self.id = str(data["id"])
        elif data.get("id") not in (None, ""):
            self._found("form", f"an id is a string or a whole number, got {type(data['id']).__name__}")
        if row.doubled:
            self._found("form", f"keys that stand twice: {', '.join(row.doubled)}")
        self.waiting = {kind: self._listed(data, kind) for kind in KINDS}
        offered = {kind: len(clips) for kind, clips in self.waiting.items()}
        messages = self._turns(data)
        self._tags_match(offered)
        chosen, rejected = (self._reply(data, name) for name in REPLIES)
        self._order(messages, preferred=any(name in data for name in REPLIES) or "prompt" in data)
        self._replies(data, chosen, rejected)
        if self.findings:
            return Examined(None, tuple(self.findings), row.read)
        unused = tuple(sorted(set(data) - _KNOWN))
        return Examined(Record(self.id, tuple(messages), row.line, tuple(self.kinds), chosen, rejected, unused), (),
                        row.read)

    # --- media -------------------------------------------------------------------------------------------------

    def _listed(self, data: dict[str, Any], kind: str) -> list[Clip]:
        """The media under `video` or `videos`, one or a list."""
        named = [key for key in (kind, f"{kind}s") if data.get(key) is not None]
        if len(named) > 1:
            self._gap("form", f"both {named[0]} and {named[1]} are there")
        clips = []
        for key in named[:1]:
            value = data[key]
            for item in value if isinstance(value, list) else [value]:
                try:
                    clips.append(self._clip(item, key))
                except _Wrong as wrong:
                    self._gap(wrong.kind, wrong.said)
        return clips

    def _clip(self, item: Any, key: str) -> Clip:
        """A name, or {"path": …, "start_s": …, "end_s": …}."""
        given = item if isinstance(item, dict) else {"path": item}
        name = given.get("path")
        if unknown := sorted(set(given) - {"path", "start_s", "end_s", "type"}):
            raise _Wrong("media", f"{key}: a medium has path, start_s and end_s, not {', '.join(unknown)}")
        if not isinstance(name, str) or not name.strip():
            raise _Wrong("media", f"{key}: a medium is the name of a file, got {name!r}")
        if re.match(r"\w+://", name):
            raise _Wrong("media", f"{key}: {name} is an address; media are files")
        try:
            start_s = float(given.get("start_s") or 0.0)
            end_s = None if given.get("end_s") is None else float(given["end_s"])
            return Clip(name if name[:5].lower() == "data:" else self.folder / name, start_s, end_s)
        except (TypeError, ValueError, UsageError) as error:
            raise _Wrong("media", f"{key}: {name}: {error}") from None

    def _tags_match(self, offered: dict[str, int]) -> None:
        """Every medium of the lists has its place, every place its medium."""
        if self.gaps:
            return
        for kind in KINDS:
            left, lacking = len(self.waiting[kind]), self.lacking[kind]
            if left or lacking:
                tags = offered[kind] - left + lacking
                self._found("tags", f"{tags} <{kind}> in the text, {offered[kind]} under {kind}")

    # --- turns -------------------------------------------------------------------------------------------------

    def _turns(self, data: dict[str, Any]) -> list[Message]:
        bodies = [key for key in BODIES if data.get(key) is not None]
        if len(bodies) != 1:
            self._gap("form", f"one of {', '.join(BODIES)} is needed, found {', '.join(bodies) or 'none'}")
            return []
        body = data[bodies[0]]
        if bodies[0] == "prompt" and isinstance(body, str):
            body = [{"role": "user", "content": body}]
        if not isinstance(body, list):
            self._gap("form", f"{bodies[0]} is a list of turns, got {type(body).__name__}")
            return []
        if data.get("system"):
            body = [{"role": "system", "content": data["system"]}, *body]
        messages = []
        for number, turn in enumerate(body, 1):
            try:
                messages.append(self._turn(turn, number))
            except _Wrong as wrong:
                self._gap(wrong.kind, f"turn {number}: {wrong.said}")
        return messages

    def _turn(self, turn: Any, number: int) -> Message:
        role, content = _spoken(turn)
        lacking = self.lacking.total()
        parts = tuple(self._parts(content))
        # A turn of nothing but a tag without a medium is told as that.
        if self.lacking.total() == lacking and all(isinstance(part, str) and not part.strip() for part in parts):
            self._found("empty", f"turn {number} ({role}) says nothing")
        return Message(cast(Any, role), parts)

    def _parts(self, content: Any) -> Iterator[Part]:
        if isinstance(content, str):
            yield from self._tagged(content)
            return
        if not isinstance(content, list):
            raise _Wrong("form", f"its text is a string or a list of pieces, got {type(content).__name__}")
        for piece in content:
            kind = piece.get("type") if isinstance(piece, dict) else None
            if kind == "text" and isinstance(piece.get("text"), str):
                yield from self._tagged(piece["text"])
            elif kind not in (*KINDS, "file"):
                raise _Wrong("form", f"a piece has a type of text, {', '.join(KINDS)}, got {piece!r:.80}")
            else:
                yield from self._piece(kind, piece)

    def _piece(self, kind: str, piece: dict[str, Any]) -> Iterator[Clip]:
        """A medium of a list of pieces: named here ("path", or under its kind), else the next of the record's list."""
        named = {("path" if key == kind else key): value for key, value in piece.items()}
        if "path" in named:
            clip = self._clip(named, kind)
            self.kinds.append(kind)
            yield clip
        else:
            yield from self._next(kind)

    def _tagged(self, text: str) -> Iterator[Part]:
        """The text with the next medium of the record's list in the place of each tag.

        White space after a tag and line breaks before one are left out: the layout writes its own.
        """
        pieces = _TAG.split(text)
        for at in range(0, len(pieces), 2):
            words = pieces[at].lstrip() if at else pieces[at]
            words = words.rstrip("\r\n") if at + 1 < len(pieces) else words
            if words:
                yield words
            if at + 1 < len(pieces):
                yield from self._next(pieces[at + 1])

    def _next(self, kind: str) -> Iterator[Clip]:
        if waiting := self.waiting.get(kind):
            self.kinds.append(kind)
            yield waiting.pop(0)
        else:
            self.lacking[kind] += 1

    def _order(self, messages: list[Message], preferred: bool) -> None:
        """After at most one system turn: user, assistant, user, … up to the last."""
        if self.gaps:
            return
        roles: list[str] = [message.role for message in messages]
        turns = roles[1:] if roles[:1] == ["system"] else roles
        last = "user" if preferred else "assistant"
        if turns != [("user", "assistant")[i % 2] for i in range(len(turns))] or turns[-1:] != [last]:
            self._found("roles", f"the turns are {', '.join(roles) or 'none'}; expected [system,] user, assistant, … "
                        f"up to the {last}'s" + (", before the replies" if preferred else ""))

    # --- replies -----------------------------------------------------------------------------------------------

    def _reply(self, data: dict[str, Any], name: str) -> str | None:
        """A reply: a string, a turn, or a list of one turn."""
        value = data.get(name)
        if value is None or isinstance(value, str):
            return value
        try:
            turns = value if isinstance(value, list) else [value]
            if len(turns) == 1 and _spoken(turns[0])[0] == "assistant" and isinstance(_spoken(turns[0])[1], str):
                return str(_spoken(turns[0])[1])
        except _Wrong:
            pass
        self._found("replies", f"{name} is a string or one turn of the assistant")
        return ""

    def _replies(self, data: dict[str, Any], chosen: str | None, rejected: str | None) -> None:
        if any(found.kind == "replies" for found in self.findings):
            return
        given = [reply for reply in (chosen, rejected) if reply is not None]
        if len(given) == 1 or ("prompt" in data and not given):
            self._found("replies", f"chosen and rejected belong together, {len(given)} of them there")
        elif given and not all(reply.strip() for reply in given):
            self._found("empty", "a reply says nothing")
        elif given and chosen == rejected:
            self._found("replies", "chosen and rejected are the same")
        elif any(_TAG.search(reply) for reply in given):
            self._found("tags", "a medium cannot stand in a reply")

    def _gap(self, kind: str, said: str) -> None:
        self.gaps = True
        self._found(kind, said)

    def _found(self, kind: str, said: str) -> None:
        self.findings.append(Finding(self.row.line, self.id, kind, said))


def _spoken(turn: Any) -> tuple[str, Any]:
    """(role, content) of a turn written with from/value or role/content."""
    if not isinstance(turn, dict):
        raise _Wrong("form", f"a turn is an object with from and value, or role and content, got {turn!r:.60}")
    for who, what in (("from", "value"), ("role", "content")):
        if who in turn and what in turn:
            role = ROLES.get(turn[who]) if isinstance(turn[who], str) else None
            if role is None:
                raise _Wrong("roles", f"nobody is called {turn[who]!r}; known: {', '.join(ROLES)}")
            return role, turn[what]
    raise _Wrong("form", f"from and value, or role and content, are needed, found {', '.join(turn) or 'nothing'}")

