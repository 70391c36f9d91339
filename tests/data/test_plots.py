"""Plots of a file of records: drawn from what was counted, whatever is missing."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reelm.data import plots
from reelm.data.check import Tally
from reelm.errors import MediaError, UsageError


def tally() -> Tally:
    found = Tally(records=4, turns=[2, 2, 4], asked_words=[3, 3, 5], answer_words=[1, 1, 400],
                  seconds=[0.5, 2.0, 900.0], tokens=[90, 91, 300])
    found.media.update({"video": 2, "not opened": 1})
    return found


def texts(path: Path) -> str:
    """The words of an SVG; matplotlib draws them as shapes and keeps them in comments, where -- may not stand."""
    return "\n".join(re.findall(r"<!-- (.*?) -->", path.read_text("utf-8"))).replace("- -", "--")


def test_a_plot_shows_every_quantity_with_its_median_and_its_tail(tmp_path: Path) -> None:
    said = texts(plots.draw(tally(), tmp_path / "train.svg", "train.jsonl: 4 records"))
    for words in ("train.jsonl: 4 records", "tokens a record", "median 91", "95 % at or below 300", "median 2\n",
                  "seconds a video or sound, logarithmic", "words an answer, logarithmic", "words a question\n",
                  "not opened", "turns a record", "count (of 3)"):
        assert words in said, words


def test_what_has_no_value_is_said_to_have_none(tmp_path: Path) -> None:
    said = texts(plots.draw(Tally(records=1), tmp_path / "none.svg", "none"))
    assert said.count("none: ") == 6 and "none: tokens a record (with --model)" in said


def test_the_bars_are_the_counts(tmp_path: Path) -> None:
    """Three of four words answered are one word: the bar at one is three times that at two."""
    from matplotlib import pyplot

    _, axis = pyplot.subplots()
    plots._spread(axis, "Answered", "words", [1, 1, 1, 2])
    assert [bar.get_height() for bar in axis.patches] == [3, 1]
    plots._spread(axis, "Answered", "words", [1] * 50 + [1000])
    assert sum(bar.get_height() for bar in axis.patches[2:]) == 51
    pyplot.close()


def test_a_png_is_a_picture_with_something_on_it(tmp_path: Path) -> None:
    picture = np.asarray(Image.open(plots.draw(tally(), tmp_path / "train.PNG", "x")).convert("L"))
    assert picture.shape[1] > 1000 and 0.02 < (picture < 200).mean() < 0.5


def test_it_is_refused_before_the_counting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="a plot is one of"):
        plots.ready(tmp_path / "train.gif")
    with pytest.raises(MediaError, match="cannot be written"):
        plots.draw(tally(), tmp_path / "absent" / "train.png", "x")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr(plots, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="pip install"):
        plots.ready(tmp_path / "train.png")
