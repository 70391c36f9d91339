"""Adapters put into the weights they belong to, without PEFT and equal to PEFT."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from reelm.errors import CheckpointError
from reelm.model.lora import merge_adapter, scale_of

PAIR = {"block.q_proj.lora_A.weight": torch.ones(2, 4), "block.q_proj.lora_B.weight": torch.ones(6, 2)}


def test_merging_adds_the_scaled_product() -> None:
    torch.manual_seed(0)
    weight, low, high = torch.randn(6, 4), torch.randn(2, 4), torch.randn(6, 2)
    state = {"block.q_proj.weight": weight.clone(), "other.weight": torch.ones(2, 2)}
    adapter = {"block.q_proj.lora_A.weight": low, "block.q_proj.lora_B.weight": high}
    assert merge_adapter(state, adapter, {"r": 2, "lora_alpha": 4}) == ["block.q_proj.weight"]
    assert torch.allclose(state["block.q_proj.weight"], weight + 2.0 * high @ low)
    assert torch.equal(state["other.weight"], torch.ones(2, 2))


@pytest.mark.parametrize("more", [{}, {"use_rslora": True}, {"use_dora": True}, {"use_dora": True, "use_rslora": True},
                                  {"rank_pattern": {"0|9": 5}, "alpha_pattern": {"0": 3}}, {"modules_to_save": ["1"]}])
def test_merging_equals_peft(more: dict[str, Any]) -> None:
    peft = pytest.importorskip("peft")
    torch.manual_seed(1)
    base = torch.nn.Sequential(torch.nn.Linear(5, 7, bias=False), torch.nn.Linear(7, 2))
    plain = {k: v.clone() for k, v in base.state_dict().items()}
    config = peft.LoraConfig(r=3, lora_alpha=6, target_modules=["0"], init_lora_weights=False, **more)
    adapted = peft.get_peft_model(base, config)
    with torch.no_grad():  # as if trained: magnitudes and whole modules are others than those of the base
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.rand_like(parameter))
    changed = merge_adapter(plain, peft.get_peft_model_state_dict(adapted), config.to_dict() | {"peft_type": "LORA"})
    assert changed[-1] == "0.weight" and len(changed) == (3 if "modules_to_save" in more else 1)
    for name, value in adapted.merge_and_unload().state_dict().items():
        assert torch.allclose(value, plain[name], atol=1e-6), name


def test_a_pattern_of_ranks_is_matched_as_a_whole() -> None:
    settings = {"r": 2, "lora_alpha": 8, "rank_pattern": {"q|v": 4}}
    assert [scale_of(settings, name) for name in ("a.q", "b.v", "a.qv")] == [2.0, 2.0, 4.0]


@pytest.mark.parametrize(("tensors", "settings", "said"), [
    (PAIR, {}, r"block\.q_proj\.weight is missing"),
    ({"block.q_proj.lora_A.weight": torch.ones(1, 1)}, {}, "is missing"),
    ({"x.lora_embedding_A": torch.ones(1, 1)}, {}, "no part of a LoRA or DoRA"),
    ({"head.weight": torch.ones(2, 2)}, {}, r"nor of modules_to_save \[\]"),
    ({"head.weight": torch.ones(2, 2)}, {"modules_to_save": ["tail"]}, "nor of modules_to_save"),
    ({"head.weight": torch.ones(3, 2)}, {"modules_to_save": ["head"]}, r"shape \[2, 2\] in the base"),
    (PAIR, {"use_dora": True}, "has no magnitude"),
    (PAIR, {"bias": "all"}, "bias is 'all'"),
    (PAIR, {"init_lora_weights": "pissa"}, "init_lora_weights is 'pissa'"),
    (PAIR, {"peft_type": "IA3"}, "peft_type is 'IA3'"),
    (PAIR, {"r": ...}, "r is missing"),
])
def test_an_adapter_that_does_not_fit_is_refused(tensors: dict[str, torch.Tensor], settings: dict[str, Any],
                                                 said: str) -> None:
    settings = {key: value for key, value in ({"r": 1, "lora_alpha": 1} | settings).items() if value is not ...}
    with pytest.raises(CheckpointError, match=said):
        merge_adapter({"head.weight": torch.ones(2, 2)}, tensors, settings)
