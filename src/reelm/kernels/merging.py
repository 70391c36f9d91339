"""Fewer tokens by averaging those that are alike: bipartite matching, and rows that choose the same.

Which token went where is kept (`Merged.owner`), so that a token's other columns (its time, its place) can be averaged
with the same weights, and the size of every token says how many it stands for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from reelm.errors import UsageError

#: At most this many similarities exist at once (64 MiB in float32), whatever the number of tokens.
_CELLS = 2**24


@dataclass(frozen=True)
class Merged:
    """Tokens x [B,n,D], how many tokens each stands for, int64 [B,n], and where each input went, int64 [B,N]."""

    x: Tensor
    size: Tensor
    owner: Tensor

    def mean_of(self, column: Tensor) -> Tensor:
        """A column of the input [B,N] as means over what each token now stands for, [B,n]."""
        total = column.new_zeros(self.size.shape).scatter_add(1, self.owner, column)
        return total / self.size.to(column.dtype)


def steps_to(count: int, target: int, *, halve: bool = True) -> list[int]:
    """How many tokens to merge in each step from `count` down to exactly `target`; no steps when there are no more.

    A step can at most halve. With `halve` off the last step may also merge all (n + 1) / 2 even tokens of an odd n, as
    B-VLLM's does (7 to 3 in one step instead of 7, 4, 3).

    Raises: UsageError for a target below 1.
    """
    if target < 1:
        raise UsageError(f"cannot merge {count} tokens into {target}", where="merging", remedy="Keep at least one")
    steps = []
    while count > target:
        fits = count // 2 if halve or count // 2 > target else (count + 1) // 2
        steps.append(min(count - target, fits))
        count -= steps[-1]
    return steps


def merged_count(count: int, steps: Sequence[int]) -> int:
    """How many tokens `merge` leaves of `count`: every step takes what is asked, at most half of what is left."""
    for step in steps:
        count -= max(0, min(step, count // 2))
    return count


def merge(x: Tensor, steps: Sequence[int], *, heads: int = 1, weighted: bool = True, in_order: bool = True,
          halve: bool = True) -> Merged:
    """Every step merges its number of pairs of most similar tokens, one at even and one at odd place, into the odd one.

    Likeness is the cosine of the tokens, or of their mean over `heads` equal parts of the width. `weighted` weighs
    averages by how many tokens each stands for, so that the mean over all is kept; without it averages of averages
    arise. `in_order` keeps the order of the tokens; without it a step gives the surviving even tokens by falling
    likeness, then the odd ones, and the next split into even and odd acts on that. `halve` limits a step to half of
    what is left (rounded down), else to all even tokens. No steps give `x` itself.

    Shapes: x [B,N,D] to [B,n,D], n = `merged_count` with `halve`.
    Raises: UsageError for a width that `heads` do not divide.
    Cost: N²/4 dot products for the first step, at most 2^24 of them in memory at once.
    Source: ToMe (Bolya et al. 2023) 3; LongVLM (heads 16), AIM and B-VLLM (not weighted), all with `in_order` off;
    equal to their recorded merges to 2e-6, 5e-5 and 2e-6, tests/kernels/test_merging.py.
    """
    if x.shape[-1] % heads:
        raise UsageError(f"a width of {x.shape[-1]} cannot be shared by {heads} heads", where="merging",
                         remedy="Choose heads that divide the width")
    size = torch.ones(x.shape[:2], dtype=torch.long, device=x.device)
    owner = torch.arange(x.shape[1], device=x.device).expand(len(x), -1)
    for step in steps:
        count = x.shape[1]
        step = min(step, count // 2 if halve or count < 2 else (count + 1) // 2)
        if step < 1:
            continue
        to = _matched(x.detach().unflatten(-1, (heads, -1)).mean(-2), step, in_order)
        weights = size if weighted else torch.ones_like(size)
        total = weights.new_zeros(len(x), count - step).scatter_add(1, to, weights)
        exact = torch.promote_types(x.dtype, torch.float32)
        share = weights.to(exact) / total.gather(1, to)
        whole = x.new_zeros(len(x), count - step, x.shape[-1], dtype=exact)
        x = whole.scatter_add(1, to[..., None].expand_as(x), x * share[..., None]).to(x.dtype)
        size = size.new_zeros(total.shape).scatter_add(1, to, size)
        owner = to.gather(1, owner)
    return Merged(x, size, owner)


def _best(even: Tensor, odd: Tensor) -> tuple[Tensor, Tensor]:
    """For every even token the cosine and the index of the odd token most like it, in blocks of bounded memory."""
    rows = max(1, _CELLS // (odd.shape[0] * odd.shape[1]))
    found = [(part @ odd.mT).max(-1) for part in even.split(rows, dim=1)]
    return torch.cat([best.values for best in found], 1), torch.cat([best.indices for best in found], 1)


def _matched(metric: Tensor, step: int, in_order: bool) -> Tensor:
    """The place after the step of every token of metric [B,N,d]: int64 [B,N], values below N - step."""
    metric = metric / metric.norm(dim=-1, keepdim=True)
    likeness, mate = _best(metric[:, ::2], metric[:, 1::2])
    order = likeness.argsort(dim=-1, descending=True, stable=True)
    gone, stay = order[:, :step], order[:, step:]
    first_odd = stay.shape[1]
    place = torch.empty(metric.shape[:2], dtype=torch.long, device=metric.device)
    place[:, 1::2] = torch.arange(first_odd, first_odd + metric.shape[1] // 2, device=metric.device)
    place.scatter_(1, 2 * stay, torch.arange(first_odd, device=metric.device).expand_as(stay))
    place.scatter_(1, 2 * gone, first_odd + mate.gather(1, gone))
    if not in_order:
        return place
    kept = torch.cat((2 * stay, torch.arange(1, metric.shape[1], 2, device=metric.device).expand(len(stay), -1)), 1)
    return kept.argsort(dim=1).argsort(dim=1).gather(1, place)


def merge_alike(x: Tensor, marks: Tensor, threshold: float = 0.75, *,
                as_released: bool = False) -> tuple[Tensor, Tensor]:
    """Rows whose marks point the same way become one, their mean: what is left, and which rows those were.

    A row joins the earlier row most like it when their likeness, (cosine + 1) / 2, exceeds `threshold`; whole chains
    become one row, each of its members counting the same. `as_released` loses content as B-VLLM does: what joined a
    row that itself joins another is dropped with it.

    Shapes: x [k,...] and marks [k,m] to [k',...] and int64 [k'], rising; how many is known only from the marks.
    Source: B-VLLM (Lu et al. 2024) 3.3; equal to its recorded merge to 2e-6, tests/kernels/test_merging.py.
    """
    rows = torch.arange(len(x), device=x.device)
    unit = torch.nn.functional.normalize(marks.detach(), dim=-1)
    likeness = ((unit @ unit.mT + 1) / 2).tril(-1)
    best, mate = likeness.max(-1) if len(x) else (marks.new_zeros(0), rows)
    joins = best > threshold
    into = torch.where(joins, mate, rows)
    if not as_released:
        for _ in range(max(len(x) - 1, 0).bit_length()):
            into = into[into]
    count = torch.zeros_like(rows).index_add(0, into, torch.ones_like(rows))
    if as_released:  # a row that has moved on still counts where it stood
        count = count + joins
    total = torch.zeros_like(x).index_add(0, into, x)
    shape = (-1,) + (1,) * (x.ndim - 1)
    kept = rows[~joins]
    return total[kept] / count[kept].view(shape).to(x.dtype), kept
