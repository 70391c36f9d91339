"""Every published form loads, complete, from where its config says the pieces lie."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from model import published_folders as made
from model import small
from model.official_folder import write_official_folder, write_weights
from reelm.errors import CheckpointError, PolicyError
from reelm.model import AudioVideo
from reelm.model.checkpoints import load_folder
from reelm.model.files import read_config
from reelm.model.front import VideoLM
from reelm.model.published import gather, owner

FAMILIES = ("mistral", "mixtral", "qwen2", "llama", "gemma2", "phi3")


@pytest.fixture(scope="module")
def table() -> Iterator[list[tuple[str, str]]]:
    rows: list[tuple[str, str]] = []
    yield rows
    print("\n| form | loaded weights |\n|---|---|")
    for form, said in rows:
        print(f"| {form} | {said} |")


def told(folder: Path) -> str:
    counts = Counter(owner(name) for name in gather(folder).weights)
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))


def logits(loaded: tuple[Any, Any], *parts: Any) -> torch.Tensor:
    model, processor = loaded
    batch = processor([[small.user(*(parts or (small.frames(8), "What is it?")))]])
    with torch.no_grad():
        return model(**batch).logits


def test_a_base_folder_takes_language_model_and_tower_from_where_its_config_says(tmp_path: Path, table: Any) -> None:
    made.write_base(tmp_path / "base")
    write_official_folder(*made.MISTRAL, tmp_path / "whole")
    base = load_folder(tmp_path / "base")
    assert torch.equal(logits(base), logits(load_folder(tmp_path / "whole")))
    assert base[0].generation_config.repetition_penalty == 1.05  # of the language model's folder
    table += [("-Base", told(tmp_path / "base")), ("whole (Mistral, CLIP)", told(tmp_path / "whole"))]


def test_a_piece_that_is_not_here_is_named_with_the_way_to_get_it(tmp_path: Path) -> None:
    made.write_base(tmp_path / "base", mm_vision_tower="openai/clip-vit-large-patch14-336")
    with pytest.raises(CheckpointError, match="reelm model pull openai/clip-vit-large-patch14-336"):
        load_folder(tmp_path / "base")
    settings = read_config(tmp_path / "base")
    made.write_config(tmp_path / "base", {**settings, "_name_or_path": ...})
    with pytest.raises(CheckpointError, match="names no language model"):
        load_folder(tmp_path / "base")
    made.write_config(tmp_path / "base", {**settings, "_name_or_path": "."})
    with pytest.raises(CheckpointError, match="names itself"):
        load_folder(tmp_path / "base")


class Evil:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("executed"),))


@pytest.mark.parametrize("content", [{"model.mm_projector.x": Evil()}, {"model": {"a": torch.ones(1)}}, ["a"], {},
                                     {"model.mm_projector.x": 3}], ids=["code", "nested", "list", "empty", "number"])
def test_a_pickle_of_anything_but_tensors_is_refused(tmp_path: Path, content: Any,
                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made.write_base(tmp_path / "base")
    torch.save(content, tmp_path / "base" / "mm_projector.bin")
    with pytest.raises(PolicyError, match="tensors"):
        load_folder(tmp_path / "base")
    assert not (tmp_path / "executed").exists()


def test_a_damaged_or_foreign_projector_is_no_checkpoint(tmp_path: Path) -> None:
    made.write_base(tmp_path / "base")
    path = tmp_path / "base" / "mm_projector.bin"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(CheckpointError, match="unreadable"):
        load_folder(tmp_path / "base")
    torch.save({"model.layers.0.mlp.up_proj.weight": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match="extra weight"):
        load_folder(tmp_path / "base")


def test_a_lora_folder_is_its_base_with_the_change_added(tmp_path: Path, table: Any) -> None:
    merged = made.write_lora(tmp_path / "lora")
    write_official_folder(*made.MISTRAL, tmp_path / "whole")
    for shard in (tmp_path / "whole").glob("model*"):
        shard.unlink()
    write_weights(merged, tmp_path / "whole", 1)
    lora = load_folder(tmp_path / "lora")
    assert torch.equal(logits(lora), logits(load_folder(tmp_path / "whole")))
    assert "14 weights" in " ".join(lora[0].loading_notes)
    table.append(("LoRA", told(tmp_path / "lora")))


def test_a_lora_on_the_audio_visual_model_loads_as_well(tmp_path: Path, table: Any) -> None:
    made.write_lora(tmp_path / "lora", made.AV)
    heard = made.starting(made.weights_of(made.AV), "model.audio_tower.", "model.mm_projector_a.")
    rest = torch.load(tmp_path / "lora" / "non_lora_trainables.bin", weights_only=True)
    torch.save(rest | {f"base_model.model.{key}": value for key, value in heard.items()},
               tmp_path / "lora" / "non_lora_trainables.bin")
    assert logits(load_folder(tmp_path / "lora"), small.sound(), "What is it?").isfinite().all()
    table.append(("LoRA of AV", told(tmp_path / "lora")))


@pytest.mark.parametrize(("change", "said"), [({"use_dora": True}, "use_dora"), ({"bias": "all"}, "bias"),
                                              ({"r": ...}, "'?r'? is missing")])
def test_an_adapter_that_is_more_than_a_plain_lora_is_refused(tmp_path: Path, change: Any, said: str) -> None:
    made.write_lora(tmp_path / "lora")
    path = tmp_path / "lora" / "adapter_config.json"
    settings = {**json.loads(path.read_text()), **change}
    path.write_text(json.dumps({key: value for key, value in settings.items() if value is not ...}))
    with pytest.raises(CheckpointError, match=said):
        load_folder(tmp_path / "lora")


def test_the_audio_visual_folder_answers_about_every_medium_an_image_alone_too(tmp_path: Path, table: Any) -> None:
    made.write_av(tmp_path / "av")
    loaded = load_folder(tmp_path / "av")
    lm = VideoLM(*loaded)
    for medium in (small.image(), small.frames(8), small.sound()):
        assert lm.answer(medium, "What is it?", max_tokens=2).tokens["new"] > 0
    assert logits(loaded, AudioVideo(small.frames(8), small.sound()), "What?").isfinite().all()
    assert "audio_tower.bin" in loaded[0].loading_notes[0] and "not read" in loaded[0].loading_notes[0]
    table.append(("AV (Qwen2, SigLIP, BEATs)", told(tmp_path / "av")))


def test_the_first_audio_stage_stands_on_a_checkpoint_that_sees(tmp_path: Path, table: Any) -> None:
    made.write_audio_stage(tmp_path / "stage")
    made.write_av(tmp_path / "av")
    parts = AudioVideo(small.frames(8), small.sound()), "What?"
    assert torch.equal(logits(load_folder(tmp_path / "stage"), *parts), logits(load_folder(tmp_path / "av"), *parts))
    table.append(("audio stage 1", told(tmp_path / "stage")))


def test_an_early_revision_without_num_frames_and_with_another_vocabulary(tmp_path: Path, table: Any) -> None:
    write_official_folder(*made.MISTRAL, tmp_path)
    flat = read_config(tmp_path)
    made.write_config(tmp_path, {**flat, "model_type": "mistral", "num_frames": ..., "vocab_size": 32000,
                                 "architectures": ["Videollama2MistralForCausalLM"]})
    model, processor = load_folder(tmp_path)
    assert (model.config.vision["frames"], model.config.text_config.vocab_size) == (8, flat["vocab_size"])
    assert model.loading_notes == ("config.json says vocab_size 32000, the weights hold 300 words: the weights decide",)
    table.append(("early revision", told(tmp_path)))
    processor.tokenizer.add_tokens([f"word{n}" for n in range(9)])
    processor.tokenizer.eos_token = "word8"
    processor.tokenizer.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="'word8' is number 3"):
        load_folder(tmp_path)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_language_model_family_has_its_published_folder(tmp_path: Path, family: str, table: Any) -> None:
    source = made.write_family(tmp_path / "x", family)
    names = {name for path in (tmp_path / "x").glob("model-*.safetensors") for name in load_file(path)}
    assert len(list((tmp_path / "x").glob("model-*"))) > 1 and (tmp_path / "x/model.safetensors.index.json").is_file()
    language = re.compile(r"model\.(embed_tokens|norm|layers\.\d+\..+)\.(weight|bias)|lm_head\.weight")
    assert all(language.fullmatch(name) or name.startswith((made.TOWER + "vision_model.", "model.mm_projector."))
               for name in names)
    if family == "mixtral":
        assert "model.layers.1.block_sparse_moe.experts.3.w2.weight" in names
    if family == "phi3":
        assert "model.layers.0.self_attn.qkv_proj.weight" in names
    model, processor = load_folder(tmp_path / "x")
    assert type(model.language_model).__name__.lower() == f"{family}forcausallm"
    assert torch.equal(logits((model, processor)), logits((source, processor)))
    answer = VideoLM(model, processor).answer(small.frames(8), "What?", max_tokens=3)
    assert answer.tokens["new"] > 0
    table.append((f"family {family}", told(tmp_path / "x")))


def test_gemma_multiplies_media_like_words(tmp_path: Path) -> None:
    """The official code scales the whole input of the decoder by the root of its width; newer libraries only words."""
    model = small.model(made.family_config("gemma2"))
    features = [torch.randn(3, 48)]
    laid_in = model.embed(torch.zeros(1, 3, dtype=torch.long), torch.ones(1, 3, dtype=torch.long), features)
    assert torch.allclose(laid_in[0], features[0] * 48**0.5)


def test_an_image_is_encoded_once_with_the_result_of_repeating_it(tmp_path: Path) -> None:
    """The official code sends the same picture through the tower once per frame."""
    write_official_folder(*made.MISTRAL, tmp_path)
    model, processor = load_folder(tmp_path)
    pixels = processor.pixels(small.image())
    seen: list[int] = []
    handle = model.vision_tower.register_forward_pre_hook(lambda _module, given: seen.append(len(given[0])))
    with torch.no_grad():
        (once,), (often,) = model.encode_vision(pixels, [1]), model.encode_vision(pixels.repeat(8, 1, 1, 1), [8])
    handle.remove()
    assert seen == [1, 8]
    assert torch.allclose(once, often, atol=1e-6)


def test_the_repetition_penalty_of_the_folder_acts_unless_the_caller_names_one(tmp_path: Path) -> None:
    write_official_folder(*made.AV, tmp_path, generation={"repetition_penalty": 9.0})
    lm = VideoLM(*load_folder(tmp_path))
    own, none, same = (lm.answer(small.frames(8), "What?", max_tokens=60, **given).text for given in (
        {}, {"repetition_penalty": 1.0}, {"repetition_penalty": 9.0}))
    assert own == same != none
