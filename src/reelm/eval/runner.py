"""Any task, any model: asks what is not known yet and keeps every answer at once, so that nothing is asked twice."""

from __future__ import annotations

import hashlib
import json
import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from reelm.data.prepared import content_digest
from reelm.errors import MediaError, ReelmError, UsageError
from reelm.eval.models import Oracle, Respondent
from reelm.eval.store import Answers
from reelm.eval.streams import LEFT, alone, has_both
from reelm.tasks.base import Item, Scored, Task
from reelm.types import Answer, AudioVideo, Clip, Message, Part

CONTROLS = ("none", "blind", "rotated", *LEFT)
#: The fact that says by how many places an item's options were moved.
TURNED = "turned"
#: Gives the scores of replies; the task itself, or a judge where the task needs one.
Grade = Callable[[Sequence[tuple[Item, str]]], Sequence[dict[str, float]]]


@dataclass(frozen=True)
class Settings:
    """`limit`: only the first items. `batch`: items asked at once; so many at most are lost by a kill. `control`:
    "blind" leaves out the media, "mute" the sound and "dark" the pictures of clips that have both (other items are not
    asked), "rotated" asks every choice with every option in every place. `share` (k, n): every
    n-th item from the k-th, for several processes on one store."""

    limit: int | None = None
    batch: int = 1
    control: str = "none"
    share: tuple[int, int] = (0, 1)

    def __post_init__(self) -> None:
        if self.control not in CONTROLS:
            raise UsageError(f"no control {self.control!r}", remedy=f"One of: {', '.join(CONTROLS)}")
        if self.batch < 1 or not 0 <= self.share[0] < self.share[1] or (self.limit is not None and self.limit < 1):
            raise UsageError(f"nothing can be run with {self}", remedy="batch and limit of 1 or more, share k < n")


@dataclass(frozen=True)
class Row:
    """One item with what was said and what that is worth.

    `error`: why there is no reply; such an item is scored as an empty reply and counted. `kept`: taken from the store.
    """

    scored: Scored
    key: str = ""
    error: str = ""
    stop: str = "end"
    notes: tuple[str, ...] = ()
    tokens: dict[str, int] | None = None
    seconds: dict[str, float] | None = None
    kept: bool = False


@dataclass(frozen=True)
class Progress:
    """`done` of `total` items, `kept` of them from the store; `left_s` at the speed so far, None while unknown."""

    done: int
    total: int
    kept: int
    left_s: float | None


@dataclass(frozen=True)
class Run:
    """What was measured, and what it took: `wall_s` for the `asked` items that were not in the store.

    `left_out`: items to which the control does not apply.
    """

    task: Task
    rows: list[Row]
    asked: int
    wall_s: float
    media_digest: str
    left_out: int = 0


def run(task: Task, root: Path, model: Respondent, store: Answers, settings: Settings | None = None,
        tell: Callable[[Progress], object] = lambda progress: None, grade: Grade | None = None) -> Run:
    """Asks `model` every item of `task` in the folder `root` whose answer is not in `store`, and scores all of them.

    An answer is found again by the digest of the prompt, the content of its media and the model's fingerprint, so it
    does not matter where files lie or when they were copied. Items that fail are not kept and are asked again.
    Raises: UsageError (no items, a judged task without `grade`), whatever the task's `items` raise.
    """
    settings = settings or Settings()
    items = chosen(task, root, settings)
    began, mark = time.perf_counter(), model.fingerprint()
    rows: dict[int, Row] = {}
    waiting: list[tuple[int, Item, str, tuple[Part, ...]]] = []
    digests: set[str] = set()
    spent_s, kept = 0.0, 0
    asked = 0
    for place, item in enumerate(items):
        try:
            parts = task.ask(alone(item, settings.control) if settings.control in LEFT else item)
            # The oracle looks at the item, so two that ask the same are two to it.
            key, media = _key(f"{mark}:{item.id}" if isinstance(model, Oracle) else mark, parts)
        except (ReelmError, OSError) as error:
            rows[place] = Row(Scored(item, "", {}), error=str(error), stop="error")
        else:
            digests.update(media)
            known = store.get(key)
            kept += known is not None
            if known is not None:
                rows[place] = _row(item, key, known, kept=True)
            else:
                waiting.append((place, item, key, parts))
        if waiting and (len(waiting) == settings.batch or place + 1 == len(items)):
            since = time.perf_counter()
            rows |= _asked(model, store, waiting)
            spent_s, asked, waiting = spent_s + time.perf_counter() - since, asked + len(waiting), []
        speed = (time.perf_counter() - began) / asked if asked else None
        tell(Progress(len(rows), len(items), kept, None if speed is None else speed * (len(items) - len(rows))))
    ordered = graded(task, [rows[place] for place in range(len(items))], grade)
    whole = hashlib.sha256(json.dumps(sorted(digests)).encode()).hexdigest()
    left_out = len(_listed(task, root, settings)) - len(items) if settings.control in LEFT else 0
    return Run(task, ordered, asked, spent_s, whole, left_out)


