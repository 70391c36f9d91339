"""The loop on a toy of 200 weights: stopping loses nothing, bad steps are skipped, nothing hangs on how work is cut."""

from __future__ import annotations

import os
import signal
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch

from reelm.errors import CheckpointError, PolicyError, UsageError
from reelm.train import learning
from reelm.train.loop import rate_share
from reelm.train.progress import curve, events
from reelm.train.source import Mix
from train.toys import STAGES, Points, Toy, toy_loop, toy_recipe


def weights(loop: Any) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in loop.model.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def told(folder: Path, event: str) -> list[dict[str, Any]]:
    return [one for one in events(folder) if one["event"] == event]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, torch.Tensor]]:
    """A run that nothing disturbed: its folder and its weights."""
    folder = tmp_path_factory.mktemp("whole")
    loop = toy_loop(folder)
    loop.run()
    return folder, weights(loop)


def test_every_step_is_told_and_the_loss_falls(whole: tuple[Path, Any]) -> None:
    steps = told(whole[0], "step")
    assert [(one["stage"], one["step"]) for one in steps] == [
        *(("first", n) for n in range(1, 7)), *(("second", n) for n in range(1, 9))]
    assert steps[0]["samples"] == 4 and steps[0]["items"] == 32 and steps[0]["rates"] == {"connector": 0.005}
    assert steps[-1]["rates"].keys() == {"connector", "language_model"} and steps[-1]["absolute"] > 0
    assert steps[-1]["norm"] > 0 and steps[-1]["samples_per_s"] > 0


@pytest.mark.parametrize("after", [1, 6, 7, 12])
def test_a_run_stopped_by_ctrl_c_saves_and_goes_on_as_if_it_had_not_stopped(after: int, whole: tuple[Path, Any],
                                                                            tmp_path: Path) -> None:
    seen = []

    def interrupt(event: Any) -> None:
        seen.append(event["event"])
        if seen.count("step") == after and event["event"] == "step":
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        toy_loop(tmp_path, watch=interrupt).run()
    assert seen[-1] == "interrupted" and seen.count("step") == after
    again = toy_loop(tmp_path)
    again.run()
    assert curve(tmp_path) == curve(whole[0]) and same(weights(again), whole[1])
    assert len(told(tmp_path, "step")) == 14  # nothing was done twice


def test_a_finished_run_does_nothing_again(whole: tuple[Path, Any]) -> None:
    before = len(told(whole[0], "step"))
    loop = toy_loop(whole[0])
    loop.run()
    assert len(told(whole[0], "step")) == before and same(weights(loop), whole[1])


def test_a_run_can_end_after_a_stage_and_go_on_later(whole: tuple[Path, Any], tmp_path: Path) -> None:
    toy_loop(tmp_path).run(until="first")
    assert {one["stage"] for one in told(tmp_path, "step")} == {"first"}
    toy_loop(tmp_path).run()
    assert curve(tmp_path) == curve(whole[0])
    with pytest.raises(UsageError, match="no stage is called 'third'.*Stages: first, second"):
        toy_loop(tmp_path).run(until="third")


def test_only_the_parts_that_a_stage_names_change(tmp_path: Path) -> None:
    before = Toy().state_dict()
    loop = toy_loop(tmp_path, toy_recipe(STAGES[0]))
    loop.run()
    after = weights(loop)
    changed = {learning.part_of(name) for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"connector"}  # statistics of the tower's batch norm stay too
    (stage,) = told(tmp_path, "stage")
    assert {one["part"]: (one["learns"], one["frozen"]) for one in stage["parts"]} == {
        "vision_tower": (0, 56), "connector": (72, 0), "language_model": (0, 144)}
    assert learning.table(learning.rows(loop.model, loop.recipe.stages[0])).splitlines()[-1].split() == [
        "in", "all", "learns", "72", "frozen", "200"]


def test_a_part_that_the_model_lacks_cannot_learn(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="audio_tower is to learn, but the model has none"):
        toy_loop(tmp_path, toy_recipe({**STAGES[0], "learn": {"audio_tower": 1e-3}})).run()


@pytest.mark.parametrize("change", [{"micro_batch": 1}, {"micro_batch": 4}])
def test_how_a_batch_is_cut_into_passes_does_not_matter(change: dict[str, Any], tmp_path: Path) -> None:
    class Plain(Points):
        """Every sample has a medium; no drop-out, whose draws belong to the passes."""

        def __getitem__(self, index: int) -> Any:
            return super().__getitem__(index) | {"has": True}

    curves = []
    for name, stage in (("a", STAGES[1]), ("b", STAGES[1] | change)):
        loop = toy_loop(tmp_path / name, toy_recipe(stage), Plain())
        for layer in loop.model.language_model.layers:  # type: ignore[union-attr]
            layer.drop.p = 0.0
        loop.run()
        curves.append(list(curve(tmp_path / name).values()))
    assert torch.allclose(*map(torch.tensor, curves), atol=1e-6, rtol=1e-6)


def test_readers_in_processes_of_their_own_change_nothing(whole: tuple[Path, Any], tmp_path: Path) -> None:
    toy_loop(tmp_path, toy_recipe(workers=1)).run()
    assert curve(tmp_path) == curve(whole[0])


