"""BERT with cross-attention, the Q-Former of several systems: learnt queries that read features, alone or with text.

Queries and text see each other in every layer; only queries see the features, in every `every`-th layer, and both have
perceptrons of their own. Names of weights are those of the published checkpoints below `bert.`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reelm.errors import UsageError

_EPS = 1e-12


class _Projections(nn.Module):
    """Queries [B,N,C] look at `seen` [B,M,C']: heads joined, [B,N,C]."""

    def __init__(self, width: int, seen_width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(w, width) for w in (width, seen_width, seen_width))

    def forward(self, x: Tensor, seen: Tensor, mask: Tensor | None = None) -> Tensor:
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
                   for part in (self.query(x), self.key(seen), self.value(seen)))
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)


class _Added(nn.Module):
    """A linear layer, added to what was there, then the norm, as in BERT."""

    def __init__(self, width_in: int, width: int) -> None:
        super().__init__()
        self.dense, self.LayerNorm = nn.Linear(width_in, width), nn.LayerNorm(width, eps=_EPS)

    def forward(self, x: Tensor, before: Tensor) -> Tensor:
        return self.LayerNorm(self.dense(x) + before)


class Attention(nn.Module):
    """What the rows of x [B,N,C] find in `seen` [B,M,C'], added and normed; `mask` is true where they may look."""

    def __init__(self, width: int, seen_width: int, heads: int) -> None:
        super().__init__()
        self.self, self.output = _Projections(width, seen_width, heads), _Added(width, width)

    def forward(self, x: Tensor, seen: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.output(self.self(x, seen, mask), x)


class _Widened(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, hidden)

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(self.dense(x))


class QueryLayer(nn.Module):
    """One layer: all rows among themselves, queries on the features if `seen_width`, then a perceptron for each sort.

    Without `text` there are queries only, and no perceptron for words.
    """

    def __init__(self, width: int, heads: int, hidden: int, seen_width: int | None, *, text: bool = False) -> None:
        super().__init__()
        self.attention = Attention(width, width, heads)
        if seen_width is not None:
            self.crossattention = Attention(width, seen_width, heads)
        self.intermediate_query, self.output_query = _Widened(width, hidden), _Added(hidden, width)
        if text:
            self.intermediate, self.output = _Widened(width, hidden), _Added(hidden, width)
        self.looks = seen_width is not None

    def forward(self, queries: Tensor, seen: Tensor, words: Tensor | None = None,
                mask: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        rows = queries if words is None else torch.cat((queries, words), 1)
        rows = self.attention(rows, rows, mask)
        queries, rest = rows[:, :queries.shape[1]], rows[:, queries.shape[1]:]
        if self.looks:
            queries = self.crossattention(queries, seen)
        queries = self.output_query(self.intermediate_query(queries), queries)
        return queries, None if words is None else self.output(self.intermediate(rest), rest)


class _Embeddings(nn.Module):
    def __init__(self, width: int, words: int, places: int) -> None:
        super().__init__()
        self.LayerNorm = nn.LayerNorm(width, eps=_EPS)
        if words:
            self.word_embeddings, self.position_embeddings = nn.Embedding(words, width), nn.Embedding(places, width)


class _Encoder(nn.Module):
    def __init__(self, layers: list[QueryLayer]) -> None:
        super().__init__()
        self.layer = nn.ModuleList(layers)


class QueryBert(nn.Module):
    """Queries that have read features of width `seen_width`, with a prompt beside them if it knows `words` words.

    Queries have neither word nor place, but pass the norm of the embeddings with the text, whose places count from 0.

    Shapes: queries [B,Q,C], seen [B,M,C'], words int64 [B,L], present bool [B,L] (false for padding) to [B,Q,C].
    Raises: UsageError for a width that heads do not share, for text it has no words for or no places.
    Source: BLIP-2 (Li et al. 2023) 3.1 and InstructBLIP; equal to the recorded Q-Formers of LLaMA-VID, Video-LLaMA,
    VTG-LLM and B-VLLM, tests/parts/test_bert.py.
    """

    def __init__(self, width: int, heads: int, depth: int, seen_width: int, *, hidden: int | None = None,
                 every: int = 2, words: int = 0, places: int = 512) -> None:
        super().__init__()
        if width % heads:
            raise UsageError(f"a width of {width} cannot be shared by {heads} heads", where="QueryBert",
                             remedy="Choose heads that divide the width")
        self.words, self.places = words, places
        self.embeddings = _Embeddings(width, words, places)
        self.encoder = _Encoder([QueryLayer(width, heads, hidden or 4 * width, None if i % every else seen_width,
                                            text=words > 0) for i in range(depth)])

    def forward(self, queries: Tensor, seen: Tensor, words: Tensor | None = None,
                present: Tensor | None = None) -> Tensor:
        text = mask = None
        count = queries.shape[1]
        if words is not None:
            text = self._embedded(words)
            if present is not None:
                mask = F.pad(present, (count, 0), value=True)[:, None, None]
        rows = self.embeddings.LayerNorm(queries if text is None else torch.cat((queries, text), 1))
        queries, text = rows[:, :count], None if text is None else rows[:, count:]
        for layer in self.encoder.layer:
            queries, text = layer(queries, seen, text, mask)
        return queries

    def _embedded(self, words: Tensor) -> Tensor:
        if not self.words:
            raise UsageError("this Q-Former was made without words", where="QueryBert",
                             remedy="Give no prompt, or build it with `words`")
        if words.shape[1] > self.places:
            raise UsageError(f"a prompt of {words.shape[1]} words does not fit {self.places} places", where="QueryBert",
                             remedy="Shorten the prompt")
        at = torch.arange(words.shape[1], device=words.device)
        return self.embeddings.word_embeddings(words) + self.embeddings.position_embeddings(at)


def published(weights: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Weights of one published Q-Former below `prefix` (ending in `bert.`), under the names of `QueryBert`.

    Left out are the table of place numbers, which holds nothing learnt, and the head for words (`cls.`).
    """
    return {name.removeprefix(prefix): tensor for name, tensor in weights.items()
            if name.startswith(prefix) and not name.endswith("position_ids")}
