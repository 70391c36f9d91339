"""What lies in a model folder: config.json, weight files, tensors. Nothing that is read can run code."""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from reelm.errors import CheckpointError, PolicyError

SINGLE = "model.safetensors"
INDEX = f"{SINGLE}.index.json"
#: The form before safetensors; read only where the caller says so, and then only if it holds nothing but tensors.
OLD_SINGLE = "pytorch_model.bin"
OLD_INDEX = f"{OLD_SINGLE}.index.json"
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises: CheckpointError when it is missing, no JSON or no object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"unreadable: {error.strerror}", where=str(path),
                              remedy="Fetch the whole folder") from None
    except ValueError as error:
        raise CheckpointError(f"no JSON: {error}", where=str(path)) from None
    if not isinstance(value, dict):
        raise CheckpointError("not a JSON object", where=str(path))
    return value


def read_config(folder: str | Path) -> dict[str, Any]:
    """config.json as a dict.

    Raises: CheckpointError when it is missing or no JSON object.
    """
    path = Path(folder) / "config.json"
    if not path.is_file():
        raise CheckpointError("no config.json", where=str(folder), remedy="Give the folder of a model")
    return read_json(path)


def weight_files(folder: str | Path, *, old: bool = False) -> list[Path]:
    """The files that make up the whole weights: one, or all that the index names.

    `old` also takes `pytorch_model.bin`, alone or in shards, where there is no safetensors file.
    Raises: PolicyError when there are only pickles; CheckpointError when a file is missing.
    """
    folder = Path(folder)
    forms = ((SINGLE, INDEX), (OLD_SINGLE, OLD_INDEX)) if old else ((SINGLE, INDEX),)
    for single, index in forms:
        if (folder / index).is_file():
            names = sorted(set(read_index(folder / index).values()))
        elif (folder / single).is_file():
            names = [single]
        else:
            continue
        if missing := [name for name in names if not (folder / name).is_file()]:
            raise CheckpointError(f"missing files: {', '.join(missing)}", where=str(folder),
                                  remedy="Fetch the whole folder")
        return [folder / name for name in names]
    if pickles := sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern)):
        raise PolicyError(f"weights only as pickles: {', '.join(pickles)}", where=str(folder),
                          remedy="A pickle can run code when read; convert it to safetensors")
    raise CheckpointError(f"neither {SINGLE} nor {INDEX}", where=str(folder), remedy="Fetch the whole folder")


def read_index(path: Path) -> dict[str, str]:
    """The `weight_map` of an index: weight to file."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))["weight_map"])
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"no usable index: {error!r}", where=str(path)) from None


def read_weights(folder: str | Path, *, old: bool = False) -> dict[str, Tensor]:
    """Every tensor of the weight files; what the index promises and what the shards hold must be the same.

    Raises: CheckpointError that names a weight which is missing, doubled, or not in the index.
    """
    weights: dict[str, Tensor] = {}
    for path in weight_files(folder, old=old):
        shard = tensors_of(path)
        if doubled := sorted(set(shard) & set(weights)):
            raise CheckpointError(f"weight {doubled[0]!r} stands in two shards", where=str(path))
        weights |= shard
    _as_promised(Path(folder), weights, old)
    return weights


def shapes_of(folder: str | Path) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and stored type of every tensor in the safetensors files, read from their headers only."""
    found: dict[str, tuple[tuple[int, ...], str]] = {}
    for path in weight_files(folder):
        try:
            with safe_open(path, "pt") as shard:
                slices = {name: shard.get_slice(name) for name in shard.keys()}  # noqa: SIM118 - no mapping
                found |= {name: (tuple(one.get_shape()), str(one.get_dtype())) for name, one in slices.items()}
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"unreadable: {error}", where=str(path), remedy="Fetch the file again") from None
    _as_promised(Path(folder), found, old=False)
    return found


def _as_promised(folder: Path, found: Any, old: bool) -> None:
    index = next((folder / name for name in ((INDEX, OLD_INDEX) if old else (INDEX,)) if (folder / name).is_file()),
                 None)
    if index is None or (index.name == OLD_INDEX and (folder / SINGLE).is_file()):
        return
    promised = set(read_index(index))
    for names, said in ((promised - set(found), "missing"), (set(found) - promised, "extra")):
        if names:
            raise CheckpointError(f"{said} weight {sorted(names)[0]!r} ({len(names)} in all)", where=str(index),
                                  remedy="Index and shards must belong together")


def tensors_of(path: Path) -> dict[str, Tensor]:
    """The tensors of one file by name: safetensors, or a pickle that holds nothing but one dict of tensors.

    Pickles go through PyTorch's weights-only reader, which knows tensors and refuses to call anything.
    Raises: CheckpointError for a damaged file; PolicyError for a pickle of anything else.
    """
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"unreadable: {error}", where=str(path), remedy="Fetch the file again") from None
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, OSError, EOFError) as error:
        raise CheckpointError(f"unreadable: {str(error).splitlines()[0]}", where=str(path),
                              remedy="Fetch the file again") from None
    except pickle.UnpicklingError:
        raise PolicyError("this pickle holds more than tensors, and could run code when read", where=str(path),
                          remedy="Convert it to safetensors where it is trusted") from None
    if not isinstance(found, dict) or not found or not all(
            isinstance(name, str) and isinstance(value, Tensor) for name, value in found.items()):
        raise PolicyError("a pickle of something else than named tensors", where=str(path),
                          remedy="Only a flat dict of tensors is read")
    return {name: value.detach() for name, value in found.items()}


def write_weights(weights: dict[str, Tensor], folder: Path, shard_bytes: int) -> list[Path]:
    """Weights as `model.safetensors`, or in shards of at most `shard_bytes` with an index; the files written.

    A tensor larger than that has a shard of its own. Order and names follow the published folders.
    """
    from safetensors.torch import save_file

    shards = _shards(weights, shard_bytes)
    names = [SINGLE] if len(shards) == 1 else [f"model-{number:05d}-of-{len(shards):05d}.safetensors"
                                               for number in range(1, len(shards) + 1)]
    for name, keys in zip(names, shards, strict=True):
        # Tensors that share memory (tied words) are refused by the format, so each is written from its own.
        save_file({key: weights[key].contiguous().clone() for key in keys}, folder / name, {"format": "pt"})
    if len(shards) > 1:
        size = sum(tensor.nbytes for tensor in weights.values())
        where = {key: name for name, keys in zip(names, shards, strict=True) for key in keys}
        (folder / INDEX).write_text(json.dumps({"metadata": {"total_size": size}, "weight_map": where}, indent=1))
    return [folder / name for name in names]


def _shards(weights: dict[str, Tensor], shard_bytes: int) -> Sequence[list[str]]:
    shards: list[list[str]] = [[]]
    filled = 0
    for name, tensor in weights.items():
        if shards[-1] and filled + tensor.nbytes > shard_bytes:
            shards.append([])
            filled = 0
        shards[-1].append(name)
        filled += tensor.nbytes
    return shards
