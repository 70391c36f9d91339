"""`reelm model import | export | merge`: folders carried between the forms from the shell."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image
from transformers import AutoModelForCausalLM

from house.command import reelm
from model import published_folders as made
from model import small
from reelm.model.adapters import base_of
from reelm.model.checkpoints import load_folder
from reelm.model.export import save_native
from reelm.model.files import read_weights
from reelm.train.adapters import AdapterSettings, attach, save


def test_a_published_folder_comes_back_from_our_form_bit_by_bit(tmp_path: Path) -> None:
    made.write_av(tmp_path / "a")
    ours, back = str(tmp_path / "ours"), str(tmp_path / "back")
    done = reelm("model", "import", "--official", str(tmp_path / "a"), ours)
    assert done.returncode == 0, done.stderr
    done = reelm("model", "export", ours, back, "--official", "--shard-mb", "1")
    assert done.returncode == 0 and "model-00001-of-" in done.stderr
    before, after = read_weights(tmp_path / "a"), read_weights(back)
    assert set(after) <= set(before) and all(torch.equal(before[name], after[name]) for name in after)
    assert all("relative_attention_bias" in name for name in set(before) - set(after))  # shared: stored once


def test_a_base_folder_becomes_one_whole_folder(tmp_path: Path) -> None:
    made.write_base(tmp_path / "base")
    done = reelm("model", "import", str(tmp_path / "base"), str(tmp_path / "ours"))
    assert done.returncode == 0 and (tmp_path / "ours" / "model.safetensors").is_file()


def test_an_adapter_becomes_one_whole_folder_that_loads_everywhere(tmp_path: Path) -> None:
    save_native(small.model(), small.processor(), tmp_path / "base")
    model, processor = load_folder(tmp_path / "base")
    adapted = attach(model, AdapterSettings(r=4, kind="dora"))
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.rand_like(parameter) * 0.05)
    save(adapted, processor, tmp_path / "adapter", base_of(str(tmp_path / "base")))
    Image.new("RGB", (40, 30), "red").save(tmp_path / "red.png")
    asked = [reelm("ask", "-m", str(tmp_path / "adapter"), "--max-tokens", "2", str(tmp_path / "red.png"), "What?")]
    (tmp_path / "base").rename(tmp_path / "moved")
    done = reelm("model", "merge", str(tmp_path / "adapter"), "--out", str(tmp_path / "new"))
    assert done.returncode == 4 and "neither a folder here" in done.stderr
    done = reelm("model", "merge", str(tmp_path / "adapter"), "--out", str(tmp_path / "new"), "--base",
                 str(tmp_path / "moved"))
    assert done.returncode == 0 and "changed 53 weights" in done.stderr, done.stderr
    whole, batch = AutoModelForCausalLM.from_pretrained(tmp_path / "new"), processor([[small.user(small.image(), "a")]])
    with torch.no_grad():
        assert (whole(**batch).logits - adapted.eval()(**batch).logits).abs().max() <= 1e-5
    asked.append(reelm("ask", "-m", str(tmp_path / "new"), "--max-tokens", "2", str(tmp_path / "red.png"), "What?"))
    assert [one.returncode for one in asked] == [0, 0], asked


def test_a_published_lora_is_merged_by_the_same_verb(tmp_path: Path) -> None:
    made.write_lora(tmp_path / "lora")
    done = reelm("model", "merge", str(tmp_path / "lora"), "--out", str(tmp_path / "new"))
    assert done.returncode == 0 and "the adapter changed 14 weights" in done.stderr, done.stderr
    one, two = (load_folder(tmp_path / name)[0].state_dict() for name in ("lora", "new"))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_mistakes_are_usage_errors(tmp_path: Path) -> None:
    made.write_family(tmp_path / "a", "llama")
    path = str(tmp_path / "a")
    for args, said in ((("import", path, path), "is there already"),
                       (("export", path, str(tmp_path / "b")), "--official"),
                       (("check", path, "--question", "x"), "belong together"),
                       (("check", path, "--ask", "x.mp4"), "does nothing"),
                       (("merge", path, "--out", str(tmp_path / "b")), "so no adapter")):
        done = reelm("model", *args)
        assert done.returncode == 2 and said in done.stderr, done.stderr
    reelm("model", "import", path, str(tmp_path / "ours"))
    assert reelm("model", "import", "--official", str(tmp_path / "ours"), str(tmp_path / "c")).returncode == 2
