"""Objectives give sums and counts; anything that is a function of model and batch can be one."""

from __future__ import annotations

import pytest
import torch

from model import small
from reelm.errors import UsageError
from reelm.train import objectives
from reelm.train.objectives import build


def test_next_token_is_the_models_own_loss_as_a_sum() -> None:
    model, processor = small.model(), small.processor()
    talks = [[small.user("see ", small.image(1), "what?"), small.said("red")],
             [small.user("hello"), small.said("a longer answer than that")]]
    batch = dict(processor(talks, labels=True))
    whole = model(**batch).loss
    loss = build({"kind": "next_token"})(model, batch | {"ids": ["a", "b"], "bad": [], "notes": []})
    assert loss.count == int((batch["labels"][:, 1:] != -100).sum())
    torch.testing.assert_close(loss.total / loss.count, whole)


def test_an_unknown_objective_or_field_is_named() -> None:
    with pytest.raises(UsageError, match="no objective 'next'.*next_token"):
        build({"kind": "next"})
    with pytest.raises(UsageError, match="objective 'next_token': .*'beta'"):
        build({"kind": "next_token", "beta": 1})
    with pytest.raises(UsageError, match="there is an objective 'next_token' already"):
        objectives.objective("next_token")(lambda: None)  # type: ignore[arg-type,return-value]
