"""Merging equals the recorded merges of LongVLM, B-VLLM and AIM, and keeps its count, sizes and mean."""

from __future__ import annotations

import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.recorded import apart, recorded, worst
from parity_root import parity_dir
from reelm.errors import UsageError
from reelm.kernels import merging
from reelm.kernels.merging import merge, merge_alike, merged_count, steps_to
from reelm.kernels.pooling import strided_pool

STEPS = st.lists(st.integers(0, 12), max_size=4)


def test_merging_equals_longvlm(record_property):
    file, found = recorded("longvlm", "merge"), {}
    segments = file["x"].unflatten(0, (-1, file.settings["frames_per_segment"])).flatten(1, 2)
    for name, y in file.named("out.").items():
        steps = file.settings["cases"][name]
        ours = merge(segments, steps, heads=file.settings["pseudo_heads"], in_order=False)
        found[name] = apart(ours.x.flatten(0, 1), y)
        assert ours.size.tolist() == file[f"size.{name}"].tolist()
        assert ours.x.shape[1] == merged_count(segments.shape[1], steps)
    worst(found, record_property, 2e-6)


def test_counts_are_those_longvlm_was_measured_to_give():
    told = json.loads((parity_dir("longvlm") / "token_counts.json").read_text("utf-8"))
    assert told
    for name, case in told.items():
        segment = case["frames_per_segment"] * case["patches"]
        kept = merged_count(segment, case["r_list"]) * case["frames"] // case["frames_per_segment"]
        assert kept == case["total_tokens_out"], name


def test_merging_equals_b_vllms_spatial_merge(record_property):
    file, found = recorded("b_vllm", "merge_spatial"), {}
    x = file["x"]
    for name, y in file.named("out.").items():
        steps = steps_to(x.shape[1], int(name), halve=False)
        found[name] = apart(merge(x, steps, weighted=False, in_order=False, halve=False).x, y)
    worst(found, record_property, 2e-6)


def test_merging_equals_aim(record_property):
    file, found = recorded("aim", "merge"), {}
    x, meta = file["x"], file.settings
    halvings = [meta["r_keep50"], meta["r_keep25"], meta["r_keep12"]]
    cases = {"partial": [meta["r_partial"]], "keep50": halvings[:1], "keep25": halvings[:2], "keep12": halvings}
    for name, steps in cases.items():
        found[name] = apart(merge(x, steps, weighted=False, in_order=False).x, file[name])
    worst(found, record_property, 5e-5)


def test_pooling_then_merging_equals_aim(record_property):
    file, found = recorded("aim", "pool_merge"), {}
    side, stride = file.settings["side"], file.settings["stride"]
    x = file["x"].unflatten(1, (side, side))
    for name, y in file.named("out.").items():
        mode = {"average": "mean"}.get(name, name)
        tokens = strided_pool(x[:, None], (1, stride, stride), mode).flatten(1, 3)
        count = tokens.shape[1]
        found[name] = apart(merge(tokens, [count // 2, count // 4], weighted=False, in_order=False).x, y)
    worst(found, record_property, 5e-5)


def test_rows_that_choose_alike_merge_as_in_b_vllm(record_property):
    file, found = recorded("b_vllm", "merge_temporal"), {}
    threshold = file.settings["threshold"]
    y, kept = merge_alike(file["F"], file["P"], threshold, as_released=True)
    assert kept.tolist() == file.settings["kept_rows"]
    found["merged"] = apart(y, file["merged"])
    none, _ = merge_alike(file["none.F"], file["none.P"], threshold, as_released=True)
    found["none"] = apart(none, file["none.merged"])
    worst(found, record_property, 2e-6)


def test_a_chain_of_alike_rows_loses_nothing_unless_it_must_equal_the_release():
    into = torch.tensor([[1.0, 0.0], [0.9, 0.4], [0.6, 0.8], [-1.0, 0.3]])  # each like the one before, but not the last
    x = torch.arange(4.0)[:, None]
    y, kept = merge_alike(x, into, 0.9)
    assert kept.tolist() == [0, 3] and y[:, 0].tolist() == [1.0, 3.0]
    released, _ = merge_alike(x, into, 0.9, as_released=True)
    assert released[:, 0].tolist() == [0.5, 3.0]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 20), STEPS, st.booleans(), st.integers(0, 10**6))
def test_merging_keeps_count_size_and_mean(count, steps, in_order, seed):
    x = torch.randn(2, count, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    y = merge(x, steps, heads=2, in_order=in_order)
    assert y.x.shape[1] == merged_count(count, steps)
    assert y.size.sum(1).tolist() == [count, count]
    torch.testing.assert_close((y.x * y.size[..., None]).sum(1), x.sum(1))
    for d in range(6):
        torch.testing.assert_close(y.mean_of(x[..., d]), y.x[..., d])
    if not any(steps):
        assert y.x is x


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 300), st.integers(1, 300), st.booleans())
def test_steps_lead_exactly_to_the_target(count, target, halve):
    steps = steps_to(count, target, halve=halve)
    assert count - sum(steps) == min(count, target)
    assert len(steps) <= math.ceil(math.log2(count)) + 1 if count > 1 else not steps
    if halve:
        assert merged_count(count, steps) == min(count, target)


def test_tokens_stay_in_order_and_equals_find_each_other():
    x = torch.eye(5)[[0, 0, 1, 2, 2, 3, 4]][None]
    y = merge(x, [2])
    assert y.owner.tolist() == [[0, 0, 1, 2, 2, 3, 4]]
    assert y.size.tolist() == [[2, 1, 2, 1, 1]]
    torch.testing.assert_close(y.x[0], torch.eye(5))
    assert y.mean_of(torch.arange(7.0)[None]).tolist() == [[0.5, 2.0, 3.5, 5.0, 6.0]]


def test_blocks_of_bounded_memory_change_nothing(monkeypatch):
    x = torch.randn(3, 40, 8)
    whole = merge(x, [15, 5])
    monkeypatch.setattr(merging, "_CELLS", 100)
    blocks = merge(x, [15, 5])
    assert torch.equal(whole.owner, blocks.owner)
    torch.testing.assert_close(whole.x, blocks.x)


def test_what_cannot_be_merged_is_refused_with_numbers():
    with pytest.raises(UsageError, match="width of 6 cannot be shared by 4 heads"):
        merge(torch.zeros(1, 4, 6), [1], heads=4)
    with pytest.raises(UsageError, match="4 tokens into 0"):
        steps_to(4, 0)
