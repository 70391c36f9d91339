"""How the next token is chosen: penalty, temperature, top-k, top-p, one independent random stream per request."""

from __future__ import annotations

import math
import secrets
from dataclasses import dataclass

import torch
from torch import Tensor

from reelm.errors import ReelmError, UsageError


@dataclass(frozen=True)
class Sampling:
    """Settings of one request; `temperature` 0 takes the likeliest token.

    `repetition_penalty` acts on tokens already answered, never on the prompt, as in the official VideoLLaMA 2 code.
    `top_k` 0 and `top_p` 1 are off. `seed` None draws a fresh one; with temperature 0 every seed gives the same answer.

    Raises: UsageError for a value out of range, and for `top_k`/`top_p` without a temperature (they would do nothing).
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    repetition_penalty: float = 1.0
    seed: int | None = None

    def __post_init__(self) -> None:
        if not (self.temperature >= 0 and math.isfinite(self.temperature)):
            raise UsageError(f"temperature must be 0 or more, got {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise UsageError(f"top_p must be in (0, 1], got {self.top_p}")
        if self.top_k < 0:
            raise UsageError(f"top_k must be 0 (off) or more, got {self.top_k}")
        if not (self.repetition_penalty > 0 and math.isfinite(self.repetition_penalty)):
            raise UsageError(f"repetition_penalty must be above 0, got {self.repetition_penalty}")
        if self.temperature == 0 and (self.top_p < 1 or self.top_k > 0):
            raise UsageError("top_k and top_p do nothing at temperature 0", remedy="Set a temperature or drop them")

    @property
    def plain(self) -> bool:
        """True when the choice is the bare maximum of the logits."""
        return self.temperature == 0 and self.repetition_penalty == 1


class Picker:
    """Chooses the tokens of one request and remembers what it chose.

    The random stream belongs to the request (a CPU generator whatever the device), so batch neighbours cannot shift it.
    """

    def __init__(self, settings: Sampling) -> None:
        self.settings = settings
        self._seen: dict[int, None] = {}
        self._random: torch.Generator | None = None
        if settings.temperature > 0:
            seed = secrets.randbits(63) if settings.seed is None else settings.seed
            self._random = torch.Generator().manual_seed(seed)

    def pick(self, logits: Tensor) -> int:
        """The next token for `logits` [V]."""
        scores = self.scores(logits)
        if self._random is None:
            token = int(scores.argmax())
        else:
            probabilities = scores.softmax(-1).cpu()
            token = int(torch.multinomial(probabilities, 1, generator=self._random))
        self._seen[token] = None
        return token

    def scores(self, logits: Tensor) -> Tensor:
        """The logits [V] after penalty, temperature, top-k and top-p, in this order (Hugging Face's order)."""
        settings = self.settings
        scores = logits.float()
        if settings.repetition_penalty != 1 and self._seen:
            seen = torch.tensor(list(self._seen), device=scores.device)
            old = scores[seen]
            new = torch.where(old < 0, old * settings.repetition_penalty, old / settings.repetition_penalty)
            scores = scores.index_put((seen,), new)
        if settings.temperature > 0:
            scores = scores / settings.temperature
        if settings.top_k:
            least = scores.topk(min(settings.top_k, len(scores))).values[-1]
            scores = scores.masked_fill(scores < least, -math.inf)
        if settings.top_p < 1:
            rising, order = scores.sort()
            drop = rising.softmax(-1).cumsum(-1) <= 1 - settings.top_p
            drop[-1] = False
            scores = scores.masked_fill(torch.zeros_like(drop).scatter(0, order, drop), -math.inf)
        return scores


def pick_each(pickers: list[Picker], logits: Tensor) -> list[int | ReelmError]:
    """One token per row of `logits` [B,V]; rows without penalty and temperature are chosen in one reduction.

    A row that holds NaN, or infinity as its maximum (a sign of broken or overflowing weights), gives an error instead;
    the other rows are not touched by it.
    """
    best = logits.argmax(-1, keepdim=True)
    top = logits.gather(-1, best)[:, 0].tolist()

    def chosen(row: int, picker: Picker, token: int) -> int | ReelmError:
        if not math.isfinite(top[row]):
            return ReelmError(f"the language model's logits are not finite (the largest is {top[row]})",
                              remedy="Check the weights, or run in float32 or bfloat16 instead of float16")
        return token if picker.settings.plain else picker.pick(logits[row])

    rows = zip(pickers, best[:, 0].tolist(), strict=True)
    return [chosen(row, picker, token) for row, (picker, token) in enumerate(rows)]
