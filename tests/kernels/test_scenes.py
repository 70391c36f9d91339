"""Scenes end where VideoLLaMB's recorded SceneTilling ends them, and where they were planted."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.recorded import apart, recorded, worst
from reelm.errors import UsageError
from reelm.kernels.scenes import depths, neighbour_likeness, scene_ends, scene_frames


def test_likeness_and_depth_equal_videollamb(record_property):
    file, found = recorded("videollamb", "scenetilling"), {}
    for name, depth in file.named("depth.").items():
        likeness = neighbour_likeness(file[f"features.{name}"])
        found[f"sim.{name}"] = apart(likeness, file[f"sim.{name}"])
        found[f"depth.{name}"] = apart(depths(likeness), depth)
    worst(found, record_property, 5e-5)


def test_ends_are_those_of_videollamb():
    file = recorded("videollamb", "scenetilling")
    assert file.settings["boundaries"]
    for case, ends in file.settings["boundaries"].items():
        name, _, rule = case.partition(".")
        x = torch.ones(ends[-1] + 1, 4) if name == "constant" else file[f"features.{name}"]
        rule = {"cuts": int(rule[1:])} if rule[0] == "k" else {"alpha": float(rule.removeprefix("alpha"))}
        assert scene_ends(x, **rule, as_released=True) == ends, case


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(2, 9), min_size=1, max_size=8), st.integers(0, 10**6))
def test_planted_scenes_are_found(lengths, seed):
    make = torch.Generator().manual_seed(seed)
    scenes = torch.linalg.qr(torch.randn(12, 12, generator=make))[0][:len(lengths)]
    x = scenes.repeat_interleave(torch.tensor(lengths), 0) + 1e-3 * torch.randn(sum(lengths), 12, generator=make)
    ends = (torch.tensor(lengths).cumsum(0) - 1).tolist()
    assert scene_ends(x, cuts=len(lengths) - 1) == ends


def looped(likeness):
    """The hills beside every place, found by walking."""
    out = []
    for i, here in enumerate(likeness):
        left = right = i
        while left > 0 and likeness[left - 1] >= likeness[left]:
            left -= 1
        while right < len(likeness) - 1 and likeness[right + 1] >= likeness[right]:
            right += 1
        out.append(likeness[left] + likeness[right] - 2 * here)
    return out


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]), max_size=15))
def test_depth_equals_a_walk_to_both_hills(likeness):
    assert depths(torch.tensor(likeness, dtype=torch.float64)).tolist() == looped(likeness)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=6), st.integers(1, 12))
def test_every_scene_is_shown_from_its_first_to_its_last_frame(lengths, most):
    ends = [sum(lengths[:i + 1]) - 1 for i in range(len(lengths))]
    for frames, end, length in zip(scene_frames(ends, most), ends, lengths, strict=True):
        assert frames[0] == end - length + 1 and len(set(frames)) == len(frames) == min(most, length)
        assert most == 1 or frames[-1] == end


def test_a_still_picture_is_one_scene_unless_it_must_equal_the_release():
    x = torch.ones(6, 3)
    assert scene_ends(x, cuts=2) == scene_ends(x, alpha=0.5) == [5]
    assert scene_ends(x, cuts=2, as_released=True) == [0, 1, 5]
    assert scene_ends(x[:1], cuts=3) == [0] and scene_ends(x[:2], alpha=0.5) == [1]
    with pytest.raises(UsageError, match="either alpha or cuts"):
        scene_ends(x)
    with pytest.raises(UsageError, match="no frames"):
        scene_ends(x[:0], cuts=1)
    with pytest.raises(UsageError, match="0 frames"):
        scene_frames([3], 0)
