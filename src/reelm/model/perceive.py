"""Decoded media through tower and connector: the vectors the language model reads, with their columns."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from reelm.model.config import part_of
from reelm.model.modeling import ReelmModel
from reelm.model.processing import ReelmProcessor
from reelm.types import AUDIO, Audio, AudioVideo, Frames, Image, Tokens

Decoded = Frames | Image | Audio | AudioVideo


def perceive(model: ReelmModel, processor: ReelmProcessor, medium: Decoded, keep: int | None = None,
             question: str = "") -> tuple[Tokens | None, Tokens | None]:
    """Vision and audio tokens of one medium, None where it has no pictures or no sound.

    A vision token has the mean time of the frames it covers, an audio token the time of its stretch of sound; NaN for a
    still picture and for silence that the encoder added. `keep`: the most tokens that pictures may become; `question`:
    what guided compressors look at.
    """
    if isinstance(medium, AudioVideo):
        return (_pictures(model, processor, medium.frames, keep, question),
                _sound(model, processor, medium.audio, of_video=True))
    if isinstance(medium, Audio):
        return None, _sound(model, processor, medium, of_video=False)
    return _pictures(model, processor, medium, keep, question), None


def joined(first: Tokens | None, second: Tokens | None) -> Tokens:
    """Both, one after the other; no grid any more, unless one of them is None."""
    given = [tokens for tokens in (first, second) if tokens is not None]
    if len(given) == 1:
        return given[0]
    names = ("x", "kind", "at_s", "cell", "source", "size", "score")
    columns: dict[str, Any] = {name: torch.cat([getattr(tokens, name) for tokens in given]) for name in names}
    return Tokens(**columns)


def _pictures(model: ReelmModel, processor: ReelmProcessor, medium: Frames | Image, keep: int | None,
              question: str) -> Tokens:
    pixels = processor.pixels(medium).to(_device(model))
    encoder, encoder_settings = part_of("encoder", (processor.vision or {})["encoder"])
    at_s = np.asarray(encoder.slice_times(encoder_settings, medium, len(pixels)), dtype=np.float64)
    (tokens,) = model.look_at(pixels, [len(pixels)], [at_s], [keep], question)
    return tokens


def _sound(model: ReelmModel, processor: ReelmProcessor, medium: Audio, of_video: bool) -> Tokens:
    settings = model.config.audio_settings
    bank = processor.filter_bank(medium, of_video=of_video).to(_device(model))
    (x,) = model.encode_audio(bank, [len(bank)])
    assert settings is not None  # encode_audio refuses without
    encoder, encoder_settings = part_of("encoder", settings.encoder_settings(of_video))
    at_s = encoder.slice_times(encoder_settings, medium, encoder.grid_of(encoder_settings, len(bank))[0])
    grid = processor.audio_grid(len(bank))
    slices = model.audio_connector.slice_times(torch.from_numpy(np.asarray(at_s, dtype=np.float64)), grid[0])
    return Tokens.of_grid(x, grid, slices.to(x.device), kind=AUDIO, source=1)


def _device(model: ReelmModel) -> torch.device:
    return next(model.get_input_embeddings().parameters()).device
