"""What a run will take, before it starts: what learns, samples and steps, memory, time, disk."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from reelm.errors import BudgetError
from reelm.model.memory import free_bytes
from reelm.train import learning, objectives
from reelm.train.launch import Trainee
from reelm.train.parallel import Task
from reelm.train.recipe import Recipe, Stage
from reelm.train.source import Mix

#: Bytes that one learning weight takes: itself, its gradient and two moments in float32.
PER_WEIGHT = 16


@dataclass(frozen=True)
class StagePlan:
    """One stage. `memory`: bytes for the weights at rest, for what learns, and what one pass holds for its gradient
    (measured). `state_bytes`, `export_bytes`: on disk. `seconds`: of all passes, from one that was made; without
    reading and decoding, which `read_s` says of one pass."""

    name: str
    steps: int
    samples: int
    batch: int
    passes: int
    rows: tuple[learning.Row, ...]
    tokens: int
    memory: dict[str, int]
    state_bytes: int
    export_bytes: int
    seconds: float
    read_s: float


@dataclass(frozen=True)
class Plan:
    """All stages, what is free, and what stands in the way, in sentences."""

    stages: tuple[StagePlan, ...]
    disk_bytes: int
    disk_free: int
    memory_free: int
    warnings: tuple[str, ...]


def plan(made: Trainee, out: Path, device: torch.device) -> Plan:
    """The plan of a recipe on this machine. One pass of every stage is really made, forward and backward; no weight
    changes.

    Raises: BudgetError when not even the weights fit.
    """
    recipe, free = made.recipe, free_bytes(device)
    at_rest = sum(one.nbytes for one in made.whole.parameters())
    if device.type != "cpu" and at_rest > free:
        raise BudgetError(f"the weights need {at_rest:,} bytes, {free:,} are free", where=str(device))
    made.whole.to(device)
    stages = tuple(_stage(made, stage, at, device) for at, stage in enumerate(recipe.stages))
    states = max(one.state_bytes for one in stages) * (recipe.keep + 1)
    disk, disk_free = states + sum(one.export_bytes for one in stages), _disk_free(out)
    warnings = []
    for one in stages:
        if (need := sum(one.memory.values()) - one.memory["weights"]) > free:
            warnings.append(f"stage {one.name} takes {need:,} bytes beside the weights, {free:,} are free")
    if disk > disk_free:
        warnings.append(f"the run writes up to {disk:,} bytes, {disk_free:,} are free on the disk")
    return Plan(stages, disk, disk_free, free, tuple(warnings))


def _stage(made: Trainee, stage: Stage, at: int, device: torch.device) -> StagePlan:
    learning.open_parts(made.whole, stage)
    mix = made.mix(stage)
    rows = tuple(learning.rows(made.whole, stage))
    learns = sum(row.learns for row in rows)
    began = perf_counter()
    batch = _first(mix)
    read_s = perf_counter() - began
    seconds, held = _measured(made, stage, batch, device) if batch["ids"] else (0.0, 0)
    steps = mix.steps()
    kept = sum(one.numel() for _, one in learning.named(made.whole, made.recipe.stages[:at + 1]))
    whole = sum(one.numel() for one in made.whole.parameters()) * made.dtype.itemsize
    return StagePlan(
        stage.name, steps, mix.epoch, stage.batch, stage.passes, rows, int(objectives.tokens_of(batch)),
        {"weights": sum(one.nbytes for one in made.whole.parameters()), "learning": learns * (PER_WEIGHT - 4),
         "pass": held}, kept * 4 + learns * 8, _export_bytes(made.recipe, stage, rows, whole, made.dtype.itemsize),
        seconds * steps * stage.passes, read_s)


def _export_bytes(recipe: Recipe, stage: Stage, rows: tuple[learning.Row, ...], whole: int, item: int) -> int:
    if not stage.export:
        return 0
    return whole if recipe.adapters is None else sum(row.learns for row in rows) * item


def _first(mix: Mix) -> dict[str, Any]:
    """The first pass of a stage; the fullest there is in the first step."""
    numbers = max(zip(range(mix.stage.passes), mix.passes(0, range(mix.stage.passes)), strict=False),
                  key=lambda pair: len(pair[1]))[1]
    return mix.source.collate([mix.source[index] for index in numbers])


def _measured(made: Trainee, stage: Stage, batch: dict[str, Any], device: torch.device) -> tuple[float, int]:
    """(seconds, bytes held for the gradient) of one pass; the faster of two, since the first also warms up."""
    task = Task(made.whole)
    task.objective = objectives.build(stage.objective)
    best, held = float("inf"), 0
    for _ in range(2):
        began = perf_counter()
        with _counting() as sizes, torch.autocast(device.type, torch.bfloat16, enabled=stage.dtype == "bfloat16"):
            total, _, _ = task(objectives.moved(batch, device))
        weights = {one.untyped_storage().data_ptr() for one in made.whole.parameters()}
        total.backward()
        best = min(best, perf_counter() - began)
        held = sum(size for place, size in sizes.items() if place not in weights)
        made.whole.zero_grad(set_to_none=True)
    return best, held


@contextmanager
def _counting() -> Iterator[dict[int, int]]:
    """Every stretch of memory that the forward pass keeps for the backward pass, once each."""
    sizes: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield sizes


def _disk_free(out: Path) -> int:
    place = out.resolve()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free
