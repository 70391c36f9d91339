"""What a part of each family owes the rest. Parts inherit from these; nothing else may be assumed of them.

Counts are class methods of the settings, because they must be known before any weight or tensor exists.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from reelm.config import PartConfig
from reelm.errors import BudgetError, UsageError
from reelm.types import AUDIO, VISION, Audio, Frames, Image, MediaInfo, Tokens

Grid = tuple[int, int, int]
#: How many tokens, and the grid that they fill, None where they fill none.
Shape = tuple[int, Grid | None]


class Sampler(ABC):
    """Chooses the seconds to look at.

    `length` says what a budget of tokens may do to the number of frames: "free" (as many as the budget pays for, up to
    all of the clip), "at most" (the sampler's own number, fewer where the budget is short), "fixed" (its own number).
    `guided`: whether `pick` looks at the question, so that another question means other frames.
    """

    Config: ClassVar[type[PartConfig]]
    length: ClassVar[Literal["free", "at most", "fixed"]] = "at most"
    guided: ClassVar[bool] = False
    #: The smallest sensible settings, for tests that build every part.
    tiny: ClassVar[dict[str, Any]]

    def __init__(self, settings: PartConfig) -> None:
        self.settings = settings

    @abstractmethod
    def pick(self, info: MediaInfo, budget: int | None = None, question: str = "", look: Any = None) -> np.ndarray:
        """Seconds to decode: float64 [T], not falling, inside the clip, at most `budget` of them; deterministic.

        `look(seconds) -> Frames` lets a sampler peek at pictures; `question` lets it be guided.
        """

    def pictures(self, frames: int) -> int:
        """How many pictures the encoder gets for `frames` frames, exactly, before any is decoded."""
        return frames

    def arrange(self, frames: Frames) -> Frames:
        """The pictures that the encoder gets: the frames themselves, unless the sampler puts several into one."""
        return frames


class Encoder:
    """Mix-in for modules that turn prepared pictures or sound into features.

    A vision encoder's `forward` maps pixels [F,3,S,S] to [F, h·w, D]; an audio encoder's maps filter banks
    [B,K,128] to [B, N, D].
    """

    Config: ClassVar[type[PartConfig]]
    #: The smallest sensible settings, for tests that build every part.
    tiny: ClassVar[dict[str, Any]]
    modality: ClassVar[Literal["vision", "audio"]]
    settings: PartConfig

    @classmethod
    def width_of(cls, settings: Any) -> int:
        """D, the feature width."""
        raise NotImplementedError

    @classmethod
    def grid_of(cls, settings: Any, length: int) -> Grid:
        """(T,h,w) for `length` frames (vision) or `length` filter-bank rows (audio)."""
        raise NotImplementedError

    @classmethod
    def prepare(cls, settings: Any, media: Any) -> Tensor:
        """Frames or Image to pixels [T,3,S,S], Audio to a filter bank [K,128]; float32, on the CPU, without weights."""
        raise NotImplementedError

    @classmethod
    def slice_times(cls, settings: Any, media: Any, count: int) -> np.ndarray:
        """Seconds of the `count` time slices, float64; NaN where a slice has none (a still picture, filled silence)."""
        if isinstance(media, Frames) and not media.still:
            return media.at_s
        return np.full(count, np.nan)

    @classmethod
    def notes_on(cls, settings: Any, media: Any) -> tuple[str, ...]:
        """Sentences on what `prepare` cuts from this medium or adds to it; empty when nothing."""
        return ()

    def encode(self, media: Frames | Image | Audio) -> Tokens:
        """Features of one medium with their columns; gradients flow unless the caller forbids them."""
        if not isinstance(self, nn.Module):
            raise TypeError("Encoder is a mix-in for torch modules")
        weight = next(self.parameters())
        values = self.prepare(self.settings, media)
        audio = self.modality == "audio"
        grid = self.grid_of(self.settings, len(values))
        batch = values.to(weight.device, weight.dtype) if not audio else values.to(weight.device)[None]
        x = self(batch).flatten(0, 1)
        return Tokens.of_grid(x, grid, torch.from_numpy(self.slice_times(self.settings, media, grid[0])),
                              kind=AUDIO if audio else VISION)


class Connector(nn.Module, ABC):
    """Carries features of the encoder's width to the language model's width, possibly to a smaller grid."""

    Config: ClassVar[type[PartConfig]]
    #: The smallest sensible settings, for tests that build every part.
    tiny: ClassVar[dict[str, Any]]

    def __init__(self, settings: PartConfig) -> None:
        super().__init__()
        self.settings = settings

    @classmethod
    @abstractmethod
    def grid_of(cls, settings: Any, grid: Grid) -> Grid:
        """The (T,h,w) that comes out for a (T,h,w) that goes in; raises UsageError if none can."""

    @abstractmethod
    def project(self, x: Tensor) -> Tensor:
        """x [B,T,h,w,D] to [B,T',h',w',D'], differentiable; T',h',w' as `grid_of` says."""

    def n_out(self, grid: Grid) -> int:
        """How many tokens come out for a grid, exactly, before any tensor exists."""
        t, h, w = self.grid_of(self.settings, grid)
        return t * h * w

    def slice_times(self, at_s: Tensor, count: int) -> Tensor:
        """Times of the `count` slices that come out, for slices at `at_s` [T] that go in; an even share by default."""
        return resample_times(at_s, count)

    def forward(self, tokens: Tokens) -> Tokens:
        """Tokens on a grid to tokens on the smaller grid; the time of a token is the mean of the slices it covers."""
        if tokens.grid is None:
            raise UsageError(f"{type(self).__name__} needs tokens on a regular grid",
                             remedy="Put compressors that drop tokens after the connector")
        t, h, w = tokens.grid
        y = self.project(tokens.x.reshape(1, t, h, w, -1))[0]
        grid = (y.shape[0], y.shape[1], y.shape[2])
        if grid != self.grid_of(self.settings, tokens.grid):
            raise UsageError(f"{type(self).__name__} promised {self.grid_of(self.settings, tokens.grid)}, made {grid}")
        slice_s = self.slice_times(tokens.at_s.reshape(t, h * w)[:, 0], grid[0])
        kind = int(tokens.kind[0]) if len(tokens) else VISION
        source = int(tokens.source[0]) if len(tokens) else 0
        return Tokens.of_grid(y.flatten(0, 2), grid, slice_s, kind=kind, source=source)


def resample_times(at_s: Tensor, count: int) -> Tensor:
    """Times of `count` slices that evenly cover the slices at `at_s` [T]: the mean over each share."""
    if count == len(at_s):
        return at_s
    edges = torch.linspace(0, len(at_s), count + 1, device=at_s.device)
    low = edges[:-1].floor().long().clamp(max=len(at_s) - 1)
    high = torch.maximum(edges[1:].ceil().long(), low + 1).clamp(max=len(at_s))
    return torch.stack([at_s[a:b].mean() for a, b in zip(low.tolist(), high.tolist(), strict=True)])


class CompressorConfig(PartConfig):
    """What the settings of every compressor have.

    `per_frame`: tokens that one slice of time should have where a budget decides; it says how many frames a budget is
    spread over, and is no limit by itself.
    """

    per_frame: int = Field(default=16, ge=1)


class Compressor(nn.Module, ABC):
    """Fewer tokens of the same width, before or after the connector.

    `keep`, where it is given, is the most tokens that may come out; without it the settings decide. `place`: where the
    compressor stands unless a config says otherwise. `steered`: whether it obeys `keep` (of a chain, the last that does
    gets the budget). `guided`: whether `reduce` looks at the question. `merges`: whether every token that goes in is
    part of one that comes out, so that the sum of `size` stays. `neutral`: settings under which nothing changes, bit
    for bit.
    """

    Config: ClassVar[type[CompressorConfig]]
    #: The smallest sensible settings, for tests that build every part.
    tiny: ClassVar[dict[str, Any]]
    place: ClassVar[Literal["before", "after"]] = "after"
    steered: ClassVar[bool] = True
    guided: ClassVar[bool] = False
    merges: ClassVar[bool] = False
    neutral: ClassVar[dict[str, Any] | None] = None

    def __init__(self, settings: CompressorConfig) -> None:
        super().__init__()
        self.settings = settings

    @classmethod
    @abstractmethod
    def shape_of(cls, settings: Any, n: int, grid: Grid | None, keep: int | None = None) -> Shape:
        """How many tokens come out of `n` on `grid` (None: on none), and the grid they fill; at most `keep`.

        Raises: UsageError if the tokens cannot be taken; only called with `keep` of at least `least_of`.
        """

    @classmethod
    def least_of(cls, settings: Any, n: int, grid: Grid | None) -> int:
        """The smallest `keep` that can be asked of `n` tokens on `grid`."""
        return 1

    @classmethod
    def wish_of(cls, settings: Any, n: int, grid: Grid | None) -> int:
        """How many tokens should come out where a budget decides: `per_frame` for each slice, if there are as many."""
        count, _ = cls.shape_of(settings, n, grid)
        return count if grid is None else min(count, grid[0] * settings.per_frame)

    @abstractmethod
    def reduce(self, tokens: Tokens, keep: int | None, question: str) -> Tokens:
        """The tokens that come out, as many as `shape_of` says, every column kept; differentiable in `x`."""

    def n_out(self, n: int, grid: Grid | None, keep: int | None = None) -> int:
        """How many tokens come out, exactly, before any tensor exists.

        Raises: BudgetError for a `keep` below what this compressor can give.
        """
        return self.shape(n, grid, keep)[0]

    def shape(self, n: int, grid: Grid | None, keep: int | None = None) -> Shape:
        """`n_out` with the grid."""
        return shape_within(type(self), self.settings, n, grid, keep)

    def forward(self, tokens: Tokens, keep: int | None = None, question: str = "") -> Tokens:
        """Tokens to fewer tokens of the same width; the count is compared with what was promised."""
        promised = self.shape(len(tokens), tokens.grid, keep)
        out = self.reduce(tokens, keep, question)
        if (len(out), out.grid) != promised:
            raise UsageError(f"{type(self).__name__} promised {promised}, made {(len(out), out.grid)}")
        return out


def shape_within(cls: type[Compressor], settings: Any, n: int, grid: Grid | None, keep: int | None) -> Shape:
    """`shape_of` after looking at `keep`.

    Raises: BudgetError for a `keep` below what the compressor can give.
    """
    if keep is not None and keep < (least := cls.least_of(settings, n, grid)):
        raise BudgetError(f"{keep} tokens asked of {n}, {cls.__name__} gives at least {least}")
    return cls.shape_of(settings, n, grid, keep)
