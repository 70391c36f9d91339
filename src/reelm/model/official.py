"""Published VideoLLaMA 2 folders in our words: flat config to sections, official weight names to ours."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor
from transformers import AutoConfig

from reelm.errors import CheckpointError
from reelm.model.config import ReelmConfig
from reelm.parts.connectors.official import from_official_name
from reelm.parts.encoders import beats
from reelm.parts.layouts.chat import VIDEOLLAMA2_SYSTEM

#: Official model_type -> kind of the language model.
FAMILIES = {"videollama2": "mistral", "videollama2_mistral": "mistral", "videollama2_mixtral": "mixtral",
            "videollama2_qwen2": "qwen2", "videollama2_llama": "llama", "videollama2_gemma2": "gemma2",
            "videollama2_phi3": "phi3"}

#: Towers whose architecture published folders leave out of config.json, by the exact name they write.
TOWERS: dict[str, dict[str, Any]] = {
    "openai/clip-vit-large-patch14-336": {
        "model_type": "clip_vision_model", "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24,
        "num_attention_heads": 16, "image_size": 336, "patch_size": 14, "hidden_act": "quick_gelu",
        "layer_norm_eps": 1e-5, "projection_dim": 768,
    },
    "google/siglip-so400m-patch14-384": {
        "model_type": "siglip_vision_model", "hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27,
        "num_attention_heads": 16, "image_size": 384, "patch_size": 14, "hidden_act": "gelu_pytorch_tanh",
        "layer_norm_eps": 1e-6,
    },
}
_ENCODERS = {"clip_vision_model": "clip", "siglip_vision_model": "siglip"}

#: What a published audio_config says beside the settings of our `beats`, and the one value that works (None: any).
_BEATS_FIXED: dict[str, Any] = {"activation_fn": "gelu", "layer_norm_first": False, "hidden_size": None}

#: Keys of the flat config that are not the language model's.
_NOT_TEXT = {
    "model_type", "architectures", "vision_config", "audio_config", "num_frames", "use_mm_proj", "torch_dtype",
    "image_aspect_ratio", "hidden_size_a", "tune_mm_mlp_adapter", "tune_mm_mlp_adapter_a", "freeze_mm_mlp_adapter",
    "tokenizer_model_max_length", "tokenizer_padding_side", "extra_image_grid", "transformers_version",
    "_name_or_path", "tokenizer_class",
}


def family_of(flat: Mapping[str, Any]) -> str | None:
    """The kind of language model of an official config, or None when this is no VideoLLaMA 2 config."""
    name = flat.get("model_type")
    if name in FAMILIES:
        return FAMILIES[name]
    # The first revisions of the published folders carry the plain family name and tell by their class only.
    official = any(str(a).startswith("Videollama2") for a in flat.get("architectures") or ())
    return str(name) if official and name in FAMILIES.values() else None


def config_from(flat: Mapping[str, Any]) -> ReelmConfig:
    """Our config for a flat official one.

    Raises: CheckpointError for a tower whose architecture is neither in the file nor in the small table here.
    """
    family = family_of(flat)
    if family is None:
        raise CheckpointError(f"model_type {flat.get('model_type')!r} is no VideoLLaMA 2", where="config.json",
                              remedy=f"Known: {', '.join(FAMILIES)}")
    text = {key: value for key, value in flat.items() if key not in _NOT_TEXT and not key.startswith("mm_")}
    system = VIDEOLLAMA2_SYSTEM if family in ("mistral", "mixtral") else None
    layout = {"kind": "chat", "system": system, "media_first": True, "newline_without_media": True}
    vision, audio = _vision(flat), _audio(flat)
    try:
        return ReelmConfig(text_config={"model_type": family, **text}, vision=vision, audio=audio, layout=layout)
    except (StrictDataclassError, TypeError, ValueError) as error:
        raise CheckpointError(f"no {family} language model: {str(error).splitlines()[-1].strip()}", where="config.json",
                              remedy="The values contradict each other; fetch the file again") from None


def _vision(flat: Mapping[str, Any]) -> dict[str, Any] | None:
    name = flat.get("mm_vision_tower")
    if name is None:
        return None
    tower = flat.get("vision_config") or TOWERS.get(str(name))
    if tower is None or tower.get("model_type") not in _ENCODERS:
        raise CheckpointError(f"the architecture of vision tower {name!r} is unknown", where="config.json",
                              remedy=f"Add its vision_config to config.json; known by name: {', '.join(TOWERS)}")
    frames = flat.get("num_frames", 8)
    encoder = {"kind": _ENCODERS[tower["model_type"]], "tower": dict(tower),
               "select_layer": flat.get("mm_vision_select_layer", -2),
               "select_feature": flat.get("mm_vision_select_feature", "patch")}
    connector = from_official_name(flat.get("mm_projector_type", "linear"), flat["mm_hidden_size"], flat["hidden_size"])
    return {"encoder": encoder, "connector": connector, "sampler": {"kind": "uniform"}, "frames": frames,
            "image": {"repeat": frames}}


def _audio(flat: Mapping[str, Any]) -> dict[str, Any] | None:
    if flat.get("mm_audio_tower") is None:
        return None
    settings = dict(flat.get("audio_config") or {})
    for key, only in _BEATS_FIXED.items():
        value = settings.pop(key, only)
        if only is not None and value != only:
            raise CheckpointError(f"audio_config.{key} is {value!r}; only {only!r} is known", where="config.json")
    connector = from_official_name(flat.get("mm_projector_a_type", "linear"), flat["mm_hidden_size_a"],
                                   flat.get("hidden_size_a", flat["hidden_size"]), audio=True)
    encoder = {"kind": "beats", "bf16_fbank": True, "window": "official_file", **settings}
    return {"encoder": encoder, "connector": connector, "rate_hz": 16000, "of_video": {"window": "official_video"}}


def tower_settings(settings: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The `vision_config` of a tower folder: the picture half of a CLIP or SigLIP config, or the config itself.

    Raises: CheckpointError for another kind of model.
    """
    kind = str(settings.get("model_type"))
    if kind in ("clip", "siglip"):
        kind, settings = f"{kind}_vision_model", settings.get("vision_config") or {}
    if kind not in _ENCODERS:
        raise CheckpointError(f"vision tower {name!r} is a {kind}", where="config.json",
                              remedy=f"Known: {', '.join(_ENCODERS)}")
    if name in TOWERS:
        return dict(TOWERS[name])
    # Older configs hold settings that the library no longer knows and that never had an effect here.
    known = AutoConfig.for_model(kind).to_dict()
    return {"model_type": kind, **{key: value for key, value in settings.items() if key in known}}


