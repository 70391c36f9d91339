"""What a run comes to: figures with intervals, and everything one must know to repeat it; answers as lines of JSON."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from reelm.errors import UsageError
from reelm.eval.intervals import of_difference, of_figures, of_mean
from reelm.eval.models import Respondent, code_digest, versions
from reelm.eval.panel import Panel
from reelm.eval.runner import TURNED, Grade, Row, Run, Settings, graded, peak_bytes
from reelm.tasks.base import Item, Scored, Task, find
from reelm.tasks.judged import Judged

#: The number of the layout of results and answers; it grows when a field goes or changes its meaning.
SCHEMA = 1
_FIELDS = ("id", "video", "text", "options", "answer", "facts", "reply")


def means(rows: Sequence[Scored]) -> dict[str, float]:
    """The mean of every score over the items that have it."""
    names = dict.fromkeys(name for row in rows for name in row.scores)
    having = {name: [row.scores[name] for row in rows if name in row.scores] for name in names}
    return {name: sum(values) / len(values) for name, values in having.items()}


def figures(task: Task, rows: Sequence[Scored]) -> dict[str, float]:
    """All figures of a task: means of scores, then what the task sums up itself."""
    return means(rows) | summed(task, rows)


def summed(task: Task, rows: Sequence[Scored]) -> dict[str, float]:
    """The figures that are no means over items. "every_turn", after the control "rotated": the share of questions that
    are answered rightly wherever the right option stands."""
    groups: dict[str, list[float]] = {}
    for row in rows:
        if TURNED in row.item.facts and task.headline in row.scores:
            groups.setdefault(row.item.facts["group"], []).append(row.scores[task.headline])
    turned = {"every_turn": sum(min(values) == 1.0 for values in groups.values()) / len(groups)} if groups else {}
    return turned | task.summary(rows)


def measured(task: Task, rows: Sequence[Row]) -> dict[str, Any]:
    """{"scores", "splits", "items", "videos", "failed"}; every figure with "low" and "high" of its 95 % interval (null
    where one video is all there is), scores also with the number of items "n" and, the headline, with "chance"."""
    scored = [row.scored for row in rows]
    told: dict[str, Any] = {name: _mean_of(scored, name) for name in means(scored)}
    if task.headline in told:
        told[task.headline]["chance"] = sum(map(task.chance, (row.item for row in scored))) / len(scored)
    others = summed(task, scored)
    spread = of_figures(scored, lambda drawn: summed(task, drawn)) if others else {}
    told |= {name: {"value": value, **_ends(spread[name])} for name, value in others.items()}
    return {"scores": told, "splits": {split: _split(task, scored, split) for split in task.splits},
            "items": len(scored), "videos": len({row.item.video for row in scored}),
            "failed": [{"id": row.scored.item.id, "error": row.error} for row in rows if row.error]}


def _mean_of(rows: Sequence[Scored], name: str) -> dict[str, Any]:
    having = [row for row in rows if name in row.scores]
    values = [row.scores[name] for row in having]
    return {"value": sum(values) / len(values), **_ends(of_mean(values, [row.item.video for row in having])),
            "n": len(values)}


def _ends(interval: tuple[float, float] | None) -> dict[str, float | None]:
    return {"low": interval[0], "high": interval[1]} if interval else {"low": None, "high": None}


def _split(task: Task, rows: Sequence[Scored], name: str) -> dict[str, Any]:
    values = sorted({row.item.facts[name] for row in rows})
    chosen = {value: [row for row in rows if row.item.facts[name] == value and task.headline in row.scores]
              for value in values}
    return {value: _mean_of(some, task.headline) | {"chance": sum(task.chance(row.item) for row in some) / len(some)}
            for value, some in chosen.items() if some}


def result(done: Run, root: Path, model: Respondent, settings: Settings) -> dict[str, Any]:
    """A run as one JSON object: figures, settings, versions, checksums, speed and memory."""
    spent = [row.seconds for row in done.rows if row.seconds and not row.kept]
    phases = {name: sum(one.get(name, 0.0) for one in spent) / len(spent) for name in dict.fromkeys(
        name for one in spent for name in one)}
    return {
        "schema": SCHEMA, "task": done.task.name, "headline": done.task.headline, **measured(done.task, done.rows),
        "model": {"name": model.name, "fingerprint": model.fingerprint(), "options": getattr(model, "options", {})},
        "settings": asdict(settings), "left_out": done.left_out,
        "versions": versions() | {"python": platform.python_version(), "platform": platform.platform(),
                                  "threads": torch.get_num_threads(), "code": code_digest()},
        "data": {"root": str(root), "media": done.media_digest,
                 "annotations": digests(done.task, root)},
        "speed": {"asked": done.asked, "kept": sum(row.kept for row in done.rows), "wall_s": done.wall_s,
                  "items_per_s": done.asked / done.wall_s if done.wall_s else None, "phases_s": phases},
        "peak_bytes": peak_bytes(),
    }


def digests(task: Task, root: Path) -> dict[str, str]:
    """SHA-256 of the annotations of a task, by file name."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in task.annotations(root)}


