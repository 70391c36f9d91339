"""What the picture tower already knows: its ImageNet names, taught to the connector without a single labelled picture.

Two kinds of clips with a name. `Rows`: features made from the rows of the tower's own classifier, for every one of its
1,000 names. `Photos`: photographs that a package ships, named by the tower's head. Both look like `Features` to the
samples: `clip(i)` and `scene(i)`, whose one actor has the name as its kind and stands where the thing is.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image as Picture
from safetensors import safe_open
from torch import Tensor

from reelm.data.features import SHARD_CLIPS, Features, whole_shard
from reelm.data.photographs import composed, training
from reelm.data.world import PHOTO, Actor, Scene, backdrop, midpoints, scene
from reelm.data.worn import worn
from reelm.types import Frames

if TYPE_CHECKING:
    from reelm.model.processing import ReelmProcessor
    from reelm.parts.encoders.efficientnet_lite import EfficientNetLite

_BYTE = 255 / 6
_SIDE_PX = 288
#: A photograph that the head is less sure of gets no name and is not used.
_SURE = 0.25
_STEPS = 12


@cache
def names() -> tuple[str, ...]:
    """The names of the tower's 1,000 classes, in order."""
    return tuple((files("reelm.data") / "imagenet_names.txt").read_text().split("\n")[:-1])


def named_scene(seed: int, name: str, side: float, centre: tuple[float, float]) -> Scene:
    """A still scene of one named thing."""
    actor = Actor(name, "", (0, 0, 0), side, centre, centre)
    return Scene(seed, PHOTO, (actor,), 4.0, (_SIDE_PX, _SIDE_PX), "flat", ((0, 0, 0), (0, 0, 0)))


def _place(rng: np.random.Generator) -> tuple[float, tuple[float, float]]:
    """How large and where: always whole inside the picture."""
    side = float(rng.uniform(0.45, 0.95))
    x, y = (float(rng.uniform(side / 2, 1 - side / 2)) for _ in range(2))
    return side, (x, y)


def towards(mean: Tensor, which: int, weight: Tensor, bias: Tensor, sure: float) -> Tensor:
    """What must be added to pooled features so that the classifier is `sure` of a class: [D].

    Each step goes along the class's row less the rows of what the classifier takes it for, and keeps features ≥ 0.
    """
    added = torch.zeros_like(mean)
    for _ in range(_STEPS):
        chances = (weight @ (mean + added) + bias).softmax(0)
        if chances[which] >= sure:
            break
        added = (mean + added + 0.6 * (weight[which] - chances @ weight)).clamp(min=0) - mean
    return added


@dataclass(frozen=True)
class Rows:
    """Clips made of classifier rows over the stored features of a set of drawn pictures.

    Shapes: clip [frames, h·w, D + 3·thumbnail²], every frame the same.
    """

    drawn: Features
    count: int
    weight: Tensor = field(repr=False)
    bias: Tensor = field(repr=False)
    frames: int = 8

    @property
    def seed(self) -> int:
        return self.drawn.seed

    def _picked(self, index: int) -> tuple[np.random.Generator, int, float, tuple[float, float]]:
        rng = np.random.default_rng([self.seed, index, 61])
        which = int(rng.integers(len(names())))
        return rng, which, *_place(rng)

    def scene(self, index: int) -> tuple[Scene, np.ndarray]:
        """The scene of clip `index` and its moments."""
        _, which, side, centre = self._picked(index)
        return named_scene(index, names()[which], side, centre), midpoints(self.frames)

    def clip(self, index: int) -> Tensor:
        """Features of clip `index`: a drawn picture in whose cells around the place the name is to be read."""
        rng, which, side, centre = self._picked(index)
        base = self.drawn.clip(int(rng.integers(self.count)))[0]
        width, cells = self.weight.shape[1], int(len(base) ** 0.5)
        inside = torch.from_numpy(box(cells, side, centre)).flatten()
        added = towards(base[:, :width].mean(0), which, self.weight, self.bias, float(rng.uniform(0.3, 0.9)))
        share = torch.from_numpy(rng.uniform(0.4, 1.6, int(inside.sum()))).float()[:, None] * len(base) / inside.sum()
        base = base.clone()
        base[inside, :width] = (base[inside, :width] + added * share).clamp(0, 6)
        return base.expand(self.frames, *base.shape)


