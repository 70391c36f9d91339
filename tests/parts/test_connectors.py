"""Connectors equal the recorded ones, promise exact counts, and keep the published names and sizes."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from parity_root import parity_dir
from reelm.errors import UsageError
from reelm.parts.connectors.official import from_official_name, official_name
from reelm.registry import build, find
from reelm.types import Tokens

NAMES = ["linear", "identity", "mlp1x_gelu", "mlp2x_gelu", "mlp3x_gelu", "stc_connector", "stc_connector_v35",
         "stp_connector", "spatial_conv", "spatial_pool"]
VOLUMES = ["stc", "stc_v35", "stp", "spatial_conv", "spatial_pool"]


def worst_difference(file: Path) -> float:
    """The largest difference to any recorded case of one file, after loading the recorded weights strictly."""
    with safe_open(file, "pt") as stored:
        meta, tensors = stored.metadata(), {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118
    fields = from_official_name(meta["mm_projector_type"], int(meta["mm_hidden_size"]), int(meta["hidden_size"]))
    connector = build("connector", fields)
    prefix = "weight."
    state = {key[len(prefix):].removeprefix("mm_projector."): v for key, v in tensors.items() if key.startswith(prefix)}
    connector.load_state_dict(state, strict=True)
    cases = sorted(key[:-2] for key in tensors if key.endswith(".x"))
    assert cases, f"{file} holds no case"
    worst = 0.0
    for case in cases:
        x = tensors[f"{case}.x"]
        side = math.isqrt(x.shape[2])
        with torch.no_grad():
            y = connector.project(x.unflatten(2, (side, side)))
        assert y.shape[1:4] == connector.grid_of(connector.settings, (x.shape[1], side, side))
        worst = max(worst, float((y.flatten(1, 3) - tensors[f"{case}.y"]).abs().max()))
    return worst


def test_every_recorded_connector_is_equal_to_five_digits(record_property):
    files = sorted(parity_dir("video").glob("connector_*.safetensors"))
    assert files
    worst = {file.stem: worst_difference(file) for file in files}
    for name, value in worst.items():
        record_property(name, value)
        print(f"{name}: {value:.2e}")
    assert max(worst.values()) <= 1e-5, worst


@pytest.mark.parametrize(("in_width", "out_width", "count"),
                         [(1024, 4096, 489_188_608), (1152, 3584, 376_889_248), (1024, 8192, 1_934_678_272)])
@pytest.mark.parametrize("kind", ["stc", "stc_v35"])
def test_published_sizes(kind, in_width, out_width, count):
    with torch.device("meta"):
        connector = build("connector", {"kind": kind, "in_width": in_width, "out_width": out_width})
    assert sum(p.numel() for p in connector.parameters()) == count


@pytest.mark.parametrize(("kind", "grid", "tokens"), [
    ("stc", (8, 24, 24), 845), ("stc", (16, 24, 24), 1521), ("stc", (8, 27, 27), 980), ("stc", (16, 27, 27), 1764),
    ("stc_v35", (8, 24, 24), 576), ("stc_v35", (16, 27, 27), 1352), ("stp", (8, 27, 27), 676),
    ("spatial_conv", (8, 24, 24), 1690), ("spatial_conv", (16, 27, 27), 3528), ("spatial_pool", (16, 27, 27), 2704),
])
def test_token_counts_of_the_published_models(kind, grid, tokens):
    cls = find("connector", kind)
    assert math.prod(cls.grid_of(cls.Config(in_width=8, out_width=8), grid)) == tokens


@settings(max_examples=60, deadline=None)
@given(kind=st.sampled_from(VOLUMES), grid=st.tuples(*[st.integers(1, 6)] * 3), depth=st.integers(0, 1),
       stride=st.tuples(*[st.integers(1, 3)] * 3))
def test_the_promised_grid_is_what_comes_out(kind, grid, depth, stride):
    fields = {"kind": kind, "in_width": 4, "out_width": 4, "depth": depth, "downsample": stride}
    connector = build("connector", fields)
    try:
        promised = connector.grid_of(connector.settings, grid)
    except UsageError:
        assert any(n < s for n, s in zip(grid, stride, strict=True))
        return
    tokens = Tokens.of_grid(torch.randn(math.prod(grid), 4), grid, torch.arange(grid[0]) * 0.5)
    with torch.no_grad():
        out = connector(tokens)
    assert out.grid == promised
    assert len(out) == connector.n_out(grid)
    assert out.at_s.min() >= 0 and out.at_s.max() <= (grid[0] - 1) * 0.5
    assert (out.at_s.diff() >= 0).all()


def test_a_token_stands_at_the_mean_time_of_the_frames_it_covers():
    times = torch.tensor([0.0, 1.0, 2.0, 3.0])
    without_border = build("connector", {"kind": "stc_v35", "in_width": 4, "out_width": 4})
    with_border = build("connector", {"kind": "stc", "in_width": 4, "out_width": 4})
    assert without_border.slice_times(times, 2).tolist() == [0.5, 2.5]
    assert with_border.slice_times(times, 3).tolist() == [0.0, 1.5, 3.0]


def test_tokens_keep_time_row_column_order():
    """Pooling 2×2 of cells that carry their own index gives the means in reading order."""
    connector = build("connector", {"kind": "spatial_pool", "in_width": 1, "out_width": 1, "mlp_depth": 1})
    with torch.no_grad():
        connector.readout[0].weight.fill_(1.0)
        connector.readout[0].bias.zero_()
        y = connector.project(torch.arange(16.0).reshape(1, 1, 4, 4, 1))
    means = torch.tensor([2.5, 4.5, 10.5, 12.5])
    torch.testing.assert_close(y.flatten(), torch.nn.functional.silu(means))


@pytest.mark.parametrize("name", NAMES)
def test_published_names_convert_both_ways(name):
    fields = from_official_name(name, 8, 8)
    kind = fields.pop("kind")
    assert official_name(kind, fields) == name
    assert official_name(kind, find("connector", kind).Config(**fields).model_dump()) == name


def test_depth_zero_passes_features_through_untouched():
    connector = build("connector", from_official_name("identity", 6, 6, audio=True))
    x = torch.randn(2, 3, 4, 5, 6)
    assert torch.equal(connector.project(x), x) and not list(connector.parameters())


def test_a_batch_of_one_equals_its_place_in_a_larger_batch_to_five_digits():
    """The gate of squeeze and excite takes another kernel for few maps; the fill to sixteen keeps the result."""
    torch.manual_seed(0)
    connector = build("connector", {"kind": "stc", "in_width": 24, "out_width": 40}).eval()
    x = torch.randn(3, 5, 4, 4, 24)
    with torch.no_grad():
        together, alone = connector.project(x), torch.cat([connector.project(item[None]) for item in x])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_sound_keeps_its_time_axis():
    assert from_official_name("mlp2x_gelu", 8, 8)["average_time"] is True
    assert from_official_name("mlp2x_gelu", 8, 8, audio=True)["average_time"] is False


@pytest.mark.parametrize("name", ["mlp0x_gelu", "mlpx_gelu", "stc", "simp_spatial_conv", "", "mlp2x_gelu "])
def test_an_unknown_name_is_an_error_that_lists_the_known(name):
    with pytest.raises(UsageError, match="stc_connector_v35"):
        from_official_name(name, 8, 8)


@pytest.mark.parametrize(("kind", "changed"), [("stc", {"depth": 2}), ("stp", {"downsample": [1, 2, 2]}),
                                               ("spatial_pool", {"mlp_depth": 3}), ("qformer", {})])
def test_settings_the_published_code_cannot_express_have_no_name(kind, changed):
    with pytest.raises(UsageError):
        official_name(kind, changed)


def test_unequal_widths_without_stages_are_refused():
    with pytest.raises(UsageError, match="equal"):
        build("connector", {"kind": "spatial_conv", "in_width": 4, "out_width": 8})
    with pytest.raises(UsageError, match="depth 0"):
        build("connector", {"kind": "mlp", "in_width": 4, "out_width": 8, "depth": 0})


def test_tokens_without_a_grid_are_refused():
    tokens = Tokens.of_grid(torch.randn(8, 6), (2, 2, 2), [0.0, 1.0]).take(torch.arange(4))
    with pytest.raises(UsageError, match="regular grid"):
        build("connector", {"kind": "stc", "in_width": 6, "out_width": 6})(tokens)
