"""The memory bridge reads scene after scene: what came before matters, what comes later does not."""

from __future__ import annotations

import torch

from reelm.parts.bridge import MemoryBridge


def bridge():
    torch.manual_seed(0)
    return MemoryBridge(8, 5, 2, memories=3).eval()


def scenes(*lengths):
    make = torch.Generator().manual_seed(1)
    return [torch.randn(1, n, 8, generator=make) for n in lengths]


@torch.no_grad()
def test_every_token_of_every_scene_comes_out_at_the_models_width():
    assert [y.shape for y in bridge()(scenes(4, 1, 7))] == [(1, 4, 5), (1, 1, 5), (1, 7, 5)]


@torch.no_grad()
def test_a_scene_remembers_all_before_it_and_knows_none_after():
    model, first = bridge(), scenes(4, 3, 5, 2)
    y = list(model(first))
    for i in range(4):
        changed = [s + 1 if j == i else s for j, s in enumerate(first)]
        for j, (a, b) in enumerate(zip(y, model(changed), strict=True)):
            assert torch.equal(a, b) == (j < i)


@torch.no_grad()
def test_scenes_are_taken_one_at_a_time_so_that_a_stream_can_be_read():
    taken = []

    def stream():
        for scene in scenes(4, 3, 5):
            taken.append(scene)
            yield scene

    reader = bridge()(stream())
    next(reader)
    assert len(taken) == 1
    next(reader)
    assert len(taken) == 2


@torch.no_grad()
def test_the_order_of_tokens_within_a_scene_does_not_matter():
    model, (scene,) = bridge(), scenes(6)
    turned = torch.randperm(6)
    torch.testing.assert_close(next(model([scene[:, turned]])), next(model([scene]))[:, turned])
