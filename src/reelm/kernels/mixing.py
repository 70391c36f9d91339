"""Tokens that learn of those before and after them in time linear in their number: a selective state space (Mamba)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

#: Tokens whose states exist at once; within such a run the recurrence takes log2 steps, between runs it is carried on.
_RUN = 128


def selective_scan(u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """The outputs y_t = c_t · h_t + d u_t of states h_t = exp(delta_t a) h_{t-1} + delta_t b_t u_t, h = 0 before all.

    Shapes: u and delta [B,L,E], a [E,S] (negative), b and c [B,L,S], d [E] to [B,L,E].
    Cost: E·S states for at most 128 tokens in memory at once, unless gradients are kept.
    Source: Mamba (Gu and Dao 2023) 3.2; equal to the recorded recurrence to 1e-9, tests/kernels/test_mixing.py.
    """
    state = u.new_zeros(len(u), 1, *a.shape)
    parts = []
    for start in range(0, u.shape[1], _RUN):
        run = slice(start, start + _RUN)
        keep = (delta[:, run, :, None] * a).exp()
        states = (delta[:, run] * u[:, run])[..., None] * b[:, run, None, :]
        step, length = 1, keep.shape[1]
        while step < length:  # every state now holds the last `step` tokens; add the `step` before them
            states = torch.cat((states[:, :step], states[:, step:] + keep[:, step:] * states[:, :-step]), 1)
            keep = torch.cat((keep[:, :step], keep[:, step:] * keep[:, :-step]), 1)
            step *= 2
        states = states + keep * state
        state = states[:, -1:]
        parts.append((states * c[:, run, None, :]).sum(-1))
    return torch.cat(parts, 1) + d * u if parts else u


def mixed(x: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
    """What a Mamba mixer makes of a sequence, each token from itself and those before it: [B,L,D] to [B,L,D].

    Weights: in_proj [2E,D], conv [E,k] and conv_bias [E], x_proj [R+2S,E], dt_proj [E,R] and dt_bias [E], A_log [E,S],
    D [E], out_proj [D,E].

    Source: Mamba 3.4; equal to the recorded branches to 1e-9, tests/kernels/test_mixing.py.
    """
    inner, gate = F.linear(x, weights["in_proj"]).chunk(2, -1)
    size, width = weights["conv"].shape[1], weights["conv"].shape[0]
    padded = F.pad(inner.mT, (size - 1, 0))
    inner = F.silu(F.conv1d(padded, weights["conv"][:, None], weights["conv_bias"], groups=width)).mT
    rank, states = weights["dt_proj"].shape[1], weights["A_log"].shape[1]
    step, b, c = F.linear(inner, weights["x_proj"]).split((rank, states, states), -1)
    delta = F.softplus(F.linear(step, weights["dt_proj"], weights["dt_bias"]))
    y = selective_scan(inner, delta, -weights["A_log"].exp(), b, c, weights["D"])
    return F.linear(y * F.silu(gate), weights["out_proj"])


def mixed_both_ways(x: Tensor, norm: Tensor, forward: Mapping[str, Tensor],
                    backward: Mapping[str, Tensor] | None = None, *, eps: float = 1e-5) -> Tensor:
    """Tokens with what comes before them added, and with `backward` what comes after: x + f(norm x) + reversed b.

    Without `backward` no token knows a later one, as a stream needs. Mixers whose out_proj is zero give x itself.

    Shapes: x [B,T,h,w,D] (time, row, column order) to the same; norm [D].
    Source: STORM (Jiang et al. 2025) 3.2, after a description, its joining of the two ways unknown; equal to the block
    recorded from the formula to 1e-9, tests/kernels/test_mixing.py.
    """
    tokens = x.flatten(1, 3)
    normed = F.rms_norm(tokens, norm.shape, norm, eps)
    y = mixed(normed, forward)
    if backward is not None:
        y = y + mixed(normed.flip(1), backward).flip(1)
    return (tokens + y).view_as(x)