#: Buffers that older libraries stored although they follow from the config.
DERIVED = re.compile(r".*(?:\.embeddings\.position_ids|\.rotary_emb\.inv_freq)")
_RULES = (
    (re.compile(r"model\.vision_tower\.vision_tower\.vision_model\.(.+)"), "vision_tower.tower."),
    (re.compile(r"model\.mm_projector\.(.+)"), "connector."),
    (re.compile(r"model\.mm_projector_a\.(.+)"), "audio_connector."),
    (re.compile(r"model\.((?:embed_tokens|layers|norm)\..+)"), "language_model.model."),
    (re.compile(r"(lm_head\..+)"), "language_model."),
)
_AUDIO_TOWER = "model.audio_tower."


def key_from(key: str) -> str:
    """Our name of an official weight.

    Raises: CheckpointError for a key that no rule knows.
    """
    if key.startswith(_AUDIO_TOWER):
        return "audio_tower." + beats.from_official_key(key[len(_AUDIO_TOWER):])
    for pattern, prefix in _RULES:
        if match := pattern.fullmatch(key):
            return prefix + match[1]
    raise CheckpointError(f"extra weight {key!r}", where="official checkpoint",
                          remedy="No part of VideoLLaMA 2 has this weight; is this another model?")


def weights_from(weights: Mapping[str, Tensor], config: ReelmConfig) -> dict[str, Tensor]:
    """The weights under our names.

    Raises: CheckpointError for an unknown key, an absent expert, or when a weight that layers share differs or is
    absent in some.
    """
    _check_shared(weights)
    _check_experts(weights, config.text_config)
    mapped: dict[str, Tensor] = {}
    for key, value in weights.items():
        if DERIVED.fullmatch(key):
            continue
        name = key_from(key)
        if name in mapped and not torch.equal(mapped[name], value):
            raise CheckpointError(f"weight {key!r} contradicts another that is shared with it",
                                  where="official checkpoint")
        mapped[name] = value
    return mapped