def box(cells: int, side: float, centre: tuple[float, float]) -> np.ndarray:
    """The cells [cells, cells] whose middles lie in the inner four fifths of a square thing; at least one."""
    at = (np.arange(cells) + 0.5) / cells
    reach = max(0.4 * side, 0.5 / cells)
    rows, columns = np.abs(at - centre[1]) <= reach, np.abs(at - centre[0]) <= reach
    return rows[:, None] & columns[None]


@dataclass(frozen=True)
class Photos:
    """Photographs on drawn grounds, as stored features; `names.json` beside the shards says what the head saw."""

    folder: Path
    seed: int
    frames: int = 8

    def picked(self, index: int, count: int) -> tuple[int, float, tuple[float, float], np.random.Generator]:
        """Which of `count` photographs clip `index` shows, how large and where."""
        rng = np.random.default_rng([self.seed, index, 62])
        which = int(rng.integers(count))
        return which, *_place(rng), rng

    @property
    def known(self) -> list[dict[str, Any]]:
        """What was stored, in order: name, shard row, size and place of every photograph the head was sure of."""
        return _known(self.folder)

    def scene(self, index: int) -> tuple[Scene, np.ndarray]:
        """The scene of clip `index` and its moments."""
        told = self.known[index % len(self.known)]
        return named_scene(index, told["name"], told["side"], tuple(told["centre"])), midpoints(self.frames)

    def clip(self, index: int) -> Tensor:
        """Features of clip `index`: [frames, h·w, D], every frame the same."""
        shard, at = divmod(self.known[index % len(self.known)]["row"], SHARD_CLIPS)
        with safe_open(self.folder / f"{shard:06d}.safetensors", "pt") as stored:
            one = stored.get_slice("features")[at].float() / _BYTE
        return one.expand(self.frames, *one.shape)


@cache
def _known(folder: Path) -> list[dict[str, Any]]:
    told = [json.loads(line) for f in sorted(folder.glob("*.jsonl")) for line in f.read_text().splitlines()]
    return [t for t in told if t["sure"] >= _SURE]


@torch.inference_mode()
def write_photos(tower: EfficientNetLite, processor: ReelmProcessor, into: Photos, shard: int, stamps: Path) -> Path:
    """Sets, encodes, names and stores the photographs of one shard; at once if it is there already.

    `tower` has its classifier.
    """
    chosen = training(stamps)

    def make() -> dict[str, Tensor]:
        rows, told = [], []
        for index in range(shard * SHARD_CLIPS, (shard + 1) * SHARD_CLIPS):
            which, side, centre, rng = into.picked(index, len(chosen))
            stage = scene(int(rng.integers(2**62)), "still")
            behind = Picture.fromarray(np.clip(backdrop(stage), 0, 255).astype(np.uint8))
            ground = np.asarray(behind.resize((_SIDE_PX, _SIDE_PX)))
            rgb = composed(stamps / f"{chosen[which]}.png", _SIDE_PX, ground, side, centre)
            pictures = np.ascontiguousarray(worn(rgb[None], rng).transpose(0, 3, 1, 2))
            seen = Frames(pictures, np.zeros(1), np.zeros(1, bool))
            features = tower(processor.pixels(seen))
            chances = tower.classifier(features[:, :, : tower.classifier.in_features].mean(1)).softmax(-1)[0]
            best = int(chances.argmax())
            rows.append((features[0] * _BYTE).round().clamp(0, 255).to(torch.uint8))
            told.append({"row": index, "name": names()[best], "sure": float(chances[best]), "side": side,
                         "centre": centre, "photograph": chosen[which]})
        (into.folder / f"{shard:06d}.jsonl").write_text("".join(json.dumps(t) + "\n" for t in told))
        return {"features": torch.stack(rows)}

    return whole_shard(into.folder, shard, make)
