"""A run, or two runs compared, as one HTML page that needs nothing else: figures, confusions, items with their clips.

Everything that a model, a file or a user wrote is escaped; no page is larger than its limit.
"""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from reelm.errors import BudgetError, ReelmError
from reelm.eval import report_tables as tables
from reelm.eval.report_media import MOST_BYTES, Small, small
from reelm.eval.runner import TURNED, Row
from reelm.tasks.base import Item, Task
from reelm.tasks.letters import LETTERS, careful
from reelm.types import Clip, Image

LIMIT_BYTES = 20_000_000
#: Seconds that making clips small may take; the rest of them is counted.
MEDIA_S = 240.0
MOST_TO_LEARN_FROM, MOST_OTHERS, MOST_CHARACTERS = 300, 60, 4000
#: Below this nothing worth looking at fits.
_LEAST_BYTES = 4_000
#: Markup around a clip.
_FRAME_BYTES = 400
#: How an item fared, in the order in which items are chosen, with the words of the page.
STATES = {"wrong": "wrong", "failed": "failed", "partly": "partly right", "one": "only the first is right (or better)",
          "other": "only the second is right (or better)", "neither": "neither is right", "right": "right",
          "both": "both are right", "unscored": "without a score"}
_TO_LEARN_FROM = ("wrong", "failed", "partly", "one", "other")
_DIFFER = "readers differ"
_PAGE = Path(__file__).parent / "page"


@dataclass(frozen=True)
class Reply:
    """What one model said to an item; `said` is the option that the careful reader takes it for, from 0."""

    who: str
    row: Row
    state: str
    said: int | None


@dataclass(frozen=True)
class Entry:
    """An item with its replies, how it fared, and what it can be filtered by."""

    item: Item
    replies: tuple[Reply, ...]
    state: str
    tags: tuple[str, ...]


@dataclass
class Group:
    """Entries about the same media; `shown`: each made small, or why it cannot be shown."""

    name: str
    media: tuple[Clip | Image, ...]
    entries: list[Entry]
    shown: list[Small | str]


def write(path: Path, told: Mapping[str, Any], task: Task, rows: Sequence[Row], limit_bytes: int = LIMIT_BYTES) -> Path:
    """The page of one run at `path`; `told` is its result, or what `measured` says of saved answers.

    Raises: BudgetError when not even the figures fit; OSError. Cost: decodes and encodes some fifty clips.
    """
    who, scored = told["model"]["name"], [row.scored for row in rows]
    splits = [chart for name, some in told["splits"].items()
              for chart in tables.charts(f"{task.headline} by {name}", some, scale_of=task.headline)]
    facts = {"title": f"{task.name}: {who}", "headline": told["scores"].get(task.headline), "name": task.headline,
             "charts": tables.charts("All figures", told["scores"]) + splits,
             "confusions": tables.confusions(task, scored), "readers": tables.both_readers(task, scored),
             "phases": tables.phases(rows), "remarks": tables.remarks(rows), "told": told, "rows": len(rows),
             "kept": sum(row.kept for row in rows), "against": None}
    entries = [_entry(task, [(who, row)]) for row in rows]
    return _written(path, facts, _chosen(task, entries), entries, limit_bytes)


def write_comparison(path: Path, told: Mapping[str, Any], task: Task, runs: Sequence[tuple[str, Sequence[Row]]],
                     limit_bytes: int = LIMIT_BYTES) -> Path:
    """The page of two runs, each with its name; `told` is what `compared` says, and under "first" and "second" what
    `write` takes of each run, where they are to be drawn too. Raises: as `write`."""
    (one, mine), (other, yours) = runs
    theirs = {row.scored.item.id: row for row in yours}
    entries = [_entry(task, [(one, row), (other, theirs[row.scored.item.id])]) for row in mine
               if row.scored.item.id in theirs]
    charts = [chart for place, name in ((0, "first"), (1, "second")) if name in told
              for chart in tables.charts(f"The {name}: {runs[place][0]}", told[name]["scores"])]
    facts = {"title": f"{task.name}: {one} against {other}", "headline": told["differences"].get(task.headline),
             "name": task.headline,
             "charts": tables.differences("The first minus the second", told["differences"]) + charts,
             "confusions": [], "readers": None, "phases": [], "remarks": ([], 0), "told": told, "rows": len(entries),
             "kept": 0, "against": (one, other)}
    return _written(path, facts, _chosen(task, entries), entries, limit_bytes)


