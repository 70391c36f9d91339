"""The `scene` sampler: every scene of a clip is seen, however short it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from reelm.config import PartConfig
from reelm.errors import UsageError
from reelm.kernels.scenes import scene_ends
from reelm.parts.base import Sampler
from reelm.parts.samplers.uniform import frame_times, uniform_indices
from reelm.registry import part
from reelm.types import Frames, MediaInfo

#: Pictures that are held at once while scenes are looked for, and the side they are shrunk to.
_AT_ONCE, _SIDE = 16, 8


@part("sampler", "scene")
class Scene(Sampler):
    """`frames` frames: one from every scene, the rest where scenes are long, each in the middle of its stretch.

    Scenes end where neighbouring pictures, of at most `peeks` that are looked at, differ more than `alpha` standard
    deviations above their mean; where there are more scenes than frames, the clearest cuts count.

    Cost: decodes `peeks` pictures first, sixteen at a time.
    Raises: MediaError for a clip without pictures; UsageError without a way to look at it.
    Source: VideoLLaMB's SceneTilling, held to its recorded cuts in tests/kernels/test_scenes.py.
    Differs: there it compares features of the tower; here pictures of 8 by 8, so that no tower has to run.
    """

    class Config(PartConfig):
        frames: int = Field(default=8, ge=1)
        peeks: int = Field(default=128, ge=2)
        alpha: float = 0.5

    tiny: ClassVar[dict[str, Any]] = {"frames": 4, "peeks": 10}
    length = "free"
    settings: Config

    def pick(self, info: MediaInfo, budget: int | None = None, question: str = "", look: Any = None) -> np.ndarray:
        times = frame_times(info, budget)
        if look is None:
            raise UsageError("the scene sampler has to look at the clip", where=info.source,
                             remedy="Pass look=reader.frames")
        n = self.settings.frames if budget is None else min(self.settings.frames, budget)
        peeks = uniform_indices(len(times), min(self.settings.peeks, len(times)))
        seen = small(times[peeks], look)
        ends = scene_ends(seen, alpha=self.settings.alpha, most=n - 1)
        starts = [0, *(int(peeks[end + 1]) for end in ends[:-1])]
        lengths = np.diff([*starts, len(times)])
        picked = [start + uniform_indices(length, count)
                  for start, length, count in zip(starts, lengths, seats(lengths, n), strict=True)]
        return times[np.concatenate(picked)]


def small(at_s: np.ndarray, look: Callable[[np.ndarray], Frames]) -> Tensor:
    """Pictures at these seconds, shrunk to 8 by 8 and flat: float32 [T, 192]."""
    found = []
    for start in range(0, len(at_s), _AT_ONCE):
        rgb = torch.from_numpy(look(at_s[start:start + _AT_ONCE]).rgb).float()
        found.append(F.adaptive_avg_pool2d(rgb, _SIDE).flatten(1))
    return torch.cat(found)


def seats(lengths: np.ndarray, n: int) -> np.ndarray:
    """How many of `n` frames each scene gets: one, and the rest in proportion to its length, largest parts first."""
    spare = n - len(lengths)
    exact = spare * lengths / lengths.sum()
    given = np.floor(exact).astype(np.int64)
    largest = np.argsort(given - exact, kind="stable")[:spare - given.sum()]
    given[largest] += 1
    return given + 1
