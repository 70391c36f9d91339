"""The one decode loop: prompts as embeddings in, tokens and text out, for one request or a changing batch of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from reelm.errors import ReelmError, UsageError
from reelm.model.detokenise import Decode, TextStream
from reelm.model.prefix import Prefix, merge, select
from reelm.model.sampling import Picker, Sampling, pick_each

#: Why a request ended: an end token, `max_new_tokens`, a stop string, a cancel, or an error of its own.
END, LENGTH, STOP, CANCELLED, FAILED = "end", "length", "stop", "cancelled", "failed"

Cancel = threading.Event | Callable[[], bool]


@dataclass(frozen=True, eq=False)
class Request:
    """One prompt: `embeds` [S,D] (the part after `prefix`, at least one position) and how to continue it."""

    embeds: Tensor = field(repr=False)
    max_new_tokens: int = 256
    sampling: Sampling = Sampling()
    stop: tuple[str, ...] = ()
    prefix: Prefix | None = None
    cancel: Cancel | None = None

    def __post_init__(self) -> None:
        if self.embeds.ndim != 2 or len(self.embeds) == 0:
            raise UsageError(f"expected embeds [S,D] with S of at least 1, got {list(self.embeds.shape)}")
        if self.max_new_tokens < 1:
            raise UsageError(f"max_new_tokens must be at least 1, got {self.max_new_tokens}")
        if any(not stop for stop in self.stop):
            raise UsageError("a stop string must not be empty")

    @property
    def cancelled(self) -> bool:
        if self.cancel is None:
            return False
        return self.cancel.is_set() if isinstance(self.cancel, threading.Event) else bool(self.cancel())


@dataclass(frozen=True)
class Event:
    """One step of one request: the new `token` (None if none was made), the text that became certain, why it ended.

    `prefill_s` is the time the prompt took, told with the first event of a request. `error` is set with stop "failed".
    """

    key: int
    token: int | None
    text: str
    stop: str | None = None
    prefill_s: float = 0.0
    error: ReelmError | None = None


@dataclass(eq=False)
class _Row:
    key: int
    request: Request
    picker: Picker
    stream: TextStream | None
    length: int  # positions of this row that are in the cache
    made: int = 0
    token: int = -1

    def take(self, token: int | ReelmError, eos_ids: Collection[int], prefill_s: float = 0.0) -> Event:
        if isinstance(token, ReelmError):
            return Event(self.key, None, "", FAILED, prefill_s, token)
        self.made, self.token = self.made + 1, token
        if token in eos_ids:
            return self.end(END, token, prefill_s=prefill_s)
        piece = self.stream.push(token) if self.stream else ""
        if self.stream and self.stream.stopped:
            return Event(self.key, token, piece, STOP, prefill_s)
        if self.made >= self.request.max_new_tokens:
            return self.end(LENGTH, token, piece, prefill_s)
        return Event(self.key, token, piece, None, prefill_s)

    def end(self, why: str, token: int | None, piece: str = "", prefill_s: float = 0.0) -> Event:
        rest = self.stream.finish() if self.stream else ""
        stopped = self.stream is not None and self.stream.stopped
        return Event(self.key, token, piece + rest, STOP if stopped else why, prefill_s)


class Engine:
    """Runs a causal language model from embeddings; the model itself is only called, never changed.

    `eos_ids` end an answer and are not part of its text. `decode` turns ids into text (special tokens left out);
    without it events carry tokens only.

    Raises: UsageError when the model keeps other state than keys and values (linear attention, state spaces), or is in
    training mode when asked.
    """

    def __init__(self, language_model: PreTrainedModel, eos_ids: Iterable[int], decode: Decode | None = None) -> None:
        layer_types = set(getattr(language_model.config, "layer_types", None) or ())
        if unknown := layer_types - {"full_attention", "sliding_attention"}:
            raise UsageError(f"the decode loop cannot keep the state of {', '.join(sorted(unknown))} layers",
                             remedy="Use a language model whose layers all keep keys and values")
        self.model = language_model
        self.eos_ids = frozenset(eos_ids)
        self.decode = decode

    @property
    def device(self) -> torch.device:
        return next(self.model.get_input_embeddings().parameters()).device

    @torch.inference_mode()
    def prefill(self, embeds: Tensor, prefix: Prefix | None = None, marks: tuple[Any, ...] = ()) -> Prefix:
        """The cache of a beginning `embeds` [S,D] (after `prefix`, if given), for any number of requests to continue.

        `marks` describe all its positions, those of `prefix` included, for `Prefix.shared`.
        """
        cache, _ = self._fill(embeds, prefix)
        return Prefix(cache, cache.get_seq_length(), marks)

    def run(self, requests: Iterable[Request], max_batch: int = 8) -> Iterator[Event]:
        """Events of all requests as they happen; `Event.key` is the place in `requests`.

        At most `max_batch` run together; when one ends, the next takes its place. `requests` is read only as places
        come free, so a generator may prepare its prompts late.
        """
        batch = Batch(self)
        waiting = enumerate(requests)
        more = True
        while more or len(batch):
            while more and len(batch) < max_batch:
                try:
                    key, request = next(waiting)
                except StopIteration:
                    more = False
                    break
                yield batch.join(key, request)
            yield from batch.step()

    def _fill(self, embeds: Tensor, prefix: Prefix | None) -> tuple[DynamicCache, Tensor]:
        """Prefill of one row: its cache, and the logits [V] of its last position."""
        if self.model.training:
            raise UsageError("the language model is in training mode, dropout would change answers",
                             remedy="Call .eval() on the model first")
        # Without a config every layer keeps its full length, also under a sliding window: only such layers can be
        # padded, cropped and joined. The window is then the mask's work.
        cache = prefix.fork() if prefix else DynamicCache()
        start = prefix.length if prefix else 0
        positions = torch.arange(start, start + len(embeds), device=embeds.device)[None]
        out = self.model(inputs_embeds=embeds[None], position_ids=positions, past_key_values=cache, use_cache=True,
                         logits_to_keep=1)
        return cache, out.logits[0, -1]


class Batch:
    """The requests that are running now. They may join and leave at any step without changing each other's answer.

    Rows of unequal length are padded on the left and masked; greedy tokens equal those of a lone run, and
    logits to 1e-5 of the largest in float32 (sums run in another order).
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._rows: list[_Row] = []
        self._cache: DynamicCache | None = None
        self._mask: Tensor | None = None  # [B, width of the cache], None while no row is padded

    def __len__(self) -> int:
        return len(self._rows)

    @torch.inference_mode()
    def join(self, key: int, request: Request) -> Event:
        """Prefills a request and gives back its first token; it takes part in the steps that follow."""
        engine = self._engine
        if request.stop and engine.decode is None:
            raise UsageError("stop strings need text", remedy="Give the Engine a decode function")
        row = _Row(key, request, Picker(request.sampling), TextStream(engine.decode, request.stop)
                   if engine.decode else None, length=0)
        if request.cancelled:
            return Event(key, None, "", CANCELLED)
        began = time.perf_counter()
        cache, logits = engine._fill(request.embeds, request.prefix)
        row.length = cache.get_seq_length()
        token = pick_each([row.picker], logits[None])[0]
        event = row.take(token, engine.eos_ids, time.perf_counter() - began)
        if event.stop is None:
            self._cache = cache if self._cache is None else merge([self._cache, cache])
            self._rows.append(row)
            self._remask()
        return event

    @torch.inference_mode()
    def step(self) -> list[Event]:
        """One token for every running request. Those that ended are gone afterwards."""
        gone = [row for row in self._rows if row.request.cancelled]
        events = [row.end(CANCELLED, None) for row in gone]
        self._drop(gone)
        if not self._rows:
            return events
        device = self._engine.device
        tokens = torch.tensor([[row.token] for row in self._rows], device=device)
        positions = torch.tensor([[row.length] for row in self._rows], device=device)
        if self._mask is not None:
            self._mask = torch.nn.functional.pad(self._mask, (0, 1), value=1)
        out = self._engine.model(input_ids=tokens, attention_mask=self._mask, position_ids=positions,
                                 past_key_values=self._cache, use_cache=True, logits_to_keep=1)
        chosen = pick_each([row.picker for row in self._rows], out.logits[:, -1])
        ended = []
        for row, token in zip(self._rows, chosen, strict=True):
            row.length += 1
            event = row.take(token, self._engine.eos_ids)
            events.append(event)
            if event.stop:
                ended.append(row)
        self._drop(ended)
        return events

    def leave(self, key: int) -> Event | None:
        """Takes a request out at once; its last event (with text still held), or None if it is not running."""
        gone = [row for row in self._rows if row.key == key]
        self._drop(gone)
        return gone[0].end(CANCELLED, None) if gone else None

    def _drop(self, gone: list[_Row]) -> None:
        if not gone:
            return
        kept = [at for at, row in enumerate(self._rows) if row not in gone]
        self._rows = [self._rows[at] for at in kept]
        if not kept:
            self._cache = self._mask = None
            return
        assert self._cache is not None
        select(self._cache, kept, max(row.length for row in self._rows))
        self._remask()

    def _remask(self) -> None:
        lengths = [row.length for row in self._rows]
        width = max(lengths)
        if min(lengths) == width:
            self._mask = None
            return
        columns = torch.arange(width, device=self._engine.device)
        pads = width - torch.tensor(lengths, device=self._engine.device)
        self._mask = (columns >= pads[:, None]).long()
