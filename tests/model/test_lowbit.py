"""Eight and four bits on the CPU: fewer bytes, nearly the same logits. Skipped where bitsandbytes is not installed."""

from __future__ import annotations

import pytest
import torch

import reelm
from model import small
from reelm.errors import UsageError
from reelm.model.lowbit import quantise

PARTS = small.frames(8), "What is it?"


def logits(lm: reelm.VideoLM) -> torch.Tensor:
    with torch.no_grad():
        return lm.model(**lm.processor([[small.user(*PARTS)]])).logits[0, -1].float()


@pytest.mark.parametrize(("bits", "shrinks", "apart"), [(8, 3.9, 0.03), (4, 7.9, 0.35)])
def test_fewer_bits_shrink_the_language_part_and_stay_near(bits: int, shrinks: float, apart: float) -> None:
    pytest.importorskip("bitsandbytes", reason="pip install reelm[bits]")
    full = reelm.load("random:av", device="cpu", dtype="float32")
    low = reelm.load("random:av", device="cpu", dtype="float32", bits=bits)
    found = quantise(reelm.load("random:av", device="cpu", dtype="float32").model, bits)
    assert found["before_bytes"] / found["after_bytes"] > shrinks
    # Two layers of seven matrices, two matrices in the connector of pictures, two in that of sound.
    assert found["layers"] == 18
    a, b = logits(full), logits(low)
    distance = float((a - b).norm() / a.norm())
    print(f"\n| {bits} bits | {found['layers']} layers | {found['before_bytes']} -> {found['after_bytes']} bytes | "
          f"logits {distance:.3f} apart |")
    assert 0 < distance < apart
    assert low.answer(*PARTS, max_tokens=4).tokens["new"] > 0
    assert low.answer(small.sound(), "What?", max_tokens=2).audio_used


def test_other_bits_and_a_missing_library_are_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = reelm.load("random", device="cpu", dtype="float32")
    with pytest.raises(UsageError, match="bits is 3"):
        quantise(lm.model, 3)
    monkeypatch.setitem(__import__("sys").modules, "bitsandbytes", None)
    with pytest.raises(UsageError, match=r"reelm\[bits\]"):
        quantise(lm.model, 8)
