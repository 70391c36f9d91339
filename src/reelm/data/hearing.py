"""What the frozen sound tower makes of training tracks, computed once and kept, as `features.py` does for pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import Tensor, nn

from reelm.data.features import whole_shard
from reelm.data.tracks import Recordings, Track, track, wave
from reelm.parts.encoders.fbank import kaldi_fbank

SHARD_TRACKS = 64
#: The first seed of training tracks; test tracks begin far above.
_FIRST_SEED = 1_000_000


@dataclass(frozen=True)
class Hearing:
    """The stored tracks of a run: `track(i)` describes training track i, `features(i)` is the tower's output in slots.

    `script` fixes the script of all tracks; None mixes them.

    Shapes: features [slots, D], the mean over frequency bands and over equal shares of time, as the `slots` connector
    begins with.
    """

    folder: Path
    seed: int
    slots: int
    script: str | None = None

    def track(self, index: int) -> Track:
        """Training track `index`."""
        return track(_FIRST_SEED * (self.seed + 1) + index, self.script)

    def features(self, index: int) -> Tensor:
        """Features float32 [slots, D] of training track `index`."""
        shard, at = divmod(index, SHARD_TRACKS)
        with safe_open(self.folder / f"{shard:06d}.safetensors", "pt") as stored:
            return stored.get_slice("features")[at].float()


def pooled(features: Tensor, bands: int, slots: int) -> Tensor:
    """Tower output [1, T·bands, D] as [slots, D]: the mean over bands, then over equal shares of time."""
    over_time = features.unflatten(1, (-1, bands)).mean(2).transpose(1, 2)
    return F.adaptive_avg_pool1d(over_time, slots)[0].T


@torch.inference_mode()
def write_tracks(tower: nn.Module, into: Hearing, shard: int, takes: Recordings) -> Path:
    """Renders, encodes and stores the tracks of one shard; gives its path back, at once if it is there already."""

    def make() -> dict[str, Tensor]:
        rows = []
        for index in range(shard * SHARD_TRACKS, (shard + 1) * SHARD_TRACKS):
            bank = torch.from_numpy(kaldi_fbank(wave(into.track(index), takes)))
            features = tower(bank[None])
            rows.append(pooled(features, features.shape[1] // (len(bank) // 16), into.slots).half())
        return {"features": torch.stack(rows)}

    return whole_shard(into.folder, shard, make)
