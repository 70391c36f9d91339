"""Adapters added to the weights they belong to: LoRA, DoRA, and modules that were trained whole beside them.

The one way in which an adapter becomes part of a model, whoever wrote it: PEFT, the official training of VideoLLaMA 2,
or the training here. Asking needs no PEFT.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from reelm.errors import CheckpointError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

_NONE: tuple[Any, ...] = (None, False, [], {})
#: Settings of an adapter that change the formula, and the values under which it is the one below.
_PLAIN: dict[str, tuple[Any, ...]] = {
    "bias": ("none",), "fan_in_fan_out": (False,), "peft_type": ("LORA",), "lora_bias": (False,),
    # Other ways to begin change the base as well, so that what is stored fits no base that exists.
    "init_lora_weights": (True, False, "gaussian", "orthogonal"),
    **dict.fromkeys(("target_parameters", "trainable_token_indices", "layer_replication", "use_qalora", "use_bdlora",
                     "alora_invocation_tokens", "arrow_config", "kasa_config", "monteclora_config", "velora_config"),
                    _NONE)}
#: What PEFT writes before the name of every module.
_WRAPPER = "base_model.model."
_LOW, _HIGH, _MAGNITUDE = ".lora_A.weight", ".lora_B.weight", ".lora_magnitude_vector"
_REMEDY = "Adapter and base must belong together; fetch or reinstall both"


def merge_adapter(state: dict[str, Tensor], tensors: Mapping[str, Tensor], settings: Mapping[str, Any],
                  where: str = "adapter_config.json") -> list[str]:
    """Puts an adapter into the weights of `state` that it names, in place; the names of the changed weights.

    `tensors` and `settings` are those of PEFT's two files. A low-rank pair gives `W + s·B@A` with s = alpha / r (or
    alpha / sqrt(r)); with a magnitude m (DoRA) the rows of that sum are scaled to length m. Products are made in
    float32; a plain LoRA is added in the weight's own type. Modules trained whole (`modules_to_save`) take the place
    of the base's.

    Shapes: A [r, in], B [out, r], m [out], W [out, in].
    Raises: CheckpointError if the adapter names a weight that is not there or of another shape, half of a pair is
    missing, or its settings ask for another formula.
    """
    _refuse_unknown(settings, where)
    plain = {name.removeprefix(_WRAPPER): value for name, value in tensors.items()}
    whole = {name: value for name, value in plain.items() if ".lora_" not in name}
    pairs = sorted({name.rsplit(".lora_", 1)[0] for name in plain if ".lora_" in name})
    known = {f"{pair}{end}" for pair in pairs for end in (_LOW, _HIGH, _MAGNITUDE)}
    for name in plain:
        if name not in known and name not in whole:
            raise CheckpointError(f"weight {name!r} is no part of a LoRA or DoRA", where=where)
    for name, value in whole.items():
        _replace(state, name, value, settings, where)
    for pair in pairs:
        if bool(settings.get("use_dora")) != (f"{pair}{_MAGNITUDE}" in plain):
            raise CheckpointError(f"use_dora is {settings.get('use_dora')!r}, but {pair} has "
                                  f"{'no' if settings.get('use_dora') else 'a'} magnitude", where=where, remedy=_REMEDY)
        state[f"{pair}.weight"] = _changed(state, plain, pair, scale_of(settings, pair, where))
    return [*whole, *(f"{pair}.weight" for pair in pairs)]


def blended(settings: Mapping[str, Any], alpha: float | None) -> dict[str, Any]:
    """The settings of an adapter with another strength, W + (alpha / r)·B@A: 0 is the model under it.

    Source: PLLaVA, LoRA blended after training; logits agree with the recorded ones to 1e-4,
    tests/systems/test_pllava.py.
    Raises: UsageError for a DoRA, whose magnitudes belong to the strength it was trained with.
    """
    if alpha is None:
        return dict(settings)
    if settings.get("use_dora"):
        raise UsageError("a DoRA has no other strength than the one it was trained with", where="lora_alpha")
    trained = settings.get("lora_alpha")
    if settings.get("alpha_pattern") and trained:
        patterns = {name: value * alpha / trained for name, value in settings["alpha_pattern"].items()}
        return {**settings, "lora_alpha": alpha, "alpha_pattern": patterns}
    return {**settings, "lora_alpha": alpha}


def refuse_blend(alpha: float | None, where: str) -> None:
    """Raises UsageError where a strength is asked for, and the model has no LoRA that is merged while loading."""
    if alpha is not None:
        raise UsageError("lora_alpha changes the strength of a LoRA, and this model has none beside its weights",
                         where=where, remedy="Load the folder of the adapter itself, or leave lora_alpha out")


def scale_of(settings: Mapping[str, Any], name: str = "", where: str = "adapter_config.json") -> float:
    """What `B @ A` is multiplied by, for the module `name` of an adapter with these settings.

    Raises: CheckpointError for an adapter without its rank.
    """
    try:
        rank = _pattern(settings, "rank_pattern", name, settings["r"])
        alpha = _pattern(settings, "alpha_pattern", name, settings["lora_alpha"])
    except KeyError as error:
        raise CheckpointError(f"{error.args[0]} is missing", where=where) from None
    return float(alpha / (rank**0.5 if settings.get("use_rslora") else rank))


def _refuse_unknown(settings: Mapping[str, Any], where: str) -> None:
    for key, known in _PLAIN.items():
        if key in settings and settings[key] not in known:
            raise CheckpointError(f"{key} is {settings[key]!r}; only {known[0]!r} can be merged", where=where,
                                  remedy="Merge the adapter with the peft package, then load the merged folder")


def _pattern(settings: Mapping[str, Any], key: str, name: str, default: float) -> float:
    patterns = settings.get(key) or {}
    return next((value for pattern, value in patterns.items() if re.fullmatch(rf"(.*\.)?({pattern})", name)), default)


def _replace(state: dict[str, Tensor], name: str, value: Tensor, settings: Mapping[str, Any], where: str) -> None:
    modules = settings.get("modules_to_save") or ()
    owner = name.rpartition(".")[0]
    if not any(re.search(rf"{re.escape(module)}(\.|$)", owner) for module in modules):
        raise CheckpointError(f"weight {name!r} is no part of a LoRA, nor of modules_to_save {list(modules)}",
                              where=where)
    there = state.get(name)
    if there is None or there.shape != value.shape:
        shape = "is missing" if there is None else f"has shape {list(there.shape)}"
        raise CheckpointError(f"the adapter does not fit: {name} {shape} in the base, and {list(value.shape)} in the "
                              "adapter", where=where, remedy=_REMEDY)
    state[name] = value.to(there)


def _changed(state: Mapping[str, Tensor], adapter: Mapping[str, Tensor], pair: str, scale: float) -> Tensor:
    import torch

    try:
        weight = state[f"{pair}.weight"]
        change = scale * (adapter[pair + _HIGH].to(weight.device).float()
                          @ adapter[pair + _LOW].to(weight.device).float())
        magnitude = adapter.get(pair + _MAGNITUDE)
        if magnitude is None:
            return weight + change.to(weight.dtype)
        moved = weight.float() + change
        rows = magnitude.to(moved) / torch.linalg.norm(moved, dim=1)
        return (rows[:, None] * moved).to(weight.dtype)
    except KeyError as error:
        raise CheckpointError(f"the adapter does not fit: {error.args[0]} is missing", where=pair,
                              remedy=_REMEDY) from None
    except RuntimeError as error:
        raise CheckpointError(f"the adapter does not fit: {error}", where=pair, remedy=_REMEDY) from None
