"""Tiny models with random weights, made on the spot: for trying the machinery, for tests, never for answers."""

from __future__ import annotations

from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from reelm.errors import CheckpointError
from reelm.model.config import ReelmConfig
from reelm.model.modeling import ReelmModel
from reelm.model.processing import ReelmProcessor

LANGUAGES = ("llama", "mistral", "mixtral", "qwen2")

#: Special tokens of the byte tokenizer, in id order after the 256 bytes.
SPECIAL = ("<s>", "</s>", "<pad>")

_TEMPLATE = ("{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
             "{% if add_generation_prompt %}assistant: {% endif %}")

_WIDTH = 64
_VISION: dict[str, Any] = {
    "encoder": {"kind": "clip", "tower": {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
                                          "num_attention_heads": 2, "image_size": 56, "patch_size": 14}},
    "connector": {"kind": "stc", "in_width": 32, "out_width": _WIDTH, "depth": 1},
    "frames": 8,
}
_AUDIO: dict[str, Any] = {
    "encoder": {"kind": "beats", "embed_dim": 16, "encoder_layers": 2, "encoder_embed_dim": 32,
                "encoder_ffn_embed_dim": 64, "encoder_attention_heads": 2, "conv_pos": 8, "conv_pos_groups": 2},
    "connector": {"kind": "mlp", "in_width": 32, "out_width": _WIDTH},
}


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer whose tokens are the 256 bytes and three special tokens; every text survives the round trip."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {letter: index for index, letter in enumerate(letters)}
    plain = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    plain.decoder = decoders.ByteLevel()
    start, end, pad = SPECIAL
    return PreTrainedTokenizerFast(tokenizer_object=plain, bos_token=start, eos_token=end, pad_token=pad,
                                   chat_template=_TEMPLATE, clean_up_tokenization_spaces=False)


def language_config(arch: str = "llama", **settings: Any) -> Any:
    """The config of a causal language model of two layers that fits `byte_tokenizer`; `settings` change its fields."""
    sizes: dict[str, Any] = {
        "vocab_size": 259, "hidden_size": _WIDTH, "intermediate_size": 2 * _WIDTH, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 4096, "bos_token_id": 256,
        "eos_token_id": 257, "pad_token_id": 258}
    if arch == "mixtral":
        sizes |= {"num_local_experts": 4, "num_experts_per_tok": 2}
    return AutoConfig.for_model(arch, **(sizes | settings))


def language_model(arch: str = "llama", seed: int = 0, **settings: Any) -> PreTrainedModel:
    """A causal language model with random weights, float32."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AutoModelForCausalLM.from_config(language_config(arch, **settings)).eval()


def random_model(which: str = "", seed: int = 0, attn: str = "sdpa", **settings: Any
                 ) -> tuple[ReelmModel, ReelmProcessor]:
    """A whole tiny model with random weights: sees by `clip` and `stc`, and hears by `beats` if `which` says "av".

    `which`: a language architecture, "av", or both with a plus; `settings` change the language model's config.
    Raises: CheckpointError for another word.
    """
    words = [word for word in which.split("+") if word]
    if unknown := [word for word in words if word not in (*LANGUAGES, "av")]:
        raise CheckpointError(f"no random model {unknown[0]!r}", remedy=f"Known: {', '.join(LANGUAGES)}, av (with +)")
    arch = next((word for word in words if word != "av"), "llama")
    config = ReelmConfig(text_config=language_config(arch, **settings), vision=_VISION,
                         audio=_AUDIO if "av" in words else None)
    config._attn_implementation = attn
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = ReelmModel(config).eval()
    return model, ReelmProcessor.of(config, byte_tokenizer())
