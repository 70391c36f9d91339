"""Every published form of VideoLLaMA 2, rebuilt tiny: the same file names, keys, flat config and sharding."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from model import small
from model.official_folder import write_official_folder, write_weights
from parity_root import FIXTURES
from reelm.model import ReelmModel
from reelm.model.export import save_official
from reelm.model.official import config_from

MISTRAL = (FIXTURES / "video", "videollama2_mistral")
AV = (FIXTURES / "audio_video", "videollama2_qwen2")
TOWER = "model.vision_tower.vision_tower."


def flat_of(source: tuple[Path, str]) -> dict[str, Any]:
    return json.loads((source[0] / f"{source[1]}_config.json").read_text())


def weights_of(source: tuple[Path, str]) -> dict[str, torch.Tensor]:
    return load_file(source[0] / f"{source[1]}_weights.safetensors")


def write_config(folder: Path, flat: dict[str, Any]) -> None:
    (folder / "config.json").write_text(json.dumps({key: value for key, value in flat.items() if value is not ...}))


def starting(weights: dict[str, torch.Tensor], *prefixes: str) -> dict[str, torch.Tensor]:
    return {key: value for key, value in weights.items() if key.startswith(prefixes)}


def write_language_model(source: tuple[Path, str], folder: Path) -> None:
    """The plain language model that a checkpoint was built on, as its own publisher stores it."""
    folder.mkdir(parents=True)
    flat = {key: value for key, value in flat_of(source).items() if not key.startswith("mm_")}
    write_config(folder, {**flat, "model_type": flat["model_type"].removeprefix("videollama2_")})
    write_weights(starting(weights_of(source), "model.embed", "model.layers", "model.norm", "lm_head"), folder)
    template = small.CHATML if "qwen" in flat["model_type"] else small.MISTRAL
    small.tokenizer(template, flat["vocab_size"]).save_pretrained(folder)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": 2, "repetition_penalty": 1.05}))


def write_tower(source: tuple[Path, str], folder: Path, *, pickled: bool = False) -> None:
    """The vision tower as its publisher stores it: a whole CLIP or SigLIP, with a text half that nobody needs here."""
    folder.mkdir(parents=True)
    vision = flat_of(source)["vision_config"]
    kind = vision["model_type"].removesuffix("_vision_model")
    write_config(folder, {"model_type": kind, "vision_config": {**vision, "dropout": 0.0}, "projection_dim": 16})
    weights = {key.removeprefix(TOWER): value for key, value in starting(weights_of(source), TOWER).items()}
    weights |= {"text_model.final_layer_norm.weight": torch.ones(3), "logit_scale": torch.zeros(()),
                "vision_model.embeddings.position_ids": torch.arange(5)[None]}
    if pickled:
        torch.save(weights, folder / "pytorch_model.bin")
    else:
        save_file(weights, folder / "model.safetensors", {"format": "pt"})


def write_base(folder: Path, source: tuple[Path, str] = MISTRAL, **changes: Any) -> None:
    """`-Base`: config.json and mm_projector.bin; language model and tower lie beside it, as the config names them."""
    folder.mkdir(parents=True)
    write_language_model(source, folder.parent / "llm")
    write_tower(source, folder.parent / "tower", pickled=True)
    write_config(folder, {**flat_of(source), "_name_or_path": "../llm", "mm_vision_tower": "../tower",
                          "tune_mm_mlp_adapter": True, "vision_config": ..., **changes})
    torch.save(starting(weights_of(source), "model.mm_projector."), folder / "mm_projector.bin")


def write_lora(folder: Path, source: tuple[Path, str] = MISTRAL, rank: int = 3) -> dict[str, torch.Tensor]:
    """A LoRA as the official training saves it; the weights that a merged checkpoint would hold."""
    write_base(folder, source, tune_mm_mlp_adapter=False)
    (folder / "mm_projector.bin").unlink()
    weights = weights_of(source)
    torch.manual_seed(0)
    trained = {key: value + 0.01 for key, value in starting(weights, "model.mm_projector.").items()}
    torch.save({f"base_model.model.{key}": value for key, value in trained.items()}, folder / "non_lora_trainables.bin")
    adapter = {}
    for key in [key for key in weights if key.startswith("model.layers.") and "proj" in key and "bias" not in key]:
        low, high = torch.randn(rank, weights[key].shape[1]) * 0.1, torch.randn(weights[key].shape[0], rank) * 0.1
        name = f"base_model.model.{key.removesuffix('.weight')}"
        adapter |= {f"{name}.lora_A.weight": low, f"{name}.lora_B.weight": high}
        weights[key] = weights[key] + 2.0 * (high @ low)
    torch.save(adapter, folder / "adapter_model.bin")
    (folder / "adapter_config.json").write_text(json.dumps({
        "base_model_name_or_path": "../llm", "bias": "none", "fan_in_fan_out": False, "lora_alpha": 2 * rank,
        "lora_dropout": 0.05, "modules_to_save": None, "peft_type": "LORA", "r": rank, "task_type": "CAUSAL_LM"}))
    return weights | trained


def write_av(folder: Path) -> None:
    """The audio-visual checkpoint with the two by-products that its repository holds beside the shards."""
    write_official_folder(*AV, folder, shards=4, generation={"repetition_penalty": 1.05, "do_sample": True})
    weights = weights_of(AV)
    torch.save(starting(weights, "model.audio_tower."), folder / "audio_tower.bin")
    torch.save(starting(weights, "model.mm_projector_a."), folder / "mm_projector_a.bin")


def write_audio_stage(folder: Path) -> None:
    """What the first audio stage saves: a projector and a tower on top of a checkpoint that sees."""
    folder.mkdir(parents=True)
    seeing = folder.parent / "seeing"
    flat, weights = flat_of(AV), weights_of(AV)
    seeing.mkdir()
    write_config(seeing, {**flat, "mm_audio_tower": ..., "mm_projector_a_type": ..., "mm_hidden_size_a": ...,
                          "hidden_size_a": ..., "audio_config": ...})
    heard = starting(weights, "model.audio_tower.", "model.mm_projector_a.")
    write_weights({key: value for key, value in weights.items() if key not in heard}, seeing)
    small.tokenizer(small.CHATML, flat["vocab_size"]).save_pretrained(seeing)
    write_config(folder, {**flat, "_name_or_path": "../seeing", "tune_mm_mlp_adapter_a": True})
    torch.save(starting(weights, "model.audio_tower."), folder / "audio_tower.bin")
    torch.save(starting(weights, "model.mm_projector_a."), folder / "mm_projector_a.bin")


def family_config(family: str, **changes: Any) -> Any:
    """Our config of a tiny published model on another language model."""
    more: dict[str, Any] = {"mixtral": {"num_local_experts": 4, "num_experts_per_tok": 2},
                            "gemma2": {"head_dim": 12, "query_pre_attn_scalar": 12, "tie_word_embeddings": True,
                                       "sliding_window": 64, "hidden_activation": "gelu_pytorch_tanh"}}.get(family, {})
    flat = {key: value for key, value in flat_of(MISTRAL).items() if key != "num_frames"}
    return config_from({**flat, "model_type": f"videollama2_{family}", **more, **changes})


def write_family(folder: Path, family: str, shard_bytes: int = 200_000) -> ReelmModel:
    """A published folder on another language model, and the model it was written from."""
    config = family_config(family)
    model = small.model(config)
    template = small.CHATML if family not in ("mistral", "mixtral") else small.MISTRAL
    save_official(model, small.ReelmProcessor.of(config, small.tokenizer(template)), folder, shard_bytes)
    return model
