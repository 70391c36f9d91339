"""The selective scan and STORM's block equal what was recorded from their formulas."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.recorded import apart, recorded, worst
from reelm.kernels import mixing
from reelm.kernels.mixing import mixed, mixed_both_ways, selective_scan
from reelm.kernels.pooling import strided_pool

NAMES = ("u", "delta", "A", "B", "C", "D")


def batched(file, flip=False):
    """The recorded arguments of the scan, with a batch axis where one belongs."""
    parts = [file[f"scan.{name}"] for name in NAMES]
    return [p if name in "AD" else (p.flip(0) if flip else p)[None] for name, p in zip(NAMES, parts, strict=True)]


def test_the_scan_and_the_block_equal_the_formula_of_storm(record_property):
    file = recorded("storm", "bidirectional_scan")
    forward, backward = file.named("fwd."), file.named("bwd.")
    x, norm = file["x"][None], file["norm_weight"]
    normed = torch.nn.functional.rms_norm(x.flatten(1, 3), norm.shape, norm, 1e-5)
    found = {
        "scan": apart(selective_scan(*batched(file))[0], file["scan.y"]),
        "scan reversed": apart(selective_scan(*batched(file, flip=True))[0].flip(0), file["scan.y_reversed"]),
        "forward": apart(mixed(normed, forward)[0], file["forward_branch"]),
        "backward": apart(mixed(normed.flip(1), backward).flip(1)[0], file["backward_branch"]),
        "block": apart(mixed_both_ways(x, norm, forward, backward)[0], file["block"]),
        "forward only": apart(mixed_both_ways(x, norm, forward)[0], file["block_forward_only"]),
        "shared": apart(mixed_both_ways(x, norm, forward, forward)[0], file["block_shared_weights"]),
    }
    block = mixed_both_ways(x, norm, forward, backward)
    for name, y in file.named("temporal_").items():
        kind, factor = name.split("_")
        ours = strided_pool(block, (int(factor), 1, 1)) if kind == "pool" else block[:, ::int(factor)]
        found[name] = apart(ours[0], y)
    worst(found, record_property, 1e-9)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.sampled_from([1, 4, 7, 128]), st.integers(0, 10**6))
def test_the_scan_equals_a_step_by_step_recurrence_however_long_its_runs(length, run, seed):
    make = torch.Generator().manual_seed(seed)
    u, delta, b, c = (torch.rand(2, length, n, generator=make, dtype=torch.float64) for n in (3, 3, 4, 4))
    a, d = -torch.rand(3, 4, generator=make, dtype=torch.float64), torch.rand(3, generator=make, dtype=torch.float64)
    state, steps = torch.zeros(2, 3, 4, dtype=torch.float64), []
    for t in range(length):
        state = (delta[:, t, :, None] * a).exp() * state + (delta[:, t] * u[:, t])[..., None] * b[:, t, None]
        steps.append((state * c[:, t, None]).sum(-1) + d * u[:, t])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mixing, "_RUN", run)
        torch.testing.assert_close(selective_scan(u, delta, a, b, c, d), torch.stack(steps, 1))


def weights(make):
    shapes = {"in_proj": (12, 4), "conv": (6, 4), "conv_bias": (6,), "x_proj": (8, 6), "dt_proj": (6, 2),
              "dt_bias": (6,), "A_log": (6, 3), "D": (6,), "out_proj": (4, 6)}
    return {name: torch.randn(*shape, generator=make) for name, shape in shapes.items()}


def test_one_way_knows_nothing_later_and_mixers_of_zero_change_nothing():
    make = torch.Generator().manual_seed(0)
    w, x = weights(make), torch.randn(1, 5, 2, 2, 4, generator=make)
    later = x.clone()
    later[:, 3:] += 1
    ones = torch.ones(4)
    torch.testing.assert_close(mixed_both_ways(x, ones, w)[:, :3], mixed_both_ways(later, ones, w)[:, :3])
    assert (mixed_both_ways(x, ones, w, w) - mixed_both_ways(later, ones, w, w))[:, :3].abs().max() > 1e-4
    still = w | {"out_proj": torch.zeros(4, 6)}
    assert torch.equal(mixed_both_ways(x, ones, still, still), x)
