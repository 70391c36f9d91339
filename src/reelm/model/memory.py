"""Will it fit: bytes that a prompt needs beside the weights, what is free, and the smallest change that helps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from reelm.errors import BudgetError
from reelm.model.config import part_of
from reelm.model.processing import ReelmProcessor, Sketch
from reelm.model.way import largest

#: A container's folder, its files for limit and use, and the line of memory.stat for file pages it can give back.
_CGROUPS = ((Path("/sys/fs/cgroup"), "memory.max", "memory.current", "inactive_file"),
            (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"))


def free_bytes(device: torch.device) -> int:
    """Bytes that can still be taken on a device; for the CPU also what a container leaves of it.

    What only caches hold counts as free: file pages, and blocks that PyTorch keeps on a GPU without using them.
    """
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + kept
    found = [_meminfo(), *(left_in(*group) for group in _CGROUPS)]
    return min((value for value in found if value is not None), default=1 << 62)


def _meminfo() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


def left_in(folder: Path, limit: str, used: str, pages: str) -> int | None:
    """Bytes that a container whose control files lie in `folder` may still take; None where there is no limit."""
    try:
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        return int((folder / limit).read_text()) - int((folder / used).read_text()) + int(stat.get(pages, 0))
    except (OSError, ValueError):
        return None


@dataclass(frozen=True)
class Need:
    """Bytes of one question beside the weights: `cache` keys and values, `work` the largest passing moment."""

    cache: int
    work: int

    @property
    def total(self) -> int:
        return self.cache + self.work


def need(config: Any, processor: ReelmProcessor, sketches: Sequence[Sketch], text: int, max_tokens: int,
         item_bytes: int, beside: int = 0) -> Need:
    """What a prompt of `text` words and these media takes: tensors that are alive together, no allocator slack.

    `beside`: what computing takes whatever the prompt, see `reordered`. Media are taken in one after the other, before
    the prompt is filled in, so only the largest moment counts.
    """
    counts = [processor.counts(sketch) for sketch in sketches]
    length = text + sum(sum(count.values()) for count in counts)
    inner = config.text_config
    heads = getattr(inner, "num_key_value_heads", None) or inner.num_attention_heads
    head = getattr(inner, "head_dim", None) or inner.hidden_size // inner.num_attention_heads
    cache = 2 * inner.num_hidden_layers * heads * head * (length + max_tokens) * item_bytes
    fill = length * (4 * inner.hidden_size + 3 * inner.intermediate_size) * item_bytes + inner.vocab_size * 8
    if inner._attn_implementation == "eager":
        fill += 2 * inner.num_attention_heads * length**2 * 4
    moments = [fill] + [_looking(processor, sketch.frames, item_bytes) for sketch in sketches if sketch.frames]
    moments += [_hearing(processor, count["audio"], item_bytes) for count in counts if count["audio"]]
    return Need(cache, max(moments) + beside)


def reordered(model: Any) -> int:
    """Bytes of the largest weight of a connector: a convolution on a CPU reads a copy of it in another order."""
    connector = model.connector
    if connector is None or next(connector.parameters()).device.type != "cpu":
        return 0
    return max(weight.nbytes for weight in connector.parameters())


def _looking(processor: ReelmProcessor, frames: int, item_bytes: int) -> int:
    settings = processor.vision_settings
    assert settings is not None  # counted before
    cls, encoder = part_of("encoder", settings.encoder)
    repeated = settings.repeat if frames == 1 else frames
    _, h, w = cls.grid_of(encoder, frames)
    width = cls.width_of(encoder)
    tower = encoder.full_tower() if hasattr(encoder, "full_tower") else None
    side = tower.image_size if tower else 32 * h
    wide = tower.intermediate_size if tower else 4 * width
    pixels = frames * 3 * side * side * (4 + item_bytes)
    in_tower = frames * h * w * (4 * width + 2 * wide) * item_bytes
    # A convolution stack holds its input, the normalised copy, and the result at full width and full grid.
    in_connector = repeated * h * w * (width + 5 * settings.connector["out_width"]) * item_bytes
    return pixels + max(in_tower, in_connector)


def _hearing(processor: ReelmProcessor, tokens: int, item_bytes: int) -> int:
    settings = processor.audio_settings
    assert settings is not None  # counted before
    _, encoder = part_of("encoder", settings.encoder)
    heads = getattr(encoder, "encoder_attention_heads", 12)
    width = getattr(encoder, "encoder_embed_dim", 768)
    # The tower adds a bias of its own to its attention, so the squares are really there.
    return tokens**2 * heads * 4 * item_bytes + tokens * 8 * width * item_bytes


def afford(count: Callable[[Sequence[Sketch], int], Need], sketches: Sequence[Sketch], max_tokens: int,
           free: int) -> Need:
    """What the media need, if that much is free.

    `count` tells the need of any media and answer length.
    Raises: BudgetError with the numbers and the smallest change that fits: fewer frames, a shorter answer, no sound.
    """
    wanted = count(sketches, max_tokens)
    if wanted.total <= free:
        return wanted
    raise BudgetError(
        f"this question needs {_size(wanted.total)} ({_size(wanted.cache)} for keys and values, {_size(wanted.work)} "
        f"to compute), {_size(free)} are free", where="memory", remedy=_change(count, sketches, max_tokens, free))


def _change(count: Callable[[Sequence[Sketch], int], Need], sketches: Sequence[Sketch], max_tokens: int,
            free: int) -> str:
    most = max((sketch.frames for sketch in sketches), default=0)

    def fewer(frames: int) -> list[Sketch]:
        return [replace(sketch, frames=min(sketch.frames, frames)) for sketch in sketches]

    def fits(given: Sequence[Sketch], tokens: int = max_tokens) -> bool:
        try:
            return count(given, tokens).total <= free
        except BudgetError:  # one frame, which is repeated, may be more tokens than several were allowed
            return False

    found = largest(most - 1, lambda frames: fits(fewer(frames)))
    if found:
        return f"frames={found} fits, at {_size(count(fewer(found), max_tokens).total)}"
    shorter = largest(max_tokens - 1, lambda tokens: fits(sketches, tokens))
    if shorter:
        return f"max_tokens={shorter} fits"
    silent = [replace(sketch, audio_s=None) for sketch in sketches if sketch.frames]
    if len(silent) == len(sketches) and any(sketch.audio_s is not None for sketch in sketches):
        if fits(silent):
            return "audio=False fits"
        found = largest(most - 1, lambda frames: fits(
            [replace(sketch, frames=min(sketch.frames, frames)) for sketch in silent]))
        if found:
            return f"audio=False with frames={found} fits"
    return f"Nothing smaller fits either; free {_size(count(sketches, max_tokens).total - free)} more, or load " \
           "the model with fewer bits"


def afford_weights(shapes: dict[str, tuple[tuple[int, ...], str]], item_bytes: int, bits: int | None, free: int,
                   where: str) -> None:
    """Checks, before a weight is read, that the weights will fit.

    Raises: BudgetError with the numbers and the widest form that fits.
    """
    sizes = {name: _product(shape) for name, (shape, _) in shapes.items()}
    total = sum(sizes.values())
    # What 8 and 4 bits can shrink: the matrices of the decoder layers.
    matrices = sum(size for name, size in sizes.items() if ".layers." in name and len(shapes[name][0]) == 2
                   and "tower" not in name)
    forms = [(4.0, "dtype='float32'"), (2.0, "dtype='bfloat16'"), (1.0, "bits=8"), (0.5, "bits=4")]
    costs = [(per * total if per >= 2 else (total - matrices) * min(item_bytes, 2) + per * matrices, name)
             for per, name in forms]
    wanted = next(cost for cost, name in costs if name == f"bits={bits}") if bits else total * item_bytes
    if wanted <= free:
        return
    fitting = [(cost, name) for cost, name in costs if cost <= min(free, wanted)]
    remedy = f"{fitting[0][1]} fits, at {_size(int(fitting[0][0]))}" if fitting else \
        f"Even 4 bits need {_size(int(costs[-1][0]))}; use a larger machine or a smaller model"
    raise BudgetError(f"{total:,} weights need {_size(int(wanted))}, {_size(free)} are free", where=where,
                      remedy=remedy)


def _product(shape: Sequence[int]) -> int:
    out = 1
    for side in shape:
        out *= side
    return out


def _size(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e8 else f"{count / 1e6:.2f} MB"
