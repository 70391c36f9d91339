"""The Q-Former equals its formula, gives exactly its queries, and knows when and where."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from reelm.errors import UsageError
from reelm.parts.bert import Attention
from reelm.parts.connectors.qformer import places
from reelm.registry import build

SETTINGS = {"kind": "qformer", "in_width": 6, "out_width": 8, "queries": 5, "width": 12, "heads": 3, "depth": 2}


def looped(attention: Attention, x: Tensor, seen: Tensor) -> Tensor:
    """softmax(q·k / sqrt(d)) · v, one query and one head at a time; then the linear layer, the sum and the norm."""
    looks = attention.self
    q, k, v = looks.query(x), looks.key(seen), looks.value(seen)
    size = q.shape[1] // looks.heads
    out = torch.zeros_like(x)
    for head in range(looks.heads):
        cut = slice(head * size, (head + 1) * size)
        for row in range(len(x)):
            share = torch.softmax(torch.stack([q[row, cut] @ key / math.sqrt(size) for key in k[:, cut]]), 0)
            out[row, cut] = sum(s * value for s, value in zip(share, v[:, cut], strict=True))
    return attention.output.LayerNorm(x + attention.output.dense(out))


def test_it_equals_a_loop_over_queries_and_heads() -> None:
    torch.manual_seed(0)
    connector = build("connector", SETTINGS).double()
    x = torch.randn(1, 3, 2, 2, 6, dtype=torch.float64)
    seen = x[0].flatten(0, 2) + connector.place(places((3, 2, 2), x))
    y = connector.queries
    for layer in connector.layers:
        y = looped(layer.attention, y, y)
        y = looped(layer.crossattention, y, seen)
        wide = F.gelu(layer.intermediate_query.dense(y))
        y = layer.output_query.LayerNorm(y + layer.output_query.dense(wide))
    torch.testing.assert_close(connector.project(x)[0, 0, 0], connector.out(y), atol=1e-9, rtol=0)


@pytest.mark.parametrize("grid", [(1, 1, 1), (8, 8, 8), (40, 3, 2)])
def test_any_video_becomes_the_same_number_of_tokens(grid: tuple[int, int, int]) -> None:
    connector = build("connector", SETTINGS)
    assert connector.n_out(grid) == 5
    assert connector.project(torch.randn(2, *grid, 6)).shape == (2, 1, 1, 5, 8)


def test_the_same_pictures_in_another_order_or_place_are_another_video() -> None:
    torch.manual_seed(1)
    connector = build("connector", SETTINGS)
    x = torch.randn(1, 4, 2, 3, 6)
    for axis in (1, 2, 3):
        assert (connector.project(x) - connector.project(x.flip(axis))).abs().max() > 1e-4


def test_all_tokens_of_a_grid_have_different_places() -> None:
    where = places((16, 8, 8), torch.zeros(1, dtype=torch.float64))
    assert torch.cdist(where, where).fill_diagonal_(1.0).min() > 0.01


def test_heads_that_do_not_share_the_width_evenly_are_refused() -> None:
    with pytest.raises(UsageError, match="shared by 5 heads"):
        build("connector", SETTINGS | {"heads": 5})
