"""The recipe of reelm-tiny, and what `make tiny` stores before it trains."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from house.tree import ROOT
from reelm import registry
from reelm.errors import UsageError
from reelm.train import tiny
from reelm.train.recipe import DrawSettings, FreshSettings, read

RECIPE = ROOT / "recipes" / "reelm_tiny.yaml"


def test_every_stage_draws_from_sets_that_are_stored_and_warms_up_for_sixty_steps_at_most() -> None:
    told = read(RECIPE)
    assert isinstance(told.model, FreshSettings)
    assert registry.build("connector", told.model.vision["connector"]).n_out((8, 8, 8)) == 64
    for stage in told.stages:
        source = told.sources[next(iter(stage.data))]
        assert isinstance(source, DrawSettings) and bool(source.turns) == (stage.objective["kind"] == "world_answers")
        assert math.ceil(stage.warmup * stage.steps) == min(60, stage.steps // 10)
        assert stage.micro_batch == stage.batch and sum(draw.share for draw in source.of) == pytest.approx(1)
    used = {name for one in told.sources.values() if isinstance(one, DrawSettings) for draw in one.of
            for name in (draw.clips, draw.tracks) if name}
    stored = tiny.shards_of(told)
    assert used - stored.keys() == {"rows", "still_rows", "still_photos"} and stored["gallery"] == 400


def test_what_is_stored_is_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`commands` stands for the processes, which would take hours."""
    told, commands = read(RECIPE, features=str(tmp_path)), list[tuple[str, ...]]()
    monkeypatch.setattr(tiny, "_python", lambda *given: commands.append(given))
    monkeypatch.setattr(tiny, "_wait", lambda *running: None)
    for name, count in tiny.shards_of(told).items():
        (tmp_path / name).mkdir()
        for shard in range(count - (name == "ones")):
            (tmp_path / name / f"{shard:06d}.safetensors").touch()
    tiny.store(told, RECIPE, processes=2)
    assert [given[0] for given in commands] == ["reelm.train.sounds", "reelm.train.features", "reelm.train.features"]
    assert [given[-1] for given in commands[1:]] == ["0:50", "50:100"] and all("ones" in one for one in commands[1:])


def test_a_step_that_fails_is_told() -> None:
    with pytest.raises(UsageError, match="exit code 2"):
        tiny._wait(tiny._python("reelm.train.features", "--set"))