def with_media(task: Task, rows: Sequence[Row], root: Path) -> list[Row]:
    """Rows of saved answers with the media of their items, from the data set in `root`."""
    media = {turn.id: turn.media for item in task.items(root) for turn in task.rotations(item)}
    return [replace(row, scored=replace(row.scored, item=replace(
        row.scored.item, media=media.get(row.scored.item.id, ())))) for row in rows]


# --- which items -----------------------------------------------------------------------------------------------------


def _entry(task: Task, answered: Sequence[tuple[str, Row]]) -> Entry:
    replies = tuple(Reply(who, row, _state(task, row),
                          careful(row.scored.reply, row.scored.item.options) if row.scored.item.options else None)
                    for who, row in answered)
    item = replies[0].row.scored.item
    tags = [_clean(f"{name}: {item.facts[name]}") for name in (*task.splits, TURNED) if name in item.facts]
    differ = [] if not any(tables.readers_differ(task, reply.row.scored) for reply in replies) else [_DIFFER]
    state = replies[0].state if len(replies) == 1 else _against(task, *replies)
    return Entry(item, replies, state, (*tags, *differ))


def _state(task: Task, row: Row) -> str:
    if row.error:
        return "failed"
    value = row.scored.scores.get(task.headline)
    if value is None:
        return "unscored"
    return "right" if value >= tables.top(task.headline) else "wrong" if value <= 0 else "partly"


def _against(task: Task, one: Reply, other: Reply) -> str:
    values = [reply.row.scored.scores.get(task.headline) for reply in (one, other)]
    if values[0] is None or values[1] is None:
        return "unscored"
    if values[0] != values[1]:
        return "one" if values[0] > values[1] else "other"
    return "both" if one.state == "right" else "neither"


def _chosen(task: Task, entries: Sequence[Entry]) -> list[Entry]:
    """The items that a page may have room for: what can be learnt from first, spread over the categories."""
    learn = [entry for entry in entries if _teaches(entry)]
    others = sorted((entry for entry in entries if not _teaches(entry)),
                    key=lambda entry: list(STATES).index(entry.state))
    return list(_spread(learn))[:MOST_TO_LEARN_FROM] + list(_spread(others))[:MOST_OTHERS]


def _teaches(entry: Entry) -> bool:
    return entry.state in _TO_LEARN_FROM or _DIFFER in entry.tags


def _spread(entries: Sequence[Entry]) -> Iterator[Entry]:
    """All entries, one of each kind (state and first category) after the other, a new video as long as there is one."""
    kinds: dict[tuple[str, str], dict[str, list[Entry]]] = {}
    for entry in entries:
        kind = kinds.setdefault((entry.state, entry.tags[0] if entry.tags else ""), {})
        kind.setdefault(entry.item.video, []).append(entry)
    waiting = [list(_turns(list(videos.values()))) for videos in kinds.values()]
    yield from _turns(waiting)


def _turns(lists: Sequence[Sequence[Entry]]) -> Iterator[Entry]:
    for place in range(max(map(len, lists), default=0)):
        yield from (one[place] for one in lists if place < len(one))


def _groups(entries: Sequence[Entry]) -> list[Group]:
    found: dict[Any, Group] = {}
    for entry in entries:
        media = entry.item.media
        key = tuple((one.source, one.start_s, one.end_s) if isinstance(one, Clip) else id(one) for one in media)
        group = found.setdefault(key or entry.item.video, Group(entry.item.video, media, [], [_NO_ROOM] * len(media)))
        group.entries.append(entry)
    return list(found.values())


# --- the page --------------------------------------------------------------------------------------------------------


