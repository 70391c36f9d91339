"""Features of the frozen picture tower, drawn and encoded once and kept on disk.

The tower costs most of a training step on a small machine and never changes, so every clip is drawn and encoded once. A
shard holds the clips of SHARD_CLIPS consecutive indices; features are stored as bytes, since ReLU6 bounds them to 0..6.
Shards are written whole or not at all, so several processes may fill one folder and a kill loses one shard at most.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from reelm.data.world import Scene, midpoints, render, scene
from reelm.data.worn import worn
from reelm.types import Frames

if TYPE_CHECKING:
    from reelm.model.processing import ReelmProcessor

SHARD_CLIPS = 64
#: Share of training scenes of each plot; parades and crowds are harder, so they come more often.
PLOT_SHARES = {"still": 0.12, "move": 0.2, "enter": 0.08, "leave": 0.08, "crowd": 0.2, "parade": 0.2, "pair": 0.12}
#: ReLU6 output 0..6 as a byte.
_BYTE = 255 / 6


def drawn(seed: int, index: int, frames: int, plot: str | None = None) -> tuple[Scene, np.ndarray]:
    """Training scene `index` of the run `seed`, only seen combinations, and the moments 0..1 it is looked at."""
    rng = np.random.default_rng([seed, index, 5])
    plot = plot or str(rng.choice(list(PLOT_SHARES), p=list(PLOT_SHARES.values())))
    staged = scene(int(rng.integers(2**62)), plot)
    return staged, np.clip(midpoints(frames) + rng.uniform(-0.02, 0.02), 0, 0.999)


def pixels(processor: ReelmProcessor, staged: Scene, at: np.ndarray, seed: int) -> tuple[Tensor, Tensor]:
    """Every distinct picture of a clip once, prepared for the tower, and which of them each moment shows.

    Shapes: pixels [U,3,S,S] float32, index int64 [T]. Many scenes stand still for a while, so U is often below T.
    """
    states = [tuple(actor.at(float(u)) for actor in staged.actors) for u in at]
    distinct = list(dict.fromkeys(states))
    rng = np.random.default_rng([staged.seed, seed])
    rgb = worn(render(staged, [float(at[states.index(s)]) for s in distinct]), rng)
    count = len(distinct)
    seen = Frames(np.ascontiguousarray(rgb.transpose(0, 3, 1, 2)), np.arange(count, dtype=float), np.zeros(count, bool))
    return processor.pixels(seen), torch.tensor([distinct.index(s) for s in states])


@dataclass(frozen=True)
class Features:
    """The stored clips of a run: `clip(i)` gives the tower's output for training scene i.

    `plot` fixes the plot of all scenes; None draws it by PLOT_SHARES."""

    folder: Path
    seed: int
    frames: int
    plot: str | None = None

    def scene(self, index: int) -> tuple[Scene, np.ndarray]:
        """Training scene `index` and its moments."""
        return drawn(self.seed, index, self.frames, self.plot)

    def clip(self, index: int) -> Tensor:
        """Features float32 [T, h·w, D] of training scene `index`."""
        shard, at = divmod(index, SHARD_CLIPS)
        with safe_open(self.folder / f"{shard:06d}.safetensors", "pt") as stored:
            shown = stored.get_slice("index")[at]
            low, high = int(shown.min()), int(shown.max()) + 1
            return (stored.get_slice("features")[low:high].float() / _BYTE)[shown - low]


def whole_shard(folder: Path, shard: int, make: Callable[[], dict[str, Tensor]]) -> Path:
    """The path of a shard, which is made and written first unless it is there: whole or not at all."""
    path = folder / f"{shard:06d}.safetensors"
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    made = make()
    part = path.with_suffix(f".{os.getpid()}.part")
    save_file(made, part)
    os.replace(part, path)
    return path


@torch.inference_mode()
def write_shard(tower: nn.Module, processor: ReelmProcessor, into: Features, shard: int) -> Path:
    """Draws, encodes and stores the clips of one shard; gives its path back, at once if it is there already."""

    def make() -> dict[str, Tensor]:
        features, index, first = [], [], 0
        for clip in range(shard * SHARD_CLIPS, (shard + 1) * SHARD_CLIPS):
            prepared, shown = pixels(processor, *into.scene(clip), into.seed)
            features.append((tower(prepared) * _BYTE).round().clamp(0, 255).to(torch.uint8))
            index.append(shown + first)
            first += len(prepared)
        return {"features": torch.cat(features), "index": torch.stack(index)}

    return whole_shard(into.folder, shard, make)
