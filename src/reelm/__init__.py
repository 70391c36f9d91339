"""Ask a video a question: `reelm.load().answer(Clip("a.mp4"), "What happens?")`.

Importing this package is cheap; what needs torch is loaded when it is first used.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from reelm import errors
from reelm.errors import BudgetError, CheckpointError, MediaError, PolicyError, ReelmError, UsageError
from reelm.types import Answer, Audio, AudioVideo, Clip, Cue, Frames, Image, Message, Span, Tokens

if TYPE_CHECKING:
    from reelm.model.front import VideoLM
    from reelm.model.load import load

try:
    __version__ = version("reelm")
except PackageNotFoundError:  # run from a source tree that is not installed
    __version__ = "0+unknown"

_LAZY = {"load": "reelm.model.load", "VideoLM": "reelm.model.front"}

__all__ = ["Answer", "Audio", "AudioVideo", "BudgetError", "CheckpointError", "Clip", "Cue", "Frames", "Image",
           "MediaError", "Message", "PolicyError", "ReelmError", "Span", "Tokens", "UsageError", "VideoLM",
           "__version__", "errors", "load"]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'reelm' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
