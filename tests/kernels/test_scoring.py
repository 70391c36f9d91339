"""Frames, regions and budgets are those that Free Video-LLM, HiRED, TS-LLaVA and AIM were recorded to choose."""

from __future__ import annotations

import json
import math
import re

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.recorded import apart, recorded, worst
from parity_root import parity_dir
from reelm.errors import UsageError
from reelm.kernels.pooling import adaptive_pool, strided_pool
from reelm.kernels.scoring import (
    best,
    box_side,
    boxes,
    cosine,
    falling_rates,
    gumbel,
    importance,
    most_changed,
    partition_budgets,
    region,
    segment_starts,
    shares,
    soft_choice,
    spread,
    stepped,
    stitched,
)
from reelm.kernels.tiling import thumbnail

POOLS = {"spatial_1d": (1, 1, 2), "vertical_1d": (1, 2, 1), "spatial_2d": (1, 2, 2)}
SPEC = re.compile(r"slow_(\d+)frms_(\w+)_roi(\d+)-middle_(\d+)frms_(\w+)_\d+x\d+-fast_(\d+)frms_(\d+)x(\d+)")


def pooled(x, how, side):
    shape, mode, _ = how.rsplit("_", 2)
    return strided_pool(x.unflatten(1, (side, side))[None], POOLS[shape], {"avg": "mean"}.get(mode, mode))[0]


def test_free_video_llm_chooses_pools_and_crops_as_recorded(record_property):
    file, found = recorded("free_video_llm", "aggregate"), {}
    side, x, asked = file.settings["side"], file["image_features"], file["text_pooled"]
    likeness = cosine(file["image_pooled"][None], asked)[0]
    patches = F.linear(file["clip_last_hidden"][:, 1:], file.weights["visual_projection"])
    for name, spec in file.settings["specs"].items():
        slow, slow_how, ratio, middle, middle_how, fast, h, w = (
            int(part) if part.isdigit() else part for part in SPEC.fullmatch(spec).groups())
        picked = best(likeness, slow), segment_starts(len(x), middle)
        assert [p.tolist() for p in picked] == [file.settings["picked"][name][k] for k in ("slow", "middle")]
        parts, cropped = [], []
        for frames, how in zip(picked, (slow_how, middle_how), strict=True):
            if len(frames):
                scores = cosine(pooled(patches[frames], how, side)[None], asked)[0]
                part, box = region(pooled(x[frames], how, side), scores, ratio / 10, as_released=True)
                parts.append(part.flatten(0, 2))
                cropped += [box] if ratio < 10 else []
        kept = torch.arange(len(x)) if fast >= len(x) else best(likeness, fast)
        if len(kept):
            parts.append(adaptive_pool(x[kept].unflatten(1, (side, side))[None], (len(kept), h, w))[0].flatten(0, 2))
        y = torch.cat(parts)
        assert len(y) == file.settings["picked"][name]["tokens"]
        recorded_boxes = [t for key, t in sorted(file.tensors.items()) if key.startswith(f"boxes.{name}.")]
        assert [box.tolist() for box in cropped] == [box.tolist() for box in recorded_boxes]
        found[f"out.{name}"] = apart(y[None], file[f"out.{name}"])
    worst(found, record_property, 2e-6)


def test_boxes_and_changing_frames_are_those_of_free_video_llm():
    file = recorded("free_video_llm", "aggregate")
    grid, ratio = file.settings["roi_grid_rows_cols"], file.settings["roi_test_ratio"]
    assert boxes(file["roi_points"], tuple(grid), ratio).tolist() == file["roi_boxes_lrtb"].tolist()
    top = file["top_change"]
    assert most_changed(file["image_features"], len(top)).tolist() == top.tolist()


def test_a_region_holds_the_best_cell_and_stays_in_the_picture():
    x = torch.arange(48.0).view(1, 6, 8, 1)
    scores = torch.zeros(1, 6, 8)
    scores[0, 4, 6] = 1
    part, box = region(x, scores, 1 / 48)
    assert part.flatten().tolist() == [4 * 8 + 6] and box.tolist() == [[6, 7, 4, 5]]
    assert region(x, scores, 1.0)[0] is x
    assert box_side((24, 12), 0.8) == (21, 11)
    with pytest.raises(UsageError, match=r"a region of 1.5"):
        region(x, scores, 1.5)


