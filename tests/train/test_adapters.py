"""LoRA, DoRA and QLoRA on a tiny model: saved folders are whole, all readers agree to the logit, bases are checked."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoProcessor, AutoTokenizer

import reelm
from model import small
from reelm.errors import CheckpointError, UsageError
from reelm.model.adapters import base_of, digest_of
from reelm.model.checkpoints import load_adapted, load_folder
from reelm.model.export import save_native
from reelm.train import adapters
from reelm.train.adapters import AdapterSettings, attach, without_adapter

ASKED = [[small.user(small.frames(4), small.sound(), "What is it?"), small.said("a red ball")]]


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(**small.processor()(ASKED, labels=True)).logits


def shaken(model: Any, by: float = 0.05) -> Any:
    """The model after a training that went nowhere in particular: every weight that learns has moved."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * by)
    return model


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two bases of the same architecture, `one` and `two`."""
    folder = tmp_path_factory.mktemp("bases")
    for seed, name in enumerate(("one", "two")):
        save_native(small.model(seed=seed), small.processor(), folder / name)
    return folder


def saved(bases: Path, folder: Path, **settings: Any) -> torch.Tensor:
    """Trains an adapter on `one` and saves it; the logits of the trained model."""
    model, processor = load_folder(bases / "one")
    adapted = shaken(attach(model, AdapterSettings(r=4, alpha=8, **settings)))
    adapters.save(adapted, processor, folder, base_of(str(bases / "one")))
    return logits(adapted)


@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_a_new_adapter_changes_nothing_and_only_it_and_the_connectors_learn(bases: Path, kind: Any) -> None:
    model, _ = load_folder(bases / "one")
    before = logits(model)
    adapted = attach(model, AdapterSettings(kind=kind, r=4, alpha=8))
    assert torch.equal(logits(adapted), before)
    learning = [name for name, parameter in adapted.named_parameters() if parameter.requires_grad]
    low = [name for name in learning if "lora_" in name]
    assert len(low) == 14 * (3 if kind == "dora" else 2) and all(".language_model." in name for name in low)
    parts = {name.split(".modules_to_save.default.")[0] for name in learning if name not in low}
    assert parts == {"base_model.model.connector", "base_model.model.audio_connector"}


def test_without_the_adapter_the_model_is_its_base_and_what_was_frozen_stays_so(bases: Path) -> None:
    model, _ = load_folder(bases / "one")
    before = logits(model)
    adapted = shaken(attach(model, AdapterSettings(r=4)))
    for name, parameter in adapted.named_parameters():
        parameter.requires_grad_("lora_B" in name)
    with without_adapter(adapted):
        assert torch.equal(logits(adapted), before)
    assert not torch.allclose(logits(adapted), before, atol=1e-2)
    assert all(parameter.requires_grad == ("lora_B" in name) for name, parameter in adapted.named_parameters())


@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_every_reader_gives_the_logits_of_the_trained_model(bases: Path, tmp_path: Path, kind: Any) -> None:
    trained = saved(bases, tmp_path / "a", kind=kind)
    plain = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(bases / "one"), tmp_path / "a")
    again, _ = adapters.load(tmp_path / "a")
    ours = reelm.load(tmp_path / "a", device="cpu", dtype="float32")
    assert torch.equal(logits(plain), trained)
    assert torch.equal(logits(again), trained) and any(one.requires_grad for one in again.parameters())
    far = (logits(ours.model) - trained).abs().max()
    assert far <= 1e-5 and (trained - logits(load_folder(bases / "one")[0])).abs().max() > 0.1
    assert ours.answer(small.frames(4), "What?", max_tokens=2).tokens["new"] > 0
    print(f"\n| {kind} | merged against PEFT | {far:.1e} |")
    if kind == "lora":  # transformers' own shortcut misnames the magnitudes of DoRA, and is refused
        assert torch.equal(logits(AutoModelForCausalLM.from_pretrained(tmp_path / "a")), trained)


def test_the_folder_is_whole(bases: Path, tmp_path: Path) -> None:
    saved(bases, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} >= {
        "adapter_config.json", "adapter_model.safetensors", "base.json", "processor_config.json", "tokenizer.json",
        "generation_config.json", "chat_template.jinja"}
    assert AutoProcessor.from_pretrained(tmp_path).vision == small.VISION
    assert AutoTokenizer.from_pretrained(tmp_path).chat_template == small.CHATML
    assert json.loads((tmp_path / "base.json").read_text()) == {
        "base": str(bases / "one"), "sha256": digest_of(str(bases / "one"))}


def test_another_base_is_refused_with_both_numbers(bases: Path, tmp_path: Path) -> None:
    saved(bases, tmp_path)
    one, two = (digest_of(str(bases / name)) for name in ("one", "two"))
    assert one != two
    for read in (load_adapted, adapters.load):
        with pytest.raises(CheckpointError, match=f"(?s){one}.*{two}"):
            read(tmp_path, base=str(bases / "two"))


def test_a_base_that_moved_is_known_by_its_weights_however_they_are_cut(bases: Path, tmp_path: Path) -> None:
    trained = saved(bases, tmp_path / "a")
    model, processor = load_folder(bases / "one")
    model.save_pretrained(tmp_path / "elsewhere", max_shard_size="60KB")
    processor.save_pretrained(tmp_path / "elsewhere")
    assert len(list((tmp_path / "elsewhere").glob("model-*"))) > 1
    again, _ = load_adapted(tmp_path / "a", base=str(tmp_path / "elsewhere"))
    assert (logits(again) - trained).abs().max() <= 1e-5
    said = json.loads((tmp_path / "a" / "base.json").read_text())
    (tmp_path / "a" / "base.json").write_text(json.dumps(said | {"base": "../elsewhere"}))
    assert torch.equal(logits(load_folder(tmp_path / "a")[0]), logits(again))
    (tmp_path / "a" / "base.json").write_text(json.dumps(said | {"base": "../gone"}))
    with pytest.raises(CheckpointError, match="gone"):
        load_folder(tmp_path / "a")


def test_settings_other_than_the_bases_travel_with_the_adapter_but_not_other_parts(bases: Path, tmp_path: Path) -> None:
    saved(bases, tmp_path)
    path = tmp_path / "processor_config.json"
    said = json.loads(path.read_text())
    said["vision"]["frames"] = 6
    path.write_text(json.dumps(said))
    model, processor = load_folder(tmp_path)
    assert model.config.vision["frames"] == processor.vision["frames"] == 6
    said["vision"]["connector"]["depth"] = 2
    path.write_text(json.dumps(said))
    with pytest.raises(CheckpointError, match="vision.connector of the adapter"):
        load_folder(tmp_path)


def test_a_folder_that_peft_alone_wrote_is_read_with_a_note(bases: Path, tmp_path: Path) -> None:
    trained = saved(bases, tmp_path / "a")
    for path in (tmp_path / "a").iterdir():
        if not path.name.startswith("adapter_"):
            path.unlink()
    model, processor = load_folder(tmp_path / "a")
    assert (logits(model) - trained).abs().max() <= 1e-5 and processor.vision == small.VISION
    assert "does not record which weights" in model.loading_notes[-1]


def test_an_adapter_on_a_model_of_the_package_names_it(tmp_path: Path) -> None:
    lm = reelm.load("random:av", device="cpu", dtype="float32")
    adapted = shaken(attach(lm.model, AdapterSettings(r=2)))
    adapters.save(adapted, lm.processor, tmp_path, base_of("random:av"))
    batch = lm.processor([[small.user(small.frames(8), "What?")]])
    again = reelm.load(tmp_path, device="cpu", dtype="float32")
    with torch.no_grad():
        assert (again.model(**batch).logits - adapted.eval()(**batch).logits).abs().max() <= 1e-5
    with pytest.raises(CheckpointError, match="SHA-256"):
        load_adapted(tmp_path, base="random:mistral")


def test_an_adapter_is_no_base_and_no_whole_model(bases: Path, tmp_path: Path) -> None:
    saved(bases, tmp_path)
    with pytest.raises(CheckpointError, match="cannot be the base of another"):
        base_of(str(tmp_path))
    shutil.copy(bases / "one" / "config.json", tmp_path)
    with pytest.raises(CheckpointError, match="config.json of a whole model"):
        load_folder(tmp_path)


@pytest.mark.parametrize(("targets", "said"), [(r".*\.q_proj", "also names vision_tower|also names audio_tower"),
                                               (r"language_model\.nothing", "names no linear layer")])
def test_targets_outside_the_language_model_are_refused(targets: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        attach(small.model(), AdapterSettings(targets=targets))


def test_the_default_targets_know_every_language_model_family() -> None:
    for family in ("llama", "mistral", "qwen2", "gemma2", "phi3"):
        settings = small.config(family, audio=False, text={"head_dim": 8} if family == "gemma2" else {})
        hit = {name.rpartition(".")[2] for name, module in attach(
            small.model(settings), AdapterSettings(r=2)).named_modules() if hasattr(module, "lora_A")}
        assert len(hit) == (4 if family == "phi3" else 7), (family, hit)


def test_an_adapter_learns_on_four_bits_and_comes_back(bases: Path, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes", reason="pip install reelm[bits]")
    model, processor = load_folder(bases / "one")
    adapted = attach(model, AdapterSettings(r=4, alpha=8, bits=4))
    layers = [module for name, module in adapted.named_modules() if name.endswith("_proj.base_layer")]
    assert len(layers) == 14 and all(type(layer).__name__ == "Linear4bit" for layer in layers)
    frozen = [layer.weight.data.clone() for layer in layers]
    learning = [parameter for parameter in adapted.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=1e-2)
    batch = processor(ASKED, labels=True)
    losses = []
    for _ in range(2):
        loss = adapted(**batch).loss
        loss.backward()
        assert all(parameter.grad is not None for parameter in learning)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[1] < losses[0]
    assert all(torch.equal(layer.weight.data, was) for layer, was in zip(layers, frozen, strict=True))
    adapters.save(adapted, processor, tmp_path, base_of(str(bases / "one")))
    again, _ = adapters.load(tmp_path, bits=4)
    assert torch.equal(logits(again), logits(adapted))
    assert 0 < (logits(load_folder(tmp_path)[0]) - logits(adapted)).abs().max() < 0.2  # on the weights of full width
    print(f"\n| QLoRA, 4 bits on the CPU | loss {losses[0]:.4f} -> {losses[1]:.4f} in one step |")


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for package, settings, extra in (("peft", {}, "train"), ("bitsandbytes", {"bits": 4}, "bits")):
        with monkeypatch.context() as patch:
            patch.setitem(__import__("sys").modules, package, None)
            with pytest.raises(UsageError, match=rf"reelm\[{extra}\]"):
                attach(small.model(), AdapterSettings(**settings))
