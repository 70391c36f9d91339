"""Every recipe of a system composes onto tiny weights, answers about a real file, and keeps a budget."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import reelm
from reelm.model.compose import system
from reelm.systems.recipes import recipes
from reelm.types import Clip


@pytest.mark.parametrize("name", sorted(recipes()))
def test_a_recipe_composes_and_what_is_planned_is_what_the_model_reads(name: str, media_folder: Path) -> None:
    assert system(name).name == name
    torch.manual_seed(0)
    lm = reelm.load("random:av", system=name, dtype="float32")
    parts = (Clip(media_folder / "clip.mp4"), "What moves?")
    for tokens in (None, 400):
        plan = lm.plan(*parts, tokens=tokens)
        answer = lm.answer(*parts, tokens=tokens, max_tokens=2)
        assert {name: plan[name] for name in ("text", "vision")} == {
            name: answer.tokens[name] for name in ("text", "vision")}
        assert tokens is None or answer.tokens["vision"] + answer.tokens["audio"] <= tokens
        assert answer.used_s[0]