def _check_shared(weights: Mapping[str, Tensor]) -> None:
    # All BEATs layers share one relative bias; a file holds it for the first layer only, or for every layer.
    shared = r"(self_attn\.relative_attention_bias\.weight)?"
    pattern = re.compile(re.escape(_AUDIO_TOWER) + r"encoder\.layers\.(\d+)\." + shared)
    matches = [match for match in map(pattern.match, weights) if match]
    layers, stored = {int(m[1]) for m in matches}, {int(m[1]) for m in matches if m[2]}
    if len(stored) > 1 and stored != layers:
        name = f"{_AUDIO_TOWER}encoder.layers.{min(layers - stored)}.self_attn.relative_attention_bias.weight"
        raise CheckpointError(f"missing weight {name!r}", where="official checkpoint",
                              remedy="Other layers hold this shared weight; the file is incomplete")


def _check_experts(weights: Mapping[str, Tensor], text: Any) -> None:
    # The library fuses experts while it loads, and would name the fused tensor; here the stored one can be named.
    if text.model_type != "mixtral":
        return
    expected = {f"model.layers.{layer}.block_sparse_moe.experts.{expert}.{matrix}.weight"
                for layer in range(text.num_hidden_layers) for expert in range(text.num_local_experts)
                for matrix in ("w1", "w2", "w3")}
    stored = {key for key in weights if ".block_sparse_moe.experts." in key}
    for names, said in ((expected - stored, "missing"), (stored - expected, "extra")):
        if names:
            raise CheckpointError(f"{said} weight {min(names)!r} ({len(names)} in all)", where="official checkpoint",
                                  remedy="The files must belong to this config.json and be complete; fetch them again")


def in_official_words(text: str) -> str:
    """A message about weights with our names replaced by the official ones."""
    return re.sub(r"\b(?:vision_tower|connector|audio_connector|audio_tower|language_model)\.[\w.]+",
                  lambda match: official_key(match[0]), text)


def official_key(name: str) -> str:
    """The official name of one of our weights; the inverse of `key_from`."""
    name = re.sub(r"(layers\.\d+)\.mlp\.gate\.weight$", r"\1.block_sparse_moe.gate.weight", name)
    for ours, theirs in (("vision_tower.tower.", "model.vision_tower.vision_tower.vision_model."),
                         ("audio_connector.", "model.mm_projector_a."), ("connector.", "model.mm_projector."),
                         ("language_model.", "")):
        if name.startswith(ours):
            return theirs + name[len(ours):]
    rest = name.removeprefix("audio_tower.")
    # The key map has no inverse; these are the only spellings that it changes.
    words = (("pos_conv.scale", "pos_conv.0.weight_g"), ("pos_conv.direction", "pos_conv.0.weight_v"),
             ("pos_conv.bias", "pos_conv.0.bias"), ("encoder.relative", "encoder.layers.0.self_attn.relative"))
    tried = [rest.replace(ours, theirs) for ours, theirs in words]
    return _AUDIO_TOWER + next((t for t in tried if t != rest and beats.from_official_key(t) == rest), rest)
