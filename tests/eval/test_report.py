"""The page of a run: what stands in it is true, whoever wrote the replies can do nothing to it, and it stays small."""

from __future__ import annotations

from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reelm import media
from reelm.errors import BudgetError
from reelm.eval.report import LIMIT_BYTES, with_media, write, write_comparison
from reelm.eval.results import compared, measured
from reelm.eval.runner import Row
from reelm.tasks.base import Item, Scored, find
from reelm.types import Clip

TASK = find("perception_test_validation")
HOSTILE = '</pre></div><script>alert("x")</script><img src=http://x/y onerror=alert(1)>\u202e\x00\ud800 {{ 7*7 }}'


class Page(HTMLParser):
    """A page taken apart: its elements with their attributes, and all of its words."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words, self.text = "", path.read_text("utf-8")
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.elements if name == tag]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four clips of noise, two seconds each."""
    folder = tmp_path_factory.mktemp("clips")
    for number in range(4):
        rng = np.random.default_rng(number)
        media.write_video(folder / f"{number}.mp4", (rng.integers(0, 255, (96, 128, 3), np.uint8) for _ in range(8)), 4)
    return folder


def row(number: int, clip: Path | None, right: int = 0, reply: str = "A", area: str = "memory", **more: Any) -> Row:
    item = TASK.choice(f"q{number}", f"v{number}", (Clip(clip),) if clip else (), "Which?", ("red", "green", "blue"),
                       right, {"area": area, "reasoning": "descriptive"})
    return Row(Scored(item, reply, TASK.score(item, reply)), **more)


def page(path: Path, rows: Sequence[Row], limit_bytes: int = LIMIT_BYTES) -> Page:
    told = {"task": TASK.name, "model": {"name": "a model"}, "settings": {"control": "none"}, **measured(TASK, rows)}
    return Page(write(path, told, TASK, rows, limit_bytes))


def test_a_page_says_what_came_out_and_plays_the_failures_first(clips, tmp_path):
    rows = [row(0, clips / "0.mp4"), row(1, clips / "1.mp4", 1, seconds={"total": 2.0}), row(2, clips / "2.mp4", 2,
            area="physics", notes=("2 frames were missing",)), row(3, clips / "2.mp4", 0, area="physics")]
    shown = page(tmp_path / "a.html", rows)
    assert "0.500 accuracy, 95\xa0% interval" in shown.words and "chance 0.333" in shown.words
    assert "4 items about 4 videos; 2 wrong; 2 right" in shown.words and "accuracy by area" in shown.words
    assert "3 of their 3 media can be played here" in shown.words and "2 frames were missing" in shown.words
    states = [attrs["data-state"] for attrs in shown.all("div") if "data-state" in attrs]
    assert sorted(states[:2]) != ["right", "right"] and sorted(states) == ["right", "right", "wrong", "wrong"]
    videos = [attrs["src"] or "" for attrs in shown.all("video")]
    assert len(videos) == 3  # two questions are about one of them
    for source in videos:
        with media.open(Clip(source)) as reader:
            assert reader.info().duration_s == pytest.approx(2.0, abs=0.2)
            assert len(reader.frames(reader.info().frame_times_s)) == 8


def test_nothing_that_was_replied_becomes_part_of_the_page(clips, tmp_path):
    item = Item(HOSTILE, HOSTILE, (Clip(clips / "0.mp4"),), HOSTILE, (HOSTILE, "b"), "B",
                {"area": HOSTILE, "reasoning": "x"})
    rows = [Row(Scored(item, HOSTILE, {"accuracy": 0.0}), notes=(HOSTILE,), stop=HOSTILE),
            Row(Scored(Item("2", "v", (), "?", ("a", "b"), HOSTILE, item.facts), "", {}), error=HOSTILE)]
    told = {"model": {"name": HOSTILE}, "settings": {HOSTILE: HOSTILE}, **measured(TASK, rows)}
    shown = Page(write(tmp_path / "a.html", told, TASK, rows))
    assert len(shown.all("script")) == 1 and not shown.all("img") and "{{ 7*7 }}" in shown.words
    assert not any(name.startswith("on") for _, attrs in shown.elements for name in attrs)
    assert all((attrs[name] or "").startswith(("data:", "#")) for _, attrs in shown.elements
               for name in ("src", "href") if name in attrs)
    assert not {"\u202e", "\x00", "\ud800"} & set(shown.text)
    (rules,) = [attrs["content"] or "" for attrs in shown.all("meta") if "http-equiv" in attrs]
    assert "default-src 'none'" in rules and "script-src 'sha256-" in rules


