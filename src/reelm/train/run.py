"""The training loop of reelm-tiny: `python -m reelm.train.run recipes/reelm_tiny.yaml --out runs/reelm-tiny`.

Started again with the same --out it goes on where it was: the state is the number of the stage and of its steps, and
the order of the samples is a pure function of the seed.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from reelm.data.batch import WorldSamples, collate
from reelm.model.tiny import fresh_tiny
from reelm.train.stage import Recipe, Stage, open_stage, table


def build(recipe: Recipe, device: str) -> tuple[nn.Module, Any]:
    """The recipe's model with its adapters, ready to learn, and its processor; frozen parts are bfloat16 on a GPU."""
    model, processor = fresh_tiny(recipe.model, recipe.seed)
    config = LoraConfig(r=recipe.lora.r, lora_alpha=recipe.lora.alpha, target_modules=recipe.lora.targets)
    adapted = get_peft_model(model, config)
    for name, parameter in adapted.named_parameters():
        learns = "lora_" in name or ".connector." in name
        parameter.data = (
            parameter.data.float()
            if learns
            else parameter.data.to(torch.bfloat16 if device == "cuda" else torch.float32)
        )
    for buffer_owner in adapted.modules():
        if isinstance(buffer_owner, nn.BatchNorm2d) and device == "cuda":
            buffer_owner.to(torch.bfloat16)
    return adapted.to(device), processor


def batches(recipe: Recipe, processor: Any, stage_at: int, step: int, workers: int) -> Iterator[dict[str, Tensor]]:
    """The batches of a stage from `step` on, always the same ones."""
    stage = recipe.stages[stage_at]
    samples = WorldSamples(processor, recipe.seed * 1000 + stage_at, stage.steps * stage.batch_clips)
    rest = Subset(samples, range(step * stage.batch_clips, len(samples)))
    pad_id = processor.tokenizer.pad_token_id or 0
    loader = DataLoader(
        rest,
        stage.batch_clips,
        num_workers=workers,
        collate_fn=partial(collate, pad_id=pad_id),
        pin_memory=torch.cuda.is_available(),
        prefetch_factor=6 if workers else None,
    )
    return iter(loader)


def loss_of(model: nn.Module, batch: dict[str, Tensor], device: str) -> Tensor:
    """Mean next-token loss over the answers; logits are made at answer positions only."""
    batch = {k: v.to(device, non_blocking=True) for k, v in batch.items()}
    pixels = batch.pop("pixels").float() / 127.5 - 1
    labels = batch.pop("labels")
    frames = batch.pop("video_frames").tolist()
    shifted = torch.full_like(labels, -100)
    shifted[:, :-1] = labels[:, 1:]
    keep = shifted != -100
    with torch.autocast(device, torch.bfloat16):
        out = model(**batch, pixel_values_videos=pixels, video_frames=frames, logits_to_keep=keep, use_cache=False)
    return nn.functional.cross_entropy(out.logits.flatten(0, -2).float(), shifted[keep])


def rate_at(step: int, stage: Stage, warmup: int) -> float:
    """Learning rate: linear warm-up, then a cosine down to a twentieth of the peak."""
    warmup = min(warmup, max(1, stage.steps // 10))
    if step < warmup:
        return stage.rate * (step + 1) / warmup
    share = (step - warmup) / max(1, stage.steps - warmup)
    return stage.rate * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * share)))


def learnt(model: nn.Module) -> dict[str, Tensor]:
    """All parameters that any stage may change."""
    return {k: v.detach().cpu().contiguous() for k, v in model.named_parameters() if "lora_" in k or ".connector." in k}


def save(model: nn.Module, optimizer: torch.optim.Optimizer, out: Path, progress: dict[str, Any]) -> None:
    """Writes the state so that a kill at any moment leaves the old one or the new one, never half of one."""
    new, old = out / "state.new", out / "state"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    save_file(learnt(model), new / "learnt.safetensors")
    torch.save(optimizer.state_dict(), new / "optimizer.pt")
    (new / "progress.json").write_text(json.dumps(progress))
    if old.exists():
        old.rename(out / "state.old")
    new.rename(old)
    shutil.rmtree(out / "state.old", ignore_errors=True)