def test_masks_are_those_of_hired():
    file = recorded("hired", "select")
    side = math.isqrt(file.settings["num_vision_tokens"])
    early, late = file["top_cls_attn"].sum(1), file["bottom_cls_attn"].sum(1)  # the top is where pictures go in
    for name, case in file.settings["cases"].items():
        start = 0
        for image, count in enumerate(file.settings["num_patches"]):
            part = slice(start, start + count)
            grid = tuple(file.settings["grids_as_returned"][image])
            budgets = partition_budgets(early[start].view(side, side), grid, case["rho"], case["alpha"],
                                        as_released=True)
            assert budgets == case["kept_per_partition"][image], (name, image)
            for attention, budget, mask in zip(late[part], budgets, file[f"mask.{name}"][part], strict=True):
                assert mask.nonzero()[:, 0].tolist() == best(attention, budget).tolist()
            exact = partition_budgets(early[start].view(side, side), grid, case["rho"], case["alpha"])
            assert sum(exact) == case["budget"][image] and max(exact) <= side * side
            start += count


def test_kept_tokens_stand_in_the_order_of_hireds_stitched_picture():
    file = recorded("hired", "select")
    side = math.isqrt(file.settings["num_vision_tokens"])
    count, length = file.settings["num_patches"][0], file.settings["packed_lens"][0]
    for name, packed in file.named("packed.").items():
        mask, x = file[f"mask.{name}"][:count], file["features"][:count]
        order = stitched(tuple(file.settings["grids_as_returned"][0]), (side, side))
        tiles, kept = x[1:].flatten(0, 1)[order], mask[1:].flatten()[order]
        assert torch.equal(torch.cat((x[0][mask[0]], tiles[kept])), packed[:length])


def test_one_picture_keeps_what_hired_keeps():
    file = recorded("hired", "select_llava15")
    attention = file["cls_attn"].sum(0)
    for name, mask in file.named("mask.rho").items():
        chosen = best(attention, int(len(attention) * float(name)))
        assert chosen.tolist() == mask.nonzero()[:, 0].tolist()


def test_budgets_of_true_tiles_follow_attention():
    early = torch.zeros(6, 6)
    early[:3, 3:] = torch.rand(3, 3) + 1  # all that matters lies in the upper right quarter
    assert partition_budgets(early, (2, 2), 0.2, 0.75) == [27, 0, 9, 0, 0]
    with pytest.raises(UsageError, match="are shares"):
        partition_budgets(early, (2, 2), 1.2, 0.5)


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 60), st.lists(st.integers(0, 9), min_size=1, max_size=6), st.integers(1, 12))
def test_shares_leave_nothing_over_and_respect_the_limit(total, weights, most):
    given_out = shares(total, weights, most)
    assert sum(given_out) == min(total, most * len(weights)) and max(given_out) <= most
    released = shares(total, weights, most, as_released=True)
    assert sum(released) <= total and max(released) <= most
    if sum(weights) and max(given_out) < most:
        assert all(abs(g - total * w / sum(weights)) < 1 for g, w in zip(given_out, weights, strict=True))


def test_indices_are_those_of_ts_llava():
    file = recorded("ts_llava", "thumbnail")
    for name, y in file.named("token_index.").items():
        count, picks = map(int, name.split("."))
        assert spread(count, picks, as_released=True).tolist() == y.tolist()
        assert (spread(count, picks) - y).abs().max() <= 1
    told = json.loads((parity_dir("ts_llava") / "indices.json").read_text("utf-8"))
    for name, y in told["uniform"].items():
        assert spread(*map(int, name.split(":")), as_released=True).tolist() == y, name


def test_steps_are_those_of_ig_vlm():
    told = json.loads((parity_dir("ig_vlm") / "frames.json").read_text("utf-8"))["frames_picked"]
    assert told and {name: stepped(*map(int, name.split(":"))).tolist() for name in told} == told


