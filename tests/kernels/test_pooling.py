"""Pooling equals the recorded poolings of published systems, and promises its counts exactly."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.recorded import apart, recorded, worst
from reelm.errors import UsageError
from reelm.kernels.pooling import (
    adaptive_pool,
    guided_grid,
    guided_pool,
    progressive_count,
    progressive_pool,
    stacked,
    stretched,
    strided_grid,
    strided_pool,
    two_ways,
    windows_for,
)

SIDES = st.integers(1, 5)
GRIDS = st.tuples(SIDES, SIDES, SIDES)


def perceptron(weights, x, first="linear_1", second="linear_2"):
    x = F.gelu(F.linear(x, weights[f"{first}.weight"], weights[f"{first}.bias"]))
    return F.linear(x, weights[f"{second}.weight"], weights[f"{second}.bias"])


def clip(x, side):
    """Features of frames [T,h·w,D] on their grid [1,T,h,w,D]."""
    return x.unflatten(1, (side[0], side[1]))[None]


def test_adaptive_pooling_equals_pllava(record_property):
    file = recorded("pllava", "projector_pool")
    frames, side, found = file.settings["num_frames"], file.settings["frame_shape"], {}
    for pool, grid in file.settings["cases"].items():
        for name, y in file.named(f"out.{pool}.").items():
            clips = []
            for x in file[f"x.{name}"].chunk(len(y)):
                x = perceptron(file.weights, x)[stretched(len(x), frames, as_released=True)]
                clips.append(adaptive_pool(clip(x, side), tuple(grid)).flatten(1, 3))
            found[f"{pool}.{name}"] = apart(torch.cat(clips), y)
    worst(found, record_property, 2e-5)


def test_adaptive_pooling_equals_videogpt_plus(record_property):
    file, found = recorded("videogpt_plus", "project"), {}
    x = file["pool.x"]
    for name, y in file.named("pool.").items():
        if name != "x":
            h, w = map(int, name.split("x"))
            ours = adaptive_pool(x.unflatten(1, (math.isqrt(x.shape[1]), -1))[None], (len(x), h, w))
            found[name] = apart(ours[0].flatten(1, 2), y)
    worst(found, record_property, 1e-5)


def test_adaptive_pooling_equals_merv(record_property):
    file, found = recorded("merv", "fusion"), {}
    side, frames = file.settings["output_side"], file.settings["output_frames"]
    for name, x in file.named("features.").items():
        pooled = adaptive_pool(x.unflatten(2, (math.isqrt(x.shape[2]), -1)), (frames, side, side)).flatten(1, 3)
        linear = f"projector{name}.projector.projector"
        ours = F.linear(pooled, file.weights[f"{linear}.weight"], file.weights[f"{linear}.bias"])
        found[name] = apart(ours, file[f"projected.{name}"])
    worst(found, record_property, 5e-6)


def test_guided_pooling_equals_ppllava(record_property):
    file, found = recorded("ppllava", "prompt_pool"), {}
    weights, side, batch = file.weights, file.settings["side"], file.settings["batch"]
    values = perceptron(weights, file["image_features"])
    grid = (len(values) // batch, side, side)
    scores = file["cosine"] * weights["logit_scale"].exp()
    for name, case in file.settings["cases"].items():
        medium = "" if case["video"] else "image_"
        kernel, stride = ((case[f"{medium}pooling_{what}"]) for what in ("kernel", "stride"))
        if case["pooling_shape"]:
            kernel, stride = windows_for(grid, tuple(case["pooling_shape"]))
        y = guided_pool(values.view(batch, *grid, -1), scores, tuple(kernel), tuple(stride),
                        temperature=case["pooling_temp"], over_all_first=True)
        found[name] = apart(y.flatten(1, 3), file[f"out.{name}"])
        assert math.prod(guided_grid(grid, kernel, stride)) == case["tokens"]
    worst(found, record_property, 1e-4)


def test_guided_pooling_equals_ppllavas_two_helpers(record_property):
    file, found = recorded("ppllava", "prompt_pool"), {}
    x = file["pool.x"].movedim(1, -1)
    for name, y in file.named("pool.").items():
        if "_" in name:
            kind, *out = name.split("_")
            kernel, stride = windows_for(tuple(x.shape[1:4]), tuple(map(int, out)))
            scores = torch.ones_like(file["pool.w"]) if kind == "uniform" else file["pool.w"]
            ours = guided_pool(x, scores, kernel, stride, temperature=0.05)
            found[name] = apart(ours.movedim(-1, 1), y)
    worst(found, record_property, 1e-4)


def test_strided_pooling_equals_free_video_llm(record_property):
    file, found = recorded("free_video_llm", "aggregate"), {}
    side = file.settings["side"]
    strides = {"spatial_1d": (1, 1, 2), "vertical_1d": (1, 2, 1), "spatial_2d": (1, 2, 2)}
    for name, y in file.named("pool.").items():
        shape, _, mode = name.removesuffix("_pool").rpartition("_")
        if shape in strides:
            frames = y.shape[1] // math.prod(strided_grid((1, side, side), strides[shape]))
            x = clip(file["image_features"][:frames], (side, side))
            found[name] = apart(strided_pool(x, strides[shape], {"avg": "mean"}.get(mode, mode)).flatten(1, 3), y)
    worst(found, record_property, 2e-6)


@settings(max_examples=40, deadline=None)
@given(GRIDS, GRIDS)
def test_adaptive_pooling_gives_the_asked_grid_and_keeps_the_mean_where_it_divides(grid, factor):
    x = torch.randn(2, *(g * f for g, f in zip(grid, factor, strict=True)), 3, dtype=torch.float64)
    y = adaptive_pool(x, grid)
    assert y.shape == (2, *grid, 3)
    torch.testing.assert_close(y.mean((1, 2, 3)), x.mean((1, 2, 3)))
    torch.testing.assert_close(y, strided_pool(x, factor))
    assert adaptive_pool(x, tuple(x.shape[1:4])) is x


@settings(max_examples=40, deadline=None)
@given(GRIDS, GRIDS)
def test_windows_for_a_grid_give_that_grid(grid, out):
    if any(o > n for o, n in zip(out, grid, strict=True)):
        with pytest.raises(UsageError, match="larger"):
            windows_for(grid, out)
        return
    kernel, stride = windows_for(grid, out)
    assert guided_grid(grid, kernel, stride) == out
    x = torch.randn(1, *grid, 2, dtype=torch.float64)
    y = guided_pool(x, torch.zeros(1, *grid), kernel, stride)
    plain = F.avg_pool3d(x.movedim(-1, 1), kernel, stride).movedim(1, -1)
    torch.testing.assert_close(y, plain, rtol=0, atol=1e-6)


def test_a_temperature_near_zero_picks_the_best_token_of_each_window():
    x, scores = torch.randn(1, 2, 4, 4, 3), torch.rand(1, 2, 4, 4)
    y = guided_pool(x, scores, (2, 2, 2), (2, 2, 2), temperature=1e-6)
    best = F.max_pool3d(scores, (2, 2, 2))
    for h in range(2):
        for w in range(2):
            at = (scores == best[:, 0, h, w]).nonzero()[0]
            torch.testing.assert_close(y[0, 0, h, w], x[tuple(at)])


@settings(max_examples=40, deadline=None)
@given(GRIDS, SIDES, SIDES, SIDES)
def test_progressive_pooling_keeps_its_count_and_the_order_of_frames(grid, group, first, rest):
    x = torch.randn(2, *grid, 3, dtype=torch.float64)
    y, frame_of = progressive_pool(x, group, first, rest)
    assert y.shape == (2, progressive_count(grid, group, first, rest), 3)
    assert (frame_of.diff() >= 0).all() and frame_of.unique().tolist() == list(range(grid[0]))
    for t in range(grid[0]):
        stride = first if t % group == 0 else rest
        alone = strided_pool(x[:, t:t + 1], (1, stride, stride), "bilinear").flatten(1, 3)
        torch.testing.assert_close(y[:, frame_of == t], alone)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40))
def test_stretching_loses_no_frame_unless_it_must_equal_the_release(count, to):
    assert stretched(count, to).unique().tolist() == list(range(count))
    assert len(stretched(count, to)) == len(stretched(count, to, as_released=True)) == max(count, to)
    assert stretched(5, 8, as_released=True).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


@settings(max_examples=30, deadline=None)
@given(GRIDS, st.integers(1, 3))
def test_stacked_cells_are_all_there_and_their_mean_is_the_pooled_one(grid, factor):
    x = torch.randn(2, grid[0], grid[1] * factor, grid[2] * factor, 3)
    y = stacked(x, factor)
    assert y.shape == (2, *grid, factor * factor * 3)
    assert torch.equal(y.flatten().sort().values, x.flatten().sort().values)
    torch.testing.assert_close(y.unflatten(-1, (-1, 3)).mean(-2), strided_pool(x, (1, factor, factor)))
    torch.testing.assert_close(y[0, 0, 0, 0, -3:], x[0, 0, factor - 1, factor - 1])


def test_two_ways_tell_when_and_where():
    x = torch.arange(4.0).view(1, 4, 1, 1, 1) + 10 * torch.arange(3.0).view(1, 1, 1, 3, 1)
    assert two_ways(x)[0, :, 0].tolist() == [10, 11, 12, 13, 1.5, 11.5, 21.5]


def test_what_cannot_be_pooled_is_refused_with_numbers():
    x = torch.zeros(1, 2, 3, 3, 1)
    with pytest.raises(UsageError, match=r"\(2, 3, 3\) is smaller than one window of \(1, 4, 4\)"):
        strided_pool(x, (1, 4, 4))
    with pytest.raises(UsageError, match="below 1"):
        adaptive_pool(x, (2, 0, 3))
    with pytest.raises(UsageError, match="not of time"):
        strided_pool(x, (2, 1, 1), "bilinear")
    with pytest.raises(UsageError, match="one window"):
        guided_pool(x, x[..., 0], (3, 1, 1), (1, 1, 1))
    with pytest.raises(UsageError, match="temperature of 0"):
        guided_pool(x, x[..., 0], (1, 1, 1), (1, 1, 1), temperature=0)
    with pytest.raises(UsageError, match="0 frames"):
        stretched(0, 4)
    with pytest.raises(UsageError, match="2 × 2 do not fill a frame of 3 × 3"):
        stacked(x, 2)
    assert strided_grid((3, 5, 5), (1, 2, 2)) == (3, 2, 2)
    assert strided_grid((3, 5, 5), (1, 2, 2), ceil=True) == (3, 3, 3)
