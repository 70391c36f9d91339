"""Training samples from the synthetic world: pure functions of (seed, index), so a run can go on from anywhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from reelm.data.features import Features
from reelm.data.questions import ask, types_of
from reelm.data.varied import varied
from reelm.data.world import Scene
from reelm.model.processing import Sketch
from reelm.types import Message

if TYPE_CHECKING:
    from reelm.model.processing import ReelmProcessor
    from reelm.parts.layouts.turns import Laid

#: A parade can be asked several different questions of these types.
_REPEATED = ("order", "order", "before")


def conversation(staged: Scene, medium: Any, seed: int, turns: int) -> list[Message]:
    """Up to `turns` questions about a scene with their answers; a caption comes first or last, never in between.

    A caption gives away what later questions ask, so it mostly comes last.
    """
    rng = np.random.default_rng([staged.seed, seed, 6])
    types = [t for t in types_of(staged) if t != "caption"]
    types += _REPEATED if staged.plot == "parade" else ()
    types = [str(t) for t in rng.permutation(types)][: turns - 1]
    types = ["caption", *types[:1]] if rng.random() < 0.2 else [*types, "caption"]
    messages: list[Message] = []
    for i, kind in enumerate(types):
        question = ask(staged, kind, seed=int(rng.integers(2**31)))
        asked: tuple[Any, ...] = (medium, question.text) if i == 0 else (question.text,)
        messages += [Message("user", asked), Message("assistant", (question.answer,))]
    return messages


@dataclass(frozen=True)
class WorldSamples(Dataset[dict[str, Any]]):
    """Sample i of `order`: the stored features of a clip in one of its four variants, its scene, and what is asked.

    With `turns` 0 nothing is asked; the sample has no text then.
    """

    processor: ReelmProcessor
    features: Features
    order: tuple[int, ...]
    turns: int = 4

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, at: int) -> dict[str, Any]:
        features, staged, moments = self._variant(at, self.features.clip(self.order[at]))
        sample = {"features": features, "scene": staged, "moments": moments}
        if not self.turns:
            return sample
        laid = self._laid(staged, at)
        return sample | {"input_ids": torch.tensor(laid.ids), "labels": torch.tensor(laid.labels),
                         "mm_token_type_ids": torch.tensor(laid.kinds)}

    def length(self, at: int) -> int:
        """Tokens of sample `at`, without reading its features."""
        nothing = torch.zeros(1, 1, 3 * self._thumbnail**2)
        return len(self._laid(self._variant(at, nothing)[1], at).ids) if self.turns else 0

    @property
    def _thumbnail(self) -> int:
        settings = self.processor.vision_settings
        return int(settings.encoder.get("thumbnail", 0)) if settings else 0

    def _variant(self, at: int, features: Tensor) -> tuple[Tensor, Scene, np.ndarray]:
        rng = np.random.default_rng([self.features.seed, at, 8])
        return varied(features, *self.features.scene(self.order[at]), rng, self._thumbnail)

    def _laid(self, staged: Scene, at: int) -> Laid:
        asked = conversation(staged, Sketch(frames=self.features.frames), at, self.turns)
        return self.processor.plan(asked, labels=True).laid


class LengthBatches(Sampler[list[int]]):
    """Batches of samples of similar length, so that little is padded: a pure function of the samples.

    Samples are taken in order, `group` batches at a time, sorted by length inside the group; the first `skip` batches
    are left out (they are done already).
    """

    def __init__(self, samples: WorldSamples, batch: int, skip: int = 0, group: int = 2) -> None:
        self.samples, self.batch, self.skip, self.group = samples, batch, skip, group

    def __len__(self) -> int:
        return len(self.samples) // self.batch - self.skip

    def __iter__(self) -> Iterator[list[int]]:
        size = self.batch * self.group
        for first in range(self.skip // self.group * size, len(self.samples), size):
            at = range(first, min(first + size, len(self.samples)))
            ranked = sorted(at, key=self.samples.length)
            cuts = [ranked[i:i + self.batch] for i in range(0, len(ranked), self.batch)]
            number = first // self.batch
            for i in np.random.default_rng(first).permutation(len(cuts)):
                number += 1
                if number > self.skip:
                    yield cuts[int(i)]


def collate(samples: list[dict[str, Any]], pad_id: int) -> dict[str, Any]:
    """One right-padded batch: features [B,T,h·w,D], scenes, moments; with text also ids, labels, kinds, mask [B,S].

    Labels are -100 where nothing is learnt.
    """
    batch: dict[str, Any] = {"features": torch.stack([s["features"] for s in samples]),
                             "scenes": [s["scene"] for s in samples], "moments": [s["moments"] for s in samples]}
    if "input_ids" not in samples[0]:
        return batch
    length = max(len(s["input_ids"]) for s in samples)

    def padded(name: str, fill: int) -> Tensor:
        rows = [torch.nn.functional.pad(s[name], (0, length - len(s[name])), value=fill) for s in samples]
        return torch.stack(rows)

    real = torch.tensor([len(s["input_ids"]) for s in samples])
    return batch | {"input_ids": padded("input_ids", pad_id), "labels": padded("labels", -100),
                    "mm_token_type_ids": padded("mm_token_type_ids", 0),
                    "attention_mask": (torch.arange(length)[None] < real[:, None]).long()}
