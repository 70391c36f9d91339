"""BEATs and its filter bank equal the recorded ones; the switches and the columns mean what they say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors import safe_open

from parity_root import parity_dir
from reelm.errors import CheckpointError, UsageError
from reelm.parts.encoders.beats import Beats, from_official_key, from_official_state
from reelm.parts.encoders.beats_layers import ConvPositions, relative_bucket
from reelm.parts.encoders.fbank import kaldi_fbank, rows_of, samples_for
from reelm.registry import build
from reelm.types import Audio

RATE_HZ = 16000


def tone(seconds: float, hz: float = 440.0) -> Audio:
    at_s = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    return Audio((0.3 * np.sin(2 * np.pi * hz * at_s)).astype(np.float32)[None], RATE_HZ)


@pytest.fixture(scope="module")
def recorded():
    with safe_open(parity_dir("audio_video") / "beats.safetensors", "pt") as stored:
        tensors = {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118
        meta = stored.metadata()
    settings = {key: value for key, value in meta.items() if key in Beats.Config.model_fields}
    others = {key: meta[key] for key in meta if key not in settings}
    assert others.pop("layer_norm_first", "False") == "False" and others.pop("activation_fn", "gelu") == "gelu"
    encoder = build("encoder", {"kind": "beats", **settings}).eval()
    weights = {key.removeprefix("weight."): t for key, t in tensors.items() if key.startswith("weight.")}
    encoder.load_state_dict(from_official_state(weights), strict=True)
    return encoder, tensors


def test_the_filter_bank_equals_the_recorded_one(recorded):
    _, tensors = recorded
    bank = torch.from_numpy(kaldi_fbank(tensors["wav"].float().numpy()))
    assert bank.shape == tensors["fbank"].shape
    worst = float((bank - tensors["fbank"]).abs().max())
    print(f"fbank: {worst:.2e}")
    assert worst <= 5e-4


def test_features_and_labels_equal_the_recorded_ones(recorded):
    encoder, tensors = recorded
    with torch.no_grad():
        features = encoder(tensors["fbank"][None])
        heard = encoder(torch.from_numpy(kaldi_fbank(tensors["wav"].float().numpy()))[None])
    worst = {"features": float((features - tensors["features"]).abs().max()),
             "from the waveform": float((heard - tensors["features"]).abs().max()), "labels": 0.0}
    if encoder.settings.finetuned_model:
        with torch.no_grad():
            labels = encoder.label_probs(tensors["fbank"][None])
        worst["labels"] = float((labels - tensors["label_probs"]).abs().max())
    print(worst)
    assert worst["features"] <= 1e-4 and worst["labels"] <= 1e-5
    assert features.shape[1] == np.prod(encoder.grid_of(encoder.settings, len(tensors["fbank"])))


def test_the_published_size():
    with torch.device("meta"):
        encoder = Beats(Beats.Config())
    assert sum(p.numel() for p in encoder.parameters()) == 90_717_055
    assert Beats.grid_of(Beats.Config(), 2998) == (187, 8, 1)


def test_silence_gives_the_floor_and_the_empty_bin_too():
    bank = kaldi_fbank(np.zeros(RATE_HZ, dtype=np.float32))
    assert bank.shape == (98, 128)
    np.testing.assert_allclose(bank, -15.9424, atol=1e-4)


@pytest.mark.parametrize("samples", [0, 1, 399, 400, 559, 560, 16000])
def test_rows_are_known_before_they_are_computed(samples):
    assert len(kaldi_fbank(np.zeros(samples, dtype=np.float32))) == rows_of(samples)


def test_samples_for_is_the_fewest():
    for rows in (1, 2, 16):
        assert rows_of(samples_for(rows)) == rows and rows_of(samples_for(rows) - 1) == rows - 1


def test_bf16_rounds_the_bank_before_it_is_normalised():
    settings = Beats.Config(**Beats.tiny)
    exact = Beats.prepare(settings, tone(0.5))
    rounded = Beats.prepare(settings.model_copy(update={"bf16_fbank": True}), tone(0.5))
    assert torch.equal(rounded, exact.bfloat16().float()) and not torch.equal(rounded, exact)


def test_published_keys_are_renamed_and_the_shared_bias_is_stored_once():
    assert from_official_key("encoder.pos_conv.0.weight_g") == "encoder.pos_conv.scale"
    assert from_official_key("encoder.layers.3.fc1.weight") == "encoder.layers.3.fc1.weight"
    bias = "encoder.layers.{}.self_attn.relative_attention_bias.weight"
    one = torch.ones(2, 2)
    assert list(from_official_state({bias.format(0): one, bias.format(1): one})) == [
        "encoder.relative_attention_bias.weight"]
    with pytest.raises(CheckpointError, match="share"):
        from_official_state({bias.format(0): one, bias.format(1): one + 1})
    names = build("encoder", {"kind": "beats", **Beats.tiny}).state_dict()
    assert not [name for name in names if name.endswith(("weight_g", "weight_v", "gamma", "beta"))]
    assert sum("relative_attention_bias" in name for name in names) == 1


def test_the_weight_norm_is_over_both_channel_axes():
    conv = ConvPositions(4, kernel=3, groups=2)
    with torch.no_grad():
        conv.direction.copy_(torch.arange(24.0).reshape(4, 2, 3))
        conv.scale.fill_(2.0)
        conv.bias.zero_()
        impulse = torch.zeros(1, 3, 4)
        impulse[0, 1, 0] = 1.0
        y = conv(impulse)
    norm = (conv.direction.double() ** 2).sum((0, 1)).add(1e-6).sqrt()
    expected = torch.nn.functional.gelu(2 * conv.direction[0, 0, 1].double() / norm[1])
    torch.testing.assert_close(y[0, 1, 0].double(), expected, atol=1e-6, rtol=1e-6)


def test_relative_buckets_are_exact_when_near_and_signed():
    offset = torch.tensor([-1000, -3, -1, 0, 1, 3, 1000])
    assert relative_bucket(offset, 32, 64).tolist() == [15, 3, 1, 0, 17, 19, 31]


def test_tokens_carry_the_seconds_of_their_patch_and_silence_has_none():
    encoder = build("encoder", {"kind": "beats", **Beats.tiny}).eval()
    with torch.no_grad():
        tokens = encoder.encode(Audio(tone(1.0).wave, RATE_HZ, start_s=5.0))
    assert tokens.grid == (6, 8, 1)
    step_s = tokens.at_s.reshape(6, 8)[:, 0].diff()
    torch.testing.assert_close(step_s, torch.full((5,), 0.16, dtype=torch.float64))
    assert 5.0 < tokens.at_s[0] < 5.2
    video = encoder.settings.model_copy(update={"window": "official_video"})
    at_s = Beats.slice_times(video, tone(40.0), 187)
    assert np.isnan(at_s[101:]).all() and not np.isnan(at_s[:99]).any()
    assert at_s[13] == pytest.approx(38 / 8 + 0.16 * 13.5 - 2 + 0.0075, abs=0.01)


def test_everything_cut_or_added_is_said():
    settings = Beats.Config(**Beats.tiny, max_seconds=2.0)
    assert Beats.notes_on(settings, tone(1.0)) == ()
    assert "2.00 of 3.00 s" in Beats.notes_on(settings, tone(3.0))[0]
    assert len(Beats.prepare(settings, tone(3.0))) == rows_of(2 * RATE_HZ)
    short = Beats.notes_on(settings, tone(0.05))
    assert "silence" in short[0] and len(Beats.prepare(settings, tone(0.05))) == 16


def test_a_wrong_rate_or_two_channels_are_refused():
    settings = Beats.Config(**Beats.tiny)
    for channels, rate_hz in ((1, 8000), (2, RATE_HZ)):
        audio = Audio(np.zeros((channels, 8000), dtype=np.float32), rate_hz)
        with pytest.raises(UsageError, match="one channel"):
            Beats.prepare(settings, audio)


def test_training_scales_gradients_between_layers_only():
    settings = {"kind": "beats", **Beats.tiny, "layer_wise_gradient_decay_ratio": 0.5}
    encoder = build("encoder", settings)
    grads = []
    for mode in (True, False):
        encoder.train(mode)
        bank = torch.from_numpy(kaldi_fbank(tone(0.5).wave[0]))[None].requires_grad_()
        encoder(bank).square().sum().backward()
        grads.append(bank.grad)
    torch.testing.assert_close(grads[0], grads[1] * 0.5 ** encoder.settings.encoder_layers)
