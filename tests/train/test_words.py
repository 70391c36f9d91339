"""The words loss: words stand where the objects are, and what never occurs in training is not learnt to be wrong."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from reelm.data.world import GALLERY, PLOTS, held_out, midpoints, scene
from reelm.kernels.sprites import COLOURS, KINDS
from reelm.train.words import FACTS, Words, places, word_hits, word_loss

GRID = (1, 4, 4)


def vocabulary() -> Words:
    """Every word its own direction, so that a token made of three words can be taken apart."""
    width = sum(map(len, FACTS.values())) + 1
    basis = torch.eye(width)
    rows = iter(basis)
    facts = {name: torch.stack([next(rows) for _ in choices]) for name, choices in FACTS.items()}
    return Words(facts, basis[-1:])


@pytest.mark.parametrize("plot", PLOTS)
def test_every_visible_object_has_its_words_at_its_place(plot: str) -> None:
    for seed in range(20):
        staged, at = scene(seed, plot), midpoints(8)
        told = places(staged, at, (4, 4, 4))
        named = {FACTS["kind"][i] for i in told["kind"][told["kind"] >= 0]}
        assert named <= {a.kind for a in staged.actors}
        if plot == "still":
            x, y = staged.actors[0].start
            assert (told["kind"] >= 0).sum() == 4
            assert told["colour"][2, int(y * 4), int(x * 4)] == FACTS["colour"].index(staged.actors[0].colour)
        if plot == "move":
            ways = told["way"][told["way"] >= 0]
            assert len(ways) == 4 and np.all(ways == FACTS["way"].index(staged.direction))


def perfect(words: Words, staged: list) -> torch.Tensor:
    """Tokens [B,16,D] that say exactly what is there."""
    tokens = words.empty.expand(len(staged), 16, -1).clone()
    for row, one in zip(tokens, staged, strict=True):
        told = {name: cells.reshape(-1) for name, cells in places(one, midpoints(2), GRID).items()}
        for cell in np.flatnonzero(told["kind"] >= 0):
            row[cell] = sum(words.facts[name][told[name][cell]] for name in FACTS)
    return tokens


def test_tokens_that_say_what_is_there_are_all_hits_and_cost_least() -> None:
    words, staged = vocabulary(), [scene(i, GALLERY) for i in range(6)]
    moments, right = [midpoints(2)] * 6, perfect(vocabulary(), [scene(i, GALLERY) for i in range(6)])
    assert word_hits(right, words, staged, moments, GRID) == {"kind": 1.0, "colour": 1.0, "way": 1.0}
    best = word_loss(right, words, staged, moments, GRID)
    assert best < word_loss(right.flip(1), words, staged, moments, GRID)
    assert best < word_loss(torch.zeros_like(right), words, staged, moments, GRID)


def test_a_kind_never_shown_in_a_colour_is_not_learnt_to_be_wrong() -> None:
    words, staged = vocabulary(), [scene(4, "still")]
    main = staged[0].actors[0]
    tokens = perfect(words, staged).requires_grad_()
    word_loss(tokens, words, staged, [midpoints(2)], GRID).backward()
    told = places(staged[0], midpoints(2), GRID)["kind"].reshape(-1)
    push = tokens.grad[0, int(np.flatnonzero(told >= 0)[0])]
    never = torch.tensor([held_out(kind, main.colour) for kind in KINDS])
    kinds = push @ words.facts["kind"].T
    others = torch.tensor([kind != main.kind for kind in KINDS]) & ~never
    assert never.any() and not held_out(main.kind, main.colour)
    assert (kinds[others] > 0).all(), "the loss pushes other kinds away"
    assert (kinds[never].abs() < kinds[others].min() / 2).all(), "but not those this colour never has"


def test_every_kind_has_one_colour_it_is_never_trained_in() -> None:
    table = np.array([[held_out(kind, colour) for colour in COLOURS] for kind in KINDS])
    assert (table.sum(1) == 1).all() and np.ptp(table.sum(0)) <= 1
