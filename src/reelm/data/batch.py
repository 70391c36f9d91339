"""Training samples from the synthetic world: a pure function of (seed, index), so a run can go on from anywhere."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image as Picture
from torch import Tensor
from torch.utils.data import Dataset

from reelm.data.questions import ask, types_of
from reelm.data.world import midpoints, render, scene
from reelm.types import Frames, Message

if TYPE_CHECKING:
    from reelm.model.processing import ReelmProcessor

#: Share of training scenes of each plot; parades and crowds are harder, so they come more often.
PLOT_SHARES = {"still": 0.12, "move": 0.18, "enter": 0.09, "leave": 0.09, "crowd": 0.2, "parade": 0.2, "pair": 0.12}


@dataclass(frozen=True)
class WorldSamples(Dataset[dict[str, Any]]):
    """Sample `index` of the run `seed`: a clip with up to `turns` questions and answers, only seen combinations.

    Pixels come as uint8 [T,3,S,S], exactly what the encoder's `prepare` makes before it normalises.
    """

    processor: ReelmProcessor
    seed: int
    size: int
    frames: int = 8
    turns: int = 3

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> dict[str, Any]:
        rng = np.random.default_rng([self.seed, index, 5])
        plot = str(rng.choice(list(PLOT_SHARES), p=list(PLOT_SHARES.values())))
        staged = scene(int(rng.integers(2**62)), plot)
        at = np.clip(midpoints(self.frames) + rng.uniform(-0.02, 0.02), 0, 0.999)
        rgb = worn(render(staged, at), rng)
        seen = Frames(
            rgb=np.ascontiguousarray(rgb.transpose(0, 3, 1, 2)),
            at_s=at * staged.seconds,
            repeated=np.zeros(self.frames, bool),
        )
        turns: list[Message] = []
        for i, kind in enumerate(rng.permutation(types_of(staged))[: self.turns]):
            question = ask(staged, str(kind), seed=int(rng.integers(2**31)))
            turns += [
                Message("user", (seen, question.text) if i == 0 else (question.text,)),
                Message("assistant", (question.answer,)),
            ]
        batch = self.processor([turns], labels=True, add_generation_prompt=False)
        pixels = ((batch["pixel_values_videos"] + 1) * 127.5).round().to(torch.uint8)
        return {
            "input_ids": batch["input_ids"][0],
            "labels": batch["labels"][0],
            "mm_token_type_ids": batch["mm_token_type_ids"][0],
            "pixels": pixels,
        }


def worn(rgb: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The frames as a lossy file would give them: JPEG blocks, halved colour, other light. uint8 [T,H,W,3]."""
    if rng.random() < 0.3:
        gain, lift = rng.uniform(0.85, 1.12), rng.uniform(-12, 12)
        rgb = np.clip(rgb.astype(np.float32) * gain + lift, 0, 255).astype(np.uint8)
    if rng.random() < 0.2:
        height, width = rgb.shape[1:3]
        small = (int(width * rng.uniform(0.5, 0.9)), int(height * rng.uniform(0.5, 0.9)))
        rgb = np.stack(
            [
                np.asarray(
                    Picture.fromarray(f)
                    .resize(small, Picture.Resampling.BILINEAR)
                    .resize((width, height), Picture.Resampling.BILINEAR)
                )
                for f in rgb
            ]
        )
    if rng.random() < 0.5:
        quality = int(rng.integers(30, 95))
        rgb = np.stack([_jpeg(f, quality) for f in rgb])
    return rgb


def _jpeg(frame: np.ndarray, quality: int) -> np.ndarray:
    with io.BytesIO() as stream:
        Picture.fromarray(frame).save(stream, "JPEG", quality=quality)
        return np.asarray(Picture.open(stream).convert("RGB"))


def collate(samples: list[dict[str, Any]], pad_id: int) -> dict[str, Tensor]:
    """One right-padded batch: ids [B,S], labels [B,S] (-100 where nothing is learnt), mask [B,S], pixels [ΣT,3,S,S]."""
    length = max(len(s["input_ids"]) for s in samples)

    def padded(name: str, fill: int) -> Tensor:
        rows = [torch.nn.functional.pad(s[name], (0, length - len(s[name])), value=fill) for s in samples]
        return torch.stack(rows)

    real = torch.tensor([len(s["input_ids"]) for s in samples])
    return {
        "input_ids": padded("input_ids", pad_id),
        "labels": padded("labels", -100),
        "mm_token_type_ids": padded("mm_token_type_ids", 0),
        "attention_mask": (torch.arange(length)[None] < real[:, None]).long(),
        "pixels": torch.cat([s["pixels"] for s in samples]),
        "video_frames": torch.tensor([len(s["pixels"]) for s in samples]),
    }
