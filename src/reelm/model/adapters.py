"""Folders that hold an adapter: what it changes of a base model, and which base that is.

Beside PEFT's two files (the connectors are in them) a folder of ours holds the processor's files with the settings of
all parts, the generation defaults, and `base.json`:

    {"base": "models/mine", "sha256": "…"}

The number is that of the base's weights (`digest_of`), however they are cut into files, so an adapter is never laid on
other weights than those it was trained on. A folder that PEFT alone wrote has no such number; then a note says so.
There is no config.json: with one, transformers would take the folder for a whole model.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import safe_open
from torch import Tensor

from reelm.errors import CheckpointError
from reelm.model import files, official, published
from reelm.model.hub import locate
from reelm.model.lora import blended, merge_adapter

if TYPE_CHECKING:
    from reelm.model.processing import ReelmProcessor

SETTINGS, WEIGHTS, BASE = "adapter_config.json", "adapter_model.safetensors", "base.json"
#: Only the folders in which reelm-tiny ships have this file: adapter and connectors on bases that are fetched.
SHIPPED = "connector.safetensors"
#: The parts that an adapter and its base must have in common; frames, sampler and stills may differ.
_SAME = ("encoder", "connector", "before", "after", "rate_hz", "of_video")


@dataclass(frozen=True)
class Base:
    """The model under an adapter: what `reelm.load` takes, and the digest of its weights (None: not recorded)."""

    name: str
    sha256: str | None

    def place(self, near: Path) -> str:
        """The name, or the folder that it means, seen from the adapter's folder."""
        return self.name if is_named(self.name) else str(locate(self.name, near))


