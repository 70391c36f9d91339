"""Tables of learnt places made longer."""

from __future__ import annotations

import torch
from torch import Tensor

from reelm.errors import UsageError


def stretched_table(table: Tensor, keep: int, factor: int) -> Tensor:
    """A table of places whose rows from `keep` on stand `factor` times as far apart, with linear steps between them.

    What follows the last row goes on as the last two rows do. A factor of 1 gives the table's own values.

    Shapes: [S,C] to [keep + (S - keep)·factor, C].
    Raises: UsageError for a factor below 1, or fewer than two rows to stretch.
    Source: PPLLaVA (Liu et al. 2024) 3.3, 77 places to 248 with keep 20 and factor 4; equal to its recorded table to
    1e-6, tests/kernels/test_positions.py.
    """
    rest = table[keep:]
    if factor < 1 or keep < 0 or len(rest) < 2:
        raise UsageError(f"cannot stretch {len(table)} places after {keep} by {factor}", where="positions",
                         remedy="Leave at least two rows to stretch, by a factor of at least 1")
    step = torch.cat((rest.diff(dim=0), rest[-1:] - rest[-2:-1]))
    share = torch.arange(factor, device=table.device, dtype=table.dtype)[:, None] / factor
    return torch.cat((table[:keep], (rest[:, None] + step[:, None] * share).flatten(0, 1)))