def test_a_page_keeps_its_limit_and_counts_what_had_no_room(clips, tmp_path):
    rows = [row(number, clips / f"{number}.mp4", 1) for number in range(4)]
    whole = page(tmp_path / "whole.html", rows)
    one = max(len(attrs["src"] or "") for attrs in whole.all("video"))
    limit = len(whole.text.encode()) - 3 * one
    small = page(tmp_path / "small.html", rows, limit)
    size, played = len(small.text.encode()), len(small.all("video"))
    assert size <= limit and 1 <= played < 4
    assert f"{played} of their 4 media can be played here, re-encoded small; {4 - played} had no room" in small.words
    assert "4 of 4 items are listed" in small.words
    many = page(tmp_path / "many.html", [row(n, None, 1, reply="x" * 9000) for n in range(30)], 60_000)
    assert len(many.text.encode()) <= 60_000 and "5,000 more characters in the file of answers" in many.words
    assert "of 30 items are listed" in many.words and "30 of 30" not in many.words
    with pytest.raises(BudgetError, match="without a clip"):
        page(tmp_path / "none.html", rows, 2000)
    assert not (tmp_path / "none.html").exists() and not list(tmp_path.glob("*.partial"))


def test_a_clip_that_cannot_be_opened_leaves_its_item_with_the_reason(clips, tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"this is no video" * 20)
    shown = page(tmp_path / "a.html", [row(0, tmp_path / "broken.mp4"), row(1, tmp_path / "gone.mp4"),
                                       row(2, clips / "0.mp4", error="is damaged"), row(3, None)])
    assert len(shown.all("video")) == 1 and "1 of their 3 media can be played here" in shown.words
    assert "2 cannot be shown" in shown.words and "gone.mp4: cannot be opened" in shown.words
    assert "1 failed" in shown.words and "is damaged" in shown.words and "v3: without media" in shown.words


def test_the_failures_shown_are_spread_over_categories_and_videos(tmp_path):
    rows = [row(n, None, 1, area="many") for n in range(400)] + [row(400 + n, None, 1, area="few") for n in range(3)]
    tags = [attrs["data-tags"] or "" for attrs in page(tmp_path / "a.html", rows).all("div") if "data-tags" in attrs]
    assert len(tags) == 300 and sum("few" in tag for tag in tags) == 3 and "few" in tags[0] + tags[1]


def test_two_runs_are_shown_by_what_only_one_gets_right(clips, tmp_path):
    mine = [row(0, clips / "0.mp4", 0, "A"), row(1, None, 0, "A"), row(2, None, 0, "B"), row(3, None, 0, "C")]
    yours = [row(0, clips / "0.mp4", 0, "B"), row(1, None, 0, "A"), row(2, None, 0, "A"), row(3, None, 0, "B")]
    told = compared(TASK, mine, yours) | {"first": measured(TASK, mine) | {"settings": {"control": "blind"}}}
    shown = Page(write_comparison(tmp_path / "a.html", told, TASK, (("m", mine), ("y", yours))))
    states = [attrs["data-state"] for attrs in shown.all("div") if "data-state" in attrs]
    assert sorted(states) == ["both", "neither", "one", "other"] and sorted(states[:2]) == ["one", "other"]
    assert "said by m" in shown.words and "said by y" in shown.words and len(shown.all("video")) == 1
    assert "The first: m" in shown.words and "first.settings.control" in shown.words
    assert "First: m. Second: y." in shown.words and "1 only the first is right" in shown.words


def test_saved_answers_find_their_clips_again_by_the_data(tmp_path):
    from tasks.miniatures import perception_test

    perception_test.make(tmp_path)
    task = find("perception_test")
    item = next(task.items(tmp_path))
    saved = Row(Scored(Item(item.id, item.video, (), item.text, item.options, "", item.facts), "A", {}))
    (found,) = with_media(task, [saved], tmp_path)
    assert found.scored.item.media == item.media != ()
