"""The transformer of BEATs: convolutional positions, gated relative bias, DeepNorm.

Source: BEATs (Chen et al. 2023) as in VideoLLaMA 2.1-AV; held to recorded features in tests/parts/test_beats.py.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx


class _ScaleGradient(torch.autograd.Function):
    """The identity whose gradient is multiplied by a factor."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, factor: float) -> Tensor:
        ctx.factor = factor  # type: ignore[attr-defined]
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient * ctx.factor, None


class ConvPositions(nn.Module):
    """Positions by a wide grouped convolution over time, whose weight is a direction times a scale per kernel place.

    Shapes: x [B,N,D] to the same. The norm is over both channel axes, with 1e-6 under the root, which is not what
    `torch.nn.utils.weight_norm` computes; the published weights need this one.
    """

    def __init__(self, width: int, kernel: int, groups: int) -> None:
        super().__init__()
        self.kernel, self.groups = kernel, groups
        self.direction = nn.Parameter(torch.empty(width, width // groups, kernel))
        nn.init.normal_(self.direction, std=math.sqrt(4 / (kernel * width)))
        self.scale = nn.Parameter(self.direction.detach().norm(dim=(0, 1), keepdim=True))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        v = self.direction.float()
        weight = self.scale * v * torch.rsqrt((v * v).sum(dim=(0, 1), keepdim=True) + 1e-6)
        y = F.conv1d(x.transpose(1, 2), weight.to(x.dtype), self.bias, padding=self.kernel // 2, groups=self.groups)
        # An even kernel with a border of half its size gives one step too many.
        return F.gelu(y[:, :, :x.shape[1]]).transpose(1, 2)


class GatedAttention(nn.Module):
    """Self-attention with a relative bias that each query scales by its own gate.

    Shapes: x [B,N,D], bias [heads,N,N] or None, to [B,N,D].
    """

    def __init__(self, width: int, heads: int, dropout: float, gated: bool) -> None:
        super().__init__()
        self.heads, self.dropout, self.gated = heads, dropout, gated
        self.q_proj, self.k_proj = nn.Linear(width, width), nn.Linear(width, width)
        self.v_proj, self.out_proj = nn.Linear(width, width), nn.Linear(width, width)
        if gated:
            self.grep_linear = nn.Linear(width // heads, 8)
            self.grep_a = nn.Parameter(torch.ones(1, heads, 1, 1))

    def forward(self, x: Tensor, bias: Tensor | None) -> Tensor:
        q, k, v = (layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
                   for layer in (self.q_proj, self.k_proj, self.v_proj))
        if bias is not None:
            bias = bias[None]
            if self.gated:
                # The gate sees q with its bias and before any scaling.
                a, b = self.grep_linear(q).unflatten(-1, (2, 4)).sum(-1).sigmoid().unbind(-1)
                bias = (a[..., None] * (b[..., None] * self.grep_a - 1) + 2) * bias
            bias = bias.to(q.dtype)
        dropout = self.dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=dropout)
        return self.out_proj(y.transpose(1, 2).flatten(2))


class BeatsLayer(nn.Module):
    """One post-norm layer whose residual is scaled by DeepNorm's alpha. Shapes: x [B,N,D] to the same."""

    def __init__(self, settings: Any) -> None:
        super().__init__()
        width, layers = settings.encoder_embed_dim, settings.encoder_layers
        gated = settings.gru_rel_pos and settings.relative_position_embedding
        self.self_attn = GatedAttention(width, settings.encoder_attention_heads, settings.attention_dropout, gated)
        self.self_attn_layer_norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, settings.encoder_ffn_embed_dim)
        self.fc2 = nn.Linear(settings.encoder_ffn_embed_dim, width)
        self.final_layer_norm = nn.LayerNorm(width)
        self.alpha = (2 * layers) ** 0.25 if settings.deep_norm else 1.0
        self.dropout, self.inner_dropout = settings.dropout, settings.activation_dropout
        gain = (8 * layers) ** -0.25 if settings.deep_norm else 1.0
        for module in (self.self_attn.v_proj, self.self_attn.out_proj, self.fc1, self.fc2):
            nn.init.xavier_normal_(module.weight, gain=gain)
            nn.init.zeros_(module.bias)

    def forward(self, x: Tensor, bias: Tensor | None) -> Tensor:
        y = F.dropout(self.self_attn(x, bias), self.dropout, self.training)
        x = self.self_attn_layer_norm(x * self.alpha + y)
        # The published code computes this GELU in float32 whatever the weights' precision.
        y = F.dropout(F.gelu(self.fc1(x).float()).to(x.dtype), self.inner_dropout, self.training)
        y = F.dropout(self.fc2(y), self.dropout, self.training)
        return self.final_layer_norm(x * self.alpha + y)


class BeatsStack(nn.Module):
    """Positions, norm and layers; the relative bias is computed once and shared. Shapes: x [B,N,D] to the same."""

    def __init__(self, settings: Any) -> None:
        super().__init__()
        self.settings = settings
        width = settings.encoder_embed_dim
        self.pos_conv = ConvPositions(width, settings.conv_pos, settings.conv_pos_groups)
        self.layer_norm = nn.LayerNorm(width)
        self.layers = nn.ModuleList(BeatsLayer(settings) for _ in range(settings.encoder_layers))
        if settings.relative_position_embedding:
            self.relative_attention_bias = nn.Embedding(settings.num_buckets, settings.encoder_attention_heads)
            nn.init.normal_(self.relative_attention_bias.weight, std=0.02)

    def _bias(self, count: int, device: torch.device) -> Tensor | None:
        if not self.settings.relative_position_embedding:
            return None
        offset = torch.arange(-count + 1, count, device=device)
        buckets = relative_bucket(offset, self.settings.num_buckets, self.settings.max_distance)
        table = self.relative_attention_bias(buckets).t()
        place = torch.arange(count, device=device)
        return table[:, place[None, :] - place[:, None] + count - 1]

    def forward(self, x: Tensor) -> Tensor:
        x = F.dropout(self.layer_norm(x + self.pos_conv(x)), self.settings.dropout, self.training)
        bias = self._bias(x.shape[1], x.device)
        for layer in self.layers:
            if self.training and self.settings.layer_wise_gradient_decay_ratio != 1.0:
                x = _ScaleGradient.apply(x, self.settings.layer_wise_gradient_decay_ratio)
            drop = self.settings.encoder_layerdrop
            if not (self.training and drop and float(torch.rand(())) < drop):
                x = layer(x, bias)
        return x


def relative_bucket(offset: Tensor, buckets: int, max_distance: int) -> Tensor:
    """Bucket of key place minus query place: half of the buckets per sign, near ones exact, far ones logarithmic."""
    half = buckets // 2
    exact = half // 2
    distance = offset.abs()
    scaled = torch.log(distance.clamp(min=1).float() / exact) / math.log(max_distance / exact) * (half - exact)
    far = exact + scaled.long()
    return (offset > 0).long() * half + torch.where(distance < exact, distance, far.clamp(max=half - 1))
