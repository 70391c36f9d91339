"""Where one scene of a video ends and the next begins."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from reelm.errors import UsageError


def neighbour_likeness(x: Tensor) -> Tensor:
    """The cosine of every frame of x [T,C] with the next: [T-1]."""
    unit = F.normalize(x, dim=-1)
    return (unit[:-1] * unit[1:]).sum(-1)


def _climbed(likeness: Tensor) -> Tensor:
    """The likeness reached by climbing to the left from every place for as long as it does not fall."""
    places = torch.arange(len(likeness), device=likeness.device)
    falls = torch.ones_like(places, dtype=torch.bool)
    falls[1:] = likeness[:-1] < likeness[1:]
    return likeness[torch.where(falls, places, 0).cummax(0).values]


def depths(likeness: Tensor) -> Tensor:
    """How deep the dip at every place is, seen from the hills on both sides: left + right - 2·here, [T-1]."""
    return _climbed(likeness) + _climbed(likeness.flip(0)).flip(0) - 2 * likeness


def scene_frames(ends: list[int], most: int = 8) -> list[list[int]]:
    """The frames that stand for each scene, at most `most`: all, or evenly from the first to the last, fractions cut.

    Raises: UsageError for a `most` below 1.
    Source: VideoLLaMB 3.1.
    """
    if most < 1:
        raise UsageError(f"a scene cannot be {most} frames", where="scenes", remedy="Keep at least one")
    starts = [0, *(end + 1 for end in ends[:-1])]
    picked = []
    for start, end in zip(starts, ends, strict=True):
        count = min(most, end - start + 1)
        picked.append([start + i * (end - start) // max(count - 1, 1) for i in range(count)])
    return picked


def scene_ends(x: Tensor, *, alpha: float | None = None, cuts: int | None = None, most: int = 15,
               as_released: bool = False) -> list[int]:
    """The last frame of each scene, rising; the last frame of the video is always there.

    Cuts are where the dip exceeds mean + alpha · standard deviation (at most the `most` deepest), or the `cuts` deepest
    dips. Of equal dips the earlier wins, and a place without a dip is no cut; `as_released` takes such places too when
    there are fewer than `cuts` dips, as VideoLLaMB does.

    Shapes: x [T,C], one vector per frame.
    Raises: UsageError unless exactly one of alpha and cuts is given, or without frames.
    Source: VideoLLaMB (Wang et al. 2024) 3.1, SceneTilling; the same ends, tests/kernels/test_scenes.py.
    """
    if (alpha is None) == (cuts is None):
        raise UsageError(f"scenes need either alpha or cuts, got {alpha} and {cuts}", where="scenes",
                         remedy="Give one of them")
    if not len(x):
        raise UsageError("no frames, so no scenes", where="scenes", remedy="Give at least one frame")
    depth = depths(neighbour_likeness(x))
    order = depth.argsort(descending=True, stable=True)
    if alpha is not None:
        # One dip has no spread, and a threshold that is not a number cuts nothing.
        limit = depth.mean() + alpha * (depth.std() if len(depth) > 1 else torch.nan)
        chosen = order[depth[order] > limit][:most]
    else:
        chosen = order[:cuts]
    if not as_released:
        chosen = chosen[depth[chosen] > 0]
    return [*sorted(chosen.tolist()), len(x) - 1]
