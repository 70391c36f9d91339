"""From our form to the published one and back: nothing changes, and what cannot be said is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from model import published_folders as made
from model import small
from model.official_folder import write_official_folder
from reelm.errors import UsageError
from reelm.model.checkpoints import load_folder
from reelm.model.export import flat_config, save_native, save_official
from reelm.model.files import read_config, read_index, read_weights


def same(first: Any, second: Any) -> bool:
    one, other = first.state_dict(), second.state_dict()
    return set(one) == set(other) and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("source", [made.MISTRAL, made.AV], ids=["mistral", "av"])
def test_official_to_native_to_official_keeps_every_bit_and_name(tmp_path: Path, source: Any) -> None:
    write_official_folder(*source, tmp_path / "a", generation={"repetition_penalty": 1.05})
    save_native(*load_folder(tmp_path / "a"), tmp_path / "b")
    model, processor = load_folder(tmp_path / "b")
    written = save_official(model, processor, tmp_path / "c", 200_000)
    before, after = read_weights(tmp_path / "a"), read_weights(tmp_path / "c")
    # One weight that all layers of the audio tower share is stored once; either form of storing it is read.
    assert all("relative_attention_bias" in name for name in set(before) - set(after))
    assert set(after) <= set(before) and all(torch.equal(before[name], after[name]) for name in after)
    assert len(written) > 2 and set(read_index(tmp_path / "c" / "model.safetensors.index.json")) == set(after)
    assert written[0].name == f"model-00001-of-{len(written):05d}.safetensors"
    assert all(path.stat().st_size < 240_000 for path in written)
    again, _ = load_folder(tmp_path / "c")
    assert same(again, model) and again.generation_config.repetition_penalty == 1.05
    flat = read_config(tmp_path / "c")
    assert flat["model_type"] == source[1] and flat["architectures"][0].startswith("Videollama2")


@pytest.mark.parametrize("family", ["mixtral", "qwen2", "gemma2", "phi3"])
def test_native_to_official_to_native_is_bit_identical(tmp_path: Path, family: str) -> None:
    config = made.family_config(family)
    model, processor = small.model(config), small.processor(config)
    save_native(model, processor, tmp_path / "a")
    save_official(*load_folder(tmp_path / "a"), tmp_path / "b")
    save_native(*load_folder(tmp_path / "b"), tmp_path / "c")
    assert same(load_folder(tmp_path / "c")[0], model)
    assert [path.name for path in (tmp_path / "b").glob("*.safetensors")] == ["model.safetensors"]


def test_half_precision_stays_half_precision(tmp_path: Path) -> None:
    config = made.family_config("qwen2")
    model = small.model(config).bfloat16()
    save_official(model, small.processor(config), tmp_path / "a")
    again = load_folder(tmp_path / "a")[0]
    assert again.dtype == torch.bfloat16 and same(again, model)
    assert read_config(tmp_path / "a")["torch_dtype"] == "bfloat16"


def test_the_published_towers_are_named_not_spelt_out() -> None:
    for name, width in (("openai/clip-vit-large-patch14-336", 1024), ("google/siglip-so400m-patch14-384", 1152)):
        config = made.family_config("llama", vision_config=None, mm_vision_tower=name, mm_hidden_size=width)
        flat = flat_config(config)
        assert flat["mm_vision_tower"] == name and "vision_config" not in flat


@pytest.mark.parametrize(("change", "said"), [
    ({"layout": {"kind": "chat"}}, "layout"), ({"connector": {"depth": 1}}, "depth"),
    ({"vision": {"image": {"repeat": 3}}}, "vision"), ({"vision": {"sampler": {"kind": "fps", "fps": 2.0}}}, "sampler"),
])
def test_what_the_published_form_cannot_say_is_refused(tmp_path: Path, change: Any, said: str) -> None:
    config = made.family_config("llama")
    config.layout = change.get("layout", config.layout)
    config.vision = {**config.vision, **change.get("vision", {})}
    config.vision["connector"] = {**config.vision["connector"], **change.get("connector", {})}
    with pytest.raises(UsageError, match=said):
        save_official(small.model(config), small.processor(config), tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_a_folder_with_files_is_not_written_into(tmp_path: Path) -> None:
    config = made.family_config("llama")
    (tmp_path / "mine").touch()
    with pytest.raises(UsageError, match="not empty"):
        save_official(small.model(config), small.processor(config), tmp_path)
