"""Slots, masks, blends and local frames equal the recorded ones of VTG-LLM, Video-CCAM, MERV and ST-LLM."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.recorded import apart, recorded, worst
from reelm.errors import UsageError
from reelm.kernels.attending import (
    blended,
    encoder_shares,
    filled_times,
    frame_mask,
    frames_seen,
    global_local,
    local_frames,
    slot_tokens,
)


def test_slots_and_filled_times_equal_vtg_llm(record_property):
    file = recorded("vtg_llm", "samplers")
    found = {"slot": apart(slot_tokens(file["x"], file["slots"]), file["slot.out"])}
    for name, before in file.tensors.items():
        if name.endswith(".before"):
            case = name.removesuffix(".before")
            found[case] = apart(filled_times(before, before.abs().sum(-1) > 0),
                                file[f"{case}.after_plain_linear_formula"])
    worst(found, record_property, 5e-5)


def test_slots_of_zero_are_means():
    x = torch.randn(2, 7, 4)
    y = slot_tokens(x, torch.zeros(4, 3))
    torch.testing.assert_close(y, x.mean(1, keepdim=True).expand(-1, 3, -1))
    torch.testing.assert_close(slot_tokens(x[:, torch.randperm(7)], torch.ones(4, 3)), slot_tokens(x, torch.ones(4, 3)))


def test_masks_and_masked_attention_equal_the_formula_of_video_ccam(record_property):
    file = recorded("video_ccam", "mask")
    for name, mask in file.named("mask.").items():
        queries, frames, per_frame = (int(part[1:]) for part in name.split("."))
        assert torch.equal(frame_mask(queries, frames, per_frame), mask), name
    for name, seen in file.settings["frames_visible_per_query"].items():
        queries, frames = (int(part[1:]) for part in name.split("."))
        ours = frames_seen(queries, frames)
        told = ours.tolist() if isinstance(seen, list) else {"first": int(ours[0]), "sum": int(ours.sum())}
        assert told == seen, name
    meta, w = file.settings["attention"], file.weights
    q, k, v = (F.linear(x, w[name]).unflatten(-1, (meta["heads"], -1)).transpose(0, 1)
               for x, name in ((file["attn.queries"], "q"), (file["attn.tokens"], "k"), (file["attn.tokens"], "v")))
    mask = frame_mask(meta["queries"], meta["frames"], meta["tokens_per_frame"])
    y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(0, 1).flatten(1)
    worst({"attention": apart(F.linear(y, w["o"]), file["attn.out"])}, record_property, 1e-10)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40))
def test_queries_see_more_and_more_and_the_last_sees_all(queries, frames):
    seen = frames_seen(queries, frames)
    assert (seen.diff() >= 0).all() and int(seen[-1]) == frames and int(seen[0]) >= 1
    assert seen.tolist() == [math.ceil(q * frames / queries) for q in range(1, queries + 1)]
    assert torch.equal(frame_mask(queries, frames, 2).sum(1), 2 * seen)


def test_blends_of_encoders_equal_merv(record_property):
    file, found = recorded("merv", "fusion"), {}
    names = sorted(file.named("projected."), key=int)
    values = torch.stack([file[f"projected.{name}"] for name in names], 1)
    w, width = file.weights, file.settings["query_dim"]
    for case in ("", ".pe", ".fullkey", ".scalar"):
        if f"weights{case}" not in file.tensors:
            continue
        keys = values.flatten(2) if case == ".fullkey" else values.mean(2)
        keys = keys + w["fusion.pe"] if case == ".pe" else keys
        if case == ".scalar":
            shares = w["scalar"].softmax(-1).view(1, -1)
        else:
            base = "fullkey." if case == ".fullkey" else "fusion.attention."
            bias = w[f"{base}in_proj_bias"]
            query = F.linear(w[f"{base.split('.')[0]}.Q"], w[f"{base}q_proj_weight"], bias[:width])
            shares = encoder_shares(query, F.linear(keys, w[f"{base}k_proj_weight"], bias[width:2 * width]))
        found[f"weights{case}"] = apart(shares, file[f"weights{case}"])
        found[f"fused{case}"] = apart(blended(values, shares), file[f"fused{case}"])
    worst(found, record_property, 5e-6)


def test_one_encoder_is_itself():
    x = torch.randn(2, 1, 5, 3)
    assert torch.equal(blended(x, encoder_shares(torch.randn(4), torch.randn(2, 1, 4))), x[:, 0])


def test_local_frames_and_the_summary_equal_st_llm(record_property):
    file = recorded("st_llm", "forward")
    for name, frames in file.settings["residual_index_table"].items():
        assert local_frames(*map(int, name.split(":")), as_released=True).tolist() == frames, name
    x, w = file["img_embeds"], file.weights
    frames = local_frames(x.shape[1], file.settings["residual_size"], as_released=True)
    assert frames.tolist() == file["residual_index"].tolist()
    y = global_local(x, frames, *((w[f"{name}_proj.weight"], w[f"{name}_proj.bias"]) for name in ("down", "up")))
    start = file.settings["img_start"]
    visual = file["residual.inputs_embeds"][:, start:start + y.shape[1] * y.shape[2]]
    worst({"residual": apart(y.flatten(1, 2), visual)}, record_property, 1e-5)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 50), st.integers(1, 50))
def test_local_frames_exist(frames, picks):
    at = local_frames(frames, picks)
    assert len(at) == picks and int(at.min()) >= 0 and int(at.max()) < frames and (at.diff() >= 0).all()
    x = torch.randn(1, frames, 2, 3)
    zeros = torch.zeros(3, 1), torch.zeros(3)
    assert torch.equal(global_local(x, at, (torch.randn(1, 3), torch.randn(1)), zeros), x[:, at])


def test_times_nobody_trained_lie_between_their_neighbours():
    table = torch.tensor([[0.0], [2.0], [0.0], [0.0], [8.0], [0.0]])
    known = torch.tensor([False, True, False, False, True, False])
    assert filled_times(table, known)[:, 0].tolist() == [2.0, 2.0, 4.0, 6.0, 8.0, 8.0]
    for refused in (lambda: filled_times(table, known & False), lambda: frames_seen(0, 3), lambda: local_frames(3, 0)):
        with pytest.raises(UsageError):
            refused()
