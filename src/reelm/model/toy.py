"""Tiny models with random weights, made on the spot: for trying the machinery, for tests, never for answers."""

from __future__ import annotations

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

#: Special tokens of the byte tokenizer, in id order after the 256 bytes.
SPECIAL = ("<s>", "</s>", "<pad>")


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer whose tokens are the 256 bytes and three special tokens; every text survives the round trip."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {letter: index for index, letter in enumerate(letters)}
    plain = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    plain.decoder = decoders.ByteLevel()
    start, end, pad = SPECIAL
    return PreTrainedTokenizerFast(tokenizer_object=plain, bos_token=start, eos_token=end, pad_token=pad,
                                   clean_up_tokenization_spaces=False)


def language_model(arch: str = "llama", seed: int = 0, vocab: int = 259, width: int = 64,
                   **settings: object) -> PreTrainedModel:
    """A causal language model of two layers with random weights, float32; `settings` go to its config."""
    from transformers import AutoConfig

    sizes = {"vocab_size": vocab, "hidden_size": width, "intermediate_size": 2 * width, "num_hidden_layers": 2,
             "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 4096,
             "bos_token_id": 256, "eos_token_id": 257, "pad_token_id": 258}
    if arch == "mixtral":
        sizes |= {"num_local_experts": 4, "num_experts_per_tok": 2}
    config = AutoConfig.for_model(arch, **(sizes | settings))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AutoModelForCausalLM.from_config(config).eval()
