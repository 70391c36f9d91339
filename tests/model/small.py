"""Small tokenizers, configs and media for the tests of the model, made on the spot; nothing is fetched."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, PreTrainedTokenizerFast

from reelm.model import ReelmConfig, ReelmModel, ReelmProcessor
from reelm.types import Audio, Frames, Image, Message

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set system = messages[0]['content'] + '\n\n' %}"
    "{% set loop_messages = messages[1:] %}{% else %}{% set system = '' %}{% set loop_messages = messages %}{% endif %}"
    "{% for message in loop_messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}{% if message['role'] == 'user' %}"
    "[INST] {% if loop.first %}{{ system }}{% endif %}{{ message['content'] }} [/INST]"
    "{% else %} {{ message['content'] }}{{ eos_token }}{% endif %}{% endfor %}"
)
SPECIAL = ["<pad>", "<s>", "</s>", "<|im_start|>", "<|im_end|>"]
TEXT_KINDS = ("llama", "mistral", "mixtral", "qwen2")


def tokenizer(template: str = CHATML, vocab_size: int = 300, *, start_mark: bool = False) -> PreTrainedTokenizerFast:
    """Byte-level BPE that can write any text; ids 0, 1, 2 are padding, begin and end.

    `start_mark`: put the mark of a word before every text, as SentencePiece tokenizers do (ASCII text only).
    """
    inner = Tokenizer(models.BPE())
    if start_mark:
        inner.pre_tokenizer, inner.decoder = pre_tokenizers.Metaspace(prepend_scheme="always"), decoders.Metaspace()
    else:
        inner.pre_tokenizer, inner.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, special_tokens=SPECIAL, show_progress=False,
                                  initial_alphabet=[*pre_tokenizers.ByteLevel.alphabet(), "\u2581", "\n"])
    sentences = ["the red ball enters from the left", "what colour is the ball in the video"]
    inner.train_from_iterator(sentences * 4, trainer)
    made = PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", bos_token="<s>", eos_token="</s>",
                                   additional_special_tokens=["<|im_start|>", "<|im_end|>"])
    made.chat_template = template
    return made


def text_config(kind: str = "llama", **kwargs: Any) -> Any:
    experts = {"num_local_experts": 4, "num_experts_per_tok": 2} if kind == "mixtral" else {}
    fields = {"vocab_size": 300, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
              "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512, "bos_token_id": 1,
              "eos_token_id": 2, "pad_token_id": 0, "tie_word_embeddings": False, **experts}
    return AutoConfig.for_model(kind, **{**fields, **kwargs})


VISION = {
    "encoder": {"kind": "clip", "tower": {
        "model_type": "clip_vision_model", "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
        "num_attention_heads": 2, "image_size": 28, "patch_size": 7, "projection_dim": 8}},
    "connector": {"kind": "stc_v35", "in_width": 16, "out_width": 32, "depth": 1},
    "frames": 4,
}
AUDIO = {
    "encoder": {"kind": "beats", "embed_dim": 8, "encoder_layers": 1, "encoder_embed_dim": 16,
                "encoder_ffn_embed_dim": 24, "encoder_attention_heads": 2, "conv_pos": 8, "conv_pos_groups": 2,
                "num_buckets": 8, "max_distance": 16, "predictor_class": 3},
    "connector": {"kind": "mlp", "in_width": 16, "out_width": 32},
}


def config(kind: str = "llama", *, vision: bool = True, audio: bool = True, text: dict[str, Any] | None = None,
           **kwargs: Any) -> ReelmConfig:
    return ReelmConfig(text_config=text_config(kind, **(text or {})), vision=VISION if vision else None,
                       audio=AUDIO if audio else None, **kwargs)


def model(settings: ReelmConfig | None = None, seed: int = 0) -> ReelmModel:
    """A model with random weights, the same for the same seed."""
    torch.manual_seed(seed)
    return ReelmModel(settings or config()).eval()


def processor(settings: ReelmConfig | None = None, template: str = CHATML) -> ReelmProcessor:
    return ReelmProcessor.of(settings or config(), tokenizer(template))


def frames(count: int = 4, seed: int = 0) -> Frames:
    rgb = np.random.default_rng(seed).integers(0, 256, (count, 3, 30, 40), dtype=np.uint8)
    return Frames(rgb, np.arange(count) / 2, np.zeros(count, bool))


def image(seed: int = 0) -> Image:
    return Image(frames(1, seed).rgb[0])


def sound(seconds: float = 0.5, seed: int = 0) -> Audio:
    wave = np.random.default_rng(seed).normal(0, 0.1, (1, round(seconds * 16000))).astype(np.float32)
    return Audio(wave, 16000)


def user(*parts: Any) -> Message:
    return Message("user", parts)


def said(text: str) -> Message:
    return Message("assistant", (text,))
