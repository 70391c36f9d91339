"""The sound tower of reelm-tiny, trained from nothing: `python -m reelm.train.sounds RECIPE --out DIR`.

Each patch of time learns the name of what is heard in it, whether its pitch rises or falls and whether it gets louder
or softer. What comes out is the tower alone, `sound_tower.safetensors`. Started again with the same --out it goes on.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from reelm import registry
from reelm.data.recordings import recordings
from reelm.data.tracks import MEDLEY, NAMES, slots, track, wave
from reelm.parts.encoders.fbank import BINS, kaldi_fbank
from reelm.train.loop import rate_share
from reelm.train.recipe import FreshSettings, Recipe, TowerSettings, read
from reelm.train.world import SOUND_TOWER

#: choices of each fact; a patch in which nothing is heard has the last name.
CHOICES = {"name": len(NAMES) + 1, "pitch": 3, "level": 3}


@dataclass(frozen=True)
class Patches(Dataset[tuple[Tensor, dict[str, Tensor]]]):
    """Batch b: filter banks [B,K,128] of tracks of one length, and what each patch of time holds, [B,T] per fact."""

    seed: int
    stage: TowerSettings
    takes: dict[str, list[np.ndarray]]

    def __len__(self) -> int:
        return self.stage.steps

    def __getitem__(self, at: int) -> tuple[Tensor, dict[str, Tensor]]:
        rng = np.random.default_rng([self.seed, at, 41])
        seconds = float(rng.uniform(2.8, 5.0))
        banks, told = [], []
        for _ in range(self.stage.batch):
            script = MEDLEY if rng.random() < 0.7 else None
            of = replace(track(int(rng.integers(2**62)), script), seconds=seconds)
            banks.append(kaldi_fbank(wave(of, self.takes) * np.float32(10 ** rng.uniform(-0.6, 0.1))))
            told.append(slots(of, len(banks[-1]) // 16))
        facts = {fact: torch.from_numpy(np.stack([t[fact] for t in told])) for fact in CHOICES}
        facts["name"] = torch.where(facts["name"] < 0, len(NAMES), facts["name"])
        return torch.from_numpy(np.stack(banks)), facts


class Namer(nn.Module):
    """The tower with a linear choice per fact on every patch of time."""

    def __init__(self, encoder: dict[str, Any]) -> None:
        super().__init__()
        self.tower: Any = registry.build("encoder", encoder)
        self.bands = BINS // encoder.get("input_patch_size", 16)
        self.heads = nn.ModuleDict({f: nn.Linear(encoder["encoder_embed_dim"], n) for f, n in CHOICES.items()})

    def forward(self, banks: Tensor) -> dict[str, Tensor]:
        """[B,K,128] to scores [B,T,choices] per fact."""
        features = self.tower(banks).unflatten(1, (-1, self.bands)).mean(2)
        return {fact: head(features) for fact, head in self.heads.items()}


def loss_of(scores: dict[str, Tensor], facts: dict[str, Tensor]) -> Tensor:
    """Cross entropy of every fact; where nothing is heard only the name counts."""
    return sum(((1.0 if fact == "name" else 0.3) * F.cross_entropy(scores[fact].flatten(0, 1), facts[fact].flatten(),
               ignore_index=-1) for fact in CHOICES), torch.zeros(()))


def hits(scores: dict[str, Tensor], facts: dict[str, Tensor]) -> dict[str, float]:
    """Share of patches with the right choice, silent ones left out."""
    there = facts["name"] < len(NAMES)
    return {fact: round(float((s.argmax(-1) == facts[fact])[there].float().mean()), 3) for fact, s in scores.items()}


def _keep(path: Path, state: dict[str, Any]) -> None:
    part = path.with_suffix(".part")
    torch.save(state, part)
    os.replace(part, path)


def train(recipe: Recipe, out: Path, workers: int = 1) -> Path:
    """Trains the tower from wherever its saved state stands; gives the path of its weights."""
    weights = out / SOUND_TOWER
    assert isinstance(recipe.model, FreshSettings) and recipe.model.sound_tower and recipe.model.audio
    stage = recipe.model.sound_tower
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(recipe.seed)
    namer = Namer(recipe.model.audio["encoder"])
    optimizer = torch.optim.AdamW(namer.parameters(), lr=stage.rate, betas=(0.9, 0.98), weight_decay=0.02)
    kept, step = out / "sounds.pt", 0
    if kept.is_file():
        state = torch.load(kept, weights_only=True)
        namer.load_state_dict(state["namer"])
        optimizer.load_state_dict(state["optimizer"])
        step = state["step"]
    patches = Patches(recipe.seed, stage, recordings(lambda text: print(text, file=sys.stderr)))
    began, first = time.monotonic(), step
    for banks, facts in DataLoader(patches, batch_size=None, sampler=range(step, stage.steps), num_workers=workers):
        for group in optimizer.param_groups:
            group["lr"] = stage.rate * rate_share(step, stage.steps, stage)
        scores = namer(banks)
        loss = loss_of(scores, facts)
        loss.backward()
        nn.utils.clip_grad_norm_(namer.parameters(), stage.clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        step += 1
        if step % 20 == 0 or step == stage.steps:
            rate = (step - first) * stage.batch / (time.monotonic() - began)
            said = {"step": step, "loss": round(loss.item(), 4), "tracks_per_s": round(rate, 1), **hits(scores, facts)}
            with (out / "sounds.jsonl").open("a") as log:
                log.write(json.dumps(said) + "\n")
            print(json.dumps(said), file=sys.stderr, flush=True)
        if step % stage.save_every == 0 or step == stage.steps:
            _keep(kept, {"namer": namer.state_dict(), "optimizer": optimizer.state_dict(), "step": step})
    save_file({k: v.contiguous() for k, v in namer.tower.state_dict().items()}, weights, {"format": "pt"})
    if not math.isfinite(sum(float(v.abs().sum()) for v in namer.tower.state_dict().values())):
        raise ValueError("the sound tower is not finite")
    return weights


def main() -> None:
    """The command line of this module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args()
    print(train(read(given.recipe), given.out, given.workers))


if __name__ == "__main__":
    main()
