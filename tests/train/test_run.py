"""Training on tiny weights: stages freeze what they say, and stopping loses nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from reelm import registry
from reelm.data.batch import LengthBatches, WorldSamples, tickets
from reelm.data.features import drawn, write_shard
from reelm.data.hearing import write_tracks
from reelm.data.tracks import RECORDED
from reelm.errors import UsageError
from reelm.model.config import ReelmConfig
from reelm.model.modeling import ReelmModel
from reelm.model.processing import ReelmProcessor
from reelm.model.toy import byte_tokenizer, language_config
from reelm.train import run
from reelm.train.stage import Recipe, open_stage

VISION = {
    "encoder": {"kind": "efficientnet_lite", "image_px": 64, "thumbnail": 2},
    "connector": {"kind": "stc_v35", "in_width": 1292, "out_width": 64, "depth": 1, "downsample": [2, 1, 1]},
    "frames": 4,
}
AUDIO = {
    "encoder": {"kind": "beats", "embed_dim": 16, "encoder_layers": 1, "encoder_embed_dim": 16,
                "encoder_ffn_embed_dim": 32, "encoder_attention_heads": 2, "conv_pos": 8, "finetuned_model": False,
                "encoder_layerdrop": 0.0},
    "connector": {"kind": "slots", "in_width": 16, "out_width": 64, "slots": 16},
}
RECIPE = Recipe(
    name="toy", seed=3, warmup_steps=1, save_every_steps=2,
    model={"vision": VISION, "audio": AUDIO, "layout": {"kind": "chat"}},
    lora={"r": 2, "alpha": 4, "targets": r"language_model\..*\.q_proj"},
    sets={"gallery": {"clips": 64, "frames": 2, "plot": "gallery"}, "clips": {"clips": 64, "frames": 4},
          "rows": {"clips": 64, "frames": 4, "source": "rows", "over": "gallery"}},
    tracks={"sounds": {"tracks": 64}},
    sound={"steps": 2, "batch": 2},
    stages=(
        {"name": "words", "loss": "words", "mix": [{"clips": "gallery"}], "rates": {"connector": 1e-3}, "steps": 2,
         "batch": 4},
        {"name": "joint", "loss": "answers", "steps": 4, "batch": 4, "word_weight": 0.3, "turns": 2,
         "rates": {"connector": 1e-4, "audio_connector": 1e-4, "lora": 1e-3},
         "mix": [{"clips": "clips"}, {"tracks": "sounds"}, {"clips": "clips", "tracks": "sounds"}, {"clips": "rows"}]},
    ),
)  # type: ignore[arg-type]


def start(settings: dict[str, Any], seed: int) -> tuple[ReelmModel, ReelmProcessor]:
    config = ReelmConfig(text_config=language_config("llama"), **settings)
    torch.manual_seed(seed)
    model = ReelmModel(config)
    for module in model.vision_tower.modules():  # as drawn, a tower this deep would give zeros and hide what is lost
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight)
    return model, ReelmProcessor.of(config, byte_tokenizer())


#: Stand-ins for the recordings that training fetches: what is learnt does not matter here.
NOISES = {name: [np.random.default_rng(i).normal(size=8000)] for i, name in enumerate(RECORDED)}


@pytest.fixture(autouse=True)
def rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """A random classifier, so that the tower's real one need not be fetched."""
    drawn = torch.Generator().manual_seed(0)
    given = torch.randn(1000, 1280, generator=drawn) * 0.06, torch.zeros(1000)
    monkeypatch.setattr(run, "classifier_rows", lambda: given)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real features of the first shard, by a random tower."""
    model, processor = start(RECIPE.model, 0)
    folder = tmp_path_factory.mktemp("features")
    for name in ("gallery", "clips"):
        write_shard(model.vision_tower.eval(), processor, run.stored(RECIPE, name, folder), 0)
    write_tracks(model.audio_tower.eval(), run.stored_tracks(RECIPE, "sounds", folder), 0, NOISES)
    return folder


def test_stored_features_are_the_towers_up_to_one_byte_step(stored: Path) -> None:
    from reelm.data.features import pixels

    model, processor = start(RECIPE.model, 0)
    prepared, shown = pixels(processor, *drawn(RECIPE.seed, 7, 4), RECIPE.seed)
    with torch.no_grad():
        exact = model.vision_tower.eval()(prepared)[shown]
    kept = run.stored(RECIPE, "clips", stored).clip(7)
    tower = exact[..., :1280]
    assert (tower > 0).float().mean() > 0.1 and tower.std() > 0.1
    assert kept.shape == exact.shape and (kept - exact).abs().max() <= 6 / 255 / 2 + 1e-5


def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(stored: Path, tmp_path: Path) -> None:
    whole = run.train(RECIPE, stored, tmp_path / "whole", start=start).learnt()

    class Stopped(Exception):
        pass

    save = run.save

    def save_then_stop(trainee: Any, optimizer: Any, out: Path, progress: dict[str, Any]) -> None:
        save(trainee, optimizer, out, progress)
        if progress == {"stage": 1, "step": 2}:
            raise Stopped

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(run, "save", save_then_stop)
        run.train(RECIPE, stored, tmp_path / "parts", start=start)
    resumed = run.train(RECIPE, stored, tmp_path / "parts", start=start).learnt()
    assert whole.keys() == resumed.keys() and any("lora_B" in k for k in whole)
    for key, value in whole.items():
        assert torch.equal(value, resumed[key]), key


def test_what_ships_is_the_connector_and_an_adapter_in_pefts_form(stored: Path, tmp_path: Path) -> None:
    trainee = run.train(RECIPE, stored, tmp_path, start=start)
    folder = tmp_path / "export"
    shipped, trained = load_file(folder / "connector.safetensors"), trainee.model.connector.state_dict()
    assert {k: v.shape for k, v in shipped.items()} == {k: v.shape for k, v in trained.items()}
    assert json.loads((folder / "adapter_config.json").read_text())["peft_type"] == "LORA"
    assert all("lora_" in key for key in load_file(folder / "adapter_model.safetensors"))
    for name in ("audio_connector", "audio_tower"):
        part = getattr(trainee.model, name).state_dict()
        assert {k: v.shape for k, v in load_file(folder / f"{name}.safetensors").items()} == {
            k: v.shape for k, v in part.items()}
    assert ReelmConfig.from_pretrained(folder).vision == trainee.model.config.vision


def test_a_stage_trains_only_what_it_names() -> None:
    model, _ = start(RECIPE.model, 0)
    groups = open_stage(model, RECIPE.stages[0])
    assert [g["name"] for g in groups] == ["connector"]
    assert all(p.requires_grad == n.startswith("connector.") for n, p in model.named_parameters())
    with pytest.raises(UsageError, match="nothing to learn for lora"):
        open_stage(model, RECIPE.stages[1])


def test_batches_do_not_depend_on_where_the_run_was_stopped(stored: Path) -> None:
    _, processor = start(RECIPE.model, 0)
    clips, tracks = run.stored(RECIPE, "clips", stored), run.stored_tracks(RECIPE, "sounds", stored)
    mix = [("clips", None, 1.0), ("clips", "sounds", 1.0), (None, "sounds", 1.0)]
    order = tickets(mix, {"clips": 64, "sounds": 64}, 40, 3)
    samples = WorldSamples(processor, {"clips": clips}, order, 2, {"sounds": tracks})
    whole = list(LengthBatches(samples, 4, group=3))
    assert sorted(i for batch in whole for i in batch) == list(range(40))
    for skip in (1, 3, 7):
        assert list(LengthBatches(samples, 4, skip=skip, group=3)) == whole[skip:]


def test_a_mix_is_drawn_by_its_shares_and_goes_through_every_set_in_order() -> None:
    order = tickets([("clips", None, 3), ("clips", "sounds", 1)], {"clips": 50, "sounds": 30}, 400, 3)
    both = [t for t in order if t.media == "both"]
    assert 70 < len(both) < 130 and order == tickets([("clips", None, 3), ("clips", "sounds", 1)],
                                                      {"clips": 50, "sounds": 30}, 400, 3)
    assert [t.clip for t in order] == [i % 50 for i in range(400)]
    assert [t.track for t in both] == [i % 30 for i in range(len(both))]


def test_a_sound_alone_is_not_asked_what_only_a_picture_shows(stored: Path) -> None:
    _, processor = start(RECIPE.model, 0)
    tracks = {"sounds": run.stored_tracks(RECIPE, "sounds", stored)}
    samples = WorldSamples(processor, {}, tickets([(None, "sounds", 1)], {"sounds": 64}, 64, 3), 3, tracks)
    for at in range(64):
        sample = samples[at]
        assert "features" not in sample and (sample["mm_token_type_ids"] == 2).sum() == 16
        assert (sample["mm_token_type_ids"] == 1).sum() == 0 and sample["sound"].shape == (16, 16)


def test_a_misspelt_recipe_names_the_field(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("name: x\nstagess: []\n")
    with pytest.raises(UsageError, match="stagess"):
        Recipe.read(tmp_path / "r.yaml")


def test_the_shipped_recipe_can_be_read_and_its_parts_exist() -> None:
    recipe = Recipe.read(Path(__file__).parents[2] / "recipes" / "reelm_tiny.yaml")
    assert registry.build("connector", recipe.model["vision"]["connector"]).n_out((8, 8, 8)) == 64
