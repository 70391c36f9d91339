"""The world as a task: the same wish gives the same files whatever happens on the way, and guessing gives chance."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from reelm import media
from reelm.data.noises import COMPUTED
from reelm.data.questions import PLOTS_OF
from reelm.data.world import held_out
from reelm.tasks.base import Item, find
from reelm.tasks.world import KINDS, World
from reelm.tasks.world_make import PAIRED, TYPES, items, names, options, recorded
from reelm.types import Clip

SOUNDS = tuple(COMPUTED)


@pytest.mark.parametrize("kind", [t for t in PLOTS_OF if t in TYPES])
def test_items_are_the_same_every_time_and_show_unseen_combinations_only(kind: str) -> None:
    first, again = list(items(kind, 12)), list(items(kind, 12))
    assert first == again and len({i.scene.seed for i in first}) == (6 if kind in PAIRED else 12)
    assert all(held_out(a.kind, a.colour) for i in first for a in i.scene.actors)
    assert {i.scene.plot for i in first} == set(PLOTS_OF[kind]) - {"photo"}


def test_types_and_seeds_never_share_a_scene() -> None:
    seeds = [{i.scene.seed for i in items(kind, 30, seed)} for kind in TYPES for seed in (0, 1)]
    assert len(set().union(*seeds)) == sum(map(len, seeds))


@pytest.mark.parametrize("kind", PAIRED)
def test_presence_is_asked_in_pairs_with_yes_and_no(kind: str) -> None:
    asked = list(items(kind, 12))
    for yes, no in zip(asked[::2], asked[1::2], strict=True):
        assert yes.scene == no.scene and (yes.question.answer, no.question.answer) == ("yes", "no")


@pytest.mark.parametrize("kind", KINDS)
def test_who_always_says_the_same_is_right_no_more_often_than_chance(kind: str) -> None:
    asked = list(items(kind, 80, sounds=SOUNDS))
    ((_, most),) = Counter(one.question.answer for one in asked).most_common(1)
    assert most / 80 <= sum(1 / options(one) for one in asked) / 80 + 0.12


def test_an_interrupted_making_goes_on_and_comes_to_the_same_bytes(tmp_path: Path) -> None:
    def cut(done: int, total: int) -> None:
        raise KeyboardInterrupt(f"{done} of {total}")

    wish = {"kinds": ("match", "count"), "sounds": SOUNDS}
    with pytest.raises(KeyboardInterrupt, match="1 of 2"):
        World().of(tmp_path / "cut", 3, 1, cut, **wish)
    told: list[tuple[int, int]] = []
    resumed = World().of(tmp_path / "cut", 3, 1, lambda *now: told.append(now), **wish)
    whole = World().of(tmp_path / "whole", 3, 1, **wish)
    assert told == [(1, 1)] and resumed.root.name == whole.root.name
    held = sorted(path.name for path in whole.root.iterdir())
    assert held == ["count_0.mp4", "match_0.mp4", "world.json"] == sorted(p.name for p in resumed.root.iterdir())
    assert all((resumed.root / name).read_bytes() == (whole.root / name).read_bytes() for name in held)
    for item in find("world").items(whole.root):
        with media.open(Clip(item.media[0].source)) as reader:
            info = reader.info()
        assert info.kind == "video" and info.has_audio


def test_without_the_packages_of_recordings_computed_sounds_are_taken_and_told(tmp_path, monkeypatch) -> None:
    for name, value in {"REELM_CACHE": str(tmp_path), "REELM_SOURCES": str(tmp_path), "PATH": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    recorded.cache_clear()
    sounds, notes = names()
    assert sounds == SOUNDS and len(notes) == 1 and "only computed sounds" in notes[0] and "tuxpaint" in notes[0]


def test_a_reply_counts_whatever_its_case_article_and_writing_of_numbers() -> None:
    world = find("world")
    item = Item("c", "v", (), "How many?", answer="3", facts={"type": "count", "options": "5"})
    assert [world.score(item, text)["accuracy"] for text in ("3", "Three.", "the three", "4", "three or four")] == [
        1.0, 1.0, 1.0, 0.0, 0.0]
    assert world.chance(item) == 0.2
