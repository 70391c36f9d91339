"""Our tasks inside lmms-eval: a folder for its `--include_path`, with the items, how to ask and how to score them.

    reelm eval egoschema --data DIR --export-lmms FOLDER
    lmms-eval --tasks reelm_egoschema --include_path FOLDER --model reelm --model_args pretrained=reelm-tiny

Replies are scored by the same code as in `reelm eval`, so any model of lmms-eval gets the same figures here and there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from reelm.errors import UsageError
from reelm.eval.models import versions
from reelm.eval.results import digests, figures
from reelm.eval.runner import Settings, chosen
from reelm.tasks.base import Item, Scored, Task, find
from reelm.types import Clip

ITEMS = "items.jsonl"
#: Scores of which less is better.
_LOWER = ("unread", "readers_differ")
_CODE = '''"""What lmms-eval asks of the task {name}; written by `reelm eval --export-lmms`."""

from pathlib import Path

from reelm.eval.lmms import Exported

_task = Exported("{name}", Path(__file__).with_name("{items}"), {figures})
media, scores = _task.media, _task.scores
'''


class _Function(str):
    """The name of a function in the file beside the YAML."""


class _Dumper(yaml.SafeDumper):
    pass


_Dumper.add_representer(_Function, lambda dumper, name: dumper.represent_scalar("!function", str(name)))


def export(task: Task, root: Path, settings: Settings, into: Path, max_tokens: int) -> Path:
    """The folder `into/reelm_TASK[_CONTROL]`, with a YAML of that name, `utils.py` and the items.

    Greedy replies of at most `max_tokens` tokens are asked for, and nothing is cut from them. Media stay where they
    are: a whole file is named by its path, which every model of lmms-eval takes for a video; a stretch of one, or a
    folder of pictures, is a part that only the model `reelm` knows.
    Raises: UsageError for a task that a judge scores, or one with media that are not in files.
    """
    if task.judged:
        raise UsageError(f"task {task.name} is scored by a judge, lmms-eval has its own", remedy="Let lmms-eval ask a "
                         "task of its own, or use reelm eval")
    items = chosen(task, root, settings)
    name = f"reelm_{task.name}" + ("" if settings.control == "none" else f"_{settings.control}")
    names = list(figures(task, _replied(task, items, True)) | figures(task, _replied(task, items, False)))
    folder = into / name
    folder.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps(_line(task, item), ensure_ascii=False) for item in items)
    (folder / ITEMS).write_text("\n".join(lines) + "\n", "utf-8")
    code = _CODE.format(name=task.name, items=ITEMS, figures=tuple(names))
    code += "".join(f"figure_{place} = _task.figure({one!r})\n" for place, one in enumerate(names))
    (folder / "utils.py").write_text(code, "utf-8")
    facts = {"version": 1, "made_by": f"reelm {versions()['reelm']}", "annotations": digests(task, root)}
    (folder / f"{name}.yaml").write_text(yaml.dump(_config(name, names, facts, max_tokens), Dumper=_Dumper,
                                                   sort_keys=False, allow_unicode=True), "utf-8")
    return folder


def _config(name: str, names: Sequence[str], facts: Mapping[str, Any], max_tokens: int) -> dict[str, Any]:
    """The task as lmms-eval wants it told; whatever could change a reply or its score stands there."""
    return {
        "task": name, "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": ITEMS}}, "test_split": "test",
        "output_type": "generate_until", "num_fewshot": 0, "description": "", "reasoning_tags": "none",
        "doc_to_visual": _Function("utils.media"), "doc_to_text": "text", "doc_to_target": "answer",
        "generation_kwargs": {"max_new_tokens": max_tokens, "do_sample": False, "temperature": 0, "num_beams": 1,
                              "until": []},
        "process_results": _Function("utils.scores"), "cluster_key": "video",
        "metric_list": [{"metric": one, "aggregation": _Function(f"utils.figure_{place}"),
                         "higher_is_better": one not in _LOWER} for place, one in enumerate(names)],
        "metadata": dict(facts),
    }


def _replied(task: Task, items: Sequence[Item], rightly: bool) -> list[Scored]:
    """All items with the right replies or empty ones: between them every figure shows itself."""
    replies = [task.oracle(item) if rightly else "" for item in items]
    return [Scored(item, reply, task.score(item, reply)) for item, reply in zip(items, replies, strict=True)]


def _line(task: Task, item: Item) -> dict[str, Any]:
    """An item as a row: what people look for in columns, the rest as JSON that no column type can spoil."""
    *media, text = task.ask(item)
    if not isinstance(text, str):
        raise UsageError(f"item {item.id} of task {task.name} does not end with its text", remedy="Use reelm eval")
    rest = {"media": [_told(part, item, task) for part in media], "text": item.text, "options": item.options,
            "facts": dict(item.facts)}
    return {"id": item.id, "video": item.video, "text": text, "answer": item.answer,
            "rest": json.dumps(rest, ensure_ascii=False)}


def _told(part: Any, item: Item, task: Task) -> dict[str, Any]:
    if not isinstance(part, Clip) or not isinstance(part.source, str | Path):
        raise UsageError(f"item {item.id} of task {task.name} has a {type(part).__name__} that is in no file",
                         remedy="Use reelm eval")
    source = str(part.source)
    source = source if source[:5].lower() == "data:" else str(Path(source).resolve())
    return {"source": source, "start_s": part.start_s, "end_s": part.end_s, "folder_fps": part.folder_fps}


# --- as lmms-eval calls it -------------------------------------------------------------------------------------------


class Exported:
    """A task in a folder that `export` wrote; `names` are its figures."""

    def __init__(self, name: str, items: Path, names: Sequence[str]) -> None:
        self.name, self.path, self.names = name, items, tuple(names)

    def media(self, doc: Mapping[str, Any]) -> list[str | Clip]:
        """The media of a row: paths, and parts of ours where a path does not say it all."""
        clips = [Clip(**told) for told in json.loads(doc["rest"])["media"]]
        return [str(clip.source) if clip == Clip(clip.source) else clip for clip in clips]

    def scores(self, doc: Mapping[str, Any], replies: Sequence[str]) -> dict[str, dict[str, Any]]:
        """What each figure needs of one reply; "score" is what lmms-eval's own error bars are made of."""
        found = find(self.name).score(_items(self.path)[doc["id"]], replies[0])
        row = {"id": doc["id"], "video": doc["video"], "reply": replies[0]}
        return {name: row | ({"score": found[name]} if name in found else {}) for name in self.names}

    def figure(self, name: str) -> Callable[[Sequence[Mapping[str, Any]]], float]:
        """How rows of `scores` come to the figure `name`: NaN where none of them has it."""
        task_name, path = self.name, self.path

        def figure(rows: Sequence[Mapping[str, Any]]) -> float:
            task, items = find(task_name), _items(path)
            scored = [Scored(items[row["id"]], row["reply"], task.score(items[row["id"]], row["reply"]))
                      for row in rows]
            return figures(task, scored).get(name, float("nan"))

        return figure


@cache
def _items(path: Path) -> dict[str, Item]:
    """The items of a folder by id, without their media: scoring needs none."""
    rows = (json.loads(line) for line in path.read_text("utf-8").splitlines())
    return {row["id"]: Item(row["id"], row["video"], (), rest["text"], tuple(rest["options"]), row["answer"],
                            rest["facts"]) for row in rows for rest in [json.loads(row["rest"])]}
