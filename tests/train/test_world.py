"""reelm-tiny's training on tiny weights, in the general loop: what is drawn, what is minimised, what ships."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from reelm.data.batch import WorldSamples, tickets
from reelm.data.features import drawn, pixels, write_shard
from reelm.data.hearing import write_tracks
from reelm.data.tracks import RECORDED
from reelm.errors import UsageError
from reelm.model.adapters import is_adapter
from reelm.model.config import ReelmConfig
from reelm.model.lora import merge_adapter
from reelm.model.modeling import ReelmModel
from reelm.model.processing import ReelmProcessor
from reelm.model.toy import byte_tokenizer, language_config
from reelm.train import launch, world
from reelm.train.learning import part_of
from reelm.train.loop import Loop
from reelm.train.objectives import build
from reelm.train.progress import curve
from reelm.train.recipe import Recipe, recipe

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
PARTS: dict[str, Any] = {"vision": VISION, "audio": AUDIO, "layout": {"kind": "chat"}}
DRAWS = {
    "pictures": {"kind": "draws", "of": [{"clips": "gallery"}]},
    "everything": {"kind": "draws", "turns": 2, "of": [
        {"clips": "clips"}, {"tracks": "sounds"}, {"clips": "clips", "tracks": "sounds"}, {"clips": "rows"}]},
}
RECIPE = recipe({
    "name": "toy", "seed": 3, "features": "features",
    "model": PARTS,
    "adapters": {"r": 2, "alpha": 4, "targets": r"language_model\..*\.q_proj"},
    "sources": {
        "gallery": {"kind": "world", "clips": 64, "frames": 2, "plot": "gallery"},
        "clips": {"kind": "world", "clips": 64, "frames": 4},
        "rows": {"kind": "rows", "clips": 64, "frames": 4, "over": "gallery"},
        "sounds": {"kind": "tracks", "tracks": 64},
    } | DRAWS,
    "defaults": {"batch": 4, "micro_batch": 4, "save_every": 1},
    "stages": [
        {"name": "words", "objective": "words", "data": "pictures", "learn": {"connector": 1e-3}, "steps": 2,
         "group": 1},
        {"name": "joint", "objective": {"kind": "world_answers", "word_weight": 0.3}, "data": "everything", "steps": 4,
         "learn": {"connector": 1e-4, "audio_connector": 1e-4, "adapters": 1e-3}},
    ],
})


def start(settings: dict[str, Any], seed: int, tower: Path | None = None) -> tuple[ReelmModel, ReelmProcessor]:
    """In place of the public bases."""
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
def bases(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random bases and a random classifier, so that the real ones need not be fetched."""
    drawn = torch.Generator().manual_seed(0)
    given = torch.randn(1000, 1280, generator=drawn) * 0.06, torch.zeros(1000)
    monkeypatch.setattr(world, "classifier_rows", lambda: given)
    monkeypatch.setattr(launch, "fresh_tiny", start)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    """The recipe with real features of the first shards, by random towers."""
    made = RECIPE.model_copy(update={"features": str(tmp_path_factory.mktemp("features"))})
    model, processor = start(PARTS, 0)
    for name in ("gallery", "clips"):
        write_shard(model.vision_tower.eval(), processor, world.clips(made, name), 0)
    write_tracks(model.audio_tower.eval(), world.tracks(made, "sounds"), 0, NOISES)
    return made


def test_stored_features_are_the_towers_up_to_one_byte_step(told: Recipe) -> None:
    model, processor = start(PARTS, 0)
    prepared, shown = pixels(processor, *drawn(told.seed, 7, 4), told.seed)
    with torch.no_grad():
        exact = model.vision_tower.eval()(prepared)[shown]
    kept = world.clips(told, "clips").clip(7)
    tower = exact[..., :1280]
    assert (tower > 0).float().mean() > 0.1 and tower.std() > 0.1
    assert kept.shape == exact.shape and (kept - exact).abs().max() <= 6 / 255 / 2 + 1e-5


def run(told: Recipe, out: Path, stop_at: tuple[str, int] | None = None) -> Loop:
    """The whole recipe, or until it is asked to stop behind one step."""
    loop = launch.loop(launch.trainee(told), out, watch=lambda event: loop.stop.set() if (
        event["event"] == "step" and (event["stage"], event["step"]) == stop_at) else None)
    loop.run()
    return loop


def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(told: Recipe, tmp_path: Path) -> None:
    whole = run(told, tmp_path / "whole").model.state_dict()
    for stop in (("words", 1), ("joint", 2)):
        with pytest.raises(KeyboardInterrupt):
            run(told, tmp_path / "parts", stop)
    resumed = run(told, tmp_path / "parts").model.state_dict()
    assert curve(tmp_path / "whole") == curve(tmp_path / "parts") and len(curve(tmp_path / "whole")) == 6
    before = launch.trainee(told).whole.state_dict()
    changed = {name for name, value in whole.items() if not torch.equal(value, before[name])}
    assert {part_of(name) for name in changed} == {"connector", "audio_connector", "adapters"}
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())


def test_every_sample_that_is_drawn_comes_once(told: Recipe, tmp_path: Path) -> None:
    made = launch.trainee(told)
    for stage in told.stages:
        mix = made.mix(stage)
        steps = list(islice(mix.order(0).whole(), mix.steps()))
        assert sorted(at for step in steps for at in step) == list(range(len(mix.source))) and len(steps) == stage.steps


