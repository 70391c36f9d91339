"""The first stage of reelm-tiny: the connector learns to say, at each place, the words for what is there.

The world knows where everything is, so every output token has a target: the sum of the language model's own embeddings
of the object's colour, its kind and the way it moves, at the cell that holds its centre, and of a full stop elsewhere.
The language model then starts from tokens that read almost like words. No language model runs in this stage.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from reelm.data.named import box, names
from reelm.data.tracks import NAMES, Track, slots
from reelm.data.world import DIRECTIONS, PHOTO, Scene, held_out
from reelm.kernels.sprites import COLOURS, KINDS
from reelm.parts.base import Grid

#: What an object may be, in which colour, and how it moves; each list is one choice per cell.
FACTS = {"kind": KINDS, "colour": tuple(COLOURS), "way": (*DIRECTIONS, "still")}
_NOTHING = -1
#: [kinds, colours]: true where training never shows the two together.
_NEVER = torch.tensor([[held_out(kind, colour) for colour in COLOURS] for kind in KINDS])
#: A move shorter than this share of the picture between two looks is standing still.
_STILL = 0.01


#: The same for sounds: what is heard, and the words for whether its pitch and its level change.
SOUND_FACTS = {"name": NAMES, "pitch": ("steady", "rising", "falling"), "level": ("even", "louder", "softer")}
#: The fact of the picture tower's own names.
CLASS = "class"


@dataclass(frozen=True)
class Spelling:
    """Token ids of the words of each fact, a space before each as inside a sentence, and of the full stop."""

    facts: dict[str, list[list[int]]]
    empty: list[int]

    @classmethod
    def of(cls, tokenizer: Any) -> Spelling:
        def ids(texts: list[str]) -> list[list[int]]:
            return list(tokenizer(texts, add_special_tokens=False)["input_ids"])

        every = FACTS | SOUND_FACTS | {CLASS: names()}
        return cls({name: ids([f" {word}" for word in words]) for name, words in every.items()}, ids(["."])[0])


@dataclass(frozen=True)
class Words:
    """Embeddings of the words of each fact, [choices, D], and of the full stop, [1, D]."""

    facts: dict[str, Tensor]
    empty: Tensor

    @classmethod
    def of(cls, spelling: Spelling, embedding: Tensor) -> Words:
        """The mean embedding of each word's tokens."""

        def vector(ids: list[int]) -> Tensor:
            return embedding[torch.tensor(ids)].mean(0).float()

        facts = {name: torch.stack([vector(ids) for ids in words]) for name, words in spelling.facts.items()}
        return cls(facts, vector(spelling.empty)[None])


def places(scene: Scene, moments: np.ndarray, grid: Grid) -> dict[str, np.ndarray]:
    """For every output cell the choice of each fact, -1 where no object has its centre: int64 [t,h,w] per fact.

    `moments` [T] are split evenly over the t slices; an object is where it is on average over its slice.
    """
    slices, rows, columns = grid
    if scene.plot == PHOTO:
        return {name: np.full(grid, _NOTHING) for name in FACTS}
    told = {name: np.full(grid, _NOTHING) for name in FACTS}
    for actor in reversed(scene.actors):  # the main actor last: it wins a shared cell
        for s, looks in enumerate(np.split(moments, slices)):
            spots = [spot for spot in (actor.at(float(u)) for u in looks) if spot is not None]
            if not spots:
                continue
            x, y = np.mean(spots, axis=0)
            if not (0 <= x < 1 and 0 <= y < 1):
                continue
            cell = s, int(y * rows), int(x * columns)
            moved = np.subtract(actor.stop, actor.start)
            goes = np.abs(moved).max() > _STILL
            way = max(DIRECTIONS, key=lambda d: float(np.dot(DIRECTIONS[d], moved))) if goes else "still"
            for name, value in (("kind", actor.kind), ("colour", actor.colour), ("way", way)):
                told[name][cell] = FACTS[name].index(value)
    return told


def named_cells(scenes: Sequence[Scene], grid: Grid) -> Tensor:
    """The class of the tower that stands in each cell, -1 where none does: int64 [B, t·h·w]."""
    told = np.full((len(scenes), *grid), _NOTHING)
    for at, scene in enumerate(scenes):
        if scene.plot == PHOTO:
            thing = scene.actors[0]
            told[at, :, box(grid[1], thing.side, thing.start)] = names().index(thing.kind)
    return torch.from_numpy(told).flatten(1)


