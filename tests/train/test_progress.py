"""The log tells everything once per step, survives a kill in the midst of a line, and becomes a picture."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from PIL import Image

from reelm.train.progress import LOG, Log, curve, events, plot


def step(log: Log, number: int, loss: float, stage: str = "only") -> None:
    log("step", stage=stage, step=number, loss=loss, norm=1.0, tokens_per_s=2.0, samples_per_s=1.0)


def test_of_a_step_made_twice_the_later_line_counts_and_a_torn_line_is_passed_over(tmp_path: Path) -> None:
    log = Log(tmp_path)
    step(log, 1, 2.0)
    step(log, 2, 0.1 + 0.2)
    log.close()
    with (tmp_path / LOG).open("a") as file:
        file.write('{"event": "step", "sta')
    again = Log(tmp_path)
    step(again, 2, 1.5)
    step(again, 3, 1 / 3)
    again.close()
    assert curve(tmp_path) == {("only", 1): 2.0, ("only", 2): 1.5, ("only", 3): 1 / 3}
    assert len(list(events(tmp_path))) == 4


def test_every_line_is_json_that_any_reader_takes(tmp_path: Path) -> None:
    log = Log(tmp_path)
    log("skipped", stage="only", step=1, why="loss nan", values=[math.nan, {"a": math.inf}])
    step(log, 1, math.nan)
    log.close()
    lines = (tmp_path / LOG).read_text().splitlines()
    assert json.loads(lines[0])["values"] == ["nan", {"a": "inf"}] and "NaN" not in "".join(lines)
    assert math.isnan(curve(tmp_path)["only", 1])


def test_whoever_watches_gets_every_event_and_a_silent_log_writes_nothing(tmp_path: Path) -> None:
    seen: list[str] = []
    log = Log(tmp_path / "a", lambda event: seen.append(event["event"]))
    log("note", text="x")
    log.close()
    silent = Log(tmp_path / "b", lambda event: seen.append("silent"), silent=True)
    silent("note", text="x")
    silent.close()
    assert seen == ["note"] and not (tmp_path / "b").exists()


def test_the_picture_has_a_panel_per_stage_and_marks_what_was_skipped(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    log = Log(tmp_path)
    for number in range(1, 60):
        step(log, number, math.nan if number == 20 else 5 / number, "first")
        step(log, number, 3.0, "second")
    log("skipped", stage="first", step=20, why="loss nan", ids=["a"])
    log.close()
    path = plot(tmp_path)
    assert path is not None
    with Image.open(path) as picture:
        assert picture.size[0] > 2 * picture.size[1]
        colours = {colour for _, colour in picture.convert("RGB").getcolors(1 << 20)}
    assert any(red > 150 and green < 110 and blue < 100 for red, green, blue in colours)  # the mark
