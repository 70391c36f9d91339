"""Learnt vectors that read a whole video: slots, queries that see more frames one after another, encoders in one."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from reelm.errors import UsageError


def slot_tokens(x: Tensor, slots: Tensor) -> Tensor:
    """One token for every slot: the mean of all tokens, weighted by softmax over tokens of token · slot.

    Slots of zero give plain means. There is no scale, no norm and one round only.

    Shapes: x [B,N,C], slots [C,S] to [B,S,C].
    Source: VTG-LLM (Guo et al. 2024) 3.2; equal to its recorded slots to 5e-5, tests/kernels/test_attending.py.
    """
    return (x @ slots).softmax(1).mT @ x


def frames_seen(queries: int, frames: int) -> Tensor:
    """How many frames each query sees, rising to all of them: ceil(q · frames / queries) for q = 1, 2, …: int64 [Q].

    Raises: UsageError without queries or frames.
    Source: Video-CCAM (Fei et al. 2024), after a description: its public code never defines the mask.
    """
    if queries < 1 or frames < 1:
        raise UsageError(f"{queries} queries cannot read {frames} frames", where="attending",
                         remedy="Give at least one of each")
    return -(-torch.arange(1, queries + 1) * frames // queries)


def frame_mask(queries: int, frames: int, per_frame: int) -> Tensor:
    """True where a query may look: the tokens of its first `frames_seen` frames, bool [Q,T·N].

    Equal to the mask recorded from the formula, tests/kernels/test_attending.py.
    """
    frame_of = torch.arange(frames).repeat_interleave(per_frame)
    return frame_of < frames_seen(queries, frames)[:, None]


def encoder_shares(query: Tensor, keys: Tensor) -> Tensor:
    """How much each encoder counts: softmax(query · key / sqrt(d)), [B,E].

    Shapes: query [d] or [B,d], keys [B,E,d].
    Source: MERV (Chung et al. 2025) 3.3; equal to its recorded weights to 5e-6, tests/kernels/test_attending.py.
    """
    return ((keys * query[..., None, :]).sum(-1) / math.sqrt(keys.shape[-1])).softmax(-1)


def blended(values: Tensor, encoder_share: Tensor) -> Tensor:
    """The tokens of several encoders in one: values [B,E,N,D] weighted by [B,E] (or [1,E]), [B,N,D]."""
    return (values * encoder_share[..., None, None]).sum(1)


def local_frames(frames: int, picks: int, *, as_released: bool = False) -> Tensor:
    """The frames that keep their details: the middle of each of `picks` equal segments, int64 [picks].

    `as_released` rounds as ST-LLM does, int(s / 2 + round(s · i)) for segments of s frames, which may point behind the
    last frame when there are more picks than frames (8 frames, 16 picks: the last is 8).

    Raises: UsageError without frames or picks.
    Source: ST-LLM (Liu et al. 2024) 3.2; the same frames, tests/kernels/test_attending.py.
    """
    if frames < 1 or picks < 1:
        raise UsageError(f"cannot pick {picks} of {frames} frames", where="attending",
                         remedy="Give at least one of each")
    segment = frames / picks
    at = (segment / 2 + (torch.arange(picks, dtype=torch.float64) * segment).round()).long()
    return at if as_released else at.clamp(max=frames - 1)


def global_local(x: Tensor, frames: Tensor, down: tuple[Tensor, Tensor], up: tuple[Tensor, Tensor]) -> Tensor:
    """Some frames, each with the same summary of all frames added token by token: Up(ReLU(Down(mean over time))).

    An `up` of zeros gives the frames alone.

    Shapes: x [B,T,N,D], frames int64 [R], down and up (weight, bias), to [B,R,N,D].
    Source: ST-LLM 3.2; equal to its recorded residual input to 1e-5, tests/kernels/test_attending.py.
    """
    summary = torch.nn.functional.linear(torch.nn.functional.linear(x.mean(1), *down).relu(), *up)
    return x[:, frames] + summary[:, None]


def filled_times(table: Tensor, trained: Tensor) -> Tensor:
    """A table of times whose untrained rows lie linearly between the trained neighbours, constant outside them.

    Shapes: table [S,C], trained bool [S]; at least one row must be trained.
    Raises: UsageError when none is.
    Source: VTG-LLM 3.1. Differs: its released code gives the nearer neighbour the smaller weight.
    """
    known = trained.nonzero()[:, 0]
    if not len(known):
        raise UsageError("no time was trained, so none can be filled in", where="attending",
                         remedy="Use the table as it is")
    places = torch.arange(len(table), device=table.device)
    after = torch.searchsorted(known, places).clamp(max=len(known) - 1)
    high = known[after]
    low = torch.where(high <= places, high, known[(after - 1).clamp(min=0)])
    span = (high - low).clamp(min=1)
    share = ((places - low).clamp(min=0) / span).clamp(max=1).to(table.dtype)[:, None]
    return table[low] * (1 - share) + table[high] * share