def test_the_loss_is_the_mean_over_answers_and_the_words_beside_it(told: Recipe) -> None:
    made = launch.trainee(told)
    source = made.mix(told.stages[1]).source
    batch = source.collate([source[at] for at in range(8)])
    still = {"drop_features": 0.0, "drop_tower": 0.0}
    both = build({"kind": "world_answers", "word_weight": 0.3, **still})(made.whole, batch)
    spoken = build({"kind": "words", **still})(made.whole, batch)
    assert spoken.count == 8 and both.count == (batch["labels"] != -100).sum()
    words = spoken.total.item() / 8
    assert both.told["words"] / both.count == pytest.approx(words, rel=1e-5)
    inputs = {name: batch[name] for name in ("input_ids", "mm_token_type_ids", "attention_mask", "labels")}
    seen, audio = batch["features"], batch["sounds"]
    model = made.whole.get_base_model()
    laid = model.embed(inputs["input_ids"], inputs["mm_token_type_ids"],
                       [model.connector.project(one.unflatten(1, (2, 2))[None]).flatten(0, -2) for one in seen],
                       [model.audio_connector.project(one[None, :, None, None]).flatten(0, -2) for one in audio])
    exact = model(inputs_embeds=laid, attention_mask=inputs["attention_mask"], labels=inputs["labels"]).loss
    assert both.total.item() / both.count == pytest.approx(exact.item() + 0.3 * words, rel=1e-4)
    torch.manual_seed(0)
    less = build({"kind": "words"})(made.whole, batch)
    assert less.total.item() != pytest.approx(spoken.total.item(), rel=1e-3)
    assert all(0 <= spoken.told[name] / 8 <= 1 for name in ("kind", "colour", "way", "class", "name"))


def test_what_ships_is_the_connectors_and_an_adapter_in_pefts_form(told: Recipe, tmp_path: Path) -> None:
    loop = run(told, tmp_path)
    folder, model = tmp_path / "joint", loop.model.get_base_model()
    assert {path.name for path in folder.iterdir()} == {
        "connector.safetensors", "audio_connector.safetensors", "audio_tower.safetensors",
        "adapter_model.safetensors", "adapter_config.json", "config.json"}
    assert not is_adapter(folder)  # read by `load_tiny`, not laid on a base that it names
    for name in ("connector", "audio_connector", "audio_tower"):
        part = getattr(model, name)
        trained = getattr(part, "modules_to_save", {"default": part})["default"].state_dict()
        shipped = load_file(folder / f"{name}.safetensors")
        assert shipped.keys() == trained.keys()
        assert all(torch.equal(value, trained[key].bfloat16()) for key, value in shipped.items())
    assert ReelmConfig.from_pretrained(folder).vision == model.config.vision
    state = {name: value.clone() for name, value in start(PARTS, told.seed)[0].state_dict().items()}
    before = dict(state)
    adapter = load_file(folder / "adapter_model.safetensors")
    merge_adapter(state, adapter, json.loads((folder / "adapter_config.json").read_text()))
    with torch.no_grad():
        merged = loop.model.merge_and_unload().state_dict()
    for name, value in state.items():
        if name.startswith("language_model."):
            torch.testing.assert_close(value, merged[name], rtol=0, atol=1e-4)
    assert any(not torch.equal(value, before[name]) for name, value in state.items())


def test_a_sound_alone_is_not_asked_what_only_a_picture_shows(told: Recipe) -> None:
    _, processor = start(PARTS, 0)
    sounds = {"sounds": world.tracks(told, "sounds")}
    samples = WorldSamples(processor, {}, tickets([(None, "sounds", 1)], {"sounds": 64}, 64, 3), 3, sounds)
    for at in range(64):
        sample = samples[at]
        assert "features" not in sample and (sample["mm_token_type_ids"] == 2).sum() == 16
        assert (sample["mm_token_type_ids"] == 1).sum() == 0 and sample["sound"].shape == (16, 16)


@pytest.mark.parametrize(("change", "said"), [
    ({"features": None}, "stored features need `features`"),
    ({"model": "random:av"}, "stored features need `features`, and a `model`"),
    ({"sources": {"lost": {"kind": "draws", "of": [{"clips": "sounds"}]}}},
     "no source of kind world or rows or photos is called 'sounds'"),
    ({"sources": {"lost": {"kind": "draws", "of": [{}]}}}, "a draw is of clips, of tracks or of both"),
    ({"sources": {"rows": {"kind": "rows", "clips": 1, "frames": 1}}}, "sources.rows: no source of kind world"),
    ({"sources": {"gallery": {"kind": "world", "clips": 1, "frame": 1}}}, r"sources\.gallery\.frame: no such field"),
    ({"stages": {"data": "clips"}}, "clips holds stored features; name a source of kind draws"),
    ({"stages": {"steps": None, "epochs": 1}}, "draws have no end"),
])
def test_what_is_wrong_with_sets_and_draws_is_named(change: dict[str, Any], said: str) -> None:
    raw = RECIPE.model_dump()
    for name, fields in change.items():
        if name == "stages":
            raw["stages"] = [raw["stages"][0] | fields]
        else:
            raw[name] = raw[name] | fields if isinstance(fields, dict) else fields
    with pytest.raises(UsageError, match=said):
        recipe(raw)
