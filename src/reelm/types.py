"""The carriers: the few things that travel between parts. They hold data and times, and know no part.

Letters in shapes: T frames, H W pixels, h w cells, N tokens, D width, C channels, K audio samples.
`torch` is imported for type checking only, so that `reelm --help` stays fast.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal

import numpy as np

from reelm.errors import UsageError
from reelm.view import answer_html

if TYPE_CHECKING:
    import torch

#: What one token stands for; the value of `Tokens.kind`.
TEXT, VISION, AUDIO, SPECIAL = 0, 1, 2, 3


def _expect(ok: bool, expected: str, got: object) -> None:
    if not ok:
        raise UsageError(f"expected {expected}, got {got}")


#: What a clip may be cut from: the path of a file or of a folder of pictures, a `data:` URI, a file's content, or an
#: open binary file that can seek.
Source = str | Path | bytes | bytearray | memoryview | BinaryIO


@dataclass(frozen=True, repr=False)
class Clip:
    """A stretch of a media file: [start_s, end_s), seconds from the file's start; nothing is read yet.

    `source` may be a path, a `data:` URI, the content itself (a bytearray or memoryview is copied, so that it cannot
    change afterwards), or a binary file that can seek, read from its beginning whatever its position.
    `folder_fps`: how many pictures of a folder fill a second, where the source is a folder of pictures (None: 3).
    """

    source: Source
    start_s: float = 0.0
    end_s: float | None = None
    folder_fps: float | None = None

    def __post_init__(self) -> None:
        _expect(self.start_s >= 0, "start_s >= 0", self.start_s)
        if self.end_s is not None:
            _expect(self.end_s > self.start_s, f"end_s above start_s = {self.start_s}", self.end_s)
        if self.folder_fps is not None:
            _expect(0 < self.folder_fps < float("inf"), "folder_fps above 0", self.folder_fps)
        if isinstance(self.source, bytearray | memoryview):
            object.__setattr__(self, "source", bytes(self.source))
        _expect(isinstance(self.source, str | Path | bytes) or hasattr(self.source, "read"),
                "a path, bytes, or a binary file", type(self.source).__name__)

    @property
    def name(self) -> str:
        """The source in a few words, for messages; a path in full."""
        if isinstance(self.source, bytes):
            return f"{len(self.source):,} bytes in memory"
        if isinstance(self.source, str) and self.source[:5].lower() == "data:":
            return f"{self.source[:40]}... ({len(self.source):,} characters)" if len(self.source) > 60 else self.source
        if isinstance(self.source, str | Path):
            return str(self.source)
        return str(getattr(self.source, "name", None) or f"an open {type(self.source).__name__}")

    def __repr__(self) -> str:
        rate = "" if self.folder_fps is None else f", folder_fps={self.folder_fps:g}"
        return f"Clip({self.name!r}, start_s={self.start_s!r}, end_s={self.end_s!r}{rate})"


@dataclass(frozen=True)
class Cue:
    """A line of subtitles: `text` stands on the screen in [start_s, end_s), seconds from the file's start."""

    start_s: float
    end_s: float
    text: str


@dataclass(frozen=True)
class MediaInfo:
    """What a file holds, as found by reading it (headers may lie).

    `frame_times_s`: float64 [F], rising true presentation times of the frames inside the clip, seconds from the
    file's start; empty when there is no picture. `kind` is "video", "image" (one still picture) or "audio".
    `shortfall`: sentences on what the header promised and the file does not hold.
    """

    kind: Literal["video", "image", "audio"]
    source: str
    start_s: float
    end_s: float
    frame_times_s: np.ndarray = field(repr=False)
    fps: float = 0.0
    width_px: int = 0
    height_px: int = 0
    has_audio: bool = False
    audio_rate_hz: int = 0
    container: str = ""
    video_codec: str = ""
    audio_codec: str = ""
    shortfall: tuple[str, ...] = ()

    @property
    def duration_s(self) -> float:
        return self.end_s - self.start_s

    @property
    def frame_count(self) -> int:
        return len(self.frame_times_s)


