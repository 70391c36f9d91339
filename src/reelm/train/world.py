"""How reelm-tiny learns: the made world as a source of samples, its clips and tracks from stored features of the frozen
towers, and two objectives, `words` (connectors alone) and `world_answers` (next token at answers, beside the words).
"""

from __future__ import annotations

import math
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from reelm.data.batch import Clips, WorldSamples, collate, tickets
from reelm.data.features import Features
from reelm.data.hearing import Hearing
from reelm.data.named import Photos, Rows
from reelm.model.fuse import answer_logits
from reelm.model.processing import ReelmProcessor
from reelm.model.tiny import classifier_rows
from reelm.train.objectives import Batch, Loss, Objective, objective
from reelm.train.recipe import ClipSettings, DrawSettings, FreshSettings, Recipe, Stage, TrackSettings
from reelm.train.words import (
    CLASS,
    FACTS,
    SOUND_FACTS,
    Spelling,
    Words,
    sound_word_hits,
    sound_word_loss,
    word_hits,
    word_loss,
)

#: The file of the sound tower among the stored features.
SOUND_TOWER = "sound_tower.safetensors"


def clips(recipe: Recipe, name: str) -> Clips:
    """The stored features of one of the recipe's sets of clips."""
    chosen, folder = recipe.sources[name], Path(recipe.features or "")
    assert isinstance(chosen, ClipSettings)
    if chosen.kind == "photos":
        return Photos(folder / (chosen.over or name), recipe.seed, chosen.frames)
    if chosen.kind == "rows":
        over, drawn = recipe.sources[chosen.over or ""], clips(recipe, chosen.over or "")
        assert isinstance(over, ClipSettings) and isinstance(drawn, Features)
        return Rows(drawn, over.clips, *classifier_rows(), chosen.frames)
    return Features(folder / name, recipe.seed, chosen.frames, chosen.plot)


def tracks(recipe: Recipe, name: str) -> Hearing:
    """The stored sounds of one of the recipe's sets of tracks."""
    chosen, model = recipe.sources[name], recipe.model
    assert isinstance(chosen, TrackSettings) and isinstance(model, FreshSettings)
    slots = int((model.audio or {})["connector"]["slots"])
    return Hearing(Path(recipe.features or "") / name, recipe.seed, slots, chosen.script)


class World(WorldSamples):
    """Samples of the made world as a source."""

    @cached_property
    def spelling(self) -> Spelling:
        return Spelling.of(self.processor.tokenizer)

    def __getitem__(self, at: int) -> dict[str, Any]:
        one = self.order[at]
        name = "+".join(f"{of}/{number}" for of, number in ((one.set, one.clip), (one.tracks, one.track)) if of)
        return super().__getitem__(at) | {"id": f"{at}:{name}"}

    def collate(self, samples: list[Any]) -> dict[str, Any]:
        """One batch, with how the words for what is there are spelt and the grid [t,h,w] of the connector's tokens."""
        batch = collate(samples, self.processor.tokenizer.pad_token_id or 0)
        if "features" in batch:
            batch["grid"] = self.processor.vision_grid(batch["features"].shape[1])
        return batch | {"spelling": self.spelling, "ids": [one["id"] for one in samples], "bad": (), "notes": ()}


def drawn(recipe: Recipe, stage: Stage, processor: ReelmProcessor) -> World:
    """As many samples as a stage takes of what it draws, in an order of their own; the loop shuffles them."""
    (name,) = stage.data
    told = recipe.sources[name]
    assert isinstance(told, DrawSettings) and stage.steps is not None
    seen = {draw.clips: clips(recipe, draw.clips) for draw in told.of if draw.clips}
    heard = {draw.tracks: tracks(recipe, draw.tracks) for draw in told.of if draw.tracks}
    sizes = {name: one.clips if isinstance(one, ClipSettings) else one.tracks for name, one in recipe.sources.items()
             if isinstance(one, ClipSettings | TrackSettings)}
    order = tickets([(draw.clips, draw.tracks, draw.share) for draw in told.of], sizes, stage.steps * stage.batch,
                    recipe.seed)
    return World(processor, seen, order, told.turns, heard)


