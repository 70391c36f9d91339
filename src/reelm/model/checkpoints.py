"""Model folders on disk, ours and published ones: complete or refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import sentencepiece
import torch
from tokenizers import normalizers
from transformers import AutoTokenizer, GenerationConfig

from reelm.errors import CheckpointError
from reelm.model import official
from reelm.model.adapters import SHIPPED, check_base, is_adapter, is_named, lay_on, recorded_base, settings_of
from reelm.model.files import read_config, weight_files
from reelm.model.lora import refuse_blend
from reelm.model.modeling import ReelmModel
from reelm.model.processing import ReelmProcessor
from reelm.model.published import Published, gather

#: Texts that tell one way of cutting words from another: where spaces and line breaks begin, are doubled, or end.
_PROBES = ("\n", " ", "a", "\nWhat is it?", "  two  blanks \n\n", "[INST] <<SYS>>\nBe kind.\n<</SYS>>\n\n",
           " [/INST]", "0:02 caf\u00e9 \u4e2d \U0001f642")


def load_folder(folder: str | Path, *, device: str = "cpu", dtype: str | torch.dtype = "auto",
                attn: str = "sdpa", alpha: float | None = None) -> tuple[ReelmModel, ReelmProcessor]:
    """Model and processor in a folder; its config.json decides which form it has.

    `alpha`: another strength for its LoRA, see `lora.blended`.
    Raises: UsageError for an `alpha` where there is no LoRA; CheckpointError when the folder is incomplete or of an
    unknown form; PolicyError when weights are pickles.
    """
    if (Path(folder) / SHIPPED).is_file():
        from reelm.model.tiny import load_tiny

        return load_tiny(device, dtype if isinstance(dtype, torch.dtype) else torch.float32, attn, Path(folder),
                         alpha=alpha)
    if is_adapter(Path(folder)):
        return load_adapted(folder, device=device, dtype=dtype, attn=attn, alpha=alpha)
    settings = read_config(folder)
    if settings.get("model_type") == "reelm":
        refuse_blend(alpha, str(folder))
        return load_native(folder, device=device, dtype=dtype, attn=attn)
    if official.family_of(settings) is not None:
        return load_official(folder, device=device, dtype=dtype, attn=attn, alpha=alpha)
    raise CheckpointError(f"model_type {settings.get('model_type')!r} is not known", where=str(folder),
                          remedy=f"Known: reelm, {', '.join(official.FAMILIES)}")


def load_native(folder: str | Path, *, device: str = "cpu", dtype: str | torch.dtype = "auto",
                attn: str = "sdpa") -> tuple[ReelmModel, ReelmProcessor]:
    """A folder that `save_pretrained` of model and processor wrote."""
    weight_files(folder)
    model = ReelmModel.from_pretrained(str(folder), dtype=dtype, attn_implementation=attn)
    processor = ReelmProcessor.from_pretrained(str(folder))
    _agree(model, processor, folder)
    return model.to(device).eval(), processor


def load_adapted(folder: str | Path, *, device: str = "cpu", dtype: str | torch.dtype = "auto", attn: str = "sdpa",
                 base: str | None = None, alpha: float | None = None) -> tuple[ReelmModel, ReelmProcessor]:
    """The model under an adapter with the adapter merged into it, and the adapter's processor.

    `base`: where the base lies now, when that is elsewhere than the folder says. `model.loading_notes` says what was
    taken, and when the folder does not tell which weights it belongs to.
    Raises: CheckpointError when base and adapter do not belong together.
    """
    folder = Path(folder)
    said = recorded_base(folder)
    place = base or said.place(folder)
    check_base(folder, said, place)
    if is_named(place):
        model, processor = load_named(place, device, dtype if isinstance(dtype, torch.dtype) else torch.float32, attn)
    else:
        model, processor = load_folder(place, device=device, dtype=dtype, attn=attn)
    processor = settings_of(folder, model, processor)
    changed = lay_on(model, folder, alpha)
    if (folder / "generation_config.json").is_file():
        model.generation_config = generation_defaults(folder, model.config)
    unsure = () if said.sha256 else (f"{folder} does not record which weights it was trained on; laid on {place}",)
    model.loading_notes = (*model.loading_notes, f"the adapter {folder} changed {changed} weights", *unsure)
    return model, processor


def load_named(name: str, device: str, dtype: torch.dtype, attn: str, alpha: float | None = None
               ) -> tuple[ReelmModel, ReelmProcessor]:
    """A model of the package: "reelm-tiny", or "random" with what follows the colon."""
    if name == "reelm-tiny":
        from reelm.model.tiny import load_tiny

        return load_tiny(device, dtype, attn, alpha=alpha)
    refuse_blend(alpha, name)
    from reelm.model.toy import random_model

    model, processor = random_model(name.partition(":")[2], attn=attn)
    model.to(dtype)  # type: ignore[arg-type]  # transformers' wrapper of `to` hides its arguments
    model.to(device)  # type: ignore[arg-type]
    return model, processor


def load_official(folder: str | Path, *, device: str = "cpu", dtype: str | torch.dtype = "auto",
                  attn: str = "sdpa", alpha: float | None = None) -> tuple[ReelmModel, ReelmProcessor]:
    """A published VideoLLaMA 2 folder in any of its forms: whole, `-Base` (projector only), LoRA, with sound or not.

    Weights go through a plain key map; all must be there and all must be used. `dtype="auto"` keeps the stored one.

    Source: layout of the published checkpoints; logits and greedy tokens agree, tests/model/test_checkpoints.py.
    """
    return build(gather(folder, alpha), folder, device=device, dtype=dtype, attn=attn)


def build(found: Published, folder: str | Path, *, device: str = "cpu", dtype: str | torch.dtype = "auto",
          attn: str = "sdpa") -> tuple[ReelmModel, ReelmProcessor]:
    """Model and processor of a gathered checkpoint; `model.loading_notes` says what was left aside or supplied."""
    config = official.config_from(found.flat)
    try:
        mapped = official.weights_from(found.weights, config)
    except CheckpointError as error:
        raise CheckpointError(error.what, where=str(folder), remedy=error.remedy) from None
    if dtype == "auto":
        dtype = next(tensor.dtype for tensor in mapped.values() if tensor.is_floating_point())
    try:
        model = ReelmModel.from_pretrained(None, config=config, state_dict=mapped, dtype=dtype,
                                           attn_implementation=attn)
    except CheckpointError as error:
        raise CheckpointError(official.in_official_words(error.what), where=str(folder), remedy=error.remedy) from None
    model.generation_config = generation_defaults(found.text_folder("generation_config.json"), config)
    model.loading_notes = tuple(found.notes)
    tokenizer = read_tokenizer(found.text_folder("tokenizer.json", "tokenizer.model"), config)
    return model.to(device).eval(), ReelmProcessor.of(config, tokenizer)


def generation_defaults(folder: str | Path, config: Any) -> GenerationConfig:
    """generation_config.json, or the special ids of the language model when there is none."""
    if (Path(folder) / "generation_config.json").is_file():
        return GenerationConfig.from_pretrained(str(folder))
    text = config.text_config
    return GenerationConfig(**{name: getattr(text, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")})


def read_tokenizer(folder: str | Path, config: Any) -> Any:
    """The tokenizer of a folder with its chat template.

    Raises: CheckpointError when there is none.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), config=config.text_config)
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"no readable tokenizer: {error}", where=str(folder),
                              remedy="It needs tokenizer.json or tokenizer.model, and tokenizer_config.json") from None
    _as_sentencepiece(tokenizer, Path(folder))
    if not tokenizer.chat_template:
        raise CheckpointError("the tokenizer has no chat template", where=str(folder),
                              remedy="Add chat_template to tokenizer_config.json")
    # The library's tokenizer classes add tokens of their own; only one that a prompt can hold must have its row.
    rows = config.text_config.vocab_size
    written = (tokenizer.bos_token, tokenizer.eos_token)
    for token, index in tokenizer.get_vocab().items():
        if index >= rows and (token in written or token in tokenizer.chat_template):
            raise CheckpointError(f"token {token!r} is number {index}, the model knows {rows} words",
                                  where=str(folder), remedy="Tokenizer and weights must belong together")
    return tokenizer


