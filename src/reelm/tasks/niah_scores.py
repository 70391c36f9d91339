"""The two published scorers of VNBench, quirks included, and the careful one: an item is right when all four tries are.

The published pair disagrees: `official` looks for a letter anywhere, `official_detail` at the first character only, and
it exchanges the results of the two retrieval-insert tasks. Both are kept, so that a figure can be compared with either.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

from reelm.errors import UsageError

LETTERS = "ABCD"
TRIES = 4
#: What the careful figures call the sub-tasks' families, by the beginning of a sub-task's name.
FAMILIES = {"ret": "retrieval", "ord": "ordering", "cnt": "counting"}


def official_letter(reply: str) -> str | None:
    """The letter that the official script reads: before the first full stop, A wins over B wherever they stand.

    Source: joez17/VideoNIAH, evaluation/eval.py at 8193a3b; equal to the recorded table (tests/tasks).
    """
    head = reply.split(".")[0]
    return next((letter for letter in LETTERS if letter in head), None)


def official(records: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Accuracy per sub-task and "overall", their mean, as the official script has it.

    `records`: question_id, type, gt (a letter or 0..3), pred. Four tries share a question_id but for its last two
    characters. A reply of None is skipped, so its item can never be right; but an item all of whose replies are None is
    not counted at all.
    Raises: UsageError when no record has a reply.
    Source: evaluation/eval.py at 8193a3b; exact on recorded vectors.
    """
    right: dict[str, dict[str, int]] = defaultdict(dict)
    for record in records:
        if record["pred"] is None:
            continue
        items, name = right[record["type"]], record["question_id"][:-2]
        wanted = LETTERS[record["gt"]] if record["gt"] in (0, 1, 2, 3) else record["gt"]
        # Without any of the four letters the script compares the text itself, which can only equal a stranger's gt.
        said = official_letter(record["pred"]) or record["pred"].split(".")[0]
        items[name] = items.get(name, 0) + (said == wanted)
    _some(right)
    scores = {kind: _all_right(items.values()) for kind, items in sorted(right.items())}
    return scores | {"overall": sum(scores.values()) / len(scores)}


def official_detail(records: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Accuracy per sub-task, per family and "Overall", as the second official function has it.

    `records`: video_path, task_type, gt, pred. Four tries share a video_path; only the first character of a reply
    counts; what stands under ret_insert1 is ret_insert2's result, and the other way round.
    Raises: UsageError for an empty reply, a video without exactly four tries on average, or a missing retrieval-insert
    sub-task; the published function stops there too.
    Source: llava_examples/evaluation_utils.py at 8193a3b; exact on recorded vectors.
    """
    right: dict[str, int] = {}
    kinds: dict[str, str] = {}
    count = 0
    for record in records:
        if not record["pred"]:
            raise UsageError("an empty reply has no first character", where=f"{record['video_path']}",
                             remedy="Score with `official`, or write what the model said")
        video, count = record["video_path"], count + 1
        right[video] = right.get(video, 0) + (record["pred"][0] == record["gt"])
        kinds[video] = record["task_type"]
    if count != TRIES * len(right):
        raise UsageError(f"{count} records for {len(right)} videos, expected {TRIES} each")
    each: dict[str, list[int]] = defaultdict(list)
    for video, kind in kinds.items():
        each[kind].append(right[video])
    scores = {kind: _all_right(counts) for kind, counts in each.items()}
    families = {short: sum(score for kind, score in scores.items() if short in kind) / 3 for short in sorted(FAMILIES)}
    if not {"ret_insert1", "ret_insert2"} <= set(scores):
        raise UsageError(f"only the sub-tasks {', '.join(sorted(scores)) or 'none'}",
                         remedy="The second official scorer needs ret_insert1 and ret_insert2")
    scores["ret_insert1"], scores["ret_insert2"] = scores["ret_insert2"], scores["ret_insert1"]
    return dict(sorted(scores.items())) | families | {"Overall": sum(families.values()) / len(families)}


def careful(tries: Sequence[tuple[str, Hashable, float]]) -> dict[str, float]:
    """Circular accuracy per sub-task, per family, and "circular", the mean over sub-tasks.

    `tries`: (sub-task, item, right 0 or 1). An item is right when all its tries are; one with fewer than four tries is
    not counted as right or wrong but under "incomplete".
    """
    groups: dict[tuple[str, Hashable], list[float]] = defaultdict(list)
    for kind, item, right in tries:
        groups[kind, item].append(right)
    whole = {key: values for key, values in groups.items() if len(values) == TRIES}
    each: dict[str, list[float]] = defaultdict(list)
    for (kind, _), values in sorted(whole.items(), key=lambda pair: pair[0][0]):
        each[kind].append(float(min(values) == 1.0))
    scores = {kind: _mean(values) for kind, values in each.items()}
    families = {name: _mean([score for kind, score in scores.items() if kind.startswith(short)])
                for short, name in FAMILIES.items() if any(kind.startswith(short) for kind in scores)}
    found = scores | families | ({"circular": _mean(list(scores.values()))} if scores else {})
    return found | ({"incomplete": float(len(groups) - len(whole))} if len(groups) > len(whole) else {})


def _all_right(counts: Iterable[int]) -> float:
    counts = list(counts)
    return sum(count == TRIES for count in counts) / len(counts)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _some(found: Mapping[str, Any]) -> None:
    if not found:
        raise UsageError("no record has a reply", remedy="Give records with question_id, type, gt and pred")
