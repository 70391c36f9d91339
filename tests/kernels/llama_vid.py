"""LLaMA-VID put together from the kernels, on recorded weights, as its published code puts it together."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from kernels.recorded import Recorded
from reelm.kernels.context import content_tokens, context_token, patches_of
from reelm.parts.bert import QueryBert


def linear(file: Recorded, name: str, x: Tensor) -> Tensor:
    return F.linear(x, file.weights[f"{name}.weight"], file.weights.get(f"{name}.bias"))


def norm(file: Recorded, name: str, x: Tensor, eps: float) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], file.weights[f"{name}.weight"], file.weights[f"{name}.bias"], eps)


def last_stage(file: Recorded, asked: Tensor, patches: Tensor, compression: str) -> Tensor:
    """Context token, then content tokens, at the language model's width: [frames, 1 + n, D]."""
    side = math.isqrt(patches.shape[1])
    grid = {"mean": 1, "None": None}[compression] if ":" not in compression else int(compression.partition(":")[2])
    content = content_tokens(patches.unflatten(1, (side, side)), grid, as_released=True)
    content = linear(file, "mm_projector.2", F.gelu(linear(file, "mm_projector.0", content)))
    context = context_token(asked, linear(file, "vlm_att_key_projector", patches), patches)
    return torch.cat((linear(file, "vlm_att_val_projector", context), content), 1)


def answered(file: Recorded, bert: QueryBert, name: str) -> Tensor:
    """The tokens of the case `name`, "[image_|bertproj_]<compression>.sample<i>": [prompts, frames · tokens, D]."""
    variant, _, rest = name.rpartition("_")
    compression, _, sample = rest.rpartition(".sample")
    counts, which = file.settings["frames_per_sample"], int(sample)
    features = file["image_features"].split(counts)[which] if variant != "image" else file["image_features"][which:][:1]
    prompts = [file[f"prompt_ids.{prompt}"] for prompt in file.settings["prompts"][which]]
    words = torch.nn.utils.rnn.pad_sequence(prompts, batch_first=True)
    present = torch.arange(words.shape[1]) < torch.tensor([[len(prompt)] for prompt in prompts])
    seen = linear(file, "bert_proj_variant", features) if variant == "bertproj" else features
    seen = norm(file, "vlm_att_ln", seen, file.settings["vit_ln_eps"])
    blocks = []
    for ids, there in zip(words, present, strict=True):
        count = len(features)
        asked = bert(file.weights["vlm_att_query"].expand(count, -1, -1), seen, ids.expand(count, -1),
                     there.expand(count, -1))
        asked = linear(file, "vlm_att_projector", asked)
        blocks.append(last_stage(file, asked, patches_of(features), compression).flatten(0, 1))
    return torch.stack(blocks)
