"""A tiny model and tiny sources for the tests of training: a whole run takes a second."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from reelm.data.collate import Bad
from reelm.train import objectives
from reelm.train.disk import Disk
from reelm.train.loop import Loop
from reelm.train.objectives import Loss
from reelm.train.parallel import Ranks
from reelm.train.recipe import Recipe, Stage, recipe
from reelm.train.source import Mix

WIDTH = 8


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(WIDTH, WIDTH)
        self.drop = nn.Dropout(0.2)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.drop(torch.tanh(self.inner(x)))


class Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([Layer(), Layer()])

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


class Toy(nn.Module):
    """The parts of a real model by name: a frozen tower, a connector that only samples with a medium use, a decoder
    with drop-out."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.vision_tower = nn.Sequential(nn.Linear(4, WIDTH), nn.BatchNorm1d(WIDTH))
        self.connector = nn.Linear(WIDTH, WIDTH)
        self.language_model = Decoder()

    def get_decoder(self) -> Decoder:
        return self.language_model

    def forward(self, seen: Tensor, has: Tensor) -> Tensor:
        x = seen.new_ones(len(seen), WIDTH)
        if bool(has.any()):
            tokens = self.connector(self.vision_tower(seen[has]))
            x = x.index_add(0, has.nonzero().flatten(), tokens.to(x))
        return self.language_model(x)


class Points:
    """Numbers to be guessed; every third sample has no medium. `poison`: samples whose target is not finite."""

    def __init__(self, count: int = 22, poison: tuple[int, ...] = (), bad: tuple[int, ...] = ()) -> None:
        draw = torch.Generator().manual_seed(5)
        self.seen = torch.randn(count, 4, generator=draw)
        self.wanted = self.seen @ torch.randn(4, WIDTH, generator=draw)
        self.wanted[list(poison)] = float("nan")
        self.lost = bad

    def __len__(self) -> int:
        return len(self.seen)

    def __getitem__(self, index: int) -> Any:
        if index in self.lost:
            return Bad(index, f"p{index}", f"made:{index}", "lost on purpose", "MediaError")
        return {"id": f"p{index}", "seen": self.seen[index], "wanted": self.wanted[index], "has": index % 3 > 0}

    def length(self, index: int) -> int:
        return index % 5

    def collate(self, samples: list[Any]) -> dict[str, Any]:
        good = [one for one in samples if not isinstance(one, Bad)]
        batch: dict[str, Any] = {"ids": [one["id"] for one in good], "notes": [],
                                 "bad": [one for one in samples if isinstance(one, Bad)]}
        if good:
            batch |= {name: torch.stack([torch.as_tensor(one[name]) for one in good])
                      for name in ("seen", "wanted", "has")}
        return batch


def squares(model: nn.Module, batch: Any) -> Loss:
    """How far the guesses are off; as many items as numbers."""
    off = model(batch["seen"], batch["has"]) - batch["wanted"]
    return Loss(off.square().sum(), off.numel(), {"absolute": float(off.detach().abs().sum())})


if "squares" not in objectives.OBJECTIVES:
    objectives.objective("squares")(lambda: squares)

STAGES: list[dict[str, Any]] = [
    {"name": "first", "learn": {"connector": 1e-2}, "data": "points", "steps": 6, "batch": 4, "micro_batch": 2,
     "objective": "squares", "warmup": 0.2, "save_every": 2},
    {"name": "second", "learn": {"connector": 1e-3, "language_model": 1e-2}, "data": "points", "steps": 8, "batch": 4,
     "micro_batch": 2, "objective": "squares", "save_every": 3, "weight_decay": 0.1},
]


def toy_recipe(*stages: dict[str, Any], **fields: Any) -> Recipe:
    return recipe({"name": "toy", "model": "random", "seed": 3, "sources": {"points": {"records": "nowhere"}},
                   "stages": list(stages or STAGES), **fields})


def toy_loop(out: Path, told: Recipe | None = None, points: Points | None = None, *, disk: Disk | None = None,
             ranks: Ranks | None = None, watch: Callable[[Any], None] = lambda event: None,
             export: Any = None) -> Loop:
    made, samples = told or toy_recipe(), points or Points()

    def sources(stage: Stage) -> Mix:
        return Mix(stage, [samples], made.seed)

    return Loop(Toy(), made, sources, out, disk=disk, ranks=ranks, watch=watch, export=export)
