"""Two clips of a pair hold the same pictures; what is asked can only be told by their order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from reelm import media
from reelm.tasks.base import Item, Scored, find
from reelm.tasks.letters import LETTERS
from reelm.tasks.making import put
from reelm.tasks.temporal import FORMS, Temporal, asked
from reelm.tasks.temporal_make import ASPECTS, FPS, MOMENTS, pair
from reelm.types import Clip

TEMPORAL = find("temporal")


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> list[Item]:
    """The questions about 24 pairs of every aspect, whose clips need not be there."""
    root = tmp_path_factory.mktemp("temporal")
    put(root / "temporal.json", {"items": [
        entry for aspect in ASPECTS for number in range(24)
        for entry in asked(f"{aspect}_{number}", pair(aspect, number), np.random.default_rng([9, number]))]})
    return list(TEMPORAL.items(root))


def figures(items: list[Item], reply: Callable[[Item], str]) -> dict[str, float]:
    rows = [Scored(item, reply(item), TEMPORAL.score(item, reply(item))) for item in items]
    return {"accuracy": float(np.mean([row.scores["accuracy"] for row in rows]))} | TEMPORAL.summary(rows)


@pytest.mark.parametrize("aspect", ASPECTS)
def test_both_clips_show_every_state_once_and_in_another_order(aspect: str) -> None:
    for number in range(12):
        both = pair(aspect, number)
        one, other = both.ways
        assert sorted(one.course) == sorted(other.course) == list(range(MOMENTS)) and one.course != other.course
        assert len(both.states) == MOMENTS and {one.option, other.option} < set(both.options)
        assert len(set(both.options)) == len(both.options) and one.caption != other.caption
        assert pair(aspect, number) == both != pair(aspect, number, seed=1)


def test_motions_are_what_they_are_called() -> None:
    ways = {way.option: np.array(way.course) for aspect in ("direction", "speed", "attribute")
            for number in range(40) for way in pair(aspect, number).ways}
    assert (np.diff(ways["right"]) == 1).all() and (np.diff(ways["left"]) == -1).all()
    assert (ways["up"] == ways["left"]).all() and (ways["down"] == ways["right"]).all()

    def turns(course: np.ndarray) -> list[int]:
        ends = np.flatnonzero(np.diff(np.sign(np.diff(course)))) + 1
        return [int(end) for end in ends]

    assert len(turns(ways["slowly"])) == 1 and len(turns(ways["fast"])) == 5
    gaps = np.diff([0, *turns(ways["faster and faster"])])
    assert len(gaps) >= 3 and (np.diff(gaps) < 0).all()
    assert (ways["slower and slower"] == ways["faster and faster"][::-1]).all()
    middle = ways["grows and then shrinks"]
    assert middle[MOMENTS // 2] > middle[0] and middle[MOMENTS // 2] > middle[-1]


def test_the_files_hold_the_same_pictures_the_other_way_round(tmp_path: Path) -> None:
    made = Temporal().of(tmp_path, 0, 1, aspects=("direction",))
    seen = []
    for side in "ab":
        with media.open(Clip(made.root / f"direction_0{side}.mp4")) as reader:
            assert reader.info().frame_count == MOMENTS and not reader.info().has_audio
            seen.append(reader.frames([k / FPS for k in range(MOMENTS)]).rgb.astype(int))
    apart = [float(np.abs(seen[0] - other).mean()) for other in (seen[1][::-1], seen[1])]
    assert apart[0] < 3 and apart[1] > 2 * apart[0]


def test_the_oracle_is_right_everywhere_and_whoever_does_not_see_time_gets_no_pair(items: list[Item]) -> None:
    assert len(items) == 5 * 24 * 2 * 4 and {item.facts["form"] for item in items} == set(FORMS)
    told = figures(items, TEMPORAL.oracle)
    assert set(told.values()) == {1.0} and len(told) == 2 + len(ASPECTS) + len(FORMS)
    chance = float(np.mean([TEMPORAL.chance(item) for item in items]))
    for constant in ("A", "yes", "It moves left.", "The ball grows.", ""):
        told = figures(items, lambda item, constant=constant: constant)
        assert told["pairs"] == 0.0 and told["accuracy"] < chance
    rng = np.random.default_rng(0)
    right = {form: [TEMPORAL.score(item, guess(item, rng))["accuracy"] - TEMPORAL.chance(item)
                    for item in items if item.facts["form"] == form] for form in FORMS}
    assert all(abs(np.mean(gaps)) < 0.1 for gaps in right.values())


def guess(item: Item, rng: np.random.Generator) -> str:
    """A reply of the right form that knows nothing."""
    place = int(rng.integers(len(item.options)))
    return item.options[place] if item.facts["form"] in ("yes_no", "captioning") else LETTERS[place]


def test_the_caption_of_the_other_clip_is_wrong(items: list[Item]) -> None:
    groups = defaultdict(list)
    for item in items:
        groups[item.facts["pair"], item.facts["form"]].append(item)
    for (_, form), (one, other) in groups.items():
        assert one.text == other.text and one.answer != other.answer, form
        assert TEMPORAL.score(one, TEMPORAL.oracle(other)) == {"accuracy": 0.0, "unread": 0.0}


def test_captions_are_read_for_what_they_say() -> None:
    def read(aspect: str, options: tuple[str, ...], text: str) -> str | None:
        said = [option for letter, option in zip(LETTERS, options, strict=False) if TEMPORAL.score(
            Item("i", "v", (), "", options, letter, {"form": "captioning", "aspect": aspect}), text)["accuracy"]]
        return said[0] if said else None

    ways = ("left", "right", "up", "down")
    assert read("direction", ways, "A red ball drifts leftwards.") == "left"
    assert read("direction", ways, "It goes left, then right.") is None
    sizes = ("grows", "shrinks", "grows and then shrinks", "shrinks and then grows")
    assert read("attribute", sizes, "The star grows and then shrinks again.") == "grows and then shrinks"
    orders = ("the ball, then the car, then the key", "the car, then the ball, then the key")
    assert read("order", orders, "First a car, then two balls and finally a key.") == orders[1]
    assert read("order", orders, "A car and a key.") is None


def test_only_questions_with_letters_are_turned(items: list[Item]) -> None:
    for item in items[:8]:
        turned = TEMPORAL.rotations(item)
        assert len(turned) == (len(item.options) if item.facts["form"] in ("multi-choice", "caption_matching") else 1)
        assert all(TEMPORAL.score(turn, TEMPORAL.oracle(turn))["accuracy"] == 1.0 for turn in turned)
