"""Answers are true of scene and track together, and neither of them alone says anything about the answer."""

from __future__ import annotations

from collections import Counter

import pytest

from reelm.data.world import Scene
from reelm.tasks.audio_visual_make import KINDS, Riddle, riddles

COUNT = 240


def order(scene: Scene) -> list[str]:
    """The objects in the order in which they come on the stage, or hop."""
    moving = [(actor.shown[0], actor.kind) for actor in scene.actors if actor.stop[1] < actor.start[1] - 0.2]
    return [kind for _, kind in sorted(moving or [(actor.shown[0], actor.kind) for actor in scene.actors])]


def true(kind: str, asked: Riddle) -> str:
    """The answer, found anew from what stands in the scene and in the track."""
    assert asked.scene.sound is not None
    events, objects = asked.scene.sound.events, order(asked.scene)
    if kind == "count":
        (named,) = [actor for actor in asked.scene.actors if f" {actor.kind} " in asked.question]
        return str(sum(named.shown[0] < event.begin and event.end < named.shown[1] for event in events))
    at = int(events[0].middle * 4)
    if kind == "agree":
        return "yes" if objects[at] in asked.question.replace("?", " ").split() else "no"
    step = {"match": 0, "hop": 0, "next": 1 if " after " in asked.question else -1}[kind]
    return objects[at + step]


@pytest.mark.parametrize("kind", KINDS)
def test_the_answer_is_true_and_looking_or_listening_alone_leaves_it_open(kind: str) -> None:
    asked = list(riddles(kind, COUNT))
    assert [one.options[one.right] for one in asked] == [true(kind, one) for one in asked]
    options = len(asked[0].options)
    assert {len(one.options) for one in asked} == {len(set(one.options)) for one in asked} == {options}
    expected = COUNT / options
    # Whoever only listens knows nothing of the objects, so only the place of an option is left to prefer.
    places = Counter(one.right for one in asked)
    # Whoever only looks knows who comes when, or (agree) who is asked for, but not when it sounds.
    seen = Counter(one.options[one.right] if kind in ("count", "agree") else
                   [name for name in order(one.scene) if name in one.options].index(one.options[one.right])
                   for one in asked)
    for counts in (places, seen):
        assert len(counts) == options and all(abs(count - expected) < 0.35 * expected for count in counts.values())
    if kind == "count":  # and whoever only listens hears six sounds, however many are right
        assert {len(one.scene.sound.events) for one in asked if one.scene.sound} == {6}


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_asks_the_same(kind: str) -> None:
    assert list(riddles(kind, 4)) == list(riddles(kind, 6))[:4] != list(riddles(kind, 4, seed=1))
