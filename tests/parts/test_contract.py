"""Every registered part of four families keeps its family's promises; new parts are found by themselves."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from reelm.errors import UsageError
from reelm.registry import build, find, rows
from reelm.types import AUDIO, VISION, Audio, Frames, MediaInfo, Tokens

ROWS = [row for row in rows() if row.family in ("sampler", "encoder", "connector", "compressor")]
MODULES = [row for row in ROWS if row.family != "sampler"]
GRIDS = [(1, 1, 1), (2, 2, 2), (3, 4, 5), (4, 3, 2), (5, 6, 6)]


def kinds(family: str) -> list[str]:
    return [row.kind for row in ROWS if row.family == family]


def tiny(family: str, kind: str):
    torch.manual_seed(0)
    return build(family, {"kind": kind, **find(family, kind).tiny})


def medium_for(encoder) -> Frames | Audio:
    """Two seconds of noise, as pictures or as sound."""
    rng = np.random.default_rng(0)
    if encoder.modality == "audio":
        return Audio(rng.uniform(-0.5, 0.5, (1, 32000)).astype(np.float32), 16000)
    rgb = rng.integers(0, 256, (3, 3, 40, 52), dtype=np.uint8)
    return Frames(rgb, np.array([0.0, 0.5, 1.25]), np.zeros(3, dtype=bool))


def test_the_parts_of_this_package_are_found():
    assert {"uniform", "fps"} <= set(kinds("sampler"))
    assert {"clip", "siglip", "beats", "efficientnet_lite"} <= set(kinds("encoder"))
    assert {"linear", "mlp", "stc", "stc_v35", "stp", "spatial_conv", "spatial_pool"} <= set(kinds("connector"))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.family}-{row.kind}")
def test_a_part_says_what_it_gives_back_and_where_it_comes_from(row):
    assert row.summary.endswith((".", ":")) and len(row.summary) <= 120, row.summary
    assert row.source, "no line 'Source: …' in the docstring"
    assert find(row.family, row.kind).tiny is not None


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.family}-{row.kind}")
def test_an_unknown_option_is_an_error(row):
    with pytest.raises(UsageError, match="no_such_option"):
        build(row.family, {"kind": row.kind, **find(row.family, row.kind).tiny, "no_such_option": 1})


@pytest.mark.parametrize("row", MODULES, ids=lambda row: f"{row.family}-{row.kind}")
def test_saved_and_loaded_parameters_and_buffers_are_equal(row, tmp_path):
    """Everything that decides the output is in the state dict; nothing hides in a plain attribute."""
    part = tiny(row.family, row.kind)
    with torch.no_grad():
        for tensor in part.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(0.01)
    save_file(part.state_dict(), tmp_path / "part.safetensors")
    settings = {"kind": row.kind, **find(row.family, row.kind).tiny}
    with torch.device("meta"):
        again = build(row.family, settings)
    meta_only = [name for name, _ in again.named_buffers() if name not in again.state_dict()]
    again = build(row.family, settings)
    again.load_state_dict(load_file(tmp_path / "part.safetensors"), strict=True)
    for name, tensor in part.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
    # Hugging Face fills its own position ids again after loading; ours may not rely on that.
    assert all(name.startswith("tower.") for name in meta_only), meta_only
    plain = [name for module in part.modules() for name, value in vars(module).items()
             if isinstance(value, torch.Tensor)]
    assert not plain, "a tensor that is no buffer is lost by from_pretrained"


@pytest.mark.parametrize("row", MODULES, ids=lambda row: f"{row.family}-{row.kind}")
def test_a_missing_key_is_an_error_and_no_name_is_hijacked(row):
    part = tiny(row.family, row.kind)
    state = part.state_dict()
    if not state:
        pytest.skip("this part has no weights")
    for word in ("weight_g", "weight_v", "gamma", "beta"):
        assert not [name for name in state if word in name.split(".")[-1]], "transformers renames such keys on loading"
    state.pop(next(iter(state)))
    with pytest.raises(RuntimeError, match="Missing key"):
        tiny(row.family, row.kind).load_state_dict(state, strict=True)


@pytest.mark.parametrize("kind", kinds("connector"))
@pytest.mark.parametrize("grid", GRIDS)
def test_a_connector_gives_exactly_what_it_promises(kind, grid):
    connector = tiny("connector", kind).eval()
    width = connector.settings.in_width
    try:
        promised = connector.grid_of(connector.settings, grid)
    except UsageError:
        with pytest.raises(UsageError):
            connector.project(torch.zeros(1, *grid, width))
        return
    x = torch.randn(math.prod(grid), width)
    tokens = Tokens.of_grid(x, grid, torch.arange(grid[0]) * 2.0, kind=AUDIO, source=3)
    out = connector(tokens)
    assert out.grid == promised and len(out) == connector.n_out(grid)
    assert out.x.shape == (math.prod(promised), connector.settings.out_width)
    assert set(out.kind.tolist()) == {AUDIO} and set(out.source.tolist()) == {3}
    assert (out.at_s.diff() >= 0).all() and out.at_s.min() >= 0 and out.at_s.max() <= 2.0 * (grid[0] - 1)


@pytest.mark.parametrize("kind", kinds("connector"))
def test_a_connector_treats_every_item_of_a_batch_alone_and_passes_gradients(kind):
    connector = tiny("connector", kind)
    x = torch.randn(3, 4, 5, 4, connector.settings.in_width, requires_grad=True)
    y = connector.project(x)
    torch.testing.assert_close(y[1:2], connector.project(x[1:2]), atol=2e-5, rtol=1e-4)
    y[1].square().sum().backward()
    assert x.grad is not None and float(x.grad[1].abs().sum()) > 0
    assert float(x.grad[[0, 2]].abs().sum()) == 0
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in connector.parameters())


@pytest.mark.parametrize("kind", kinds("encoder"))
def test_an_encoder_promises_width_and_grid_before_it_runs(kind):
    encoder = tiny("encoder", kind).eval()
    medium = medium_for(encoder)
    values = encoder.prepare(encoder.settings, medium)
    assert values.dtype == torch.float32 and values.device.type == "cpu"
    grid = encoder.grid_of(encoder.settings, len(values))
    tokens = encoder.encode(medium)
    assert tokens.grid == grid and tokens.x.shape == (math.prod(grid), encoder.width_of(encoder.settings))
    assert set(tokens.kind.tolist()) == {AUDIO if encoder.modality == "audio" else VISION}
    assert not bool(tokens.at_s.isnan().any()) and (tokens.at_s.diff() >= 0).all()
    assert torch.equal(values, encoder.prepare(encoder.settings, medium)), "preparing is not deterministic"


@pytest.mark.parametrize("kind", kinds("encoder"))
def test_gradients_reach_the_input_of_an_encoder(kind):
    encoder = tiny("encoder", kind)
    values = encoder.prepare(encoder.settings, medium_for(encoder))
    batch = (values[None] if encoder.modality == "audio" else values).requires_grad_()
    encoder(batch).square().sum().backward()
    assert batch.grad is not None and bool(batch.grad.isfinite().all()) and float(batch.grad.abs().sum()) > 0


@pytest.mark.parametrize("kind", kinds("encoder"))
def test_an_encoder_in_half_precision_stays_near_itself(kind):
    encoder = tiny("encoder", kind).eval()
    values = encoder.prepare(encoder.settings, medium_for(encoder))
    batch = values[None] if encoder.modality == "audio" else values
    with torch.no_grad():
        full = encoder(batch)
        half = encoder.bfloat16()(batch if encoder.modality == "audio" else batch.bfloat16())
    assert half.dtype == torch.bfloat16
    assert float((half.float() - full).norm() / full.norm()) < 0.1


def look(at_s: np.ndarray) -> Frames:
    """Pictures that change a little all the time, and much every two seconds."""
    grey = (at_s * 5 + 100 * (at_s // 2 % 2)).astype(np.uint8)
    ramp = np.arange(16, dtype=np.uint8).reshape(4, 4)
    return Frames(grey[:, None, None, None] + np.broadcast_to(ramp, (len(at_s), 3, 4, 4)), at_s,
                  np.zeros(len(at_s), bool))


@pytest.mark.parametrize("kind", kinds("sampler"))
@pytest.mark.parametrize("budget", [None, 1, 3, 100])
@pytest.mark.parametrize("count", [1, 2, 7, 200])
def test_a_sampler_is_rising_in_range_within_budget_and_deterministic(kind, budget, count):
    sampler = tiny("sampler", kind)
    times = 3.0 + np.arange(count) / 25
    info = MediaInfo("video", "clip.mp4", 3.0, float(times[-1]) + 0.04, times, fps=25.0)
    picked = sampler.pick(info, budget, "What?", look)
    assert picked.dtype == np.float64 and len(picked) >= 1
    assert (np.diff(picked) >= 0).all() and info.start_s <= picked[0] and picked[-1] < info.end_s
    assert budget is None or len(picked) <= budget
    assert np.array_equal(picked, tiny("sampler", kind).pick(info, budget, "What?", look))