class _Said:
    """The connectors' tokens for a batch, and how far they are from the words for what is there.

    `drop_features` of the picture tower's features, and for a share `drop_tower` of the clips all of them, are zero:
    what can be learnt by heart must not be. The thumbnail at their end stays; colour and place are read from it.
    """

    def __init__(self, drop_features: float, drop_tower: float) -> None:
        self.drop_features, self.drop_tower = drop_features, drop_tower
        self.words: Words | None = None

    def tokens(self, model: Any, batch: Batch) -> tuple[Tensor | None, Tensor | None]:
        """What is seen [B',N,D] and what is heard [B",N,D]."""
        seen = heard = None
        if "features" in batch:
            features = self._dropped(batch["features"], int(model.config.vision["encoder"].get("thumbnail", 0)))
            side = math.isqrt(features.shape[2])
            seen = model.connector.project(features.unflatten(2, (side, side))).flatten(1, 3)
        if "sounds" in batch:
            heard = model.audio_connector.project(batch["sounds"][:, :, None, None]).flatten(1, 3)
        return seen, heard

    def _dropped(self, features: Tensor, thumbnail: int) -> Tensor:
        clips, kept = len(features), features.shape[-1] - 3 * thumbnail**2
        keep = (torch.rand(clips, 1, 1, kept) >= self.drop_features) / (1 - self.drop_features)
        if thumbnail:
            keep = keep * (torch.rand(clips, 1, 1, 1) >= self.drop_tower)
        return torch.cat((features[..., :kept] * keep.to(features.device), features[..., kept:]), -1)

    def loss(self, model: Any, batch: Batch, seen: Tensor | None, heard: Tensor | None) -> Tensor:
        """The mean distance from the words; counted on the CPU, where the scenes are looked at."""
        if self.words is None:
            self.words = Words.of(batch["spelling"], model.get_input_embeddings().weight.detach().cpu())
        loss = torch.zeros(())
        if seen is not None:
            loss = loss + word_loss(seen.float().cpu(), self.words, batch["scenes"], batch["moments"], batch["grid"])
        if heard is not None:
            loss = loss + sound_word_loss(heard.float().cpu(), self.words, batch["tracks"])
        return loss

    @torch.no_grad()
    def hits(self, batch: Batch, seen: Tensor | None, heard: Tensor | None) -> dict[str, float]:
        """How often the nearest word is the right one, per fact; not a number where there is nothing of the kind."""
        told = dict.fromkeys((*FACTS, CLASS, *SOUND_FACTS), math.nan)
        assert self.words is not None
        if seen is not None:
            told |= word_hits(seen.float().cpu(), self.words, batch["scenes"], batch["moments"], batch["grid"])
        if heard is not None:
            told |= sound_word_hits(heard.float().cpu(), self.words, batch["tracks"])
        return told


@objective("words")
def words(drop_features: float = 0.2, drop_tower: float = 0.15) -> Objective:
    """The connectors learn to say the words for what is there; no language model runs. An item is a sample."""
    said = _Said(drop_features, drop_tower)

    def loss(model: nn.Module, batch: Batch) -> Loss:
        tokens, count = said.tokens(model, batch), len(batch["ids"])
        total = said.loss(model, batch, *tokens) * count
        return Loss(total, count, {fact: hit * count for fact, hit in said.hits(batch, *tokens).items()})

    return loss


@objective("world_answers")
def world_answers(word_weight: float = 0.0, drop_features: float = 0.2, drop_tower: float = 0.15) -> Objective:
    """Cross-entropy of the next token at answers, plus `word_weight` times the loss of `words`, so that connectors do
    not forget them."""
    said = _Said(drop_features, drop_tower)

    def loss(model: Any, batch: Batch) -> Loss:
        seen, heard = said.tokens(model, batch)
        keep, following = answer_logits(batch["labels"])
        vision, audio = ([] if one is None else list(one) for one in (seen, heard))
        embeds = model.embed(batch["input_ids"], batch["mm_token_type_ids"], vision=vision, audio=audio)
        out = model(inputs_embeds=embeds, attention_mask=batch["attention_mask"], use_cache=False, logits_to_keep=keep)
        count = len(following)
        answers = nn.functional.cross_entropy(out.logits.flatten(0, -2).float(), following, reduction="sum")
        spoken = said.loss(model, batch, seen, heard) * count
        return Loss(answers + word_weight * spoken.to(answers.device), count,
                    {"answers": answers.item(), "words": spoken.item()})

    return loss