def grader(task: Task, judges: Panel | None) -> Grade | None:
    """How the task's replies get their scores: by `judges`, or None where the task scores them itself.

    Raises: UsageError for a judged task without one.
    """
    if not isinstance(task, Judged):
        return None
    if judges is None:
        raise UsageError(f"task {task.name} is scored by a judge", remedy="Name one: --judge local:FOLDER, or "
                         "--judge MODEL@https://host/v1")
    return lambda rows: judges.grade(task, rows)


# --- answers in a file -----------------------------------------------------------------------------------------------


def write_answers(path: Path, done: Run, model: Respondent, settings: Settings) -> None:
    """One line that says what this is, then one line per item with all that scoring needs; media are not in it."""
    head = {"schema": SCHEMA, "reelm": "answers", "task": done.task.name, "model": model.name,
            "settings": asdict(settings)}
    lines = [json.dumps(head, ensure_ascii=False)]
    for row in done.rows:
        item = row.scored.item
        told = dict(zip(_FIELDS, (item.id, item.video, item.text, item.options, item.answer, dict(item.facts),
                                  row.scored.reply), strict=True))
        lines.append(json.dumps(told | {"scores": dict(row.scored.scores), "error": row.error, "stop": row.stop,
                                        "notes": row.notes, "seconds": row.seconds, "key": row.key},
                                ensure_ascii=False))
    partial = path.with_name(path.name + ".partial")
    partial.write_text("\n".join(lines) + "\n", "utf-8")
    partial.replace(path)


def read_answers(path: Path, judges: Panel | None = None) -> tuple[dict[str, Any], Task, list[Row]]:
    """The head of a file of answers, its task, and its rows, scored anew.

    Raises: UsageError (also for a judged task without `judges`) when the file is something else, with the line.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot be read ({error})", where=str(path), remedy="Give a file of answers") from None
    told = [_parsed(line, f"{path}, line {number}") for number, line in enumerate(lines, 1) if line.strip()]
    if not told or told[0].get("reelm") != "answers" or told[0].get("schema") != SCHEMA:
        raise UsageError("is no file of answers of this release", where=str(path),
                         remedy="Give NAME.answers.jsonl as `reelm eval` wrote it")
    task = find(told[0]["task"])
    rows = [_row_of(line, f"{path}, item {number}") for number, line in enumerate(told[1:])]
    if not rows:
        raise UsageError("holds no answer", where=str(path))
    return told[0], task, graded(task, rows, grader(task, judges))


def _parsed(line: str, where: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError as error:
        raise UsageError(f"is no JSON ({error})", where=where) from None
    if not isinstance(value, dict):
        raise UsageError(f"is {type(value).__name__}, expected an object", where=where)
    return value


def _row_of(told: Mapping[str, Any], where: str) -> Row:
    lost = [name for name in _FIELDS if name not in told]
    if lost:
        raise UsageError(f"lacks {', '.join(lost)}", where=where)
    item = Item(told["id"], told["video"], (), told["text"], tuple(told["options"]), told["answer"], told["facts"])
    return Row(Scored(item, told["reply"], {}), told.get("key", ""), told.get("error", ""), told.get("stop", "end"),
               tuple(told.get("notes", ())), seconds=told.get("seconds"), kept=True)


def compared(task: Task, one: Sequence[Row], other: Sequence[Row]) -> dict[str, Any]:
    """Two runs over the same items: {"differences": name -> value, low, high, "items", "only_one", "only_other"}.

    Only items that both answered count, the others are numbered. A difference is `one` minus `other`; its interval is
    drawn in pairs, so what makes a video hard for both does not widen it.
    Raises: UsageError when they share no item.
    """
    left, right = ({row.scored.item.id: row.scored for row in rows} for rows in (one, other))
    both = [name for name in left if name in right]
    if not both:
        raise UsageError(f"two runs of {len(left)} and {len(right)} items share none", remedy="Give runs of one task")
    mine, yours = [left[name] for name in both], [right[name] for name in both]
    values = figures(task, mine), figures(task, yours)
    spread = of_difference(mine, yours, lambda rows: figures(task, rows))
    return {"differences": {name: {"value": values[0][name] - values[1][name], **_ends(spread[name])}
                            for name in spread},
            "items": len(both), "only_one": len(left) - len(both), "only_other": len(right) - len(both)}
