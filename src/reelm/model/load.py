"""`reelm.load`: a name or a folder becomes a model that can be asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from reelm.errors import CheckpointError, UsageError
from reelm.model.adapters import is_adapter, is_named, recorded_base
from reelm.model.compose import Spec, System, compose, spelt
from reelm.model.compose import system as read_system
from reelm.model.config import part_of
from reelm.model.files import INDEX, SINGLE, shapes_of
from reelm.model.front import VideoLM
from reelm.model.hub import is_hub_id, locate
from reelm.model.lowbit import quantise
from reelm.model.memory import afford_weights, free_bytes
from reelm.model.modeling import ReelmModel
from reelm.model.processing import ReelmProcessor

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load(name: str | Path = "reelm-tiny", device: str = "auto", dtype: str = "auto", attn: str = "sdpa",
         keep_bytes: int = 1 << 30, *, bits: int | None = None, hear_s: float | None = None,
         memory_bytes: int | None = None, system: str | Path | None = None, sampler: Spec | None = None,
         compressor: Spec | Sequence[Spec] | None = None, lora_alpha: float | None = None) -> VideoLM:
    """A model to ask, by name ("reelm-tiny", "random"), folder (ours, or a published VideoLLaMA 2 folder) or the hub id
    of a model that was pulled.

    `device` "auto" takes CUDA when there is one, else the CPU. `dtype` "auto": bfloat16 on CUDA and on processors with
    bfloat16 matrix units, else float32; or "float32", "bfloat16", "float16". `attn`: "sdpa" or "eager". `keep_bytes`:
    memory for what earlier questions leave to later ones. `bits` 8 or 4 stores language model and connectors in fewer
    bits. `hear_s`: hear all of a sound up to so many seconds, instead of the stretches that a published model was
    trained on. `memory_bytes`: refuse what needs more than this; without it, more than the device has free.
    `system`: a system of `reelm systems` (or its recipe file), or its pieces: `sampler` ("scene", "uniform,frames=16"),
    which chooses seconds, and `compressor` ("pool", "before:pool,h=12", several in a list), which reduces tokens; they
    take the place of the model's own. `lora_alpha`: another strength for the LoRA that is merged into the model while
    it is loaded, in place of the one it was trained with; 0 leaves it out.
    "random" is a tiny model with random weights to try the machinery, "random:mistral" has another language model,
    "random:av" hears as well, "random:qwen2+av" does both.

    Raises: CheckpointError for an unknown name, an incomplete folder, or a part that must be trained and for which the
    model has no weights; UsageError for an unknown device, dtype or system, or parts that conflict; BudgetError, before
    weights are read, when they do not fit.
    """
    where = device_of(device)
    number = dtype_of(dtype, where)
    free = free_bytes(where) if memory_bytes is None else memory_bytes
    told = pieces(system, sampler, compressor)
    model, processor = _load(str(name), torch.device("cpu") if bits else where, number, attn, bits, free, lora_alpha)
    if bits:
        quantise(model, bits, where)
    if hear_s is not None:
        processor = hear_all(model, processor, hear_s)
    if told.sampler is not None or told.compressors is not None:
        processor = compose(model, processor, str(name), sampler=told.sampler, compressors=told.compressors,
                            fresh=str(name).partition(":")[0] == "random")
    return VideoLM(model, processor, str(name), keep_bytes, memory_bytes, told.prompt)


def pieces(system: str | Path | None, sampler: Spec | None, compressor: Spec | Sequence[Spec] | None) -> System:
    """What a system and single parts, named beside it, come to.

    Raises: UsageError when both say the same thing.
    """
    found = System(name="") if system is None else read_system(system)
    chain = [compressor] if isinstance(compressor, str | Mapping) else compressor
    for own, given, what in ((found.sampler, sampler, "sampler"), (found.compressors, chain, "compressor")):
        if own is not None and given is not None:
            raise UsageError(f"system {found.name!r} has its own {what}", remedy="Leave one of them out")
    return found.model_copy(update={"sampler": found.sampler if sampler is None else spelt(sampler),
                                    "compressors": found.compressors if chain is None else
                                    tuple(spelt(one) for one in chain)})


def hear_all(model: ReelmModel, processor: ReelmProcessor, seconds: float) -> ReelmProcessor:
    """A processor under which the model hears the whole of a sound, up to `seconds`, with or without pictures.

    Raises: UsageError when the model does not hear, or its encoder hears whatever it is given.
    """
    config = model.config
    if config.audio is None:
        raise UsageError("hear_s does nothing: this model does not hear")
    encoder = {**config.audio["encoder"], "window": "whole", "max_seconds": seconds}
    part_of("encoder", encoder)
    config.audio = {**config.audio, "encoder": encoder, "of_video": {}}
    return ReelmProcessor.of(config, processor.tokenizer)


def device_of(device: str) -> torch.device:
    """The device meant by "auto", "cpu", "cuda", "cuda:1" …

    Raises: UsageError if it does not exist here.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"device {device!r} cannot be used: {str(error).splitlines()[0]}",
                         remedy="Use auto, cpu or cuda") from None
    return found


def dtype_of(dtype: str, device: torch.device) -> torch.dtype:
    """The number type meant by "auto" on a device, or by its name.

    Raises: UsageError for another name.
    """
    if dtype != "auto":
        if dtype not in DTYPES:
            raise UsageError(f"unknown dtype {dtype!r}", remedy=f"One of: auto, {', '.join(DTYPES)}")
        return DTYPES[dtype]
    if device.type == "cuda":
        return torch.bfloat16
    return torch.bfloat16 if device.type == "cpu" and _has_amx() else torch.float32


def _has_amx() -> bool:
    # Without these units bfloat16 on a CPU is emulated and slower than float32.
    try:
        return "amx_bf16" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False


def _load(name: str, device: torch.device, dtype: torch.dtype, attn: str, bits: int | None, free: int,
          alpha: float | None) -> tuple[ReelmModel, ReelmProcessor]:
    from reelm.model.checkpoints import load_folder, load_named

    if is_named(name):
        return load_named(name, str(device), dtype, attn, alpha)
    if not Path(name).is_dir() and not is_hub_id(name):
        raise CheckpointError(f"no model and no folder is called {name!r}", remedy="Known: reelm-tiny, random, "
                              "random:av, random:<llama|mistral|mixtral|qwen2>, or the path of a model folder")
    folder = locate(name)
    under = recorded_base(folder).place(folder) if is_adapter(folder) else str(folder)
    if any((Path(under) / file).is_file() for file in (SINGLE, INDEX)):
        afford_weights(shapes_of(under), dtype.itemsize, bits, free, name)
    return load_folder(folder, device=str(device), dtype=dtype, attn=attn, alpha=alpha)
