"""A memory that is handed from scene to scene: each scene is read with what was kept of all before it (VideoLLaMB)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reelm.parts.bert import Attention, QueryLayer

#: Published names (as patterns) and ours, in the order they are tried; what matches none is never used there.
_NAMES = (
    (r"projector\.layers\.(\d+)\.selfattention\.", r"layers.\1.attention."),
    (r"projector\.layers\.(\d+)\.mlp\.0\.", r"layers.\1.intermediate_query.dense."),
    (r"projector\.layers\.(\d+)\.residual\.", r"layers.\1.output_query."),
    (r"retrieval\.layers\.(\d+)\.crossattention\.", r"retrieval.\1."),
    (r"projector\.proj\.0\.", "out."),
    (r"projector\.read_memory_emb$", "memory"),
)
_LEAVES = {".q_proj.": ".self.query.", ".k_proj.": ".self.key.", ".v_proj.": ".self.value.",
           ".residual.": ".output.", ".layernorm.": ".LayerNorm."}


class MemoryBridge(nn.Module):
    """Tokens of scene after scene for the language model, each scene read together with `memories` vectors.

    What the vectors hold after a scene is kept; before the next one they recall, by attention, from all that was kept.
    No token has a place.

    Shapes: scenes [B,N_i,C], any number and lengths, to [B,N_i,D] one by one.
    Cost: the attention of one scene at a time; of all earlier ones only `memories` vectors each.
    Source: VideoLLaMB (Wang et al. 2024) 3.2; equal to its recorded bridge to 5e-5, tests/parts/test_bert.py.
    Differs: weights that the published code holds but never uses are left out (its memory tokens, the cross-attention
    of the bridge, the self-attention of the retrieval).
    """

    def __init__(self, width: int, out_width: int, heads: int, *, depth: int = 1, hidden: int | None = None,
                 memories: int = 32, recalls: int = 1) -> None:
        super().__init__()
        self.memory = nn.Parameter(torch.randn(memories, width) * 0.02)
        self.layers = nn.ModuleList(QueryLayer(width, heads, hidden or 4 * width, None) for _ in range(depth))
        self.retrieval = nn.ModuleList(Attention(width, width, heads) for _ in range(recalls))
        self.out = nn.Linear(width, out_width)

    def read(self, scene: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """The tokens of a scene [B,N,C] read with a memory [B,M,C], and the memory after it: [B,N,D] and [B,M,C]."""
        rows = torch.cat((memory, scene), 1)
        for layer in self.layers:
            rows, _ = layer(rows, rows)
        count = memory.shape[1]
        return F.gelu(self.out(rows[:, count:])), rows[:, :count]

    def recall(self, kept: list[Tensor]) -> Tensor:
        """The last memory after it has looked at all that were kept, itself among them: [B,M,C]."""
        memory, everything = kept[-1], torch.cat(kept, 1)
        for attention in self.retrieval:
            memory = attention(memory, everything)
        return memory

    def forward(self, scenes: Iterable[Tensor]) -> Iterator[Tensor]:
        kept: list[Tensor] = []
        for scene in scenes:
            memory = self.recall(kept) if kept else self.memory.expand(len(scene), -1, -1)
            tokens, after = self.read(scene, memory)
            kept.append(after)
            yield tokens


def from_videollamb(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Published weights of bridge and retrieval under the names of `MemoryBridge`; those never used are left out."""
    ours = {}
    for name, tensor in weights.items():
        for pattern, to in _NAMES:
            if re.match(pattern, name):
                renamed = re.sub(pattern, to, name)
                for old, new in _LEAVES.items():
                    renamed = renamed.replace(old, new)
                ours[renamed] = tensor
                break
    return ours
