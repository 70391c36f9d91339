"""Which weights a stage lets learn, as groups for the optimiser and as a table for the reader."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from reelm.errors import UsageError
from reelm.train.recipe import PARTS, Stage

#: What no stage lets learn and no part holds, in the table.
OTHER = "other"
#: Where a model keeps its compressors.
_PLACES = {"before": "compressors", "after": "compressors"}


def part_of(name: str) -> str:
    """The part that a parameter belongs to, by its name in the model (inside an adapter's wrapper too)."""
    if "lora_" in name:
        return "adapters"
    words = [_PLACES.get(word, word) for word in name.split(".")]
    return next((part for part in PARTS if part in words), OTHER)


@dataclass(frozen=True)
class Row:
    """One part: how many of its weights learn, at which peak rate, and how many are frozen."""

    part: str
    learns: int
    frozen: int
    rate: float | None


def rows(model: nn.Module, stage: Stage) -> list[Row]:
    """What learns and what is frozen under a stage, part by part."""
    counts: dict[str, list[int]] = {}
    for name, parameter in model.named_parameters():
        part = part_of(name)
        counts.setdefault(part, [0, 0])[0 if _learns(name, stage) else 1] += parameter.numel()
    ordered = [part for part in (*PARTS, OTHER) if part in counts]
    rates: dict[str, float] = dict(stage.learn)  # type: ignore[arg-type]
    return [Row(part, counts[part][0], counts[part][1], rates.get(part)) for part in ordered]


def table(found: list[Row]) -> str:
    """The rows as text, one line a part and one for all."""
    whole = Row("in all", sum(row.learns for row in found), sum(row.frozen for row in found), None)
    return "\n".join(f"  {row.part:<16} learns {row.learns:>14,}   frozen {row.frozen:>14,}"
                     + (f"   rate {row.rate:g}" if row.rate is not None and row.learns else "")
                     for row in [*found, whole])


def open_parts(model: nn.Module, stage: Stage) -> list[dict[str, Any]]:
    """Lets the stage's parts learn and nothing else; the groups for the optimiser {params, part, peak, weight_decay}.

    Vectors (biases, scales of norms) do not decay. Norms over a batch keep their statistics: samples would otherwise
    depend on those beside them, and processes would drift apart.

    Raises: UsageError when a part that is to learn is not in the model.
    """
    opened: dict[tuple[str, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(_learns(name, stage))
        if parameter.requires_grad:
            opened.setdefault((part_of(name), parameter.dim() > 1), []).append(parameter)
    missing = [part for part in stage.learn if not any(key[0] == part for key in opened)]
    if missing:
        raise UsageError(f"{', '.join(missing)} is to learn, but the model has none", where=f"stage {stage.name}",
                         remedy="Give a model with this part, or leave it out of `learn`")
    _set_modes(model, stage)
    return [{"params": opened[part, matrix], "part": part, "peak": stage.learn[part],  # type: ignore[index]
             "weight_decay": stage.weight_decay if matrix else 0.0}
            for part in stage.learn for matrix in (True, False) if (part, matrix) in opened]


def _learns(name: str, stage: Stage) -> bool:
    # The frozen original that an adapter's wrapper keeps beside a part that it trains whole.
    return part_of(name) in stage.learn and "original_module" not in name.split(".")


def _set_modes(model: nn.Module, stage: Stage) -> None:
    """Training mode (drop-out, recomputation) where something learns; frozen parts as in use."""
    model.eval()
    for name, module in model.named_modules():
        part = part_of(f"{name}.")
        inside = part in stage.learn or (part in ("language_model", "adapters") and (
            stage.checkpointing or {"language_model", "adapters"} & set(stage.learn)))
        if inside and not isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.training = True
    # The library has renamed this; the older releases that are allowed know the older name only.
    word = "activation" if hasattr(model, "activation_checkpointing_enable") else "gradient"
    if stage.checkpointing:
        getattr(model, f"{word}_checkpointing_enable")({"use_reentrant": False})
    elif hasattr(model, f"{word}_checkpointing_disable"):
        getattr(model, f"{word}_checkpointing_disable")()


def named(model: nn.Module, learnt_by: tuple[Stage, ...]) -> Iterator[tuple[str, nn.Parameter]]:
    """The parameters that any of these stages changes: what a state of the run has to hold."""
    for name, parameter in model.named_parameters():
        if any(_learns(name, stage) for stage in learnt_by):
            yield name, parameter


def fingerprint(model: nn.Module) -> str:
    """A short digest of names, shapes and the first numbers of all weights: tells one base model from another."""
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        digest.update(f"{name}{tuple(value.shape)}".encode())
        digest.update(_head(value).numpy().tobytes())
    return digest.hexdigest()[:16]


def _head(value: Tensor) -> Tensor:
    return value.detach().flatten()[:64].to("cpu", torch.float32)