def is_named(name: str) -> bool:
    """Whether `name` is a model of the package and not of a folder."""
    return name == "reelm-tiny" or name.partition(":")[0] == "random"


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter in PEFT's form on a model of ours (the official LoRA form has a flat config).

    Raises: CheckpointError when it holds a whole model of ours as well.
    """
    if not (folder / SETTINGS).is_file() or (folder / SHIPPED).is_file():
        return False
    if not (folder / "config.json").is_file():
        return True
    if files.read_config(folder).get("model_type") == "reelm":
        raise CheckpointError(f"both {SETTINGS} and the config.json of a whole model", where=str(folder),
                              remedy="Keep them in two folders, and name the model's as the adapter's base")
    return False


def base_of(name: str) -> Base:
    """The base that `name` means, with its digest; what an adapter is attached to.

    Raises: CheckpointError for a folder that is itself an adapter, or does not exist.
    """
    if is_named(name):
        return Base(name, digest_of(name))
    folder = locate(name)
    if is_adapter(folder):
        raise CheckpointError("an adapter cannot be the base of another", where=str(folder),
                              remedy="Merge it first: reelm model merge FOLDER --out NEW")
    return Base(str(folder.resolve()), digest_of(str(folder)))


def recorded_base(folder: Path) -> Base:
    """The base that an adapter's folder names.

    Raises: CheckpointError when it names none.
    """
    if (folder / BASE).is_file():
        said = files.read_json(folder / BASE)
        name, sha256 = said.get("base"), said.get("sha256")
        if not isinstance(sha256, str):
            raise CheckpointError(f"sha256 is {sha256!r}", where=str(folder / BASE), remedy="Fetch the folder again")
    else:
        name, sha256 = files.read_json(folder / SETTINGS).get("base_model_name_or_path"), None
    if not isinstance(name, str) or not name:
        raise CheckpointError("the adapter does not name its base", where=str(folder),
                              remedy=f'Write the base\'s folder into {SETTINGS} as "base_model_name_or_path"')
    return Base(name, sha256)


def record_base(folder: Path, base: Base) -> None:
    """Writes down which base the adapter in `folder` belongs to."""
    (folder / BASE).write_text(json.dumps({"base": base.name, "sha256": base.sha256}, indent=1) + "\n")


def check_base(folder: Path, base: Base, place: str) -> None:
    """Compares the weights at `place` with those the adapter in `folder` was trained on.

    Raises: CheckpointError with both digests when they differ.
    """
    if base.sha256 is not None and (found := digest_of(place)) != base.sha256:
        raise CheckpointError(f"the adapter was trained on weights with SHA-256 {base.sha256}, those of {place} have "
                              f"{found}", where=str(folder), remedy="Give the base it was trained on; merged with "
                              "another one it would answer nonsense")


# --- the digest ------------------------------------------------------------------------------------------------


def digest_of(name: str) -> str:
    """SHA-256 of a model's weights: names, types, shapes and values as stored, in the order of their names.

    Sharding, file names and config do not count. Reads the files once, one tensor at a time.
    Raises: CheckpointError when weights are missing.
    """
    if name == "reelm-tiny":
        return _digest_of_tiny()
    if is_named(name):
        from reelm.model.toy import random_model

        return digest(_sorted(random_model(name.partition(":")[2])[0].state_dict()))
    folder = Path(name)
    partial = official.family_of(files.read_config(folder)) is not None and published.needs(folder)
    if partial:  # the weights lie in several folders
        return digest(_sorted(published.gather(folder).weights))
    places = {key: path for path in files.weight_files(folder) for key in _names(path)}
    return digest((key, _tensor(places[key], key)) for key in sorted(places))


def digest(weights: Iterable[tuple[str, Tensor]]) -> str:
    """SHA-256 of named tensors in the order given."""
    found = hashlib.sha256()
    for name, tensor in weights:
        found.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        found.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()


def _digest_of_tiny() -> str:
    from reelm.model.sources import LANGUAGE, VISION
    from reelm.model.tiny import SHIPPED

    found = hashlib.sha256(f"{LANGUAGE.sha256} {VISION.sha256}\n".encode())
    for path in sorted(one for one in SHIPPED.iterdir() if one.is_file()):
        found.update(path.name.encode() + b"\n" + hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()


def _sorted(weights: Mapping[str, Tensor]) -> list[tuple[str, Tensor]]:
    return sorted(weights.items(), key=lambda pair: pair[0])


def _names(path: Path) -> list[str]:
    with safe_open(path, "pt") as stored:
        return list(stored.keys())


def _tensor(path: Path, name: str) -> Tensor:
    with safe_open(path, "pt") as stored:
        return stored.get_tensor(name)


# --- laid on its base ------------------------------------------------------------------------------------------


def lay_on(model: Any, folder: Path, alpha: float | None = None) -> int:
    """Merges the adapter in `folder` into `model`, its base, in place; how many weights changed.

    `alpha`: another strength, see `lora.blended`.

    Raises: CheckpointError when they do not fit together.
    """
    settings = blended(files.read_json(folder / SETTINGS), alpha)
    path = folder / WEIGHTS
    if not path.is_file():
        raise CheckpointError(f"no {WEIGHTS}", where=str(folder), remedy="Fetch the whole folder")
    current = model.state_dict()
    merged = dict(current)
    changed = merge_adapter(merged, files.tensors_of(path), settings, str(folder / SETTINGS))
    with torch.no_grad():
        for name in changed:
            current[name].copy_(merged[name])
    return len(changed)


def settings_of(folder: Path, model: Any, processor: ReelmProcessor) -> ReelmProcessor:
    """The processor with which an adapter was trained (that of its base, when the folder has none).

    `model` gets its settings: frames, sampler, stills.
    Raises: CheckpointError when the adapter was trained on other parts, with their section.
    """
    if not (folder / "processor_config.json").is_file():
        return processor
    from reelm.model.processing import ReelmProcessor

    trained = ReelmProcessor.from_pretrained(str(folder))
    for section in ("vision", "audio"):
        ours, theirs = getattr(model.config, section), getattr(trained, section)
        for key in _SAME:
            one, other = ((whole or {}).get(key) or None for whole in (ours, theirs))
            if json.dumps(one, sort_keys=True) != json.dumps(other, sort_keys=True):
                raise CheckpointError(f"{section}.{key} of the adapter is {other}, that of its base {one}",
                                      where=str(folder), remedy="Adapter and base must belong together")
        setattr(model.config, section, theirs)
    model.config.layout = trained.layout
    return trained
