"""The training loop of reelm-tiny: `python -m reelm.train.run recipes/reelm_tiny.yaml --features DIR --out DIR`.

Started again with the same --out it goes on where it was: the state is the stage and the steps done in it, and the
order of the samples is a pure function of the recipe. Clips come from stored features, see features.py.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader

from reelm.data.batch import Clips, LengthBatches, WorldSamples, collate, tickets
from reelm.data.features import Features
from reelm.data.hearing import Hearing
from reelm.data.named import Photos, Rows
from reelm.model.fuse import answer_logits
from reelm.model.tiny import classifier_rows, fresh_tiny
from reelm.train.stage import Recipe, Stage, open_stage, table
from reelm.train.words import Words, sound_word_hits, sound_word_loss, word_hits, word_loss

#: The file of the sound tower among the stored features.
SOUND_TOWER = "sound_tower.safetensors"
Start = Callable[[dict[str, Any], int], tuple[Any, Any]]


class Trainee:
    """A composite model with adapters on its language model, fed with stored features of its frozen tower."""

    def __init__(self, recipe: Recipe, device: str, start: Start) -> None:
        model: Any
        model, self.processor = start(recipe.model, recipe.seed)
        config = LoraConfig(r=recipe.lora.r, lora_alpha=recipe.lora.alpha, target_modules=recipe.lora.targets)
        self.adapted: Any = get_peft_model(model, config).to(device)
        self.model = model
        self.device, self.recipe = device, recipe
        self.thumbnail = int(recipe.model["vision"]["encoder"].get("thumbnail", 0))
        self.words = Words.of(self.processor.tokenizer, self.model.get_input_embeddings().weight.detach().cpu())

    def dropped(self, features: Tensor) -> Tensor:
        """Some features, or for some clips the whole tower, set to zero: what can be learnt by heart must not be.

        The thumbnail at the end stays; colour and place are to be read from it.
        """
        recipe, kept = self.recipe, features.shape[-1] - 3 * self.thumbnail**2
        clips = features.shape[0]
        keep = (torch.rand(clips, 1, 1, kept) >= recipe.drop_features) / (1 - recipe.drop_features)
        if self.thumbnail:
            keep = keep * (torch.rand(clips, 1, 1, 1) >= recipe.drop_tower)
        return torch.cat((features[..., :kept] * keep, features[..., kept:]), -1)

    def seen(self, features: Tensor) -> Tensor:
        """Stored features of clips [B,T,h·w,D] through the connector: [B,N,D']."""
        batch, slices, cells, width = features.shape
        side = math.isqrt(cells)
        grid = features.to(self.device).reshape(batch, slices, side, side, width)
        return self.model.connector.project(grid).flatten(1, 3)

    def heard(self, sounds: Tensor) -> Tensor:
        """Stored features of sounds [B,slots,D] through the sound connector: [B,slots,D']."""
        return self.model.audio_connector.project(sounds.to(self.device)[:, :, None, None]).flatten(1, 3)

    def loss(self, stage: Stage, batch: dict[str, Any]) -> Tensor:
        """The loss of a stage on one batch: `words` (connectors alone), or `answers` (next token, at answers only)."""
        seen = self.seen(self.dropped(batch["features"])) if "features" in batch else None
        heard = self.heard(batch["sounds"]) if "sounds" in batch else None
        if stage.loss == "words":
            return self.word_loss(seen, heard, batch)
        loss = self.answer_loss(seen, heard, batch)
        return loss + stage.word_weight * self.word_loss(seen, heard, batch) if stage.word_weight else loss

    def word_loss(self, seen: Tensor | None, heard: Tensor | None, batch: dict[str, Any]) -> Tensor:
        """How far the connectors' tokens are from the words for what is there."""
        loss = torch.zeros(())
        if seen is not None:
            grid = self.processor.vision_grid(batch["features"].shape[1])
            loss = loss + word_loss(seen.cpu(), self.words, batch["scenes"], batch["moments"], grid)
        if heard is not None:
            loss = loss + sound_word_loss(heard.cpu(), self.words, batch["tracks"])
        return loss

    def answer_loss(self, seen: Tensor | None, heard: Tensor | None, batch: dict[str, Any]) -> Tensor:
        """Mean next-token loss; logits are made at answer positions only."""
        ids, kinds, labels = (batch[k].to(self.device) for k in ("input_ids", "mm_token_type_ids", "labels"))
        keep, following = answer_logits(labels)
        vision, audio = ([] if x is None else list(x) for x in (seen, heard))
        out = self.adapted(inputs_embeds=self.model.embed(ids, kinds, vision=vision, audio=audio), use_cache=False,
                           attention_mask=batch["attention_mask"].to(self.device), logits_to_keep=keep)
        return nn.functional.cross_entropy(out.logits.flatten(0, -2).float(), following)

    @torch.no_grad()
    def hits(self, batch: dict[str, Any]) -> dict[str, float]:
        """How often the connectors' nearest word is the right one, per fact."""
        told: dict[str, float] = {}
        if "features" in batch:
            grid = self.processor.vision_grid(batch["features"].shape[1])
            told |= word_hits(self.seen(batch["features"]).cpu(), self.words, batch["scenes"], batch["moments"], grid)
        if "sounds" in batch:
            told |= sound_word_hits(self.heard(batch["sounds"]).cpu(), self.words, batch["tracks"])
        return told

    def learnt(self) -> dict[str, Tensor]:
        """All parameters that any stage may change."""
        named = self.adapted.named_parameters()
        return {k: v.detach().cpu().contiguous() for k, v in named if "lora_" in k or "connector." in k}


def batches(recipe: Recipe, trainee: Trainee, folder: Path, stage: Stage, step: int, workers: int) -> Iterator[Any]:
    """The batches of a stage from `step` on, always the same ones."""
    mix = [(draw.clips, draw.tracks, draw.share) for draw in stage.mix]
    sizes = {name: s.clips for name, s in recipe.sets.items()} | {n: t.tracks for n, t in recipe.tracks.items()}
    order = tickets(mix, sizes, stage.steps * stage.batch, recipe.seed)
    clips = {name: stored(recipe, name, folder) for name in recipe.sets}
    tracks = {name: stored_tracks(recipe, name, folder) for name in recipe.tracks}
    turns = stage.turns if stage.loss == "answers" else 0
    samples = WorldSamples(trainee.processor, clips, order, turns, tracks)
    pad_id = trainee.processor.tokenizer.pad_token_id or 0
    group = 2 if turns else 1  # nothing is padded where no text is read
    return iter(DataLoader(samples, batch_sampler=LengthBatches(samples, stage.batch, step, group),
                           num_workers=workers, collate_fn=partial(collate, pad_id=pad_id),
                           prefetch_factor=2 if workers else None))


def chance_of(seed: int, stage: int, step: int) -> int:
    """The seed of what is dropped in one step: a run that was stopped drops the same as one that was not."""
    return int(np.random.SeedSequence([seed, stage, step]).generate_state(1)[0])


def rate_share(step: int, steps: int, warmup: int) -> float:
    """Share of the peak rate: linear warm-up, then a cosine down to a twentieth."""
    warmup = min(warmup, max(1, steps // 10))
    if step < warmup:
        return (step + 1) / warmup
    return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def save(trainee: Trainee, optimizer: torch.optim.Optimizer, out: Path, progress: dict[str, Any]) -> None:
    """Writes the state so that a kill at any moment leaves the old one or the new one, never half of one."""
    new, now, old = out / "state.new", out / "state", out / "state.old"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    save_file(trainee.learnt(), new / "learnt.safetensors")
    torch.save(optimizer.state_dict(), new / "optimizer.pt")
    (new / "progress.json").write_text(json.dumps(progress))
    if now.exists():
        now.rename(old)
    new.rename(now)
    shutil.rmtree(old, ignore_errors=True)


def saved(out: Path) -> Path | None:
    """The folder of the last whole state, or None."""
    return next((f for f in (out / "state", out / "state.old") if (f / "progress.json").exists()), None)


def export(trainee: Trainee, recipe: Recipe, out: Path) -> None:
    """Writes what ships: config.json, connector.safetensors and the adapter in PEFT's format, all bfloat16."""
    folder = out / "export"
    folder.mkdir(parents=True, exist_ok=True)

    def half(state: dict[str, Tensor]) -> dict[str, Tensor]:
        return {k: v.to(torch.bfloat16).cpu().contiguous() for k, v in state.items()}

    for name in ("connector", "audio_connector", "audio_tower"):
        part = getattr(trainee.model, name)
        if part is not None:
            save_file(half(part.state_dict()), folder / f"{name}.safetensors", {"format": "pt"})
    adapter = get_peft_model_state_dict(trainee.adapted, save_embedding_layers=False)
    save_file(half(adapter), folder / "adapter_model.safetensors", {"format": "pt"})
    settings = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": recipe.lora.r, "lora_alpha": recipe.lora.alpha,
                "target_modules": recipe.lora.targets, "bias": "none", "inference_mode": True}
    (folder / "adapter_config.json").write_text(json.dumps(settings, indent=1))
    config = copy.deepcopy(trainee.model.config)
    config.text_config.name_or_path = ""  # a folder of this machine
    config.save_pretrained(folder)


def stored(recipe: Recipe, name: str, folder: Path) -> Clips:
    """The stored features of one of the recipe's sets of clips."""
    chosen = recipe.sets[name]
    if chosen.source == "photos":
        return Photos(folder / (chosen.over or name), recipe.seed, chosen.frames)
    if chosen.source == "rows":
        over = recipe.sets[chosen.over or ""]
        drawn = Features(folder / (chosen.over or ""), recipe.seed, over.frames, over.plot)
        return Rows(drawn, over.clips, *classifier_rows(), chosen.frames)
    return Features(folder / name, recipe.seed, chosen.frames, chosen.plot)


def stored_tracks(recipe: Recipe, name: str, folder: Path) -> Hearing:
    """The stored sounds of one of the recipe's sets of tracks."""
    audio = recipe.model["audio"]
    return Hearing(folder / name, recipe.seed, int(audio["connector"]["slots"]), recipe.tracks[name].script)


def run_stage(trainee: Trainee, recipe: Recipe, at: int, folder: Path, out: Path, workers: int) -> None:
    """Trains one stage from wherever its saved state stands to its end."""
    stage, state, step = recipe.stages[at], saved(out), 0
    groups = open_stage(trainee.adapted, stage)
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=0.01)
    progress = json.loads((state / "progress.json").read_text()) if state else {}
    if state and progress["stage"] == at:
        step = progress["step"]
        optimizer.load_state_dict(torch.load(state / "optimizer.pt", weights_only=True))
    say(out, f"stage {stage.name}: steps {step} to {stage.steps}\n{table(trainee.adapted)}")
    learning = [p for group in groups for p in group["params"]]
    began, first = time.monotonic(), step
    for batch in batches(recipe, trainee, folder, stage, step, workers):
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * rate_share(step, stage.steps, recipe.warmup_steps)
        torch.manual_seed(chance_of(recipe.seed, at, step))
        loss = trainee.loss(stage, batch)
        loss.backward()
        nn.utils.clip_grad_norm_(learning, recipe.grad_clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        step += 1
        if step % 10 == 0 or step == stage.steps:
            rate = (step - first) * stage.batch / (time.monotonic() - began)
            said = {"stage": stage.name, "step": step, "loss": round(loss.item(), 4), "samples_per_s": round(rate, 2)}
            if stage.loss == "words":
                said |= trainee.hits(batch)
            say(out, json.dumps(said))
        if step % recipe.save_every_steps == 0 or step == stage.steps:
            save(trainee, optimizer, out, {"stage": at, "step": step})
            export(trainee, recipe, out)


def say(out: Path, text: str) -> None:
    """One line to the log in the run's folder and to stderr."""
    with (out / "log.txt").open("a") as log:
        log.write(text + "\n")
    print(text, file=sys.stderr, flush=True)


def train(recipe: Recipe, features: Path, out: Path, device: str = "cpu", workers: int = 0,
          start: Start = fresh_tiny) -> Trainee:
    """Runs every stage that is not finished, from the saved state in `out` if there is one; gives the trained model."""
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(recipe.seed)
    trainee = Trainee(recipe, device, start)
    state, at = saved(out), 0
    if state:
        progress = json.loads((state / "progress.json").read_text())
        trainee.adapted.load_state_dict(load_file(state / "learnt.safetensors"), strict=False)
        at = progress["stage"] + (progress["step"] >= recipe.stages[progress["stage"]].steps)
    for stage_at in range(at, len(recipe.stages)):
        run_stage(trainee, recipe, stage_at, features, out, workers)
    return trainee


def main() -> None:
    """The command line of this module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--features", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args()
    recipe = Recipe.read(given.recipe)
    start = partial(fresh_tiny, sound_tower=given.features / SOUND_TOWER if recipe.sound else None)
    train(recipe, given.features, given.out, given.device, given.workers, start)


if __name__ == "__main__":
    main()
