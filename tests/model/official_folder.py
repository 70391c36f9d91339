"""Rebuilds a recorded checkpoint as a complete folder with the file names and shards of the published ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from model.small import CHATML, MISTRAL, tokenizer


def write_official_folder(source: Path, stem: str, target: Path, *, shards: int = 3,
                          generation: dict[str, Any] | None = None) -> None:
    """The recorded config and weights as config.json and shards, with a tokenizer and generation defaults."""
    target.mkdir(parents=True, exist_ok=True)
    settings = json.loads((source / f"{stem}_config.json").read_text())
    (target / "config.json").write_text(json.dumps(settings))
    write_weights(load_file(source / f"{stem}_weights.safetensors"), target, shards)
    qwen = "qwen" in settings["model_type"]
    tokenizer(CHATML if qwen else MISTRAL, settings["vocab_size"]).save_pretrained(target)
    defaults = {"bos_token_id": 1, "eos_token_id": [2, 0], "pad_token_id": 0, **(generation or {})}
    (target / "generation_config.json").write_text(json.dumps(defaults))


def write_weights(weights: dict[str, Any], target: Path, shards: int = 3) -> None:
    names = sorted(weights)
    if shards == 1:
        save_file(weights, target / "model.safetensors", {"format": "pt"})
        return
    weight_map = {}
    for index in range(shards):
        name = f"model-{index + 1:05d}-of-{shards:05d}.safetensors"
        chosen = {key: weights[key] for key in names[index::shards]}
        save_file(chosen, target / name, {"format": "pt"})
        weight_map |= dict.fromkeys(chosen, name)
    size = sum(tensor.nbytes for tensor in weights.values())
    index_json = {"metadata": {"total_size": size}, "weight_map": weight_map}
    (target / "model.safetensors.index.json").write_text(json.dumps(index_json))