def _written(path: Path, facts: dict[str, Any], chosen: list[Entry], entries: Sequence[Entry], limit_bytes: int
             ) -> Path:
    """The page, complete or not at all: words first, up to half of the limit, then clips while there is room."""
    counts = {state: sum(entry.state == state for entry in entries) for state in STATES}
    facts |= {"counts": {state: count for state, count in counts.items() if count}, "states": STATES}
    while len(_rendered(facts, groups := _groups(chosen))) > limit_bytes // 2 and chosen:
        chosen = chosen[:len(chosen) // 2]
    _fill(groups, limit_bytes - len(_rendered(facts, groups)))
    while len(page := _rendered(facts, groups)) > limit_bytes and (playable := [
            group for group in groups if any(isinstance(one, Small) for one in group.shown)]):
        playable[-1].shown = [_NO_ROOM] * len(playable[-1].media)
    if len(page) > limit_bytes:
        raise BudgetError(f"a page of {len(page):,} bytes without a clip, {limit_bytes:,} allowed", where=str(path),
                          remedy="Everything it would show is in the JSON file beside it")
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_bytes(page)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


_NO_ROOM, _NO_TIME = "no room left in this page", "no time left for it when this page was made"


def _fill(groups: Sequence[Group], room_bytes: int) -> None:
    """Makes the clips small, in order, while there is room and time; each that is not shown has its reason."""
    until = time.monotonic() + MEDIA_S
    for group in groups:
        for place, medium in enumerate(group.media):
            most = min(MOST_BYTES, room_bytes - _FRAME_BYTES)
            if most < _LEAST_BYTES:
                return
            one = _NO_TIME if time.monotonic() > until else _small(medium, most)
            group.shown[place] = one
            room_bytes -= len(one) if isinstance(one, str) else len(one.uri) + _FRAME_BYTES


def _small(medium: Clip | Image, most_bytes: int) -> Small | str:
    try:
        return small(medium, most_bytes)
    except BudgetError as error:
        return _NO_ROOM if most_bytes < MOST_BYTES else f"cannot be shown: {error}"
    except (ReelmError, OSError, ValueError, ArithmeticError) as error:  # one clip must not cost the page
        return f"cannot be shown: {error}"


def _rendered(facts: Mapping[str, Any], groups: Sequence[Group]) -> bytes:
    script, style = ((_PAGE / name).read_text("utf-8") for name in ("page.js", "page.css"))
    # The page allows this one script and no connection at all, whatever a reply may smuggle in.
    mark = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    shown = [one for group in groups for one in group.shown]
    listed = [entry for group in groups for entry in group.entries]
    tags = sorted({tag for entry in listed for tag in entry.tags})
    environment = Environment(loader=FileSystemLoader(_PAGE), autoescape=True, undefined=StrictUndefined,
                              finalize=_clean, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"whole": _whole, "flat": _flat, "name": _name, "number": _number}
    text = environment.get_template("page.html").render(
        **facts, groups=groups, script=script, style=style, mark=mark, tags=tags, listed=listed, letters=LETTERS,
        clips=len(shown), playable=sum(isinstance(one, Small) for one in shown),
        no_room=shown.count(_NO_ROOM), no_time=shown.count(_NO_TIME), present={entry.state for entry in listed})
    return text.encode("utf-8")


def _clean(value: Any) -> Any:
    """Control characters and half characters, which could turn a line around or break the page, as a sign for them."""
    if not isinstance(value, str) or value.isprintable():
        return value
    return type(value)("".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in value))


def _whole(text: str) -> str:
    """The text, or so much of it that a page stays a page; what is missing is told."""
    if len(text) <= MOST_CHARACTERS:
        return text
    return f"{text[:MOST_CHARACTERS]} … [{len(text) - MOST_CHARACTERS:,} more characters in the file of answers]"


def _flat(told: Mapping[str, Any], before: str = "") -> list[tuple[str, str]]:
    """Nested settings as names with dots and their values; figures, which stand elsewhere, are left out."""
    found: list[tuple[str, str]] = []
    for name, value in told.items():
        if name in ("scores", "splits", "failed", "differences"):
            continue
        if isinstance(value, Mapping):
            found += _flat(value, f"{before}{name}.")
        else:
            found.append((f"{before}{name}", f"{value:,.4g}" if isinstance(value, float) else
                          "none" if value is None else str(value)))
    return found


def _name(medium: Clip | Image) -> str:
    """A medium in a few words: the file's name without its folders, and the stretch."""
    if isinstance(medium, Image):
        return "a picture in memory"
    name = Path(medium.source).name if isinstance(medium.source, str | Path) else medium.name
    end = "its end" if medium.end_s is None else f"{medium.end_s:g} s"
    return name[:120] + (f", {medium.start_s:g} s to {end}" if medium.start_s or medium.end_s is not None else "")


def _number(value: float | None, digits: int = 3) -> str:
    return "" if value is None else f"{value:.{digits}f}"