def test_a_step_that_is_not_finite_is_skipped_with_its_samples(tmp_path: Path) -> None:
    loop = toy_loop(tmp_path, toy_recipe(STAGES[0] | {"steps": 11}), Points(poison=(7,)))
    loop.run()
    skipped = told(tmp_path, "skipped")
    assert len(skipped) == 2  # two epochs, the sample once in each
    for one in skipped:
        assert "p7" in one["ids"] and len(one["ids"]) <= 2 and "loss nan" in one["why"]  # the pass, not the batch
    assert all(torch.isfinite(value).all() for value in loop.model.state_dict().values())
    losses = [one["loss"] for one in told(tmp_path, "step")]
    assert losses.count("nan") == 2 and isinstance(losses[-1], float)


def test_five_skipped_in_a_row_stop_the_run_with_the_last_good_weights(tmp_path: Path) -> None:
    good = toy_loop(tmp_path / "good", toy_recipe(STAGES[0] | {"steps": 3}))
    everything = tuple(range(22))
    loop = toy_loop(tmp_path / "bad", toy_recipe(STAGES[0] | {"steps": 9}), Points(poison=everything))
    start = weights(loop)
    with pytest.raises(PolicyError, match="5 steps in a row had to be skipped") as stopped:
        loop.run()
    assert stopped.value.exit_code == 5 and same(weights(loop), start)
    assert [one["step"] for one in told(tmp_path / "bad", "skipped")] == [1, 2, 3, 4, 5]
    healthy = toy_loop(tmp_path / "bad", toy_recipe(STAGES[0] | {"steps": 9}))
    healthy.run()  # goes on behind them
    assert [one["step"] for one in told(tmp_path / "bad", "step")] == [*range(1, 6), *range(6, 10)]
    good.run()


def test_a_gradient_far_beyond_the_usual_is_skipped(tmp_path: Path) -> None:
    recipe, points = toy_recipe(STAGES[0] | {"steps": 14, "explode": 50}), Points(count=60)
    twelfth = list(islice(Mix(recipe.stages[0], [points], recipe.seed).order(0).whole(), 12))[-1]
    points.wanted[twelfth] *= 1e6
    toy_loop(tmp_path, recipe, points).run()
    (skipped,) = told(tmp_path, "skipped")
    assert skipped["step"] == 12 and sorted(skipped["ids"]) == sorted(f"p{index}" for index in twelfth)
    assert "usually" in skipped["why"]


def test_samples_that_cannot_be_read_are_left_out_counted_and_listed(tmp_path: Path) -> None:
    toy_loop(tmp_path, toy_recipe(STAGES[0]), Points(bad=(3, 4))).run()
    bad = told(tmp_path, "bad")
    assert {(one["sample"], one["where"], one["why"]) for one in bad} == {
        ("p3", "made:3", "lost on purpose"), ("p4", "made:4", "lost on purpose")}
    assert sum(one["samples"] for one in told(tmp_path, "step")) == 22 - 2


def test_a_state_of_another_recipe_or_model_is_refused(tmp_path: Path) -> None:
    toy_loop(tmp_path, toy_recipe(STAGES[0])).run()
    with pytest.raises(CheckpointError, match=r"other settings: seed, stages.first.learn.connector\."):
        toy_loop(tmp_path, toy_recipe(STAGES[0] | {"learn": {"connector": 0.1}}, seed=4)).run()
    toy_loop(tmp_path, toy_recipe(STAGES[0] | {"save_every": 1}, keep=5)).run()  # these may differ
    other = toy_loop(tmp_path, toy_recipe(STAGES[0]))
    other.base = "another"
    with pytest.raises(CheckpointError, match="the weights of the base model"):
        other.run()


def test_a_damaged_state_is_passed_over_and_told(whole: tuple[Path, Any], tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        toy_loop(tmp_path, watch=lambda event: os.kill(os.getpid(), signal.SIGINT)
                 if event.get("step") == 5 and event["event"] == "step" else None).run()
    states = sorted((tmp_path / "states").iterdir())
    with (states[-1] / "learnt.safetensors").open("r+b") as file:
        file.seek(-4, 2)
        file.write(b"\x00\x00\x00\x40")
    toy_loop(tmp_path).run()
    assert curve(tmp_path) == curve(whole[0])
    (note,) = told(tmp_path, "note")
    assert states[-1].name in note["text"] and "not what was written" in note["text"]


def test_bfloat16_runs_under_autocast_and_keeps_what_learns_in_float32(tmp_path: Path) -> None:
    loop = toy_loop(tmp_path, toy_recipe(STAGES[1] | {"dtype": "bfloat16"}))
    loop.run()
    exact = toy_loop(tmp_path / "exact", toy_recipe(STAGES[1]))
    exact.run()
    one, other = (torch.tensor(list(curve(folder).values())) for folder in (tmp_path, tmp_path / "exact"))
    assert not torch.equal(one, other) and torch.allclose(one, other, rtol=0.05)
    assert {value.dtype for value in loop.model.parameters()} == {torch.float32}


def test_the_rate_rises_over_the_warm_up_and_falls_along_a_cosine() -> None:
    stage = toy_recipe(STAGES[0] | {"warmup": 0.1, "floor": 0.1}).stages[0]
    shares = [rate_share(step, 100, stage) for step in range(100)]
    assert shares[:10] == pytest.approx([(n + 1) / 10 for n in range(10)]) and shares[10] == 1
    assert shares[10:] == sorted(shares[10:], reverse=True) and shares[-1] == pytest.approx(0.1, abs=1e-3)
    assert shares[55] == pytest.approx(0.55)