def chosen(task: Task, root: Path, settings: Settings) -> list[Item]:
    """The items that the settings leave of a task, under the control. Raises: UsageError when there is none."""
    items = _listed(task, root, settings)
    if not items:
        raise UsageError(f"task {task.name} has no items here", where=str(root))
    if settings.control in LEFT:
        items = [item for item in items if any(map(has_both, item.media))]
        if not items:
            raise UsageError(f"task {task.name} has no clip with pictures and sound to take one of them from",
                             where=str(root), remedy="Leave out --control, or take blind")
    if settings.control == "rotated":
        return [replace(turn, facts={"group": item.id, **turn.facts, TURNED: str(by)}) for item in items
                for by, turn in enumerate(task.rotations(item))]
    return [item.blind() for item in items] if settings.control == "blind" else items


def _listed(task: Task, root: Path, settings: Settings) -> list[Item]:
    share, of = settings.share
    return list(islice(task.items(root), settings.limit))[share::of]


def graded(task: Task, rows: Sequence[Row], grade: Grade | None = None) -> list[Row]:
    """The rows with their scores. Raises: UsageError for a judged task without `grade`."""
    if grade is None:
        if task.judged:
            raise UsageError(f"task {task.name} is scored by a judge", remedy="Name one")
        return [replace(row, scored=replace(row.scored, scores=task.score(row.scored.item, row.scored.reply)))
                for row in rows]
    scores = grade([(row.scored.item, row.scored.reply) for row in rows])
    return [replace(row, scored=replace(row.scored, scores=one)) for row, one in zip(rows, scores, strict=True)]


def check(task: Task, root: Path, settings: Settings) -> int:
    """How many items would be asked, all media being there.

    Raises: MediaError that counts and names what is missing; UsageError for a wrong annotation.
    """
    lost = task.missing(root)
    if lost and settings.control != "blind":
        shown = "; ".join(lost[:5]) + (f"; and {len(lost) - 5} more" if len(lost) > 5 else "")
        raise MediaError(f"{len(lost)} media of task {task.name} are missing", where=str(root),
                         remedy=f"Place them there: {shown}")
    return len(chosen(task, root, settings))


def peak_bytes() -> dict[str, int]:
    """The most memory that this process held so far: {"process"} and, where there is one, {"device"}."""
    unit = 1 if sys.platform == "darwin" else 1024
    found = {"process": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit}
    return found | ({"device": torch.cuda.max_memory_allocated()} if torch.cuda.is_available() else {})


def _asked(model: Respondent, store: Answers, waiting: Sequence[tuple[int, Item, str, tuple[Part, ...]]]
           ) -> dict[int, Row]:
    """Rows of the items that were waiting, on the disk before this returns."""
    replies = model.replies([item for _, item, _, _ in waiting], [parts for _, _, _, parts in waiting])
    made: dict[str, dict[str, Any]] = {}
    rows = {}
    for (place, item, key, _), reply in zip(waiting, replies, strict=True):
        if isinstance(reply, Answer) and reply.stop == "cancelled":
            continue
        if isinstance(reply, ReelmError):
            rows[place] = Row(Scored(item, "", {}), key, str(reply), "error")
            continue
        made[key] = {"text": reply.text, "stop": reply.stop, "notes": list(reply.notes),
                     "tokens": dict(reply.tokens), "seconds": dict(reply.seconds)}
        rows[place] = _row(item, key, made[key], kept=False)
    store.put(made)
    if len(rows) < len(waiting):  # Ctrl-C while they were answered: what is whole is kept, the run ends
        raise KeyboardInterrupt
    return rows


def _row(item: Item, key: str, value: dict[str, Any], *, kept: bool) -> Row:
    return Row(Scored(item, value["text"], {}), key, stop=value["stop"], notes=tuple(value["notes"]),
               tokens=value["tokens"], seconds=value["seconds"], kept=kept)


def _key(mark: str, parts: Sequence[Part | Message]) -> tuple[str, list[str]]:
    """The name of an answer, and the digests of the media it is about."""
    told: list[Any] = []
    media: list[str] = []
    for part in parts:
        if isinstance(part, Message):
            inner, found = _key("", part.parts)
            told.append([part.role, inner])
            media += found
        elif isinstance(part, str):
            told.append(part)
        else:
            digests = [content_digest(one) for one in
                       ((part.frames, part.audio) if isinstance(part, AudioVideo) else (part,))]
            stretch = [part.start_s, part.end_s, part.folder_fps] if isinstance(part, Clip) else []
            told.append([type(part).__name__, digests, stretch])
            media += digests
    return hashlib.sha256(json.dumps([mark, told]).encode()).hexdigest(), media
