"""What a layout takes and gives: turns with numbered media cells in, token ids with their kinds out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from reelm.config import PartConfig


@dataclass(frozen=True)
class Cells:
    """The place of one medium: `vision` cells, followed directly by `audio` cells."""

    vision: int = 0
    audio: int = 0


@dataclass(frozen=True)
class Turn:
    """One message with every medium replaced by its cells."""

    role: str
    pieces: tuple[str | Cells, ...]


@dataclass(frozen=True)
class Laid:
    """A conversation as the language model reads it; the lists have one entry per token.

    `ids`: valid ids everywhere (cells hold a filler). `kinds`: 0 text, 1 vision, 2 audio. `labels`: the id where an
    assistant speaks, else -100. `prefix_len`: tokens up to and including the last medium, which another question on
    the same media shares; 0 without media.
    """

    ids: list[int]
    kinds: list[int]
    labels: list[int]
    prefix_len: int


class Layout(ABC):
    """Turns messages and token counts into token ids."""

    Config: ClassVar[type[PartConfig]]

    def __init__(self, settings: PartConfig) -> None:
        self.settings = settings

    @abstractmethod
    def lay_out(self, tokenizer: Any, turns: Sequence[Turn], *, add_generation_prompt: bool, labels: bool) -> Laid:
        """The token ids of a conversation; `labels=False` leaves every label at -100 and costs less."""
