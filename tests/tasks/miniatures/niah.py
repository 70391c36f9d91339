"""A tiny VNBench: two tasks, made from one clip, in the published annotation form."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import numpy as np

from reelm.media import write_video
from reelm.tasks import niah_make
from reelm.tasks.niah_make import ANNOTATION, Settings


def clips(folder: Path, seconds: float = 6.0, count: int = 1) -> Path:
    """`count` haystacks of grey noise that moves: nothing in them looks like a needle."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        rng = np.random.default_rng(number)
        coarse = rng.integers(70, 150, (12, 16, 1)).repeat(8, 0).repeat(8, 1).repeat(3, 2).astype(np.uint8)
        write_video(folder / f"hay{number}.mp4", (np.roll(coarse, i, 1) for i in range(round(seconds * 8))), 8)
    return folder


def hidden(into: Path, kinds: tuple[str, ...], each: int, seconds: float = 6.0, count: int = 1) -> Path:
    hay = clips(into / "clips", seconds, count)
    return niah_make.make(hay, into / "made", Settings(each=each, kinds=kinds)).root


def make(root: Path) -> None:
    """Two sub-tasks as VNBench names things: no id and no haystack in an entry, paths that begin with a slash."""
    with tempfile.TemporaryDirectory() as scratch:
        made = hidden(Path(scratch), ("ret_edit", "cnt_insert"), 1)
        (root / "VNBench_new").mkdir()
        entries = json.loads((made / ANNOTATION).read_text("utf-8"))
        for entry in entries:
            target = root / "VNBench_new" / entry["video"]
            if not target.exists():
                shutil.copy(made / entry["video"], target)
            entry["video"] = f"/VNBench_new/{entry['video']}"
            for ours in ("id", "haystack", "needle_s"):
                entry.pop(ours)
        (root / "VNBench-main-4try.json").write_text(json.dumps(entries), "utf-8")
