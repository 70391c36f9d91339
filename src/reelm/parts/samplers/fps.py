"""The `fps` sampler: so many frames per second of the clip."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from pydantic import Field, model_validator

from reelm.config import PartConfig
from reelm.errors import MediaError, UsageError
from reelm.parts.base import Sampler
from reelm.parts.samplers.uniform import frame_times, uniform_indices
from reelm.registry import part
from reelm.types import MediaInfo

#: The published code keeps the first 32 frames and drops the rest.
RELEASED_LIMIT = 32


def fps_indices(count: int, fps: float, rate: float = 1.0) -> np.ndarray:
    """Indices of about `rate` frames per second of a clip of `count` frames at `fps`, rising.

    The step is the clip's fps over the rate, rounded down, at least 1 and at most `count`; the first index is half a
    step in.
    Raises: UsageError when `count` is below 1, or `fps` or `rate` is not above 0.
    """
    if count < 1 or fps <= 0 or rate <= 0:
        raise UsageError(f"cannot take {rate} frames per second of {count} frames at {fps} fps", where="fps")
    step = int(min(max(fps / rate // 1, 1), count))
    return np.arange(step // 2, count, step, dtype=np.int64)


@part("sampler", "fps")
class Fps(Sampler):
    """`fps` frames per second; with `max_frames` (or a budget) a longer clip is spread, not cut.

    `as_released` does as the published code does: everything after the 32nd frame is dropped.

    Raises: MediaError for a clip without pictures.
    Source: VideoLLaMA 2 `frame_sample`; every recorded index is equal, tests/parts/test_samplers.py.
    """

    class Config(PartConfig):
        fps: float = Field(default=1.0, gt=0)
        max_frames: int | None = Field(default=None, ge=1)
        as_released: bool = False

        @model_validator(mode="after")
        def _one_limit(self) -> Fps.Config:
            if self.as_released and self.max_frames is not None:
                raise ValueError("as_released cuts at 32 frames by itself, so it cannot be joined with max_frames")
            return self

    tiny: ClassVar[dict[str, Any]] = {"fps": 2.0, "max_frames": 5}
    settings: Config

    def pick(self, info: MediaInfo, budget: int | None = None, question: str = "", look: Any = None) -> np.ndarray:
        times = frame_times(info, budget)
        if info.fps <= 0 and len(times) > 1:
            raise MediaError(f"{len(times)} frames without a frame rate", where=info.source,
                             remedy="Use the uniform sampler, which needs none")
        indices = fps_indices(len(times), info.fps or 1.0, self.settings.fps)
        if self.settings.as_released:
            indices = indices[:RELEASED_LIMIT]
        limit = min((n for n in (self.settings.max_frames, budget) if n is not None), default=len(indices))
        if len(indices) > limit:
            indices = indices[uniform_indices(len(indices), limit)]
        return times[indices]