@dataclass(frozen=True)
class Frames:
    """Decoded pictures with their times.

    `rgb` uint8 [T,3,H,W]; `at_s` float64 [T], true time of the frame shown; `repeated` bool [T], True where the
    same picture already stands earlier (the request was denser than the video). `still` marks one picture without time.
    """

    rgb: np.ndarray = field(repr=False)
    at_s: np.ndarray
    repeated: np.ndarray
    still: bool = False

    def __post_init__(self) -> None:
        _expect(self.rgb.ndim == 4 and self.rgb.shape[1] == 3 and self.rgb.dtype == np.uint8, "rgb uint8 [T,3,H,W]",
                f"{self.rgb.dtype} {list(self.rgb.shape)}")
        count = len(self.rgb)
        _expect(self.at_s.shape == (count,), f"at_s of shape [{count}]", list(self.at_s.shape))
        _expect(self.repeated.shape == (count,), f"repeated of shape [{count}]", list(self.repeated.shape))

    def __len__(self) -> int:
        return len(self.rgb)


@dataclass(frozen=True)
class Image:
    """One picture in memory: `rgb` uint8 [3,H,W]. A picture in a file is a `Clip`."""

    rgb: np.ndarray = field(repr=False)

    def __post_init__(self) -> None:
        _expect(self.rgb.ndim == 3 and self.rgb.shape[0] == 3 and self.rgb.dtype == np.uint8, "rgb uint8 [3,H,W]",
                f"{self.rgb.dtype} {list(self.rgb.shape)}")


@dataclass(frozen=True)
class Audio:
    """Sound in memory: `wave` float32 [C,K] in -1..1, `rate_hz`, `start_s` of the first sample."""

    wave: np.ndarray = field(repr=False)
    rate_hz: int
    start_s: float = 0.0

    def __post_init__(self) -> None:
        _expect(self.wave.ndim == 2 and self.wave.dtype == np.float32, "wave float32 [C,K]",
                f"{self.wave.dtype} {list(self.wave.shape)}")
        _expect(self.rate_hz > 0, "rate_hz > 0", self.rate_hz)

    @property
    def duration_s(self) -> float:
        return self.wave.shape[1] / self.rate_hz


#: What a message may hold. A `str` is always text; a file is always a `Clip`.
@dataclass(frozen=True)
class AudioVideo:
    """Pictures and sound of one clip: one place in the prompt, vision tokens followed by audio tokens."""

    frames: Frames
    audio: Audio


Part = str | Clip | Frames | Image | Audio | AudioVideo


@dataclass(frozen=True)
class Message:
    """One turn of a conversation: who speaks, and any number of parts in any order."""

    role: Literal["system", "user", "assistant"]
    parts: tuple[Part, ...]

    @property
    def words(self) -> str:
        """Its text, a line for each part of text."""
        return "\n".join(part for part in self.parts if isinstance(part, str))


