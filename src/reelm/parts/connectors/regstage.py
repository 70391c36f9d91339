"""RegStage: the stack of RegNet blocks inside the spatial-temporal connectors, written for channels-last maps.

Features arrive channels-last ([N,h,w,C], as every encoder gives them) and stay so: a 1×1 convolution is then one
matrix product and the channel norm needs no permutation. Parameters keep the names and shapes of the convolutions
they are in the published checkpoints.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class Pointwise(nn.Conv2d):
    """A 1×1 convolution over the last axis: [...,C] to [...,C'], computed as a matrix product."""

    def __init__(self, in_width: int, out_width: int, bias: bool) -> None:
        super().__init__(in_width, out_width, kernel_size=1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight.flatten(1), self.bias)


class Depthwise(nn.Conv2d):
    """A 3×3 convolution of every channel with itself: [N,h,w,C] to the same shape."""

    def __init__(self, width: int) -> None:
        super().__init__(width, width, kernel_size=3, padding=1, groups=width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.movedim(-1, 1)).movedim(1, -1)


class ConvNorm(nn.Module):
    """A convolution without bias, then a layer norm over channels; the norm is stored as `bn`, its historical name."""

    def __init__(self, conv: nn.Module, width: int) -> None:
        super().__init__()
        self.conv = conv
        self.bn = nn.LayerNorm(width, eps=1e-5)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x))


class CellConv(nn.Conv2d):
    """A 1×1 convolution of single cells, [N,C,1,1] to [N,C',1,1], that rounds alike for any batch and thread count.

    With one thread and fewer than 16 cells PyTorch takes another kernel on the CPU; filling up to 16 avoids that.
    """

    def __init__(self, in_width: int, out_width: int) -> None:
        super().__init__(in_width, out_width, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        count = len(x)
        if x.device.type == "cpu" and count < 16:
            x = F.pad(x, (0, 0, 0, 0, 0, 0, 0, 16 - count))
        return super().forward(x)[:count]


class SqueezeExcite(nn.Module):
    """Scales every channel by a gate computed from the mean of the whole map.

    The gate stays two real convolutions: the stages amplify rounding so much that matrix products in their place
    (which differ in the last bit) would use up the whole tolerance of 1e-5.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = CellConv(width, hidden)
        self.fc2 = CellConv(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        mean = x.movedim(-1, 1).mean(dim=(2, 3), keepdim=True)
        return x * self.fc2(F.silu(self.fc1(mean))).sigmoid().movedim(1, -1)


class RegBlock(nn.Module):
    """One residual block: 1×1, depthwise 3×3, squeeze and excite, 1×1, shortcut, SiLU.

    The gate's hidden width follows the block's *input* width, a quarter of it, rounded.
    """

    def __init__(self, in_width: int, width: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(Pointwise(in_width, width, bias=False), width)
        self.conv2 = ConvNorm(Depthwise(width), width)
        self.se = SqueezeExcite(width, round(0.25 * in_width))
        self.conv3 = ConvNorm(Pointwise(width, width, bias=False), width)
        self.downsample = ConvNorm(Pointwise(in_width, width, bias=False), width) if in_width != width else None

    def forward(self, x: Tensor) -> Tensor:
        y = F.silu(self.conv1(x))
        y = F.silu(self.conv2(y))
        y = self.conv3(self.se(y))
        return F.silu(y + (x if self.downsample is None else self.downsample(x)))


class RegStage(nn.Module):
    """`depth` blocks named b1, b2, …; the first changes the width. Shapes: [N,h,w,C] to [N,h,w,C'].

    Source: RegNet (Radosavovic et al. 2020) as used by VideoLLaMA 2 section 2.1; agrees with the recorded connectors
    to 1e-5 in tests/parts/test_connectors.py.
    """

    def __init__(self, depth: int, in_width: int, width: int) -> None:
        super().__init__()
        for index in range(depth):
            self.add_module(f"b{index + 1}", RegBlock(in_width if index == 0 else width, width))

    def forward(self, x: Tensor) -> Tensor:
        for block in self.children():
            x = block(x)
        return x
