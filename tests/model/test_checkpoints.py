"""Model folders: ours and published ones, complete or refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from model import small
from model.official_folder import write_official_folder, write_weights
from parity_root import FIXTURES
from reelm.errors import CheckpointError, PolicyError, ReelmError, UsageError
from reelm.model import AudioVideo, ReelmModel, Sketch
from reelm.model.checkpoints import load_folder
from reelm.model.files import read_config
from reelm.model.official import TOWERS, config_from
from reelm.parts.layouts.chat import VIDEOLLAMA2_SYSTEM

MISTRAL = (FIXTURES / "video", "videollama2_mistral")
QWEN2 = (FIXTURES / "audio_video", "videollama2_qwen2")


@pytest.fixture(params=[MISTRAL, QWEN2], ids=["mistral", "qwen2"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    write_official_folder(*request.param, tmp_path)
    return tmp_path


def change_config(folder: Path, **changes: Any) -> None:
    settings = {**read_config(folder), **changes}
    (folder / "config.json").write_text(json.dumps({k: v for k, v in settings.items() if v is not ...}))


def change_weights(folder: Path, change: Any) -> None:
    """Rewrites the folder as one file with changed weights."""
    weights: dict[str, torch.Tensor] = {}
    for shard in folder.glob("model-*.safetensors"):
        weights |= load_file(shard)
        shard.unlink()
    (folder / "model.safetensors.index.json").unlink()
    change(weights)
    write_weights(weights, folder, shards=1)


def test_an_official_folder_answers_and_is_saved_as_ours(folder: Path, tmp_path: Path) -> None:
    model, processor = load_folder(folder)
    batch = processor([[small.user(small.image(), "What is it?")], [small.user("Hello?")]])
    with torch.no_grad():
        expected = model(**batch).logits
    for part in (model, processor):
        part.save_pretrained(tmp_path / "ours")
    again, processor = load_folder(tmp_path / "ours")
    batch = processor([[small.user(small.image(), "What is it?")], [small.user("Hello?")]])
    with torch.no_grad():
        assert torch.equal(again(**batch).logits, expected)
    assert all(name.split(".")[0] in {"vision_tower", "connector", "audio_tower", "audio_connector", "language_model"}
               for name in load_file(tmp_path / "ours" / "model.safetensors"))


def test_an_official_picture_costs_as_much_as_a_video(folder: Path) -> None:
    _, processor = load_folder(folder)
    frames = read_config(folder)["num_frames"]
    assert processor.counts(Sketch(frames=1)) == processor.counts(Sketch(frames=frames))
    assert processor.vision_settings is not None and processor.vision_settings.frames == frames


def test_the_mistral_family_gets_the_published_system_text_and_others_none(tmp_path: Path) -> None:
    for source, system in ((MISTRAL, VIDEOLLAMA2_SYSTEM), (QWEN2, None)):
        config = config_from(json.loads((source[0] / f"{source[1]}_config.json").read_text()))
        assert config.layout is not None and config.layout["system"] == system


def test_generation_defaults_of_the_folder_are_kept(tmp_path: Path) -> None:
    write_official_folder(*QWEN2, tmp_path, generation={"repetition_penalty": 1.05, "do_sample": True, "top_k": 20})
    model, _ = load_folder(tmp_path)
    assert model.generation_config.repetition_penalty == 1.05
    assert model.generation_config.eos_token_id == [2, 0]
    (tmp_path / "generation_config.json").unlink()
    assert load_folder(tmp_path)[0].generation_config.eos_token_id == 2


def test_sound_of_a_video_and_alone_reach_an_official_model(tmp_path: Path) -> None:
    write_official_folder(*QWEN2, tmp_path)
    model, processor = load_folder(tmp_path)
    # Thirty seconds, filled up with silence: 2998 rows, 187 × 8 patches, whatever the length.
    assert processor.counts(Sketch(audio_s=1.0))["audio"] == processor.counts(Sketch(audio_s=90.0))["audio"] == 1496
    batch = processor([[small.user(AudioVideo(small.frames(8), small.sound(1.0)), "What is it?")]])
    assert batch["audio_frames"] == [2998]
    with torch.no_grad():
        assert model(**batch, logits_to_keep=1).logits.isfinite().all()


def test_one_file_and_half_precision_load_as_well(folder: Path) -> None:
    change_weights(folder, lambda weights: weights.update({k: v.bfloat16() for k, v in weights.items()}))
    assert load_folder(folder)[0].dtype == torch.bfloat16
    assert load_folder(folder, dtype="float32")[0].dtype == torch.float32


@pytest.mark.parametrize("word", ["mm_projector.", "vision_tower.", "layers.1.", "lm_head", "embed_tokens",
                                  "audio_tower.", "mm_projector_a.", "pos_conv", "weight_g", "relative_attention_bias"])
def test_a_missing_weight_is_named(tmp_path: Path, word: str) -> None:
    write_official_folder(*QWEN2, tmp_path)
    gone: list[str] = []

    def drop(weights: dict[str, torch.Tensor]) -> None:
        gone.append(sorted(name for name in weights if word in name)[0])
        del weights[gone[0]]

    change_weights(tmp_path, drop)
    with pytest.raises(CheckpointError) as caught:
        load_folder(tmp_path)
    assert "missing" in str(caught.value) and gone[0] in str(caught.value)


@pytest.mark.parametrize("name", [
    "model.mm_projector.novel.weight", "model.layers.9.mlp.up_proj.weight", "novel", "model.mm_projector_b.0.weight",
    "model.vision_tower.vision_tower.vision_model.novel"])
def test_an_extra_weight_is_named(folder: Path, name: str) -> None:
    change_weights(folder, lambda weights: weights.update({name: torch.zeros(2)}))
    with pytest.raises(CheckpointError) as caught:
        load_folder(folder)
    assert name in str(caught.value)


def test_index_and_shards_must_belong_together(folder: Path) -> None:
    shard = sorted(folder.glob("model-*.safetensors"))[0]
    weights = load_file(shard)
    gone = sorted(weights)[0]
    save_file({k: v for k, v in weights.items() if k != gone}, shard)
    with pytest.raises(CheckpointError, match=f"missing weight '{gone}'"):
        load_folder(folder)
    save_file({**weights, "novel": torch.zeros(1)}, shard)
    with pytest.raises(CheckpointError, match="extra weight 'novel'"):
        load_folder(folder)
    shard.unlink()
    with pytest.raises(CheckpointError, match=f"missing files: {shard.name}"):
        load_folder(folder)


def test_a_damaged_shard_and_damaged_json_are_checkpoint_errors(folder: Path) -> None:
    shard = sorted(folder.glob("model-*.safetensors"))[0]
    shard.write_bytes(shard.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="unreadable"):
        load_folder(folder)
    (folder / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(CheckpointError, match="index"):
        load_folder(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match="JSON"):
        load_folder(folder)


def test_pickles_are_refused_and_empty_folders_are_no_models(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no config\.json"):
        load_folder(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(CheckpointError, match="'bert' is not known"):
        load_folder(tmp_path)
    (tmp_path / "config.json").write_text((MISTRAL[0] / f"{MISTRAL[1]}_config.json").read_text())
    with pytest.raises(CheckpointError, match="neither"):
        load_folder(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(PolicyError, match="pickles"):
        load_folder(tmp_path)


def test_a_folder_without_tokenizer_or_template_says_so(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(CheckpointError, match="chat template"):
        load_folder(folder)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match="tokenizer"):
        load_folder(folder)


@pytest.mark.parametrize("name", ["videollama2", "videollama2_mistral"])
def test_names_of_the_mistral_family_mean_the_same(tmp_path: Path, name: str) -> None:
    write_official_folder(*MISTRAL, tmp_path)
    change_config(tmp_path, model_type=name)
    assert load_folder(tmp_path)[0].language_model.config.model_type == "mistral"


def test_first_revisions_tell_by_their_class(tmp_path: Path) -> None:
    write_official_folder(*MISTRAL, tmp_path)
    change_config(tmp_path, model_type="mistral", architectures=["Videollama2MistralForCausalLM"])
    assert load_folder(tmp_path)[0].language_model.config.model_type == "mistral"
    change_config(tmp_path, architectures=["MistralForCausalLM"])
    with pytest.raises(CheckpointError, match="not known"):
        load_folder(tmp_path)


@pytest.mark.parametrize("family", ["mixtral", "qwen2", "llama"])
def test_every_family_becomes_its_own_language_model(family: str) -> None:
    flat = json.loads((MISTRAL[0] / f"{MISTRAL[1]}_config.json").read_text())
    config = config_from({**flat, "model_type": f"videollama2_{family}", "num_frames": ...} | {"num_frames": 16})
    assert config.text_config.model_type == family
    assert config.vision_settings is not None and config.vision_settings.frames == 16


@pytest.fixture
def mixtral(tmp_path: Path) -> tuple[Path, Any]:
    """An official Mixtral folder, experts stored one by one as published, and the language model that wrote it."""
    write_official_folder(*MISTRAL, tmp_path)
    flat = read_config(tmp_path)
    language = AutoModelForCausalLM.from_config(small.text_config(
        "mixtral", vocab_size=flat["vocab_size"], hidden_size=flat["hidden_size"], rms_norm_eps=flat["rms_norm_eps"]))
    language.save_pretrained(tmp_path / "language")
    change_config(tmp_path, model_type="videollama2_mixtral", **{
        key: getattr(language.config, key) for key in ("num_local_experts", "num_experts_per_tok", "intermediate_size",
                                                       "num_hidden_layers")},
        rope_theta=language.config.rope_parameters["rope_theta"])

    def change(weights: dict[str, torch.Tensor]) -> None:
        for name in [n for n in weights if "mm_projector" not in n and "vision_tower" not in n]:
            del weights[name]
        weights |= load_file(tmp_path / "language" / "model.safetensors")

    change_weights(tmp_path, change)
    return tmp_path, language.eval()


def test_stored_experts_become_the_mixture(mixtral: tuple[Path, Any]) -> None:
    model, _ = load_folder(mixtral[0])
    ids = torch.arange(3, 20)[None]
    with torch.no_grad():
        assert torch.equal(model(input_ids=ids).logits, mixtral[1](ids).logits)


@pytest.mark.parametrize("name", ["experts.2.w1.weight", "experts.3.w2.weight", "block_sparse_moe.gate.weight"])
def test_a_missing_expert_is_named(mixtral: tuple[Path, Any], name: str) -> None:
    weights = load_file(mixtral[0] / "model.safetensors")
    gone = sorted(key for key in weights if key.endswith(name))[0]
    save_file({k: v for k, v in weights.items() if k != gone}, mixtral[0] / "model.safetensors")
    with pytest.raises(CheckpointError) as caught:
        load_folder(mixtral[0])
    assert "missing" in str(caught.value) and gone in str(caught.value)


def test_the_published_7b_has_the_published_number_of_weights() -> None:
    """8,034,428,160 parameters are the bytes of the four published shards, divided by two."""
    flat = {"model_type": "videollama2_mistral", "hidden_size": 4096, "intermediate_size": 14336, "vocab_size": 32000,
            "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "mm_hidden_size": 1024,
            "mm_vision_tower": "openai/clip-vit-large-patch14-336", "mm_projector_type": "stc_connector",
            "tie_word_embeddings": False}
    with torch.device("meta"):
        model = ReelmModel(config_from(flat))
    assert sum(p.numel() for p in model.parameters()) == 8_034_428_160
    assert sum(p.numel() for p in model.connector.parameters()) == 489_188_608


def test_published_configs_have_no_tower_architecture_so_known_names_supply_it() -> None:
    flat = json.loads((MISTRAL[0] / f"{MISTRAL[1]}_config.json").read_text())
    del flat["vision_config"], flat["num_frames"]
    for name, tower in TOWERS.items():
        config = config_from({**flat, "mm_vision_tower": name, "mm_hidden_size": tower["hidden_size"]})
        assert config.vision_settings is not None and config.vision_settings.frames == 8
    with pytest.raises(CheckpointError, match="clip-tiny"):
        config_from(flat)


def test_token_counts_of_the_published_geometries() -> None:
    """The table of the published models: grid 24 or 27, 8 or 16 frames."""
    flat = json.loads((MISTRAL[0] / f"{MISTRAL[1]}_config.json").read_text())
    del flat["vision_config"]
    expected = {("openai/clip-vit-large-patch14-336", "stc_connector"): (845, 1521),
                ("openai/clip-vit-large-patch14-336", "stc_connector_v35"): (576, 1152),
                ("google/siglip-so400m-patch14-384", "stc_connector"): (980, 1764),
                ("google/siglip-so400m-patch14-384", "stc_connector_v35"): (676, 1352)}
    for (tower, connector), counts in expected.items():
        config = config_from({**flat, "mm_vision_tower": tower, "mm_hidden_size": TOWERS[tower]["hidden_size"],
                              "mm_projector_type": connector})
        processor = small.ReelmProcessor.of(config, small.tokenizer(small.MISTRAL))
        assert tuple(processor.counts(Sketch(frames=n))["vision"] for n in (8, 16)) == counts


def test_processor_and_model_of_a_native_folder_must_agree(tmp_path: Path) -> None:
    config = small.config()
    small.model(config).save_pretrained(tmp_path)
    small.processor(small.config(layout={"kind": "chat", "media_first": True})).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="layout differs"):
        load_folder(tmp_path)


def test_wrong_settings_inside_a_published_config_are_explained(folder: Path) -> None:
    change_config(folder, mm_projector_type="stc_conector")
    with pytest.raises(UsageError, match="stc_conector"):
        load_folder(folder)
    assert issubclass(UsageError, ReelmError)