@dataclass
class Tokens:
    """Vectors with one column of facts per token, all kept together by `take` and `merge`.

    `x` [N,D]; `kind` int64 [N] (TEXT, VISION, AUDIO, SPECIAL); `at_s` float64 [N] (NaN where time has no meaning);
    `cell` int64 [N,3] as (t,h,w), -1 where there is none; `source` int64 [N], which encoder; `size` float32 [N], how
    many tokens were merged into it; `score` float32 [N]. `grid` (T,h,w) while the tokens still fill a regular grid in
    time-major, then row, then column order, else None.
    """

    x: torch.Tensor
    kind: torch.Tensor
    at_s: torch.Tensor
    cell: torch.Tensor
    source: torch.Tensor
    size: torch.Tensor
    score: torch.Tensor
    grid: tuple[int, int, int] | None = None

    _COLUMNS = ("kind", "at_s", "cell", "source", "size", "score")

    def __post_init__(self) -> None:
        count = len(self.x)
        for name in self._COLUMNS:
            _expect(len(getattr(self, name)) == count, f"column {name} of length {count}", len(getattr(self, name)))
        if self.grid is not None:
            t, h, w = self.grid
            _expect(t * h * w == count, f"a grid of {count} cells", self.grid)

    def __len__(self) -> int:
        return len(self.x)

    @classmethod
    def of_grid(cls, x: torch.Tensor, grid: tuple[int, int, int], at_s: Sequence[float] | torch.Tensor, *,
                kind: int = VISION, source: int = 0) -> Tokens:
        """Tokens that fill a (T,h,w) grid; `x` [T·h·w, D], `at_s` [T] seconds of the T slices."""
        import torch

        t, h, w = grid
        device = x.device
        cell = torch.cartesian_prod(torch.arange(t), torch.arange(h), torch.arange(w)).reshape(-1, 3).to(device)
        slice_s = torch.as_tensor(at_s, dtype=torch.float64, device=device)
        _expect(slice_s.shape == (t,), f"at_s of shape [{t}]", list(slice_s.shape))
        count = len(x)
        return cls(
            x=x, kind=torch.full((count,), kind, device=device), at_s=slice_s.repeat_interleave(h * w), cell=cell,
            source=torch.full((count,), source, device=device), size=torch.ones(count, device=device),
            score=torch.zeros(count, device=device), grid=grid,
        )

    def take(self, index: torch.Tensor) -> Tokens:
        """The tokens at `index` (int64 or bool), every column alike; no longer a grid."""
        columns = {name: getattr(self, name)[index] for name in self._COLUMNS}
        return Tokens(x=self.x[index], grid=None, **columns)

    def merge(self, group: torch.Tensor, groups: int) -> Tokens:
        """One token per group: size-weighted mean of `x` and `at_s`, sum of `size`, maximum of `score`.

        `group` int64 [N] in 0..groups-1. Kind, cell and source are those of the group's first token.
        Raises: UsageError if a group is empty.
        """
        import torch

        total = torch.zeros(groups, dtype=self.size.dtype, device=self.x.device).index_add(0, group, self.size)
        _expect(bool((total > 0).all()), f"{groups} groups, none empty", f"{int((total > 0).sum())} filled")
        share = self.size / total[group]
        x = torch.zeros(groups, self.x.shape[1], dtype=self.x.dtype, device=self.x.device)
        x = x.index_add(0, group, self.x * share[:, None].to(self.x.dtype))
        at_s = torch.zeros(groups, dtype=self.at_s.dtype, device=self.x.device)
        at_s = at_s.index_add(0, group, self.at_s * share.to(self.at_s.dtype))
        order = torch.arange(len(self), device=self.x.device)
        first = torch.full((groups,), len(self), device=self.x.device).scatter_reduce(0, group, order, "amin")
        score = torch.full((groups,), float("-inf"), dtype=self.score.dtype, device=self.x.device)
        score = score.scatter_reduce(0, group, self.score, "amax")
        return Tokens(x=x, kind=self.kind[first], at_s=at_s, cell=self.cell[first], source=self.source[first],
                      size=total, score=score, grid=None)

    def with_x(self, x: torch.Tensor) -> Tokens:
        """The same tokens with other vectors (another width is allowed)."""
        return replace(self, x=x)


@dataclass(frozen=True)
class Span:
    """A stretch of time found in an answer: [start_s, end_s)."""

    start_s: float
    end_s: float


@dataclass(frozen=True)
class Thumbnail:
    """A small JPEG of a frame that an answer used: of which medium (from 0), at which second (None for a still)."""

    medium: int
    at_s: float | None
    jpeg: bytes = field(repr=False)


@dataclass(frozen=True)
class Answer:
    """What the model said, and what it saw to say it.

    `used_s`: times of the frames seen, one list per medium. `audio_used`: whether sound reached the model.
    `tokens`: counts per medium and for text, e.g. {"text": 41, "video": 196, "new": 3}. `seconds`: wall time per phase
    (open, decode, encode, prefill, first_token, generate, total). `stop`: "end", "length", "stop" or "cancelled".
    `notes`: everything that was cut, repeated, missing or ignored, in sentences. `thumbnails()`: small pictures of the
    frames used, read from the files when called. A notebook shows all of it.
    """

    text: str
    used_s: tuple[tuple[float, ...], ...] = ()
    audio_used: bool = False
    spans: tuple[Span, ...] = ()
    tokens: Mapping[str, int] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    stop: str = "end"
    notes: tuple[str, ...] = ()
    thumbnails: Callable[[], Sequence[Thumbnail]] | None = field(default=None, repr=False, compare=False)

    def __str__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        return answer_html(self)