def test_thumbnails_and_samples_together_equal_ts_llava(record_property):
    file, found = recorded("ts_llava", "aggregate"), {}
    frames = F.interpolate(file["frames16"], scale_factor=21, mode="nearest")

    def encoded(pictures):
        cells = F.avg_pool2d(F.pad(pictures, (0, 336 - pictures.shape[3], 0, 336 - pictures.shape[2])), 112)
        return F.linear(cells.flatten(2).mT, file.weights["enc.weight"], file.weights["enc.bias"])

    for name, y in file.named("out.").items():
        method, count, samples = name[0], {"1": 4, "2": 6, "3": 8}[name[1]], int(name.rpartition(".")[2])
        groups = [
            frames[spread(len(frames), count, as_released=True)]] if method != "Z" else [
            frames[i:i + count] for i in range(0, len(frames) - count + 1, count)]
        tokens = [encoded(thumbnail(group, (336, 336))[None])[0] for group in groups]
        if samples:
            rest = encoded(frames).flatten(0, 1)
            tokens.append(rest[spread(len(rest), samples, as_released=True)])
        found[name] = apart(torch.cat(tokens)[None], y)
    worst(found, record_property, 1e-3)


def test_cosines_equal_ppllava(record_property):
    file = recorded("ppllava", "prompt_pool")
    weights, batch = file.weights, file.settings["batch"]
    x = file["image_features"]
    x = F.layer_norm(x, x.shape[-1:], weights["clip_visual_ln.weight"], weights["clip_visual_ln.bias"],
                     file.settings["post_layernorm_eps"])
    x = F.linear(x, weights["clip_visual_projection.weight"]).unflatten(0, (batch, -1)).flatten(1, 2)
    asked = F.linear(file["text_pooled"], weights["clip_text_projection.weight"])
    ours = cosine(x, asked)
    scores = (ours * weights["logit_scale"].exp()).softmax(1)
    worst({"asked": apart(asked, file["text_projected"]), "cosine": apart(ours.view_as(file["cosine"]), file["cosine"]),
           "scores": apart(scores, file["scores_softmax"])}, record_property, 1e-4)


def test_importance_and_rates_are_those_of_aim(record_property):
    file = recorded("aim", "importance")
    meta, damped = file.settings, file.settings["damped"]
    logits = file["logits_masked"]
    worst({"importance": apart(importance(logits, temperature=meta["tau"], rounds=meta["iters"], damping=meta["d"]),
                               file["importance"]),
           "damped": apart(importance(logits, temperature=damped["tau"], rounds=damped["iters"], damping=damped["d"]),
                           file["importance.damped"])}, record_property, 5e-5)
    assert falling_rates(28) == [1.0] * 14 + [0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125] + [0.0] * 7
    assert falling_rates(4, 4, 5) == [1.0] * 4
    with pytest.raises(UsageError, match="between layer 3 and layer 3"):
        falling_rates(8, 3, 3)


def test_importance_sums_to_one_for_one_head_and_follows_attention():
    free = torch.zeros(1, 1, 5, 5)
    torch.testing.assert_close(importance(free), torch.full((1, 5), 0.2))
    free[..., 3] = 1
    scores = importance(free)
    assert scores.argmax() == 3 and float(scores.sum()) == pytest.approx(1)


def test_a_soft_choice_is_a_share_of_every_frame_and_noise_moves_it():
    torch.manual_seed(0)
    asked, frames = torch.randn(3, 8), torch.randn(10, 8)
    plain = soft_choice(asked, frames)
    torch.testing.assert_close(plain.sum(-1), torch.ones(3))
    assert torch.equal(plain, soft_choice(asked, frames, noise=torch.zeros(3, 10)))
    draws = soft_choice(asked[:1].expand(4000, -1), frames, temperature=1e-3, noise=gumbel((4000, 10)))
    torch.testing.assert_close(draws.mean(0), (asked[0] @ frames.mT / math.sqrt(8)).softmax(-1), atol=0.03, rtol=0)


def test_the_best_stand_in_order_and_the_earlier_of_equals_wins():
    assert best(torch.tensor([0.5, 0.9, 0.5, 0.1, 0.5]), 3).tolist() == [0, 1, 2]
    assert best(torch.tensor([0.5, 0.9]), 5).tolist() == [0, 1]
    assert spread(7, 7).tolist() == list(range(7)) and spread(7, 0).tolist() == []
    for refused in (lambda: best(torch.ones(2), -1), lambda: spread(3, 4), lambda: stepped(3, 0),
                    lambda: segment_starts(3, 4)):
        with pytest.raises(UsageError, match="cannot"):
            refused()
