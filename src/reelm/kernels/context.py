"""A frame as one token that the question asked for and a few that hold the rest (LLaMA-VID)."""

from __future__ import annotations

import math

from torch import Tensor

from reelm.errors import UsageError
from reelm.kernels.pooling import adaptive_pool, strided_grid, strided_pool

Content = int | None


def context_token(asked: Tensor, keys: Tensor, patches: Tensor) -> Tensor:
    """The patches of a frame, averaged by what the question's vectors look for.

    Every vector spreads one share over the patches, softmax(asked · key / sqrt(C)); the shares are averaged over the
    vectors. Keys of zero give the plain mean.

    Shapes: asked [B,M,C], keys and patches [B,N,C] to [B,1,C].
    Source: LLaMA-VID (Li et al. 2023) 3.2; equal to its recorded last stage to 5e-5, tests/kernels/test_context.py.
    """
    shares = (asked @ keys.mT / math.sqrt(keys.shape[-1])).softmax(-1).mean(1, keepdim=True)
    return shares @ patches


def content_count(side: int, grid: Content, *, as_released: bool = False) -> int:
    """How many tokens `content_tokens` gives for a frame of side × side patches.

    Raises: UsageError for a grid below 1 or above the side.
    """
    if grid is None:
        return side * side
    if not 1 <= grid <= side:
        raise UsageError(f"a frame of {side} × {side} patches has no content grid of {grid} × {grid}",
                         where="context", remedy=f"Choose 1 (their mean) to {side}, or all patches")
    if as_released and grid > 1:
        _, h, w = strided_grid((1, side, side), (1, side // grid, side // grid))
        return h * w
    return grid * grid


def content_tokens(patches: Tensor, grid: Content, *, as_released: bool = False) -> Tensor:
    """The patches of a frame as grid × grid means; 1 is the mean of all, None all patches.

    `as_released` pools with windows of side // grid, as LLaMA-VID does: where grid does not divide the side that gives
    more than grid² tokens (side 6 and grid 4 all 36).

    Shapes: patches [B,h,w,C], h = w, to [B,n,C], n = `content_count`.
    Raises: UsageError for a grid below 1 or above the side, or a frame that is not square.
    Source: LLaMA-VID 3.2; equal to its recorded last stage to 5e-5, tests/kernels/test_context.py.
    """
    side = patches.shape[1]
    if patches.shape[2] != side:
        raise UsageError(f"a frame of {side} × {patches.shape[2]} patches is not square", where="context",
                         remedy="Use an encoder with square pictures")
    content_count(side, grid, as_released=as_released)
    frames = patches[:, None]
    if grid is None:
        pooled = frames
    elif as_released and grid > 1:
        pooled = strided_pool(frames, (1, side // grid, side // grid))
    else:
        pooled = adaptive_pool(frames, (1, grid, grid))
    return pooled.flatten(1, 3)


def patches_of(features: Tensor, *, first_is_summary: bool | None = None) -> Tensor:
    """Features of a frame without the summary token (CLS) at their front, if there is one.

    None guesses from the count, as LLaMA-VID does: the first of an odd number is taken for a summary. That is wrong
    for a grid of an odd side.

    Shapes: [B,N,C] to [B,N,C] or [B,N-1,C].
    """
    drop = features.shape[1] % 2 == 1 if first_is_summary is None else first_is_summary
    return features[:, 1:] if drop else features