def word_loss(tokens: Tensor, words: Words, scenes: Sequence[Scene], moments: Sequence[np.ndarray],
              grid: Grid) -> Tensor:
    """How far the connector's tokens are from the words they should be; tokens [B, t·h·w, D].

    The squared distance to the target, in units of the target's size, plus a choice among the words of each fact.
    A kind that training never shows in this colour does not count as a wrong choice, nor a colour it never has: else
    the connector would learn that such things do not exist.
    """
    told = [places(s, m, grid) for s, m in zip(scenes, moments, strict=True)]
    labels = {name: torch.from_numpy(np.stack([t[name] for t in told])).flatten(1) for name in FACTS}
    full = labels["kind"] != _NOTHING
    target = words.empty.expand_as(tokens).clone()
    target[full] = sum(words.facts[name][labels[name][full]] for name in FACTS)  # type: ignore[assignment]
    named = named_cells(scenes, grid)
    known = named != _NOTHING
    if known.any():
        target[known] = words.facts[CLASS][named[known]]
    error = (tokens - target).square().mean(-1) / target.square().mean(-1)
    empty = ~full & ~known
    loss = sum((error[where].mean() for where in (full, empty, known) if where.any()), torch.zeros(()))
    if known.any():
        said = F.normalize(tokens[known], dim=-1) @ F.normalize(words.facts[CLASS], dim=-1).T * 16
        loss = loss + 0.5 * F.cross_entropy(said, named[known])
    if not full.any():
        return loss
    said = F.normalize(tokens[full], dim=-1)
    kind, colour = labels["kind"][full], labels["colour"][full]
    never = {"kind": _NEVER[:, colour].T, "colour": _NEVER[kind]}
    for name in FACTS:
        choices = said @ F.normalize(words.facts[name], dim=-1).T * 16
        if name in never:
            choices = choices.masked_fill(never[name], float("-inf"))
        loss = loss + 0.5 * F.cross_entropy(choices, labels[name][full])
    return loss


def word_hits(tokens: Tensor, words: Words, scenes: Sequence[Scene], moments: Sequence[np.ndarray],
              grid: Grid) -> dict[str, float]:
    """Share of occupied cells whose nearest word is the right one, per fact."""
    told = [places(s, m, grid) for s, m in zip(scenes, moments, strict=True)]
    hits = {}
    for name in FACTS:
        label = torch.from_numpy(np.stack([t[name] for t in told])).flatten(1)
        full = label != _NOTHING
        if not full.any():
            continue
        near = (F.normalize(tokens[full], dim=-1) @ F.normalize(words.facts[name], dim=-1).T).argmax(-1)
        hits[name] = round(float((near == label[full]).float().mean()), 3)
    named = named_cells(scenes, grid)
    if (known := named != _NOTHING).any():
        near = (F.normalize(tokens[known], dim=-1) @ F.normalize(words.facts[CLASS], dim=-1).T).argmax(-1)
        hits[CLASS] = round(float((near == named[known]).float().mean()), 3)
    return hits


def _heard(tracks: Sequence[Track], count: int) -> dict[str, Tensor]:
    told = [slots(track, count) for track in tracks]
    return {name: torch.from_numpy(np.stack([t[name] for t in told])) for name in SOUND_FACTS}


def sound_word_loss(tokens: Tensor, words: Words, tracks: Sequence[Track]) -> Tensor:
    """How far the sound connector's tokens [B, slots, D] are from the words for what is heard; as `word_loss`."""
    labels = _heard(tracks, tokens.shape[1])
    full = labels["name"] != _NOTHING
    target = words.empty.expand_as(tokens).clone()
    target[full] = sum(words.facts[name][labels[name][full]] for name in SOUND_FACTS)  # type: ignore[assignment]
    error = (tokens - target).square().mean(-1) / target.square().mean(-1)
    loss = error[full].sum() / full.sum().clamp(min=1) + error[~full].sum() / (~full).sum().clamp(min=1)
    if full.any():
        said = F.normalize(tokens[full], dim=-1)
        for name in SOUND_FACTS:
            choices = said @ F.normalize(words.facts[name], dim=-1).T * 16
            loss = loss + 0.5 * F.cross_entropy(choices, labels[name][full])
    return loss


def sound_word_hits(tokens: Tensor, words: Words, tracks: Sequence[Track]) -> dict[str, float]:
    """Share of slots with sound whose nearest word is the right one, per fact."""
    labels = _heard(tracks, tokens.shape[1])
    full = labels["name"] != _NOTHING
    said = F.normalize(tokens[full], dim=-1)
    return {name: round(float(((said @ F.normalize(words.facts[name], dim=-1).T).argmax(-1)
                               == labels[name][full]).float().mean()), 3) for name in SOUND_FACTS}
