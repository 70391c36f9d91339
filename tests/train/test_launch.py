"""From a recipe to a model that is ready to learn, and back to a folder that loads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from model.films import pictures, tone
from reelm.errors import UsageError
from reelm.media import write_video
from reelm.model.checkpoints import load_folder
from reelm.train import launch
from reelm.train.learning import part_of
from reelm.train.progress import curve
from reelm.train.recipe import Recipe, recipe

STAGE = {"name": "only", "learn": {"connector": 1e-3}, "data": "clips", "steps": 4, "batch": 2}


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("clips")
    write_video(folder / "a.mp4", pictures(12), 6, tone(2.0))
    write_video(folder / "b.mp4", pictures(12, seed=1), 6, tone(2.0))
    file = folder / "clips.csv"
    file.write_text("file,question,answer\na.mp4,What is it?,A square.\nb.mp4,Who?,Nobody.\n")
    return str(file)


def told(clips: str = "nowhere", model: str = "random:av", stage: dict[str, Any] | None = None,
         **fields: Any) -> Recipe:
    return recipe({"name": "toy", "model": model, "sources": {"clips": {"records": clips}},
                   "stages": [STAGE | (stage or {})], **fields})


def test_what_learns_is_float32_and_what_never_does_has_the_type_of_computing() -> None:
    half = launch.trainee(told(stage={"dtype": "bfloat16"}))
    types = {part: {one.dtype for name, one in half.whole.named_parameters() if part_of(name) == part}
             for part in ("connector", "vision_tower", "audio_tower", "language_model")}
    assert types.pop("connector") == {torch.float32} and all(one == {torch.bfloat16} for one in types.values())
    assert half.dtype == torch.float32  # and is stored so
    for made in (launch.trainee(told()), launch.trainee(told(stage={"dtype": "bfloat16"}, parallel="fsdp"))):
        assert {one.dtype for one in made.whole.parameters()} == {torch.float32}


def test_a_fresh_connector_begins_anew_and_the_same_for_the_same_seed() -> None:
    as_it_is, one, again, other = (launch.trainee(told(**fields)).model.connector.state_dict() for fields in (
        {}, {"fresh": ["connector"]}, {"fresh": ["connector"]}, {"fresh": ["connector"], "seed": 1}))
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not any(torch.equal(one[name], two[name]) for two in (as_it_is, other) for name in one
                   if one[name].dim() > 1)
    with pytest.raises(UsageError, match="the model has no audio_connector"):
        launch.trainee(told(model="random", fresh=["audio_connector"]))


def test_beside_adapters_only_what_their_folder_holds_can_learn() -> None:
    for part in ("language_model", "vision_tower"):
        with pytest.raises(UsageError, match=f"{part} is to learn, but an adapter's folder does not hold it"):
            launch.trainee(told(stage={"learn": {part: 1e-3}}, adapters={"r": 2}))
    made = launch.trainee(told(stage={"learn": {"vision_tower": 1e-3}}, adapters={"r": 2, "beside": ["vision_tower"]}))
    assert made.base is not None and made.base.name == "random:av"
    with pytest.raises(UsageError, match=r"adapters\.rank"):
        launch.trainee(told(adapters={"rank": 2}))


def test_a_stage_looks_as_it_says_and_its_result_too(clips: str, tmp_path: Path) -> None:
    for stage, looks in (({"frames": 6}, {"frames": 6}), ({"fps": 2}, {"sampler": {"kind": "fps", "fps": 2.0}})):
        made = launch.trainee(told(clips, stage=stage | {"steps": 1}))
        out = tmp_path / next(iter(stage))
        launch.loop(made, out).run()
        model, processor = load_folder(out / "only")
        assert looks.items() <= model.config.vision.items() and processor.vision == model.config.vision
        trained = made.model.state_dict()
        assert all(torch.equal(value, trained[name]) for name, value in model.state_dict().items())


def test_a_cache_changes_no_loss_and_is_used(clips: str, tmp_path: Path) -> None:
    curves, kept = [], tmp_path / "kept"
    for name, cache in (("none", None), ("filled", {"folder": str(kept)}), ("used", {"folder": str(kept)})):
        launch.loop(launch.trainee(told(clips, cache=cache)), tmp_path / name).run()
        curves.append(curve(tmp_path / name))
    assert curves[0] == curves[1] == curves[2] and any(kept.rglob("*.safetensors"))
