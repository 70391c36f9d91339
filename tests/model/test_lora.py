"""Adapters, merged without PEFT."""

from __future__ import annotations

import pytest
import torch

from reelm.errors import CheckpointError
from reelm.model.lora import merge_lora


def test_merging_adds_the_scaled_product() -> None:
    torch.manual_seed(0)
    weight, low, high = torch.randn(6, 4), torch.randn(2, 4), torch.randn(6, 2)
    state = {"block.q_proj.weight": weight.clone(), "other.weight": torch.ones(2, 2)}
    merge_lora(state, {"block.q_proj.lora_A.weight": low, "block.q_proj.lora_B.weight": high}, scale=2.0)
    assert torch.allclose(state["block.q_proj.weight"], weight + 2.0 * high @ low)
    assert torch.equal(state["other.weight"], torch.ones(2, 2))


def test_merging_equals_peft() -> None:
    peft = pytest.importorskip("peft")
    torch.manual_seed(1)
    base = torch.nn.Sequential(torch.nn.Linear(5, 7, bias=False))
    plain = {k: v.clone() for k, v in base.state_dict().items()}
    settings = peft.LoraConfig(r=3, lora_alpha=6, target_modules=["0"], init_lora_weights=False)
    adapted = peft.get_peft_model(base, settings)
    saved = peft.get_peft_model_state_dict(adapted)
    merge_lora(plain, {k.removeprefix("base_model.model."): v for k, v in saved.items()}, scale=2.0)
    assert torch.allclose(adapted.merge_and_unload()[0].weight, plain["0.weight"], atol=1e-6)


def test_an_adapter_for_another_model_is_refused() -> None:
    with pytest.raises(CheckpointError, match=r"nowhere\.weight is missing"):
        merge_lora({}, {"nowhere.lora_A.weight": torch.ones(1, 1), "nowhere.lora_B.weight": torch.ones(1, 1)}, 1.0)
