"""Model folders on disk, ours and published ones: complete or refused, safetensors only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoTokenizer, GenerationConfig

from reelm.errors import CheckpointError, PolicyError
from reelm.model import official
from reelm.model.modeling import ReelmModel
from reelm.model.processing import ReelmProcessor

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


def load_folder(folder: str | Path, *, device: str = "cpu", dtype: str | torch.dtype = "auto",
                attn: str = "sdpa") -> tuple[ReelmModel, ReelmProcessor]:
    """Model and processor in a folder; its config.json decides which form it has.

    Raises: CheckpointError when the folder is incomplete or of an unknown form; PolicyError when weights are pickles.
    """
    settings = read_config(folder)
    if settings.get("model_type") == "reelm":
        return load_native(folder, device=device, dtype=dtype, attn=attn)
    if official.family_of(settings) is not None:
        return load_official(folder, device=device, dtype=dtype, attn=attn)
    raise CheckpointError(f"model_type {settings.get('model_type')!r} is not known", where=str(folder),
                          remedy=f"Known: reelm, {', '.join(official.FAMILIES)}")


def load_native(folder: str | Path, *, device: str = "cpu", dtype: str | torch.dtype = "auto",
                attn: str = "sdpa") -> tuple[ReelmModel, ReelmProcessor]:
    """A folder that `save_pretrained` of model and processor wrote."""
    weight_files(folder)
    model = ReelmModel.from_pretrained(str(folder), dtype=dtype, attn_implementation=attn)
    processor = ReelmProcessor.from_pretrained(str(folder))
    _agree(model, processor, folder)
    return model.to(device).eval(), processor


def load_official(folder: str | Path, *, device: str = "cpu", dtype: str | torch.dtype = "auto",
                  attn: str = "sdpa") -> tuple[ReelmModel, ReelmProcessor]:
    """A published VideoLLaMA 2 folder: flat config, towers inside the weights, tokenizer, generation defaults.

    Weights go through a plain key map; all must be there and all must be used. `dtype="auto"` keeps the stored one.

    Source: layout of the published checkpoints; logits and greedy tokens agree, tests/model/test_checkpoints.py.
    """
    config = official.config_from(read_config(folder))
    weights = read_weights(folder)
    try:
        mapped = official.weights_from(weights, config)
    except CheckpointError as error:
        raise CheckpointError(error.what, where=str(folder), remedy=error.remedy) from None
    if dtype == "auto":
        dtype = next(tensor.dtype for tensor in mapped.values() if tensor.is_floating_point())
    try:
        model = ReelmModel.from_pretrained(None, config=config, state_dict=mapped, dtype=dtype,
                                           attn_implementation=attn)
    except CheckpointError as error:
        raise CheckpointError(official.in_official_words(error.what), where=str(folder), remedy=error.remedy) from None
    model.generation_config = generation_defaults(folder, config)
    return model.to(device).eval(), ReelmProcessor.of(config, read_tokenizer(folder, config))


def read_config(folder: str | Path) -> dict[str, Any]:
    """config.json as a dict.

    Raises: CheckpointError when it is missing or no JSON object.
    """
    path = Path(folder) / "config.json"
    if not path.is_file():
        raise CheckpointError("no config.json", where=str(folder), remedy="Give the folder of a model")
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"no JSON: {error}", where=str(path)) from None
    if not isinstance(settings, dict):
        raise CheckpointError("not a JSON object", where=str(path))
    return settings


def weight_files(folder: str | Path) -> list[Path]:
    """The safetensors files that make up the weights: one, or all that the index names.

    Raises: PolicyError when there are only pickles; CheckpointError when a file is missing.
    """
    folder = Path(folder)
    if (folder / INDEX).is_file():
        names = sorted(set(_index(folder).values()))
    elif (folder / SINGLE).is_file():
        names = [SINGLE]
    else:
        pickles = sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern))
        if pickles:
            raise PolicyError(f"weights only as pickles: {', '.join(pickles)}", where=str(folder),
                              remedy="A pickle can run code when read; convert it to safetensors")
        raise CheckpointError(f"neither {SINGLE} nor {INDEX}", where=str(folder), remedy="Fetch the whole folder")
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise CheckpointError(f"missing files: {', '.join(missing)}", where=str(folder),
                              remedy="Fetch the whole folder")
    return [folder / name for name in names]


def read_weights(folder: str | Path) -> dict[str, Tensor]:
    """Every tensor of the weight files; what the index promises and what the shards hold must be the same.

    Raises: CheckpointError that names a weight which is missing, doubled, or not in the index.
    """
    weights: dict[str, Tensor] = {}
    for path in weight_files(folder):
        try:
            shard = load_file(path)
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"unreadable: {error}", where=str(path), remedy="Fetch the file again") from None
        doubled = sorted(set(shard) & set(weights))
        if doubled:
            raise CheckpointError(f"weight {doubled[0]!r} stands in two shards", where=str(path))
        weights |= shard
    if (Path(folder) / INDEX).is_file():
        promised = set(_index(Path(folder)))
        for names, said in ((promised - set(weights), "missing"), (set(weights) - promised, "extra")):
            if names:
                raise CheckpointError(f"{said} weight {sorted(names)[0]!r} ({len(names)} in all)",
                                      where=str(Path(folder) / INDEX), remedy="Index and shards must belong together")
    return weights


def generation_defaults(folder: str | Path, config: Any) -> GenerationConfig:
    """generation_config.json, or the special ids of the language model when there is none."""
    if (Path(folder) / "generation_config.json").is_file():
        return GenerationConfig.from_pretrained(str(folder))
    text = config.text_config
    return GenerationConfig(**{name: getattr(text, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")})


def read_tokenizer(folder: str | Path, config: Any) -> Any:
    """The tokenizer of a folder with its chat template.

    Raises: CheckpointError when there is none.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), config=config.text_config)
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"no readable tokenizer: {error}", where=str(folder),
                              remedy="It needs tokenizer.json or tokenizer.model, and tokenizer_config.json") from None
    if not tokenizer.chat_template:
        raise CheckpointError("the tokenizer has no chat template", where=str(folder),
                              remedy="Add chat_template to tokenizer_config.json")
    return tokenizer


def _index(folder: Path) -> dict[str, str]:
    try:
        return dict(json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"])
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"no usable index: {error!r}", where=str(folder / INDEX)) from None


def _agree(model: ReelmModel, processor: ReelmProcessor, folder: str | Path) -> None:
    for name in ("vision", "audio", "layout"):
        ours, theirs = (json.dumps(getattr(owner, name), sort_keys=True) for owner in (model.config, processor))
        if ours != theirs:
            raise CheckpointError(f"{name} differs between config.json and processor_config.json", where=str(folder),
                                  remedy="Save model and processor together")