def export(model: nn.Module, recipe: Recipe, out: Path) -> None:
    """Writes what ships: config.json, connector.safetensors and the adapter in PEFT's format, bfloat16."""
    folder = out / "export"
    folder.mkdir(parents=True, exist_ok=True)
    half = {
        k: v.to(torch.bfloat16).cpu().contiguous() for k, v in model.base_model.model.connector.state_dict().items()
    }
    save_file(half, folder / "connector.safetensors", metadata={"format": "pt"})
    adapter = {k: v.to(torch.bfloat16).cpu().contiguous() for k, v in get_peft_model_state_dict(model).items()}
    save_file(adapter, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    settings = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": recipe.lora.r,
        "lora_alpha": recipe.lora.alpha,
        "target_modules": recipe.lora.targets,
        "base_model_name_or_path": None,
        "bias": "none",
        "inference_mode": True,
    }
    (folder / "adapter_config.json").write_text(json.dumps(settings, indent=1))
    model.base_model.model.config.save_pretrained(folder)


def run_stage(
    model: nn.Module, processor: Any, recipe: Recipe, stage_at: int, out: Path, device: str, workers: int
) -> None:
    """Trains one stage from wherever its saved state stands to its end."""
    stage, state = recipe.stages[stage_at], out / "state"
    learning = open_stage(model, stage)
    fused = {"fused": True} if device == "cuda" else {}
    optimizer = torch.optim.AdamW(learning, lr=stage.rate, betas=(0.9, 0.98), weight_decay=0.01, **fused)
    progress = json.loads((state / "progress.json").read_text()) if (state / "progress.json").exists() else {}
    step = progress["step"] if progress.get("stage") == stage_at else 0
    if step:
        optimizer.load_state_dict(torch.load(state / "optimizer.pt", weights_only=True))
    print(f"stage {stage.name}: steps {step} to {stage.steps}\n{table(model)}", file=sys.stderr, flush=True)
    began, seen = time.monotonic(), 0
    for batch in batches(recipe, processor, stage_at, step, workers):
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step, stage, recipe.warmup_steps)
        loss = loss_of(model, batch, device)
        loss.backward()
        nn.utils.clip_grad_norm_(learning, recipe.grad_clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        step, seen = step + 1, seen + stage.batch_clips
        if step % 50 == 0 or step == stage.steps:
            line = {
                "stage": stage.name,
                "step": step,
                "loss": round(loss.item(), 4),
                "clips_per_s": round(seen / (time.monotonic() - began), 1),
            }
            with (out / "log.jsonl").open("a") as log:
                log.write(json.dumps(line) + "\n")
            print(line, file=sys.stderr, flush=True)
        if step % recipe.save_every_steps == 0 or step == stage.steps:
            save(model, optimizer, out, {"stage": stage_at, "step": step})
            export(model, recipe, out)


def train(recipe: Recipe, out: Path, device: str, workers: int) -> None:
    """Runs every stage that is not finished; goes on from the saved state in `out`."""
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(recipe.seed)
    model, processor = build(recipe, device)
    state, at = out / "state", 0
    if (state / "progress.json").exists():
        progress = json.loads((state / "progress.json").read_text())
        model.load_state_dict(load_file(state / "learnt.safetensors"), strict=False)
        at = progress["stage"] + (progress["step"] >= recipe.stages[progress["stage"]].steps)
    for stage_at in range(at, len(recipe.stages)):
        run_stage(model, processor, recipe, stage_at, out, device, workers)


def main() -> None:
    """The command line of this module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 2) - 1))
    given = parser.parse_args()
    train(Recipe.read(given.recipe), given.out, given.device, given.workers)


if __name__ == "__main__":
    main()
