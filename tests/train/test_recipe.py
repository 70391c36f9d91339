"""Recipes are closed to unknown fields, and every shipped one trains a step of each of its stages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from house.tree import ROOT
from model.films import pictures, tone
from reelm.errors import UsageError
from reelm.media import write_video
from reelm.train import launch
from reelm.train.progress import events
from reelm.train.recipe import FREE, Recipe, Stage, read, recipe
from train.toys import STAGES, toy_recipe

#: That of reelm-tiny reads stored features; `test_tiny.py` carries it out.
RECIPES = sorted(path for path in (ROOT / "recipes").glob("*.yaml") if path.name != "reelm_tiny.yaml")
DOCUMENT = (ROOT / "docs" / "training.md").read_text("utf-8")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two records about a clip with sound."""
    folder = tmp_path_factory.mktemp("clips")
    write_video(folder / "a.mp4", pictures(12), 6, tone(2.0))
    (folder / "clips.csv").write_text("file,question,answer\na.mp4,What is it?,A square.\na.mp4,Who?,Nobody.\n")
    return folder / "clips.csv"


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_shipped_recipe_trains_one_step_of_every_stage_on_random_weights(path: Path, clips: Path,
                                                                          tmp_path: Path) -> None:
    raw = yaml.safe_load(path.read_text("utf-8"))
    shipped = read(path)
    small = {"steps": 1, "epochs": None, "batch": 2, "micro_batch": 1}
    raw["stages"] = [{**raw.get("defaults", {}), **stage, **small} for stage in raw["stages"]]
    raw |= {"model": "random:av", "sources": {name: {"records": str(clips)} for name in raw["sources"]},
            "defaults": {}}
    told = recipe(raw)
    made = launch.trainee(told)
    launch.loop(made, tmp_path).run()
    steps = [one for one in events(tmp_path) if one["event"] == "step"]
    assert [one["stage"] for one in steps] == [stage.name for stage in shipped.stages]
    assert all(isinstance(one["loss"], float) and one["norm"] > 0 for one in steps)
    stages = {one["stage"]: one["parts"] for one in events(tmp_path) if one["event"] == "stage"}
    for stage in shipped.stages:
        assert {row["part"] for row in stages[stage.name] if row["learns"]} == set(stage.learn)
    assert all((tmp_path / stage.name).is_dir() for stage in shipped.stages)


def test_the_stages_of_videollama2_are_those_of_the_paper() -> None:
    told = read(ROOT / "recipes" / "videollama2.yaml")
    assert [(stage.name, set(stage.learn), stage.batch) for stage in told.stages] == [
        ("video-pretrain", {"connector"}, 256), ("video-finetune", {"connector", "language_model"}, 128),
        ("audio-pretrain", {"audio_connector"}, 1024), ("audio-finetune", {"audio_connector", "audio_tower"}, 128),
        ("joint", {"language_model", "connector", "audio_connector", "audio_tower"}, 128)]
    assert len(read(ROOT / "recipes" / "llama_vid.yaml").stages) == 3


@pytest.mark.parametrize(("change", "said"), [
    ({"lern": {}}, r"stages\.first\.lern: no such field"),
    ({"learn": {"conector": 1.0}}, r"stages\.first\.learn\.conector"),
    ({"steps": None}, "exactly one of steps and epochs"),
    ({"epochs": 2}, "exactly one of steps and epochs"),
    ({"micro_batch": 3}, "batch 4 is no multiple of micro_batch 3"),
    ({"fps": 1, "frames": 4}, "fps excludes frames and sampler"),
    ({"data": "pictures"}, "no source is called pictures"),
    ({"learn": {"connector": 0}}, "learn: connector must be above 0"),
    ({"learn": {"adapters": 1e-3}}, "adapters are to learn, but the recipe has none"),
    ({"objective": {}}, "objective: it needs a kind"),
    ({"name": "a/b"}, r"stages\.a/b\.name"),
])
def test_what_is_wrong_with_a_stage_is_named(change: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        toy_recipe({**STAGES[0], **change})


def test_what_is_wrong_with_a_recipe_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="sead: no such field"):
        toy_recipe(sead=1)
    with pytest.raises(UsageError, match="two are called first"):
        toy_recipe(STAGES[0], STAGES[0])
    with pytest.raises(UsageError, match="no readable recipe: No such file"):
        read(tmp_path / "absent.yaml")
    (tmp_path / "a.yaml").write_text("a: [")
    with pytest.raises(UsageError, match="no YAML"):
        read(tmp_path / "a.yaml")


def test_fields_are_set_from_the_command_line() -> None:
    path = ROOT / "recipes" / "videollama2.yaml"
    told = read(path, ["seed=7", "stages.joint.frames=8", "stages.0.epochs=0.5", "defaults.checkpointing=false",
                       "sources.audio_video.records=mine.jsonl", "stages.joint.learn.connector=1e-4"], model="random")
    assert (told.seed, told.stage("joint").frames, told.stages[0].epochs, told.model) == (7, 8, 0.5, "random")
    assert not any(stage.checkpointing for stage in told.stages) and told.stage("joint").learn["connector"] == 1e-4
    assert told.sources["audio_video"].records == "mine.jsonl" and told.sources["audio_video"].on_bad == "skip"
    for change, said in (("seed", "takes FIELD=VALUE"), ("stages.last.steps=1", "no 'last' among video-pretrain"),
                         ("sead=1", "sead: no such field"), ("seed.a=1", "seed holds 42, no fields")):
        with pytest.raises(UsageError, match=said):
            read(path, [change])


def test_the_document_lists_every_field() -> None:
    for schema in (Stage, Recipe):
        for name in schema.model_fields:
            assert f"`{name}`" in DOCUMENT, name
    assert set(Stage.model_fields) >= FREE


@pytest.mark.parametrize("path", sorted((ROOT / "recipes" / "deepspeed").glob("*.json")), ids=lambda path: path.stem)
def test_deepspeed_settings_are_taken_by_the_parser_of_accelerate(path: Path) -> None:
    from accelerate.utils.deepspeed import HfDeepSpeedConfig

    parsed = HfDeepSpeedConfig(str(path))
    stage = json.loads(path.read_text())["zero_optimization"]["stage"]
    assert parsed.is_zero3() == (stage == 3) and parsed.is_zero2() == (stage == 2)
    assert parsed.get_value("bf16.enabled") is True
