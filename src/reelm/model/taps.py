"""What a model thinks beside its answer: how likely it finds a given one, and which tokens of the media it looks at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from reelm.errors import UsageError
from reelm.model.engine import Engine
from reelm.model.processing import Plan, ReelmProcessor
from reelm.model.sensing import Choice, Seen
from reelm.types import AUDIO, VISION, Part, Tokens


@dataclass(frozen=True)
class AnswerScore:
    """How likely a model finds an answer. `ids` its tokens, `pieces` their text, `logprobs` natural logarithms.

    `total` is the log-probability of the whole answer, `mean` that per token.
    """

    ids: tuple[int, ...]
    pieces: tuple[str, ...]
    logprobs: tuple[float, ...]

    @property
    def total(self) -> float:
        return float(sum(self.logprobs))

    @property
    def mean(self) -> float:
        return self.total / len(self.logprobs)


@dataclass(frozen=True)
class Attention:
    """How much of its attention the model spends on each token of the media.

    `weights` float32 [L,Q,N]: layers, queries, media tokens in prompt order, mean over heads; a row sums to `share`
    [L,Q], the rest goes to text. `pieces` [Q]: the text that each query is about to say ("" for an unknown one).
    `kind`, `at_s`, `medium` [N]: vision or audio, seconds, number of the medium.
    """

    weights: Tensor = field(repr=False)
    pieces: tuple[str, ...]
    kind: Tensor = field(repr=False)
    at_s: Tensor = field(repr=False)
    medium: Tensor = field(repr=False)

    @property
    def share(self) -> Tensor:
        return self.weights.sum(-1)

    def by_time(self, kind: int = VISION, medium: int = 0) -> list[tuple[float, float]]:
        """(second, attention) for each moment of a medium, mean over layers and queries; NaN where there is no time."""
        mine = (self.kind == kind) & (self.medium == medium)
        spent, times = self.weights.mean((0, 1))[mine], self.at_s[mine]
        moments = list(dict.fromkeys(times.tolist())) if not times.isnan().any() else [float("nan")]
        return [(at, float(spent[times == at].sum() if at == at else spent.sum())) for at in moments]


class Taps:
    """The two methods of a `VideoLM` that look inside; it supplies the prompt."""

    engine: Engine
    processor: ReelmProcessor

    def _prompt(self, parts: Sequence[Part], choice: Choice, max_tokens: int) -> tuple[Plan, list[Seen], Tensor]:
        """The prompt of `parts` laid out, its media taken in, and its embeddings [S,D]."""
        raise NotImplementedError

    def logprobs(self, *parts: Part, answer: str, end: bool = True, frames: int | None = None,
                 fps: float | None = None, audio: bool = True, tokens: int | None = None) -> AnswerScore:
        """How likely the model finds `answer` after `parts`, token by token; `end` counts the end mark as well.

        Differs from sampling: no penalty, no temperature; the plain distribution of the model.
        """
        ids, pieces = self._answer_ids(answer, end)
        _, _, embeds = self._prompt(parts, Choice(frames, fps, audio, tokens), len(ids))
        return score(self.engine, embeds, ids, pieces)

    def attention(self, *parts: Part, answer: str = "", layers: Sequence[int] | None = None,
                  frames: int | None = None, fps: float | None = None, audio: bool = True,
                  tokens: int | None = None) -> Attention:
        """Where the model looks while it says `answer`, or when it begins to answer: weights over the media tokens.

        `layers` chooses decoder layers (negative numbers from the end), all by default. Each token has its second.
        Raises: UsageError without media, or for a layer that is not there.
        """
        if all(isinstance(part, str) for part in parts):
            raise UsageError("attention over media needs a medium", remedy="Give a Clip, an Image or Audio")
        ids, pieces = self._answer_ids(answer, False) if answer else ([], [])
        plan, seen, embeds = self._prompt(parts, Choice(frames, fps, audio, tokens), len(ids))
        return attend(self.engine, embeds, ids, plan.laid.kinds, layers, pieces,
                      [(one.vision, one.audio) for one in seen])

    def _answer_ids(self, answer: str, end: bool) -> tuple[list[int], list[str]]:
        tokenizer = self.processor.tokenizer
        ids = list(tokenizer(answer, add_special_tokens=False)["input_ids"]) + [tokenizer.eos_token_id] * end
        if not ids:
            raise UsageError("an answer of no tokens", remedy="Give some text")
        return ids, [str(tokenizer.decode([token])) for token in ids]


def score(engine: Engine, embeds: Tensor, ids: Sequence[int], pieces: Sequence[str]) -> AnswerScore:
    """Log-probabilities of `ids` after a prompt `embeds` [S,D]. Cost: one prefill, logits of the answer only."""
    with torch.inference_mode():
        said = engine.model.get_input_embeddings()(torch.tensor(ids[:-1], dtype=torch.long, device=embeds.device))
        whole = torch.cat([embeds, said.to(embeds)])[None]
        positions = torch.arange(whole.shape[1], device=embeds.device)[None]
        out = engine.model(inputs_embeds=whole, attention_mask=torch.ones_like(positions), position_ids=positions,
                           use_cache=False, logits_to_keep=len(ids))
        found = out.logits[0].float().log_softmax(-1)
        chosen = found[torch.arange(len(ids)), torch.tensor(ids, device=found.device)]
    return AnswerScore(tuple(ids), tuple(pieces), tuple(chosen.tolist()))


def attend(engine: Engine, embeds: Tensor, ids: Sequence[int], kinds: Sequence[int], layers: Sequence[int] | None,
           pieces: Sequence[str], media: Sequence[tuple[Tokens | None, Tokens | None]]) -> Attention:
    """Attention of the positions that say `ids` (or, without ids, of the last one) over the media cells.

    The prompt is filled in as always; only the few last positions run with readable attention, so that no square of
    the prompt's length is ever made.
    """
    with torch.inference_mode(), _readable(engine.model):
        said = embeds[:0] if len(ids) < 2 else engine.model.get_input_embeddings()(
            torch.tensor(ids[:-1], dtype=torch.long, device=embeds.device)).to(embeds)
        prefix = engine.prefill(embeds[:-1])
        tail = torch.cat([embeds[-1:], said])[None]
        positions = torch.arange(prefix.length, prefix.length + tail.shape[1], device=embeds.device)[None]
        engine.model.set_attn_implementation("eager")
        out = engine.model(inputs_embeds=tail, position_ids=positions, past_key_values=prefix.fork(), use_cache=True,
                           output_attentions=True, logits_to_keep=1)
    count = len(out.attentions)
    chosen = range(count) if layers is None else [_layer(one, count) for one in layers]
    cells = torch.tensor(_cells(kinds, media), device=embeds.device)
    stack = torch.stack([out.attentions[layer][0].float().mean(0)[:, cells] for layer in chosen])
    return Attention(stack.cpu(), tuple(pieces) or ("",), *_columns(media))


def _cells(kinds: Sequence[int], media: Sequence[tuple[Tokens | None, Tokens | None]]) -> list[int]:
    """Where the tokens of each medium stand in the prompt, vision before sound, however a layout mixes them."""
    places = {kind: iter([at for at, one in enumerate(kinds) if one == kind]) for kind in (VISION, AUDIO)}
    return [at for pair in media for kind, tokens in zip((VISION, AUDIO), pair, strict=True) if tokens is not None
            for at in islice(places[kind], len(tokens))]


def _layer(index: int, count: int) -> int:
    if not -count <= index < count:
        raise UsageError(f"layer {index} of {count}", remedy=f"Give numbers from 0 to {count - 1}")
    return index % count


def _columns(media: Sequence[tuple[Tokens | None, Tokens | None]]) -> tuple[Tensor, Tensor, Tensor]:
    rows: list[tuple[Any, Any, Any]] = [
        (tokens.kind.cpu(), tokens.at_s.cpu(), torch.full((len(tokens),), number))
        for number, pair in enumerate(media) for tokens in pair if tokens is not None]
    kind, at_s, medium = (torch.cat(column) for column in zip(*rows, strict=True))
    return kind, at_s, medium


@contextmanager
def _readable(model: Any) -> Iterator[None]:
    """Attention that can be read is another implementation; the usual one is put back afterwards."""
    usual = model.config._attn_implementation
    try:
        yield
    finally:
        model.set_attn_implementation(usual)
