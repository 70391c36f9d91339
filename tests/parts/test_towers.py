"""CLIP and SigLIP: pixel values as recorded, the selected layer bit for bit, and nothing computed after it."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from parity_root import parity_dir
from reelm.errors import UsageError
from reelm.registry import build, find
from reelm.types import Audio, Frames, Image

TINY = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "image_size": 28,
        "patch_size": 14}


def frames_of(rgb: torch.Tensor) -> Frames:
    import numpy as np

    count = len(rgb)
    return Frames(rgb.permute(0, 3, 1, 2).contiguous().numpy(), np.arange(count) * 0.5, np.zeros(count, dtype=bool))


def test_pixel_values_equal_the_recorded_ones(record_property):
    stored = load_file(parity_dir("video") / "preprocess.safetensors")
    frames = frames_of(stored.pop("frames"))
    assert stored, "no case recorded"
    for case, recorded in stored.items():
        kind, aspect = case.split(".")
        settings = find("encoder", kind).Config(tower={**TINY, "image_size": recorded.shape[-1]},
                                                aspect=None if aspect == "None" else aspect)
        pixels = find("encoder", kind).prepare(settings, frames)
        assert pixels.shape == recorded.shape and pixels.dtype == torch.float32
        worst = float((pixels - recorded).abs().max())
        record_property(case, worst)
        print(f"{case}: {worst:.2e}")
        assert worst <= 1e-6, case


@pytest.mark.parametrize("kind", ["clip", "siglip"])
@pytest.mark.parametrize("layer", [-4, -2, -1, 0, 1, 3])
def test_the_selected_hidden_state_is_bit_identical_and_later_layers_do_not_run(kind, layer):
    torch.manual_seed(0)
    encoder = build("encoder", {"kind": kind, "tower": TINY, "select_layer": layer}).eval()
    pixels = torch.randn(2, 3, 28, 28)
    with torch.no_grad():
        states = encoder.tower(pixels, output_hidden_states=True).hidden_states
        ran = []
        for index, block in enumerate(encoder.tower.encoder.layers):
            block.register_forward_hook(lambda *_, index=index: ran.append(index))
        features = encoder(pixels)
    expected = states[layer][:, 1:] if kind == "clip" else states[layer]
    assert torch.equal(features, expected)
    assert ran == list(range(layer if layer >= 0 else 4 + layer))


def test_the_class_token_is_kept_on_request():
    encoder = build("encoder", {"kind": "clip", "tower": TINY, "select_feature": "cls_patch"})
    assert encoder(torch.randn(2, 3, 28, 28)).shape == (2, 5, 8)
    assert encoder.grid_of(encoder.settings, 2) == (2, 1, 5)


@pytest.mark.parametrize(("kind", "wrong"), [
    ("clip", {"tower": {**TINY, "hiden_size": 8}}), ("clip", {"tower": TINY, "select_layer": -5}),
    ("siglip", {"tower": TINY, "select_feature": "cls_patch"}), ("clip", {"tower": TINY, "aspect": "square"}),
    ("clip", {"tower": {**TINY, "model_type": "siglip_vision_model"}}),
])
def test_settings_that_mean_nothing_are_refused(kind, wrong):
    with pytest.raises(UsageError):
        build("encoder", {"kind": kind, **wrong})


def test_fields_older_libraries_wrote_are_dropped():
    settings = find("encoder", "clip").Config(tower={**TINY, "torchscript": False, "model_type": "clip_vision_model"})
    assert "torchscript" not in settings.tower


def test_attention_implementation_reaches_the_tower():
    encoder = build("encoder", {"kind": "clip", "tower": TINY})
    encoder.set_attn_implementation("eager")
    assert encoder.tower.config._attn_implementation == "eager"
    pixels = torch.randn(1, 3, 28, 28)
    eager = encoder(pixels)
    encoder.set_attn_implementation("sdpa")
    torch.testing.assert_close(encoder(pixels), eager)


def test_encode_gives_times_and_cells():
    encoder = build("encoder", {"kind": "siglip", "tower": TINY})
    tokens = encoder.encode(frames_of(torch.randint(0, 256, (3, 20, 40, 3), dtype=torch.uint8)))
    assert tokens.grid == (3, 2, 2)
    assert tokens.at_s[::4].tolist() == [0.0, 0.5, 1.0]
    still = encoder.encode(Image(torch.zeros(3, 20, 20, dtype=torch.uint8).numpy()))
    assert still.grid == (1, 2, 2) and bool(still.at_s.isnan().all())


def test_sound_is_no_picture():
    import numpy as np

    cls = find("encoder", "clip")
    with pytest.raises(UsageError, match="Audio"):
        cls.prepare(cls.Config(tower=TINY), Audio(np.zeros((1, 10), dtype=np.float32), 16000))
