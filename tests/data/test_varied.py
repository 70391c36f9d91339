"""Mirrored and reversed clips: the pictures change, and everything that is said about them changes with them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from reelm.data.questions import ask
from reelm.data.varied import mirrored, reversed_in_time, varied
from reelm.data.world import PLOTS, midpoints, render, scene


@pytest.mark.parametrize("plot", PLOTS)
def test_twice_mirrored_or_reversed_is_the_same(plot: str) -> None:
    staged = scene(8, plot)
    for change in (mirrored, reversed_in_time):
        again = change(change(staged))
        assert (again.plot, again.direction) == (staged.plot, staged.direction)
        for was, now in zip(staged.actors, again.actors, strict=True):
            assert now.kind == was.kind and now.flip == was.flip
            assert np.allclose([now.start, now.stop, now.shown], [was.start, was.stop, was.shown])


def test_a_mirrored_scene_is_drawn_mirrored() -> None:
    staged = next(s for s in (scene(i, "move") for i in range(50)) if s.ground == "flat")
    staged = type(staged)(**{**staged.__dict__, "actors": tuple(
        type(a)(**{**a.__dict__, "turn_deg": 0.0}) for a in staged.actors)})
    plain, turned = (render(s, [0.4])[0].astype(int) for s in (staged, mirrored(staged)))
    assert np.abs(plain[:, ::-1] - turned).mean() < 2  # centres are rounded to whole pixels


def test_a_reversed_scene_shows_the_same_pictures_in_the_other_order() -> None:
    for plot in ("move", "leave", "parade"):
        staged, at = scene(3, plot), midpoints(8)
        backwards = render(reversed_in_time(staged), (1 - at[::-1]).tolist())
        forwards = render(staged, at.tolist())
        assert np.array_equal(np.sort(backwards.reshape(8, -1).sum(1)), np.sort(forwards.reshape(8, -1).sum(1)))


def test_what_is_asked_follows() -> None:
    moving, parade, coming = scene(1, "move"), scene(1, "parade"), scene(1, "enter")
    back = {"left": "right", "right": "left", "up": "down", "down": "up"}
    assert ask(reversed_in_time(moving), "direction").answer == back[ask(moving, "direction").answer]
    assert [a.kind for a in reversed_in_time(parade).actors] == [a.kind for a in parade.actors][::-1]
    assert ask(reversed_in_time(coming), "come_go").answer == "leaves"


def test_features_are_mirrored_to_the_pixel_inside_a_cell() -> None:
    side, detail = 4, 2
    edge = side * detail
    picture = torch.arange(3 * edge * edge, dtype=torch.float32).reshape(1, 3, edge, edge)

    def folded(x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.pixel_unshuffle(x, detail).flatten(2).transpose(1, 2)

    staged, at = scene(2, "still"), midpoints(1)
    seen = {}
    for seed in range(20):
        rng = np.random.default_rng(seed)
        features, changed, _ = varied(folded(picture), staged, at, rng, detail)
        seen[changed.actors[0].start[0] == staged.actors[0].start[0]] = features
    assert torch.equal(seen[True], folded(picture))
    assert torch.equal(seen[False], folded(picture.flip(-1)))
