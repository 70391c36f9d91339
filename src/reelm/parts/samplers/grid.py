"""The `grid` sampler: several frames of a clip side by side in one picture."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field

from reelm.config import PartConfig
from reelm.kernels.tiling import square_grid, tiled
from reelm.parts.base import Sampler
from reelm.parts.samplers.uniform import frame_times, uniform_indices
from reelm.registry import part
from reelm.types import Frames, MediaInfo

#: The colour of cells that no frame fills.
WHITE = 255


def grid_indices(count: int, frames: int) -> np.ndarray:
    """The released choice: every (count // frames)-th frame from the first on, at most `frames`; never the end."""
    return np.arange(0, count, max(count // frames, 1), dtype=np.int64)[:frames]


@part("sampler", "grid")
class Grid(Sampler):
    """`frames` frames spread evenly over the clip, tiled into one picture that stands for all of it.

    As many columns as the root of `frames`, rounded, in reading order: six stand in two columns and three rows.

    The picture has the mean time of its frames.

    Raises: MediaError for a clip without pictures.
    Source: IG-VLM `create_grid_view`; recorded grids and indices are equal, tests/systems/test_ig_vlm.py.
    Differs: the released choice leaves about the last `1 / frames` of a clip out; here the middles of equal stretches
    are taken, and `as_released` does as released. A clip's frames are all of one size, so none is resized.
    """

    class Config(PartConfig):
        frames: int = Field(default=6, ge=1)
        as_released: bool = False

    tiny: ClassVar[dict[str, Any]] = {"frames": 4}
    length = "fixed"
    settings: Config

    def pick(self, info: MediaInfo, budget: int | None = None, question: str = "", look: Any = None) -> np.ndarray:
        times = frame_times(info, budget)
        n = self.settings.frames if budget is None else min(self.settings.frames, budget)
        indices = grid_indices(len(times), n) if self.settings.as_released else uniform_indices(len(times), n)
        return times[indices]

    def pictures(self, frames: int) -> int:
        return 1

    def arrange(self, frames: Frames) -> Frames:
        picture = tiled(torch.from_numpy(frames.rgb), square_grid(len(frames)), WHITE).numpy()
        return Frames(picture[None], frames.at_s.mean(keepdims=True), np.zeros(1, bool))
