"""Every registered compressor keeps its family's promises; new ones are found by themselves."""

from __future__ import annotations

import math

import pytest
import torch

from reelm.errors import BudgetError, UsageError
from reelm.parts.compressors.pool import area_within
from reelm.registry import build, find, rows
from reelm.types import AUDIO, Tokens

KINDS = [row.kind for row in rows() if row.family == "compressor"]
GRIDS = [(1, 1, 1), (2, 2, 2), (3, 4, 5), (5, 6, 6), (8, 1, 7)]
QUESTION = "What is it?"
WIDTH = 6


def tiny(kind: str, **fields: object):
    torch.manual_seed(0)
    return build("compressor", {"kind": kind, **find("compressor", kind).tiny, **fields}).eval()


def tokens_on(grid: tuple[int, int, int], **more: bool) -> Tokens:
    torch.manual_seed(1)
    made = Tokens.of_grid(torch.randn(math.prod(grid), WIDTH, **more), grid, torch.arange(grid[0]) * 2.0, kind=AUDIO,
                          source=3)
    made.score = torch.rand(len(made))
    made.size = torch.rand(len(made)) + 0.5
    return made


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("grid", GRIDS)
def test_a_compressor_gives_exactly_what_it_promises_within_any_budget(kind: str, grid: tuple[int, int, int]) -> None:
    part, tokens = tiny(kind), tokens_on(grid)
    least = part.least_of(part.settings, len(tokens), grid)
    for keep in (None, least, least + 1, len(tokens), 10 * len(tokens)):
        promised = part.shape(len(tokens), grid, keep)
        out = part(tokens, keep, QUESTION)
        assert (len(out), out.grid) == promised and part.n_out(len(tokens), grid, keep) == len(out)
        assert out.x.shape[1] == WIDTH and out.x.isfinite().all()
        assert keep is None or not part.steered or len(out) <= keep
        assert set(out.kind.tolist()) == {AUDIO} and set(out.source.tolist()) == {3}
        assert (out.at_s >= 0).all() and (out.at_s <= 2.0 * (grid[0] - 1) + 1e-5).all() and (out.size > 0).all()
        if part.merges:
            torch.testing.assert_close(out.size.sum(), tokens.size.sum())
            assert out.score.max() == tokens.score.max()
        again = tiny(kind)(tokens, keep, QUESTION)
        assert torch.equal(out.x, again.x) and torch.equal(out.cell, again.cell)
    if least > 1:
        with pytest.raises(BudgetError, match=str(least)):
            part(tokens, least - 1, QUESTION)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_wished_for_lies_between_the_least_and_all(kind: str) -> None:
    part, grid = tiny(kind), (4, 5, 5)
    least, count = part.least_of(part.settings, 100, grid), part.n_out(100, grid)
    assert 1 <= least <= max(part.wish_of(part.settings, 100, grid), least) <= max(count, least)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if find("compressor", kind).neutral is not None])
def test_the_neutral_setting_changes_nothing(kind: str) -> None:
    cls, tokens = find("compressor", kind), tokens_on((3, 4, 5))
    part = build("compressor", {"kind": kind, **cls.neutral})
    out = part(tokens, None, QUESTION)
    assert out.grid == tokens.grid
    for name in ("x", "at_s", "cell", "size", "score"):
        assert torch.equal(getattr(out, name), getattr(tokens, name)), name


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_pass_and_half_precision_stays_near(kind: str) -> None:
    part, tokens = tiny(kind), tokens_on((4, 4, 4), requires_grad=True)
    out = part(tokens, None, QUESTION)
    (grad,) = torch.autograd.grad(out.x.square().sum(), tokens.x)
    assert bool(grad.isfinite().all()) and float(grad.abs().sum()) > 0
    half = part.bfloat16()(tokens.with_x(tokens.x.detach().bfloat16()), None, QUESTION)
    assert half.x.dtype == torch.bfloat16
    if len(half) == len(out) and torch.equal(half.cell, out.cell):  # rounding may choose other tokens
        assert float((half.x.float() - out.x).norm() / out.x.norm()) < 0.1


def test_pool_takes_means_of_windows_and_their_times() -> None:
    tokens = tokens_on((4, 4, 6))
    out = build("compressor", {"kind": "pool", "t": 2, "h": 2, "w": 3})(tokens)
    grid = tokens.x.reshape(2, 2, 2, 2, 3, 2, WIDTH)
    torch.testing.assert_close(out.x, grid.mean((1, 3, 5)).reshape(-1, WIDTH))
    assert out.at_s.unique().tolist() == [1.0, 5.0]
    torch.testing.assert_close(out.size, tokens.size.reshape(2, 2, 2, 2, 3, 2).sum((1, 3, 5)).flatten())


def test_pool_never_enlarges_and_shrinks_space_before_time() -> None:
    pool = build("compressor", {"kind": "pool", "t": 16, "h": 12, "w": 12})
    assert pool.shape(32, (2, 4, 4)) == (32, (2, 4, 4))
    assert pool.shape(32 * 24 * 24, (32, 24, 24))[1] == (16, 12, 12)
    assert pool.shape(512, (8, 8, 8), 130)[1] == (8, 4, 4)
    assert pool.shape(512, (8, 8, 8), 5)[1] == (5, 1, 1)
    with pytest.raises(UsageError, match="regular grid"):
        pool.shape(7, None)


@pytest.mark.parametrize(("sides", "most", "wanted"), [((7, 7), 16, (4, 4)), ((7, 7), 49, (7, 7)), ((4, 8), 8, (2, 4)),
                                                       ((1, 50), 9, (1, 9)), ((9, 1), 4, (4, 1)), ((7, 7), 6, (2, 3))])
def test_an_area_within_a_budget_keeps_its_proportion(sides: tuple[int, int], most: int,
                                                      wanted: tuple[int, int]) -> None:
    assert sorted(area_within(*sides, most)) == sorted(wanted)


def test_drop_keeps_the_order_and_another_seed_drops_others() -> None:
    tokens = tokens_on((4, 5, 5))
    one, other = (build("compressor", {"kind": "drop", "share": 0.3, "seed": seed})(tokens) for seed in (0, 1))
    assert len(one) == 30 and not torch.equal(one.cell, other.cell)
    place = one.cell @ torch.tensor([25, 5, 1])
    assert (place.diff() > 0).all() and torch.equal(one.x, tokens.x[place])


def test_merge_joins_what_is_alike_and_only_within_a_stretch() -> None:
    tokens = tokens_on((4, 2, 2))
    alike = torch.eye(4).repeat_interleave(4, 0)  # each slice has four tokens that are the same
    tokens = tokens.with_x(torch.cat([alike, torch.zeros(16, WIDTH - 4)], 1))
    out = build("compressor", {"kind": "merge", "slices": 1})(tokens, 4)
    torch.testing.assert_close(out.x[:, :4], torch.eye(4))
    torch.testing.assert_close(out.at_s, torch.tensor([0.0, 2.0, 4.0, 6.0], dtype=torch.float64))
    torch.testing.assert_close(out.size, tokens.size.reshape(4, 4).sum(1))
    with pytest.raises(BudgetError, match="at least 4"):
        build("compressor", {"kind": "merge", "slices": 1})(tokens, 3)
