"""What a stage minimises: functions from a model and a batch to a sum of losses and how many items it sums over."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reelm.data.collate import BESIDE
from reelm.errors import UsageError
from reelm.model.fuse import answer_logits

Batch = Mapping[str, Any]
#: Objectives with a module of their own, imported when a stage names one.
MODULES = {"dpo": "reelm.train.preference", "words": "reelm.train.world", "world_answers": "reelm.train.world"}


@dataclass(frozen=True)
class Loss:
    """`total`: the sum of the losses of a batch, to be differentiated; `count`: of how many items (answer tokens, or
    pairs, or samples). The loop divides by the count of the whole step, whatever passes and processes it is made of.

    `told`: further sums over the same items that the log should show as means.
    """

    total: Tensor
    count: float
    told: Mapping[str, float] = field(default_factory=dict)


Objective = Callable[[nn.Module, Batch], Loss]
#: kind -> what makes the objective from the other fields of a stage's `objective`.
OBJECTIVES: dict[str, Callable[..., Objective]] = {}


def objective(kind: str) -> Callable[[Callable[..., Objective]], Callable[..., Objective]]:
    """Registers what makes the objective `kind`; its keywords are the fields that a recipe may give."""

    def register(make: Callable[..., Objective]) -> Callable[..., Objective]:
        if kind in OBJECTIVES:
            raise UsageError(f"there is an objective {kind!r} already")
        OBJECTIVES[kind] = make
        return make

    return register


def build(settings: Mapping[str, Any]) -> Objective:
    """The objective that a stage names. Raises: UsageError for an unknown kind or field."""
    fields = dict(settings)
    kind = fields.pop("kind", None)
    if kind in MODULES:
        import_module(MODULES[kind])
    if kind not in OBJECTIVES:
        raise UsageError(f"no objective {kind!r}", remedy=f"Known: {', '.join(sorted({*OBJECTIVES, *MODULES}))}")
    try:
        return OBJECTIVES[kind](**fields)
    except TypeError as error:
        raise UsageError(f"objective {kind!r}: {error}") from None


def moved(value: Any, device: torch.device) -> Any:
    """A batch, or what is inside it, with its tensors on `device`."""
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=True)
    return {name: moved(one, device) for name, one in value.items()} if isinstance(value, Mapping) else value


def tokens_of(batch: Batch) -> float:
    """How many tokens the rows of a batch hold, padding left out; of preferences those of both replies."""
    mask, ids = batch.get("attention_mask"), batch.get("input_ids")
    if isinstance(mask, Tensor):
        return float(mask.shape[0] * mask.shape[-1] if mask.dim() > 2 else mask.sum())
    if isinstance(ids, Tensor):  # packed: no row is padded
        return float(ids.numel())
    return sum(tokens_of(one) for one in batch.values() if isinstance(one, Mapping))


@objective("next_token")
def next_token() -> Objective:
    """Cross-entropy of the next token where a label is; logits are made at those positions only."""

    def loss(model: nn.Module, batch: Batch) -> Loss:
        if "labels" not in batch:
            raise UsageError("the samples have no labels; preferences are learnt otherwise", where="next_token",
                             remedy="Write `objective: dpo` in this stage, or give it conversations")
        keep, following = answer_logits(batch["labels"])
        inputs = {name: value for name, value in batch.items() if name not in ("labels", *BESIDE)}
        logits = model(**inputs, use_cache=False, logits_to_keep=keep).logits
        return Loss(F.cross_entropy(logits.flatten(0, -2).float(), following, reduction="sum"), len(following))

    return loss
