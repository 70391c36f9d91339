"""Training a small part of a large model: LoRA, DoRA and QLoRA on the language model, the connectors beside it.

Through PEFT (`pip install reelm[train]`). What is saved is a whole adapter folder, see `reelm.model.adapters`: plain
`AutoModelForCausalLM.from_pretrained(base)` with `PeftModel.from_pretrained(folder)` reads it, so does
`reelm.load(folder)`, and `reelm model merge` makes a model of its own of it.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from safetensors.torch import save_file

from reelm.errors import CheckpointError, UsageError
from reelm.model import adapters
from reelm.model.adapters import Base
from reelm.model.checkpoints import load_folder, load_named

if TYPE_CHECKING:
    from reelm.model.modeling import ReelmModel
    from reelm.model.processing import ReelmProcessor

#: The matrices of a decoder layer, in every language model family that is read.
TARGETS = r"language_model\..*\.(q_proj|k_proj|v_proj|o_proj|qkv_proj|gate_proj|up_proj|gate_up_proj|down_proj)"
CONNECTORS = ("connector", "audio_connector")


class AdapterSettings(BaseModel):
    """What is attached: `kind` of adapter, rank `r`, `alpha` (the change counts alpha / r times), `dropout`.

    `targets`: a regular expression over names of modules, all of them inside the language model. `beside`: other parts
    that are trained whole and saved with it, besides the connectors, which always are. `bits` 4 keeps the frozen
    language model in NF4 while the adapter learns (QLoRA).

    Source: LoRA, arXiv:2106.09685; DoRA, arXiv:2402.09353; QLoRA, arXiv:2305.14314; all as PEFT has them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["lora", "dora"] = "lora"
    r: int = Field(default=16, ge=1)
    alpha: float = Field(default=32, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    targets: str = TARGETS
    beside: tuple[Literal["vision_tower", "audio_tower"], ...] = ()
    bits: Literal[4] | None = None


def attach(model: ReelmModel, settings: AdapterSettings) -> Any:
    """A PEFT model around `model`, which it changes in place: everything frozen but adapter and connectors.

    As it stands it gives the outputs of `model`, bit for bit without `bits`; connectors are copies, so that the base
    stays reachable under `without_adapter`.
    Raises: UsageError when PEFT is missing, or `targets` names nothing, or something outside the language model.
    """
    peft = _peft()
    hit = [name for name, module in model.named_modules()
           if re.fullmatch(settings.targets, name) and isinstance(module, torch.nn.Linear)]
    if other := [name for name in hit if not name.startswith("language_model.")]:
        raise UsageError(f"targets also names {other[0]} ({len(other)} such modules)", where=settings.targets,
                         remedy="Begin the expression with language_model\\.")
    if not hit:
        raise UsageError("targets names no linear layer of this model", where=settings.targets,
                         remedy=f"The default is {TARGETS}")
    if settings.bits is not None:
        _to_bits(model, settings.bits)
    parts = [name for name in (*CONNECTORS, *settings.beside) if getattr(model, name, None) is not None]
    config = peft.LoraConfig(r=settings.r, lora_alpha=settings.alpha, lora_dropout=settings.dropout,
                             use_dora=settings.kind == "dora", target_modules=settings.targets,
                             modules_to_save=parts or None, task_type="CAUSAL_LM")
    return peft.get_peft_model(model, config)


def _to_bits(model: Any, bits: int) -> None:
    from reelm.model.lowbit import quantise

    quantise(model, bits, model.device, parts=("language_model",))
    # PEFT asks these attributes which kind of layer it has to wrap.
    model.is_loaded_in_4bit = True


def _peft() -> Any:
    try:
        import peft
    except ImportError:
        raise UsageError("adapters are trained through the package peft", remedy="pip install 'reelm[train]'") from None
    return peft


@contextmanager
def without_adapter(adapted: Any) -> Iterator[None]:
    """Inside, the model is its base again, connectors too: the reference of a preference loss.

    PEFT lets every adapter weight learn when it comes back; what a stage has frozen stays frozen here.
    """
    learning = {name: parameter.requires_grad for name, parameter in adapted.named_parameters()}
    try:
        with adapted.disable_adapter():
            yield
    finally:
        for name, parameter in adapted.named_parameters():
            parameter.requires_grad_(learning[name])


def save(adapted: Any, processor: ReelmProcessor, folder: str | Path, base: Base,
         weights: dict[str, torch.Tensor] | None = None) -> None:
    """Writes a whole adapter folder: adapter, connectors, processor, generation defaults, and which base it belongs to.

    `base` comes from `reelm.model.adapters.base_of`, once before training. Files are written one after the other: a
    caller that may be killed writes into a new folder and renames it. `weights`: the whole state by name, where the
    model itself holds only a part of it (sharded).
    """
    folder = Path(folder)
    settings = adapted.peft_config[adapted.active_adapter]
    settings.base_model_name_or_path = base.name
    adapted.save_pretrained(str(folder), save_embedding_layers=False, state_dict=weights)
    (folder / "README.md").unlink(missing_ok=True)  # PEFT's form of a model card, with nothing filled in
    model = adapted.get_base_model()
    model.generation_config.save_pretrained(str(folder))
    processor.save_pretrained(str(folder))
    adapters.record_base(folder, base)


def ship(adapted: Any, folder: Path, weights: dict[str, torch.Tensor]) -> None:
    """Writes what reelm-tiny ships, `model.tiny.load_tiny` reads it: config.json, the parts that are not public bases,
    and the adapter in PEFT's format; all in bfloat16. `weights`: the whole state by name.
    """
    def half(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {name: value.to("cpu", torch.bfloat16).contiguous() for name, value in state.items()}

    folder.mkdir(parents=True)
    model = adapted.get_base_model()
    for part in (*CONNECTORS, "audio_tower"):
        if getattr(model, part, None) is None:
            continue
        at = f"base_model.model.{part}.{'modules_to_save.default.' if part in CONNECTORS else ''}"
        state = {name.removeprefix(at): value for name, value in weights.items() if name.startswith(at)}
        save_file(half(state), folder / f"{part}.safetensors", {"format": "pt"})
    whole = _peft().get_peft_model_state_dict(adapted, weights, save_embedding_layers=False)
    only = {name: value for name, value in whole.items() if "lora_" in name}
    save_file(half(only), folder / adapters.WEIGHTS, {"format": "pt"})
    told = adapted.peft_config[adapted.active_adapter]
    settings = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": told.r, "lora_alpha": told.lora_alpha,
                "target_modules": told.target_modules, "bias": "none", "inference_mode": True}
    (folder / adapters.SETTINGS).write_text(json.dumps(settings, indent=1))
    config = copy.deepcopy(model.config)
    config.text_config.name_or_path = ""  # a folder of this machine
    config.save_pretrained(folder)


def load(folder: str | Path, *, device: str = "cpu", dtype: torch.dtype = torch.float32, base: str | None = None,
         bits: Literal[4] | None = None) -> tuple[Any, ReelmProcessor]:
    """A saved adapter on its base, ready to learn on; the PEFT model and the processor.

    `base`: where the base lies now, when that is elsewhere than the folder says. `bits` as in `AdapterSettings`.
    Raises: CheckpointError when the base is another one than it was trained on.
    """
    folder = Path(folder)
    if not adapters.is_adapter(folder):
        raise CheckpointError("no adapter of PEFT's form on a model of ours", where=str(folder),
                              remedy="Published LoRA folders are read by reelm.load and merged, not trained on")
    said = adapters.recorded_base(folder)
    place = base or said.place(folder)
    adapters.check_base(folder, said, place)
    model, processor = (load_named(place, device, dtype, "sdpa") if adapters.is_named(place)
                        else load_folder(place, device=device, dtype=dtype))
    processor = adapters.settings_of(folder, model, processor)
    if bits is not None:
        _to_bits(model, bits)
    return _peft().PeftModel.from_pretrained(model, str(folder), is_trainable=True), processor
