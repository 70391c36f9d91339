"""The synthetic world: the same seed gives the same scene, and what it says is what is drawn."""

from __future__ import annotations

import numpy as np
import pytest

from reelm.data.questions import PLOTS_OF, ask, caption, normalise, types_of
from reelm.data.world import DIRECTIONS, PLOTS, film, frames, held_out, midpoints, render, scene
from reelm.kernels.sprites import COLOURS, KINDS, sprite


def test_the_world_is_as_rich_as_promised() -> None:
    assert len(KINDS) >= 20 and len(COLOURS) == 8 and len(DIRECTIONS) == 4


@pytest.mark.parametrize("plot", PLOTS)
def test_the_same_seed_gives_the_same_picture(plot: str) -> None:
    first, second = scene(5, plot), scene(5, plot)
    assert first == second
    assert np.array_equal(render(first, [0.3]), render(second, [0.3]))
    assert scene(6, plot) != first


def test_no_kind_looks_like_another() -> None:
    pictures = {k: sprite(k, (200, 50, 50), 48)[..., 3] for k in KINDS}
    for a in KINDS:
        for b in KINDS:
            if a < b:
                assert np.abs(pictures[a] - pictures[b]).mean() > 0.03, (a, b)


def test_training_never_shows_a_held_out_combination_and_tests_show_nothing_else() -> None:
    for seed in range(150):
        assert not any(held_out(x.kind, x.colour) for x in scene(seed).actors)
        assert all(held_out(x.kind, x.colour) for x in scene(seed, unseen=True).actors)


def test_every_colour_is_held_out_equally_often() -> None:
    counts = [sum(held_out(k, c) for k in KINDS) for c in COLOURS]
    assert len(set(counts)) == 1


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_move_goes_where_it_says(direction: str) -> None:
    staged = next(s for s in (scene(i, "move") for i in range(100)) if s.direction == direction)
    begin, end = staged.actors[0].at(0.0), staged.actors[0].at(0.99)
    assert begin is not None and end is not None
    moved = np.subtract(end, begin)
    assert int(np.abs(moved).argmax()) == int(np.abs(DIRECTIONS[direction]).argmax())
    assert np.sign(moved[np.abs(moved).argmax()]) == sum(DIRECTIONS[direction])


def test_the_move_is_drawn_where_the_actor_is() -> None:
    staged = scene(3, "move")
    width, height = staged.canvas_px
    early, late = (render(staged, [u])[0].astype(int) for u in (0.1, 0.9))
    changed = np.abs(early - late).sum(2) > 60
    for u in (0.1, 0.9):
        x, y = staged.actors[0].at(u)
        column, line = int(x * width), int(y * height)
        assert changed[max(line - 12, 0) : line + 12, max(column - 12, 0) : column + 12].any()


def test_a_parade_shows_one_object_at_a_time_each_in_two_of_eight_frames() -> None:
    for seed in range(30):
        staged = scene(seed, "parade")
        shown = [[i for i, a in enumerate(staged.actors) if a.at(u)] for u in midpoints(8)]
        assert shown == [[0], [0], [1], [1], [2], [2], [3], [3]]


def test_counts_cover_one_to_five_about_equally() -> None:
    counts = [int(ask(scene(i, "crowd"), "count").answer) for i in range(400)]
    assert min(counts.count(n) for n in range(1, 6)) > 50


def test_every_plot_can_be_asked_and_described() -> None:
    for plot in PLOTS:
        staged = scene(1, plot)
        assert types_of(staged) == [t for t, plots in PLOTS_OF.items() if plot in plots]
        assert caption(staged).endswith(".") and staged.actors[0].kind in caption(staged)


def test_the_answer_to_order_is_the_object_of_that_rank() -> None:
    staged = scene(2, "parade")
    for seed in range(12):
        question = ask(staged, "order", seed)
        rank = next(
            i
            for i, r in enumerate(("first", "second", "third", "last"))
            if r in question.text.replace("one after another", "")
        )
        assert question.answer == staged.actors[rank].kind


@pytest.mark.parametrize(("said", "same"), [("A star.", "star"), ("the Red", "red"), ("Three", "3"), ("3.", "three")])
def test_normalisation_forgives_form_only(said: str, same: str) -> None:
    assert normalise(said) == normalise(same)
    assert normalise("star") != normalise("stars and moon")


def test_a_scene_becomes_a_real_file_that_shows_the_same(tmp_path) -> None:
    from reelm.media import open as open_media
    from reelm.types import Clip

    staged = scene(4, "parade")
    path = film(staged, tmp_path / "a clip.mp4")
    with open_media(Clip(path)) as reader:
        info = reader.info()
        assert info.has_audio and (info.width_px, info.height_px) == staged.canvas_px
        assert info.duration_s == pytest.approx(staged.seconds, abs=0.1)
        seen = reader.frames((midpoints(8) * info.duration_s).tolist())
    drawn = frames(staged)
    assert np.abs(seen.rgb.astype(int) - drawn.rgb.astype(int)).mean() < 6
