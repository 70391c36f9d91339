"""The context token and the content tokens equal LLaMA-VID's recorded ones."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.llama_vid import last_stage
from kernels.recorded import apart, recorded, worst
from reelm.errors import UsageError
from reelm.kernels.context import content_count, content_tokens, context_token, patches_of


@torch.no_grad()
def test_the_last_stage_equals_llama_vid(record_property):
    file, found = recorded("llama_vid", "vlm_attention"), {}
    for name, y in file.named("tg.out.").items():
        found[name] = apart(last_stage(file, file["tg.text_q"], file["tg.vis_embed"], name), y)
    worst(found, record_property, 5e-5)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.booleans())
def test_content_keeps_its_count(side, grid, as_released):
    patches = torch.randn(2, side, side, 3, dtype=torch.float64)
    if grid > side:
        with pytest.raises(UsageError, match=f"no content grid of {grid} × {grid}"):
            content_tokens(patches, grid, as_released=as_released)
        return
    y = content_tokens(patches, grid, as_released=as_released)
    assert y.shape == (2, content_count(side, grid, as_released=as_released), 3)
    assert as_released or y.shape[1] == grid * grid
    if side % grid == 0:
        torch.testing.assert_close(y.mean(1), patches.mean((1, 2)))
        torch.testing.assert_close(y, content_tokens(patches, grid, as_released=not as_released))


def test_no_question_gives_the_mean_and_a_clear_one_its_patch():
    patches = torch.randn(2, 9, 4)
    torch.testing.assert_close(context_token(torch.randn(2, 3, 4), torch.zeros(2, 9, 4), patches),
                               patches.mean(1, keepdim=True))
    keys = torch.eye(9)[None]
    clear = context_token(1e4 * torch.eye(9)[None, 5:6], keys, torch.arange(9.0)[None, :, None])
    assert clear.tolist() == [[[5.0]]]


def test_a_summary_token_is_known_or_guessed():
    x = torch.arange(10.0)[None, :, None]
    assert patches_of(x, first_is_summary=True).shape[1] == 9
    assert patches_of(x).shape[1] == 10, "nine patches and a summary are an even number, so the guess keeps it"
    assert patches_of(x[:, 1:]).shape[1] == 8, "nine patches alone are an odd number, so the guess drops one"
    assert content_tokens(torch.zeros(1, 3, 3, 2), None).shape == (1, 9, 2)
    with pytest.raises(UsageError, match="3 × 4 patches is not square"):
        content_tokens(torch.zeros(1, 3, 4, 2), 2)
