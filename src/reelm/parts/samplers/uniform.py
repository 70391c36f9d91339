"""The `uniform` sampler: a fixed number of frames, spread evenly over the clip."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from reelm.config import PartConfig
from reelm.errors import MediaError, UsageError
from reelm.parts.base import Sampler
from reelm.registry import part
from reelm.types import MediaInfo

Formula = Literal["midpoint", "linspace", "rounded_segments"]


def uniform_indices(count: int, n: int, formula: Formula = "midpoint") -> np.ndarray:
    """Indices of `n` of `count` frames, not falling; frames repeat when there are fewer than `n`.

    "midpoint": the middle of each of n equal segments (the current published rule). "linspace": from first to last
    frame, rounded down (June 2024). "rounded_segments": segment ends rounded, then their middle rounded down
    (June to August 2024, tag v1.0).
    Raises: UsageError when `count` or `n` is below 1.
    """
    if count < 1 or n < 1:
        raise UsageError(f"cannot take {n} of {count} frames", where="uniform")
    if formula == "linspace":
        return np.linspace(0, count - 1, n).astype(np.int64)
    segment = (count - 1) / n
    start, end = segment * np.arange(n), segment * np.arange(1, n + 1)
    if formula == "rounded_segments":
        return (np.round(start).astype(np.int64) + np.round(end).astype(np.int64)) // 2
    # The small push makes an exact half round up; without it numpy would round it to the even neighbour.
    return np.round((start + end) / 2 + 1e-6).astype(np.int64)


@part("sampler", "uniform")
class Uniform(Sampler):
    """`frames` frames spread evenly over the clip, or `budget` if that is fewer.

    Raises: MediaError for a clip without pictures.
    Source: VideoLLaMA 2 `frame_sample`; every recorded index is equal, tests/parts/test_samplers.py.
    """

    class Config(PartConfig):
        frames: int = Field(default=8, ge=1)
        formula: Formula = "midpoint"

    tiny: ClassVar[dict[str, Any]] = {"frames": 4}
    length = "free"
    settings: Config

    def pick(self, info: MediaInfo, budget: int | None = None, question: str = "", look: Any = None) -> np.ndarray:
        times = frame_times(info, budget)
        n = self.settings.frames if budget is None else min(self.settings.frames, budget)
        return times[uniform_indices(len(times), n, self.settings.formula)]


def frame_times(info: MediaInfo, budget: int | None) -> np.ndarray:
    """The clip's frame times, after checking that there are any and that the budget allows one."""
    if not info.frame_count:
        raise MediaError("there are no pictures to choose from", where=info.source,
                         remedy="Use a clip with pictures, or ask about the sound only")
    if budget is not None and budget < 1:
        raise UsageError(f"a budget of {budget} frames", where="sampler", remedy="Allow at least one frame")
    return np.asarray(info.frame_times_s, dtype=np.float64)
