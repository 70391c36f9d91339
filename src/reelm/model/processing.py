"""From messages with decoded media to tensors: exact counts first, then ids, masks, pixels and filter banks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from transformers import BatchFeature, ProcessorMixin

from reelm import registry
from reelm.errors import UsageError
from reelm.model.config import AudioSettings, ReelmConfig, VisionSettings, checked, part_of
from reelm.model.way import Way, way_of
from reelm.parts.layouts.chat import IGNORED, filler_id
from reelm.parts.layouts.turns import Cells, Laid, Turn
from reelm.types import Audio, AudioVideo, Clip, Frames, Image, Message

Grid = tuple[int, int, int]


@dataclass(frozen=True)
class Sketch:
    """A medium that is not decoded yet, good enough to count its tokens: `frames` pictures, `audio_s` seconds of sound.

    `keep`: the most tokens that its pictures may become. `of_video` says that the sound belongs to pictures (some
    models cut such sound differently).
    """

    frames: int = 0
    audio_s: float | None = None
    keep: int | None = None

    @property
    def of_video(self) -> bool:
        return self.frames > 0


@dataclass(frozen=True)
class Plan:
    """One conversation laid out: token ids and, per medium in order, how many tokens it takes."""

    laid: Laid
    cells: tuple[Cells, ...]

    @property
    def counts(self) -> dict[str, int]:
        """Tokens in all: {"text": …, "vision": …, "audio": …}."""
        vision, audio = sum(c.vision for c in self.cells), sum(c.audio for c in self.cells)
        return {"text": len(self.laid.ids) - vision - audio, "vision": vision, "audio": audio}


class ReelmProcessor(ProcessorMixin):
    """Conversations to model inputs. Holds the tokenizer and the settings of the parts; needs no weights.

    Saved as processor_config.json beside the tokenizer. `vision`, `audio`, `layout` equal those of `ReelmConfig`.
    """

    attributes = ["tokenizer"]
    tokenizer_class = "AutoTokenizer"

    def __init__(self, tokenizer: Any = None, vision: dict | None = None, audio: dict | None = None,
                 layout: dict | None = None, **kwargs: Any) -> None:
        self.vision, self.audio, self.layout = vision, audio, layout or {"kind": "chat"}
        self.vision_settings: VisionSettings | None = None
        self.audio_settings: AudioSettings | None = None
        if vision is not None:
            self.vision_settings = checked(VisionSettings, vision, "vision")
        if audio is not None:
            self.audio_settings = checked(AudioSettings, audio, "audio")
        self.chat_layout = registry.build("layout", self.layout)
        super().__init__(tokenizer, **kwargs)

    @classmethod
    def of(cls, config: ReelmConfig, tokenizer: Any) -> ReelmProcessor:
        """The processor that belongs to a model config."""
        return cls(tokenizer, vision=config.vision, audio=config.audio, layout=config.layout)

    # --- counting ----------------------------------------------------------------------------------------------

    @property
    def way(self) -> Way:
        """The way of pictures, counted.

        Raises: UsageError when the model does not see.
        """
        return way_of(self._vision())

    def vision_count(self, frames: int, keep: int | None = None) -> int:
        """How many tokens a medium of `frames` pictures becomes, at most `keep`; one picture is repeated first."""
        return self.way.shape(frames, keep)[0]

    def vision_grid(self, frames: int) -> Grid:
        """(t,h,w) of the tokens that a medium of `frames` frames becomes.

        Raises: UsageError where a compressor leaves them on no grid.
        """
        count, grid = self.way.shape(frames)
        if grid is None:
            raise UsageError(f"{frames} frames become {count} tokens that fill no grid", where="ReelmProcessor")
        return grid

    def audio_grid(self, rows: int) -> Grid:
        """(t,h,w) of the tokens that `rows` filter-bank rows become."""
        settings = self._audio()
        return _grid_of(json.dumps([settings.encoder, settings.connector]), rows)

    def counts(self, medium: Any) -> dict[str, int]:
        """Tokens of one medium, exact before any of its tensors exist: {"vision": n, "audio": m}."""
        frames, rows, keep = 0, None, None
        if isinstance(medium, Sketch):
            frames, keep = medium.frames, medium.keep
            if medium.audio_s is not None:
                rows = self._rows(medium.audio_s, medium.of_video)
        elif isinstance(medium, Frames | Image):
            frames = len(medium) if isinstance(medium, Frames) else 1
        elif isinstance(medium, Audio):
            rows = self._rows(medium.duration_s, False)
        elif isinstance(medium, AudioVideo):
            frames, rows = len(medium.frames), self._rows(medium.audio.duration_s, True)
        else:
            raise UsageError(f"a {type(medium).__name__} is no decoded medium", remedy="Open clips with reelm.load(...)"
                             ".answer, or pass Frames, Image, Audio or AudioVideo")
        if isinstance(medium, Frames | AudioVideo) and frames == 0:
            raise UsageError("a clip without a frame", remedy="Ask for at least one frame")
        return {"vision": self.vision_count(frames, keep) if frames else 0,
                "audio": int(np.prod(self.audio_grid(rows))) if rows is not None else 0}

    def plan(self, conversation: Sequence[Message], *, labels: bool = False,
             add_generation_prompt: bool | None = None) -> Plan:
        """One conversation as token ids, without preparing pictures or sound; `Sketch`es are allowed as parts."""
        turns, cells = [], []
        for message in conversation:
            pieces: list[str | Cells] = []
            for piece in message.parts:
                if isinstance(piece, str):
                    pieces.append(piece)
                else:
                    cells.append(Cells(**self.counts(piece)))
                    pieces.append(cells[-1])
            turns.append(Turn(message.role, tuple(pieces)))
        prompt = not labels if add_generation_prompt is None else add_generation_prompt
        laid = self.chat_layout.lay_out(self.tokenizer, turns, add_generation_prompt=prompt, labels=labels)
        return Plan(laid, tuple(cells))

    # --- tensors -----------------------------------------------------------------------------------------------

    def pixels(self, medium: Frames | Image) -> Tensor:
        """Pixels of one medium as the encoder wants them: float32 [T,3,S,S]."""
        encoder, settings = part_of("encoder", self._vision().encoder)
        return encoder.prepare(settings, medium)

    def filter_bank(self, audio: Audio, *, of_video: bool = False) -> Tensor:
        """Filter bank of one sound, cut and filled up as the model was trained: float32 [K,128]."""
        encoder, settings = part_of("encoder", self._audio().encoder_settings(of_video))
        return encoder.prepare(settings, audio)

    def __call__(self, conversations: Sequence[Sequence[Message]], *, labels: bool = False,  # type: ignore[override]
                 add_generation_prompt: bool | None = None,
                 padding_side: Literal["left", "right"] | None = None) -> BatchFeature:
        """Model inputs of a batch of conversations (a list of lists of messages).

        Gives input_ids, attention_mask, mm_token_type_ids [B,S] and, where there are media, pixel_values_videos with
        video_frames and input_features with audio_frames. `labels=True` adds labels, pads on the right and ends after
        the last message; otherwise the batch pads on the left and ends with the generation prompt.

        Raises: UsageError for a medium that is not decoded, or that the model has no part for.
        """
        if not conversations:
            raise UsageError("a batch without a conversation")
        if any(isinstance(conversation, Message) for conversation in conversations):
            raise UsageError("a batch is a list of conversations", remedy="Write processor([[Message(...)]])")
        plans = [self.plan(c, labels=labels, add_generation_prompt=add_generation_prompt) for c in conversations]
        data = self.pad([plan.laid for plan in plans], labels=labels, padding_side=padding_side)
        media = [piece for c in conversations for message in c for piece in message.parts if not isinstance(piece, str)]
        pixels, banks = self._prepared(media)
        self._check([cell for plan in plans for cell in plan.cells], pixels, banks)
        if pixels:
            data["pixel_values_videos"] = torch.cat(pixels)
            data["video_frames"] = [len(p) for p in pixels]
        if banks:
            data["input_features"] = torch.cat(banks)
            data["audio_frames"] = [len(b) for b in banks]
        return BatchFeature(data)

    def pad(self, laid: Sequence[Laid], *, labels: bool = False,
            padding_side: Literal["left", "right"] | None = None) -> dict[str, Any]:
        """Rows of unequal length as tensors [B,S]; mask 0, kind 0 and label -100 where padded."""
        left = (padding_side or ("right" if labels else "left")) == "left"
        length = max(len(row.ids) for row in laid)

        def padded(rows: list[list[int]], value: int) -> Tensor:
            fill = [[value] * (length - len(row)) for row in rows]
            return torch.tensor([f + row if left else row + f for row, f in zip(rows, fill, strict=True)])

        data = {
            "input_ids": padded([row.ids for row in laid], filler_id(self.tokenizer)),
            "attention_mask": padded([[1] * len(row.ids) for row in laid], 0),
            "mm_token_type_ids": padded([row.kinds for row in laid], 0),
        }
        if labels:
            data["labels"] = padded([row.labels for row in laid], IGNORED)
        return data

    @property
    def model_input_names(self) -> list[str]:
        return ["input_ids", "attention_mask", "mm_token_type_ids", "pixel_values_videos", "video_frames",
                "input_features", "audio_frames"]

    # --- inside ------------------------------------------------------------------------------------------------

    def _vision(self) -> VisionSettings:
        if self.vision_settings is None:
            raise UsageError("this model does not see", remedy="Leave pictures out, or load a model with a vision part")
        return self.vision_settings

    def _audio(self) -> AudioSettings:
        if self.audio_settings is None:
            raise UsageError("this model does not hear", remedy="Leave sound out, or load a model with an audio part")
        return self.audio_settings

    def _rows(self, audio_s: float, of_video: bool) -> int:
        settings = self._audio()
        encoder = json.dumps(settings.encoder_settings(of_video))
        return _rows_of(encoder, round(audio_s * settings.rate_hz), settings.rate_hz)

    def _prepared(self, media: Sequence[Any]) -> tuple[list[Tensor], list[Tensor]]:
        pixels, banks = [], []
        for medium in media:
            if isinstance(medium, Clip | Sketch):
                raise UsageError(f"a {type(medium).__name__} holds no pictures or sound yet", remedy="Decode it first")
            if isinstance(medium, Frames | Image):
                pixels.append(self.pixels(medium))
            elif isinstance(medium, Audio):
                banks.append(self.filter_bank(medium))
            else:
                pixels.append(self.pixels(medium.frames))
                banks.append(self.filter_bank(medium.audio, of_video=True))
        return pixels, banks

    def _check(self, cells: Sequence[Cells], pixels: Sequence[Tensor], banks: Sequence[Tensor]) -> None:
        made = ([self.vision_count(len(p)) for p in pixels],
                [int(np.prod(self.audio_grid(len(b)))) for b in banks])
        planned = [c.vision for c in cells if c.vision], [c.audio for c in cells if c.audio]
        if made != planned:
            raise UsageError(f"planned {planned} tokens, prepared media give {made}", where="ReelmProcessor",
                             remedy="This is a fault of an encoder's counts; please report it")


@lru_cache(maxsize=256)
def _grid_of(parts: str, count: int) -> Grid:
    # Checking the settings of a tower takes milliseconds, and training counts every sample.
    settings = json.loads(parts)
    encoder, encoder_settings = part_of("encoder", settings[0])
    connector, connector_settings = part_of("connector", settings[1])
    grid: Grid = connector.grid_of(connector_settings, encoder.grid_of(encoder_settings, count))
    return grid


@lru_cache(maxsize=256)
def _rows_of(encoder: str, samples: int, rate_hz: int) -> int:
    # Preparing silence of the same length is exact for every encoder, whatever it cuts and fills up.
    cls, settings = part_of("encoder", json.loads(encoder))
    return len(cls.prepare(settings, Audio(np.zeros((1, samples), np.float32), rate_hz)))
