"""Low-rank changes added to the weights they belong to."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from reelm.errors import CheckpointError

if TYPE_CHECKING:
    import torch

#: Settings of an adapter that change the formula, and the values under which it is `weight + scale · B @ A`.
_PLAIN: dict[str, tuple[Any, ...]] = {
    "bias": ("none",), "fan_in_fan_out": (False,), "use_dora": (False,), "modules_to_save": (None, []),
    "peft_type": ("LORA",)}


def scale_of(adapter: Mapping[str, Any], name: str = "", where: str = "adapter_config.json") -> float:
    """What `B @ A` is multiplied by, for the module `name` of an adapter with these settings.

    Raises: CheckpointError for an adapter that is more than a plain LoRA, or lacks its rank.
    """
    for key, known in _PLAIN.items():
        if key in adapter and adapter[key] not in known:
            raise CheckpointError(f"{key} is {adapter[key]!r}; only {known[0]!r} can be merged", where=where,
                                  remedy="Merge the adapter with the peft package, then load the merged folder")
    try:
        rank = _pattern(adapter, "rank_pattern", name, adapter["r"])
        alpha = _pattern(adapter, "alpha_pattern", name, adapter["lora_alpha"])
    except KeyError as error:
        raise CheckpointError(f"{error.args[0]} is missing", where=where) from None
    return float(alpha / (rank**0.5 if adapter.get("use_rslora") else rank))


def _pattern(adapter: Mapping[str, Any], key: str, name: str, default: float) -> float:
    patterns = adapter.get(key) or {}
    return next((value for pattern, value in patterns.items() if re.fullmatch(rf"(.*\.)?{pattern}", name)), default)


def merge_lora(state: dict[str, torch.Tensor], adapter: Mapping[str, torch.Tensor],
               scale: float | Mapping[str, float]) -> None:
    """Adds `scale · B @ A` to every weight of `state` that the adapter names, in place.

    The product is made in float32 and added in the weight's own type. `scale` may be given per module.

    Shapes: A [r, in], B [out, r]. Keys of the adapter: `<weight's module>.lora_A.weight` and `.lora_B.weight`.
    Raises: CheckpointError if the adapter names a weight that is not there, or half of a pair is missing.
    """
    if other := [key for key in adapter if ".lora_" not in key]:
        raise CheckpointError(f"weight {other[0]!r} is no part of a LoRA", where="the adapter")
    for name in sorted({key.rsplit(".lora_", 1)[0] for key in adapter}):
        key = f"{name}.weight"
        factor = scale if isinstance(scale, float | int) else scale[name]
        try:
            low, high = adapter[f"{name}.lora_A.weight"], adapter[f"{name}.lora_B.weight"]
            state[key] = state[key] + (factor * (high.float() @ low.float())).to(state[key].dtype)
        except KeyError as error:
            raise CheckpointError(f"the adapter does not fit: {error.args[0]} is missing", where=name,
                                  remedy="Adapter and base must belong together; fetch or reinstall both") from None
        except RuntimeError as error:
            raise CheckpointError(f"the adapter does not fit: {error}", where=name,
                                  remedy="Adapter and base must belong together; fetch or reinstall both") from None