def _as_sentencepiece(tokenizer: Any, folder: Path) -> None:
    """Makes a tokenizer with a `tokenizer.model` cut every text as SentencePiece itself does.

    The official code cuts with SentencePiece, chunk by chunk, each chunk marked as the start of a word. The library's
    own reading of such a folder leaves the mark out for some model types, and does not double it before a blank for
    others; either changes the prompt without a word.

    Raises: CheckpointError when they still differ, with the text.
    """
    path = folder / "tokenizer.model"
    if not path.is_file():
        return
    try:
        pieces = sentencepiece.SentencePieceProcessor(model_file=str(path))
    except (RuntimeError, OSError) as error:
        raise CheckpointError(f"no SentencePiece model: {error}", where=str(path)) from None

    def differs() -> str | None:
        return next((text for text in _PROBES
                     if tokenizer(text, add_special_tokens=False)["input_ids"] != pieces.encode(text)), None)

    if differs() is None:
        return
    inner = tokenizer.backend_tokenizer
    marked = pieces.encode("a", out_type=str)[0].startswith("\u2581")
    mark = [normalizers.Prepend("\u2581")] if marked else []
    inner.normalizer = normalizers.Sequence([*mark, normalizers.Replace(" ", "\u2581")])
    inner.pre_tokenizer = None
    if (text := differs()) is not None:
        raise CheckpointError(f"the tokenizer cuts {text!r} other than tokenizer.model", where=str(folder),
                              remedy="tokenizer.json and tokenizer.model must belong together")


def _agree(model: ReelmModel, processor: ReelmProcessor, folder: str | Path) -> None:
    for name in ("vision", "audio", "layout"):
        ours, theirs = (json.dumps(getattr(owner, name), sort_keys=True) for owner in (model.config, processor))
        if ours != theirs:
            raise CheckpointError(f"{name} differs between config.json and processor_config.json", where=str(folder),
                                  remedy="Save model and processor together")
