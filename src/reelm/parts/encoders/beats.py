"""The `beats` encoder: BEATs, a transformer over 16×16 patches of a filter bank."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from reelm.config import PartConfig
from reelm.errors import CheckpointError, UsageError
from reelm.parts.base import Encoder, Grid
from reelm.parts.encoders.beats_layers import BeatsStack
from reelm.parts.encoders.fbank import BINS, RATE_HZ, STEP, WINDOW, kaldi_fbank, samples_for
from reelm.parts.encoders.windows import Heard, Window, heard
from reelm.registry import part
from reelm.types import Audio

#: Mean and deviation of AudioSet filter banks, as the published weights expect them; the deviation counts twice.
_MEAN, _DEVIATION = 15.41663, 6.55582


@part("encoder", "beats")
class Beats(nn.Module, Encoder):
    """BEATs: sound to one feature per 160 ms and sixteenth of the frequency axis; 8 per 160 ms in the published size.

    `forward` takes the filter bank before normalisation. With `finetuned_model` the label head is there and
    `label_probs` names sounds. Silence is attended like sound, as in the published code.

    Shapes: forward [B,K,128] to [B, K//16·8, D], time first, frequency fastest. Units: rows of 10 ms, 16 kHz.
    Source: BEATs (Chen et al. 2023) as in VideoLLaMA 2.1-AV; agrees to 1e-4, tests/parts/test_beats.py.
    """

    class Config(PartConfig):
        input_patch_size: int = Field(default=16, ge=1, le=BINS)
        embed_dim: int = 512
        conv_bias: bool = False
        encoder_layers: int = Field(default=12, ge=1)
        encoder_embed_dim: int = 768
        encoder_ffn_embed_dim: int = 3072
        encoder_attention_heads: int = 12
        deep_norm: bool = True
        conv_pos: int = 128
        conv_pos_groups: int = 16
        relative_position_embedding: bool = True
        num_buckets: int = 320
        max_distance: int = 800
        gru_rel_pos: bool = True
        finetuned_model: bool = True
        predictor_class: int = 527
        dropout: float = 0.0
        attention_dropout: float = 0.0
        activation_dropout: float = 0.0
        dropout_input: float = 0.0
        predictor_dropout: float = 0.0
        encoder_layerdrop: float = 0.05
        layer_wise_gradient_decay_ratio: float = 0.6
        bf16_fbank: bool = False
        window: Window = "whole"
        max_seconds: float = Field(default=30.0, gt=0)

        @model_validator(mode="after")
        def _heads_divide(self) -> Beats.Config:
            if self.encoder_embed_dim % self.encoder_attention_heads:
                raise ValueError(f"{self.encoder_attention_heads} heads do not divide {self.encoder_embed_dim}")
            return self

    modality = "audio"
    tiny: ClassVar[dict[str, Any]] = {
        "embed_dim": 6, "encoder_layers": 2, "encoder_embed_dim": 8, "encoder_ffn_embed_dim": 12,
        "encoder_attention_heads": 2, "conv_pos": 4, "conv_pos_groups": 2, "num_buckets": 8, "max_distance": 16,
        "predictor_class": 3, "encoder_layerdrop": 0.0}
    settings: Config

    def __init__(self, settings: Config) -> None:
        super().__init__()
        self.settings = settings
        patch = settings.input_patch_size
        self.patch_embedding = nn.Conv2d(1, settings.embed_dim, patch, stride=patch, bias=settings.conv_bias)
        self.layer_norm = nn.LayerNorm(settings.embed_dim)
        same = settings.embed_dim == settings.encoder_embed_dim
        self.post_extract_proj = None if same else nn.Linear(settings.embed_dim, settings.encoder_embed_dim)
        self.encoder = BeatsStack(settings)
        if settings.finetuned_model:
            self.predictor = nn.Linear(settings.encoder_embed_dim, settings.predictor_class)

    @classmethod
    def width_of(cls, settings: Config) -> int:
        return settings.encoder_embed_dim

    @classmethod
    def grid_of(cls, settings: Config, length: int) -> Grid:
        """(time, frequency, 1) patches for `length` filter-bank rows; a last incomplete patch is not seen."""
        patch = settings.input_patch_size
        if length < patch:
            raise UsageError(f"{length} filter-bank rows, at least {patch} make one patch", where="beats")
        return length // patch, BINS // patch, 1

    @classmethod
    def _heard(cls, settings: Config, audio: Audio) -> Heard:
        if not isinstance(audio, Audio):
            raise UsageError(f"expected Audio, got {type(audio).__name__}", where="beats")
        if audio.rate_hz != RATE_HZ or len(audio.wave) != 1:
            raise UsageError(f"expected one channel at {RATE_HZ} Hz, got {len(audio.wave)} at {audio.rate_hz} Hz",
                             where="beats", remedy=f"Read the sound with reader.audio({RATE_HZ})")
        shortest = samples_for(settings.input_patch_size)
        return heard(audio.wave[0], RATE_HZ, settings.window, settings.max_seconds, shortest)

    @classmethod
    def prepare(cls, settings: Config, media: Audio) -> Tensor:
        """The filter bank [K,128] before normalisation; `bf16_fbank` rounds it as the published code does."""
        bank = torch.from_numpy(kaldi_fbank(cls._heard(settings, media).wave))
        return bank.bfloat16().float() if settings.bf16_fbank else bank

    @classmethod
    def slice_times(cls, settings: Config, media: Audio, count: int) -> np.ndarray:
        """The middle of each patch in seconds of the source; NaN in added silence."""
        row = (np.arange(count) + 0.5) * settings.input_patch_size - 0.5
        sample = cls._heard(settings, media).source_of(row * STEP + WINDOW / 2)
        return media.start_s + sample / RATE_HZ

    @classmethod
    def notes_on(cls, settings: Config, media: Audio) -> tuple[str, ...]:
        return cls._heard(settings, media).notes

    def forward(self, fbank: Tensor) -> Tensor:
        # Normalised in float32: a bank is near 15 ± 7, where half precision would lose two digits.
        x = ((fbank.float() - _MEAN) / (2 * _DEVIATION)).to(self.patch_embedding.weight.dtype)
        x = self.patch_embedding(x[:, None]).flatten(2).transpose(1, 2)
        x = self.layer_norm(x)
        if self.post_extract_proj is not None:
            x = self.post_extract_proj(x)
        return self.encoder(F.dropout(x, self.settings.dropout_input, self.training))

    def label_probs(self, fbank: Tensor) -> Tensor:
        """Probability of each sound label [B, classes]; needs `finetuned_model`."""
        if not self.settings.finetuned_model:
            raise UsageError("this tower has no label head", where="beats", remedy="Set finetuned_model")
        x = F.dropout(self(fbank), self.settings.predictor_dropout, self.training)
        return self.predictor(x).mean(dim=1).sigmoid()


def from_official_key(key: str) -> str:
    """Our name of a published BEATs tensor; the relative bias, which every layer shares, has one name."""
    shared = r"^encoder\.layers\.\d+\.self_attn\.(relative_attention_bias\.)"
    key = re.sub(shared, r"encoder.\1", key)
    renamed = {"encoder.pos_conv.0.weight_g": "encoder.pos_conv.scale",
               "encoder.pos_conv.0.weight_v": "encoder.pos_conv.direction",
               "encoder.pos_conv.0.bias": "encoder.pos_conv.bias"}
    return renamed.get(key, key)


def from_official_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A published BEATs state dict under our names.

    Raises: CheckpointError when layers that must share the relative bias hold different ones.
    """
    out: dict[str, Tensor] = {}
    for key, tensor in state.items():
        name = from_official_key(key)
        if name in out and not torch.equal(out[name], tensor):
            raise CheckpointError(f"{key} differs from that of another layer, but all layers share it", where="beats")
        out[name] = tensor
    return out
