"""A published VideoLLaMA 2 folder put together from wherever its pieces lie: whole, projector only, or LoRA."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from reelm.errors import CheckpointError
from reelm.model import files, official
from reelm.model.hub import locate
from reelm.model.lora import blended, merge_adapter, refuse_blend

WHOLE, BASE, LORA = "whole", "base", "lora"
#: Files of single parts, and the keys that each may hold.
PARTS = {"mm_projector.bin": "model.mm_projector.", "mm_projector_a.bin": "model.mm_projector_a.",
         "audio_tower.bin": "model.audio_tower."}
_ADAPTER, _REST = "adapter_config.json", "non_lora_trainables.bin"
_TOWER, _TOWER_PART, _AUDIO_TOWER = "model.vision_tower.vision_tower.", "vision_model.", "model.audio_tower."


@dataclass
class Published:
    """A complete checkpoint under official names.

    `form`: "whole", "base" or "lora". `texts`: folders with tokenizer and generation defaults, the first that has a
    file decides. `sources`: what came from where. `notes`: what was left aside or taken from elsewhere, in sentences.
    """

    form: str
    flat: dict[str, Any]
    weights: dict[str, Tensor]
    texts: list[Path]
    sources: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def text_folder(self, *names: str) -> Path:
        """The first of the text folders that has one of these files."""
        return next((folder for folder in self.texts if any((folder / name).is_file() for name in names)),
                    self.texts[0])


def form_of(folder: Path) -> str:
    """Which form a published folder has, told by its files.

    Raises: CheckpointError or PolicyError when it holds no weights that can be read.
    """
    if (folder / _ADAPTER).is_file():
        return LORA
    if any((folder / name).is_file() for name in (files.SINGLE, files.INDEX)):
        return WHOLE
    if any((folder / name).is_file() for name in ("mm_projector.bin", "mm_projector_a.bin")):
        return BASE
    files.weight_files(folder)  # says what is wrong
    return WHOLE


def needs(folder: Path) -> list[str]:
    """Names of the other models that a folder builds on: its language model, its vision tower."""
    flat = files.read_config(folder)
    if official.family_of(flat) is None:
        return []
    form = form_of(folder)
    names = [_base_name(folder, flat)] if form != WHOLE else []
    tower = flat.get("mm_vision_tower")
    has_tower = form == WHOLE and any(name.startswith(_TOWER) for name in files.shapes_of(folder))
    return names + ([str(tower)] if tower is not None and not has_tower else [])


def gather(folder: str | Path, alpha: float | None = None) -> Published:
    """Config and all weights of a published folder, the pieces it leaves out read from where its config says.

    `alpha`: another strength for its LoRA, see `lora.blended`.
    Raises: UsageError for an `alpha` where there is no LoRA; CheckpointError when a piece is missing, with its name;
    PolicyError for a pickle of more than tensors.
    """
    folder = Path(folder)
    flat = files.read_config(folder)
    form = form_of(folder)
    if form == WHOLE:
        found = Published(form, flat, files.read_weights(folder), [folder], {"weights": str(folder)})
        found.notes += _left_aside(folder)
    else:
        found = _on_base(folder, flat, form)
    if form == BASE:
        _add_parts(found, folder)
    if form == LORA:
        _add_lora(found, folder, alpha)
    else:
        refuse_blend(alpha, str(folder))
    _add_towers(found, folder)
    _fit_vocabulary(found)
    return found


def _left_aside(folder: Path) -> Iterator[str]:
    beside = [name for name in PARTS if (folder / name).is_file()]
    if beside:
        yield f"{', '.join(beside)} not read: the weight files hold the same parts"


def _base_name(folder: Path, flat: Mapping[str, Any]) -> str:
    adapter = folder / _ADAPTER
    named = files.read_json(adapter).get("base_model_name_or_path") if adapter.is_file() else None
    name = named or flat.get("_name_or_path")
    if not name:
        raise CheckpointError("the folder holds a part only, and names no language model", where=str(folder),
                              remedy='Write its folder into config.json as "_name_or_path"')
    return str(name)


def _on_base(folder: Path, flat: dict[str, Any], form: str) -> Published:
    base = locate(_base_name(folder, flat), folder)
    if base.resolve() == folder.resolve():
        raise CheckpointError("the folder names itself as its language model", where=str(folder),
                              remedy='Give the base in config.json as "_name_or_path"')
    if official.family_of(files.read_config(base)) is not None:
        below = gather(base)
        weights, texts, notes = below.weights, [folder, *below.texts], below.notes
    else:
        weights, texts, notes = files.read_weights(base, old=True), [folder, base], []
    return Published(form, flat, weights, texts, {"language model": str(base)}, list(notes))


def _add_parts(found: Published, folder: Path) -> None:
    for name, prefix in PARTS.items():
        if (folder / name).is_file():
            found.weights |= _with_prefix(files.tensors_of(folder / name), prefix, folder / name)
            found.sources[prefix.strip(".")] = str(folder / name)


def _with_prefix(tensors: dict[str, Tensor], prefix: str, path: Path) -> dict[str, Tensor]:
    """Part files carry full keys; anything that is not of the part is no such file."""
    if other := sorted(key for key in tensors if not key.startswith(prefix)):
        raise CheckpointError(f"extra weight {other[0]!r}", where=str(path), remedy=f"Only {prefix}* belongs here")
    return tensors


def _add_lora(found: Published, folder: Path, alpha: float | None) -> None:
    rest = folder / _REST
    if rest.is_file():
        found.weights |= {_plain(key): value for key, value in files.tensors_of(rest).items()}
        found.sources["trained besides the adapter"] = str(rest)
    path = next((folder / name for name in ("adapter_model.safetensors", "adapter_model.bin")
                 if (folder / name).is_file()), None)
    if path is None:
        raise CheckpointError("no adapter_model.safetensors and no adapter_model.bin", where=str(folder),
                              remedy="Fetch the whole folder")
    changed = merge_adapter(found.weights, files.tensors_of(path), blended(files.read_json(folder / _ADAPTER), alpha),
                            str(folder / _ADAPTER))
    found.sources["adapter"] = str(path)
    found.notes.append(f"the adapter changed {len(changed)} weights")


def _plain(key: str) -> str:
    # As saved from inside the adapter's wrapper: base_model.model.model.mm_projector… is model.mm_projector…
    key = key.removeprefix("base_model.")
    return key.removeprefix("model.") if key.startswith(("model.model.", "model.lm_head.")) else key


def _add_towers(found: Published, folder: Path) -> None:
    name = found.flat.get("mm_vision_tower")
    if name is not None and not any(key.startswith(_TOWER) for key in found.weights):
        where = locate(str(name), folder)
        tower = {_TOWER + key: value for key, value in files.read_weights(where, old=True).items()
                 if key.startswith(_TOWER_PART) and not key.endswith(".position_ids")}
        if not tower:
            raise CheckpointError(f"no weight begins with {_TOWER_PART!r}", where=str(where),
                                  remedy="Give the folder of a CLIP or SigLIP model")
        found.weights |= tower
        found.sources["vision tower"] = str(where)
        if "vision_config" not in found.flat:
            found.flat["vision_config"] = official.tower_settings(files.read_config(where), str(name))
    audio = found.flat.get("mm_audio_tower")
    if audio is not None and not any(key.startswith(_AUDIO_TOWER) for key in found.weights):
        path = locate(str(audio), folder)
        found.weights |= _with_prefix(files.tensors_of(path), _AUDIO_TOWER, path)
        found.sources["audio tower"] = str(path)


def _fit_vocabulary(found: Published) -> None:
    """The table of words in the weights decides how many there are, not the config."""
    table = found.weights.get("model.embed_tokens.weight")
    said = found.flat.get("vocab_size")
    if table is not None and said != len(table):
        found.notes.append(f"config.json says vocab_size {said}, the weights hold {len(table)} words: the weights "
                           "decide")
        found.flat["vocab_size"] = len(table)


def owner(name: str) -> str:
    """The part that an official weight belongs to, for tables: language model, vision tower, projector …"""
    words = ((_TOWER, "vision tower"), (_AUDIO_TOWER, "audio tower"), ("model.mm_projector_a.", "audio projector"),
             ("model.mm_projector.", "projector"))
    return next((word for prefix, word in words if name.startswith(prefix)), "language model")
