"""Objectives give sums and counts; anything that is a function of model and batch can be one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model import small
from reelm.data.batch import WorldSamples, tickets
from reelm.data.batch import collate as world_collate
from reelm.data.features import Features, write_shard
from reelm.errors import UsageError
from reelm.train import objectives
from reelm.train.loop import Loop
from reelm.train.objectives import Loss, Objective, build
from reelm.train.progress import curve
from reelm.train.recipe import recipe
from reelm.train.source import Mix
from reelm.train.words import Words, word_loss
from train.test_run import RECIPE, start


def test_next_token_is_the_models_own_loss_as_a_sum() -> None:
    model, processor = small.model(), small.processor()
    talks = [[small.user("see ", small.image(1), "what?"), small.said("red")],
             [small.user("hello"), small.said("a longer answer than that")]]
    batch = dict(processor(talks, labels=True))
    whole = model(**batch).loss
    loss = build({"kind": "next_token"})(model, batch | {"ids": ["a", "b"], "bad": [], "notes": []})
    assert loss.count == int((batch["labels"][:, 1:] != -100).sum())
    torch.testing.assert_close(loss.total / loss.count, whole)


def test_an_unknown_objective_or_field_is_named() -> None:
    with pytest.raises(UsageError, match="no objective 'next'.*next_token"):
        build({"kind": "next"})
    with pytest.raises(UsageError, match="objective 'next_token': .*'beta'"):
        build({"kind": "next_token", "beta": 1})
    with pytest.raises(UsageError, match="there is an objective 'next_token' already"):
        objectives.objective("next_token")(lambda: None)  # type: ignore[arg-type,return-value]


class World:
    """Scenes of the made world with the stored features of their frozen tower, as one source."""

    def __init__(self, samples: WorldSamples) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Any:
        return self.samples[index] | {"id": f"scene {index}"}

    def length(self, index: int) -> int:
        return self.samples.length(index)

    def collate(self, samples: list[Any]) -> dict[str, Any]:
        return world_collate(samples, 0) | {"ids": [one["id"] for one in samples], "bad": [], "notes": []}


def words_of(words: Words, processor: Any) -> Objective:
    """The first objective of reelm-tiny: the connector alone learns to say the words for what is there."""

    def loss(model: Any, batch: Any) -> Loss:
        features = batch["features"]
        side = round(features.shape[2] ** 0.5)
        tokens = model.connector.project(features.unflatten(2, (side, side))).flatten(1, 3)
        grid = processor.vision_grid(features.shape[1])
        return Loss(word_loss(tokens, words, batch["scenes"], batch["moments"], grid) * len(tokens), len(tokens))

    return loss


def test_a_made_world_with_stored_features_and_its_own_loss_is_one_source_and_one_objective(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, processor = start(RECIPE.model, 0)
    features = Features(tmp_path / "gallery", RECIPE.seed, 2, "gallery")
    write_shard(model.vision_tower.eval(), processor, features, 0)
    words = Words.of(processor.tokenizer, model.get_input_embeddings().weight.detach())
    monkeypatch.setitem(objectives.OBJECTIVES, "words", lambda: words_of(words, processor))
    told = recipe({"name": "tiny", "model": "random", "sources": {"gallery": {"records": "made"}}, "stages": [
        {"name": "words", "objective": "words", "learn": {"connector": 1e-3}, "data": "gallery", "steps": 6,
         "batch": 8, "micro_batch": 8}]})
    order = tickets([("gallery", None, 1.0)], {"gallery": 64}, 16, told.seed)
    source = World(WorldSamples(processor, {"gallery": features}, order, 0))
    loop = Loop(model, told, lambda stage: Mix(stage, [source], told.seed), tmp_path / "out")
    loop.run()
    losses = list(curve(tmp_path / "out").values())
    assert len(losses) == 6 and np.mean(losses[3:]) < losses[0]
