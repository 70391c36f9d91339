"""A model of ours written in the published form of VideoLLaMA 2: flat config, official names, shards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from reelm.errors import CheckpointError, UsageError
from reelm.model import official
from reelm.model.config import ReelmConfig, part_of
from reelm.model.files import write_weights
from reelm.model.modeling import ReelmModel
from reelm.model.processing import ReelmProcessor
from reelm.parts.connectors.official import official_name

#: The size of a shard of the published folders, 5 GB.
SHARD_BYTES = 5_000_000_000
_PUBLISHED_TYPE = {"mistral": "videollama2_mistral", **{f: f"videollama2_{f}" for f in (
    "mixtral", "qwen2", "llama", "gemma2", "phi3")}}


def save_native(model: ReelmModel, processor: ReelmProcessor, folder: Path,
                weights: dict[str, Tensor] | None = None) -> None:
    """Model and processor as `reelm.load` and `from_pretrained` read them.

    `weights`: in place of the model's own, for example where it holds only its share of them.
    """
    model.save_pretrained(str(folder), state_dict=dict(weights) if weights is not None else None)
    processor.save_pretrained(str(folder))


def save_official(model: ReelmModel, processor: ReelmProcessor, folder: str | Path,
                  shard_bytes: int = SHARD_BYTES) -> list[Path]:
    """Writes a published folder; the weight files written. Reading it back gives the same model, bit for bit.

    Raises: UsageError for a model with a part or setting that the published form cannot say; nothing is written then.
    """
    folder = Path(folder)
    flat = flat_config(model.config)
    weights = official_weights(model.state_dict(), model.config)
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise UsageError("the folder is not empty", where=str(folder), remedy="Give a new one")
    text = {**flat, "torch_dtype": str(model.dtype).removeprefix("torch.")}
    (folder / "config.json").write_text(json.dumps(text, indent=2, sort_keys=True) + "\n")
    model.generation_config.save_pretrained(str(folder))
    processor.tokenizer.save_pretrained(str(folder))
    return write_weights(weights, folder, shard_bytes)


def flat_config(config: ReelmConfig) -> dict[str, Any]:
    """The flat official config of ours.

    Raises: UsageError that names the section which the published form cannot say.
    """
    text = config.text_config.to_dict()  # type: ignore[union-attr]
    family = text.pop("model_type")
    if family not in _PUBLISHED_TYPE:
        raise UsageError(f"language model {family!r} has no published form",
                         remedy=f"Published are {', '.join(_PUBLISHED_TYPE)}; save in the native form")
    for name in ("transformers_version", "_name_or_path", "architectures", "dtype"):
        text.pop(name, None)
    name = "".join(word.capitalize() for word in _PUBLISHED_TYPE[family].split("_"))
    flat = {**text, "model_type": _PUBLISHED_TYPE[family], "architectures": [f"{name}ForCausalLM"],
            **_vision(config), **_audio(config)}
    try:
        again = official.config_from(flat)
    except CheckpointError as error:
        raise UsageError(f"no published form: {error.what}", remedy="Save in the native form") from None
    _same(config, again)
    return flat


def _vision(config: ReelmConfig) -> dict[str, Any]:
    settings = config.vision_settings
    if settings is None:
        return {}
    _, encoder = part_of("encoder", settings.encoder)
    if settings.encoder["kind"] not in ("clip", "siglip"):
        raise UsageError(f"vision encoder {settings.encoder['kind']!r} has no published form",
                         remedy="Published are clip and siglip; save in the native form")
    tower = {"model_type": encoder.hf_config.model_type, **settings.encoder["tower"]}
    full = encoder.full_tower().to_dict()
    known = next((name for name, fields in official.TOWERS.items() if all(
        full.get(key) == value for key, value in fields.items())), None)
    connector, width = settings.connector, encoder.full_tower().hidden_size
    flat = {"mm_vision_tower": known or settings.encoder["kind"], "num_frames": settings.frames,
            "mm_vision_select_layer": encoder.select_layer, "mm_vision_select_feature": encoder.select_feature,
            "mm_hidden_size": width, "mm_projector_type": official_name(connector["kind"], connector),
            "use_mm_proj": True}
    return flat | ({} if known and set(tower) <= set(official.TOWERS[known]) else {"vision_config": tower})


def _audio(config: ReelmConfig) -> dict[str, Any]:
    settings = config.audio_settings
    if settings is None:
        return {}
    encoder = {key: value for key, value in settings.encoder.items() if key not in ("kind", "bf16_fbank", "window")}
    connector = settings.connector
    return {"mm_audio_tower": "audio_tower.bin", "audio_config": encoder,
            "mm_projector_a_type": official_name(connector["kind"], connector),
            "mm_hidden_size_a": connector["in_width"], "hidden_size_a": connector["out_width"]}


def _same(ours: ReelmConfig, again: ReelmConfig) -> None:
    """Compares the meaning of two configs: defaults filled in, so that only real differences count."""
    for name, one, other in zip(("vision", "audio", "layout", "text_config"), _meaning(ours), _meaning(again),
                                strict=True):
        if one != other:
            keys = sorted(key for key in {*one, *other} if one.get(key) != other.get(key))
            raise UsageError(f"{name} cannot be said in the published form: "
                             f"{', '.join(f'{key} {one.get(key)!r} becomes {other.get(key)!r}' for key in keys)}",
                             where="config", remedy="Save in the native form, which keeps every setting")


def _meaning(config: ReelmConfig) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for settings in (config.vision_settings, config.audio_settings):
        section: dict[str, Any] = settings.model_dump() if settings else {}
        if settings:
            encoder, connector = part_of("encoder", settings.encoder)[1], part_of("connector", settings.connector)[1]
            section |= {"encoder": {"kind": settings.encoder["kind"], **encoder.model_dump()},
                        "connector": {"kind": settings.connector["kind"], **connector.model_dump()}}
            if hasattr(encoder, "full_tower"):
                section["encoder"]["tower"] = encoder.full_tower().to_dict()
        found.append(section)
    if config.vision_settings:
        found[0] |= {"image": config.vision_settings.repeat, "sampler": config.vision_settings.sampler_settings()}
    layout = config.layout or {}
    found.append({"kind": layout["kind"], **part_of("layout", layout)[1].model_dump()})
    text = config.text_config.to_dict()  # type: ignore[union-attr]
    inert = ("transformers_version", "_name_or_path", "architectures", "dtype")
    found.append({key: value for key, value in text.items() if key not in inert})
    return found


def official_weights(state: dict[str, Tensor], config: ReelmConfig) -> dict[str, Tensor]:
    """Our weights under official names; experts one by one, the word table of a tied model once."""
    weights: dict[str, Tensor] = {}
    for name, value in state.items():
        if name.endswith("lm_head.weight") and config.text_config.tie_word_embeddings:  # type: ignore[union-attr]
            continue
        for key, tensor in _split(official.official_key(name), value):
            weights[key] = tensor
    return weights


def _split(key: str, value: Tensor) -> list[tuple[str, Tensor]]:
    """The library keeps the experts of a layer in two stacks; published files hold three matrices per expert."""
    stem, _, last = key.rpartition(".mlp.experts.")
    if not stem:
        return [(key, value)]
    names = ("w1", "w3") if last == "gate_up_proj" else ("w2",)
    return [(f"{stem}.block_sparse_moe.experts.{expert}.{name}.weight", part)
            for expert, matrix in enumerate(value) for name, part in zip(
                names, torch.chunk(matrix, len(names)), strict=True)]
