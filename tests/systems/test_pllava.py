"""PLLaVA: pooling after the perceptron, and a LoRA of another strength, as recorded from the released code."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

import reelm
from house.command import reelm as command
from kernels.recorded import apart, recorded, worst
from reelm.errors import UsageError
from reelm.model.adapters import SETTINGS, WEIGHTS
from reelm.model.lora import blended, merge_adapter
from reelm.registry import build
from reelm.types import Tokens


@pytest.mark.system("pllava", "parity")
def test_projector_and_pooling_give_the_recorded_tokens(record_property) -> None:
    file = recorded("pllava", "projector_pool")
    sizes, differences = file.settings, {}
    mlp = build("connector", {"kind": "mlp", "in_width": sizes["mm_hidden_size"], "out_width": sizes["hidden_size"]})
    mlp.load_state_dict({name.replace("linear_1", "0").replace("linear_2", "2"): value
                         for name, value in file.weights.items()})
    for name, wanted in file.named("out.").items():
        case, clip = name.split(".")
        (t, h, w), count = sizes["cases"][case], sizes["num_frames"]
        pool = build("compressor", {"kind": "pool", "t": t, "h": h, "w": w, "as_released": True, "frames": count})
        features = file[f"x.{clip}"]
        for index, one in enumerate(features.split(min(len(features), count))):
            grid = (len(one), *sizes["frame_shape"])
            with torch.no_grad():
                made = pool(mlp(Tokens.of_grid(one.flatten(0, 1), grid, np.arange(len(one)))))
            assert made.grid == (t, h, w)
            differences[f"{name}.{index}"] = apart(made.x, wanted[index])
    worst(differences, record_property, 2e-5)


@pytest.mark.system("pllava", "parity")
def test_a_lora_of_another_strength_gives_the_recorded_logits(record_property) -> None:
    file = recorded("pllava", "lora_blend")
    sizes, differences = file.settings, {}
    config = AutoConfig.for_model(
        "llama", vocab_size=sizes["vocab"], hidden_size=sizes["hidden_size"], intermediate_size=sizes["intermediate"],
        num_hidden_layers=sizes["layers"], num_attention_heads=sizes["heads"], rms_norm_eps=sizes["rms_norm_eps"],
        rope_theta=sizes["rope_theta"], tie_word_embeddings=False)
    base = {name.removeprefix("base."): value for name, value in file.weights.items() if name.startswith("base.")}
    lora = {name.removeprefix("lora."): value for name, value in file.weights.items() if name.startswith("lora.")}
    trained = {"r": sizes["r"], "lora_alpha": 16, "target_modules": sizes["target_modules"]}
    for name, wanted in file.named("logits.alpha").items():
        model, state = AutoModelForCausalLM.from_config(config).eval(), dict(base)
        merge_adapter(state, lora, blended(trained, float(name)))
        model.load_state_dict(state)
        with torch.no_grad():
            differences[f"alpha {name}"] = apart(model(inputs_embeds=file["inputs_embeds"]).logits, wanted)
    worst(differences, record_property, 1e-4)


@pytest.mark.system("pllava", "reduces")
def test_a_strength_of_zero_is_the_model_under_the_adapter(tmp_path: Path) -> None:
    name = "language_model.model.layers.0.self_attn.q_proj"
    save_file({f"base_model.model.{name}.lora_A.weight": torch.ones(2, 64),
               f"base_model.model.{name}.lora_B.weight": torch.ones(64, 2)}, tmp_path / WEIGHTS)
    (tmp_path / SETTINGS).write_text(json.dumps({
        "base_model_name_or_path": "random", "peft_type": "LORA", "r": 2, "lora_alpha": 32,
        "target_modules": ["q_proj"]}))
    base, off, trained = (reelm.load(folder, dtype="float32", **alpha).model.state_dict()[f"{name}.weight"]
                          for folder, alpha in (("random", {}), (tmp_path, {"lora_alpha": 0}), (tmp_path, {})))
    assert torch.equal(base, off) and not torch.equal(base, trained)


def test_a_strength_without_a_lora_is_refused() -> None:
    with pytest.raises(UsageError, match="this model has none"):
        reelm.load("random", lora_alpha=4)
    with pytest.raises(UsageError, match="DoRA"):
        blended({"use_dora": True}, 4)


@pytest.mark.system("pllava", "cli")
def test_it_answers_about_a_file(media_folder: Path) -> None:
    def ask(*more: str) -> dict:
        done = command("ask", "clip.mp4", "What moves?", "-m", "random", "--system", "pllava", "--json",
                       "--max-tokens", "4", *more, cwd=media_folder)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    whole, short = ask(), ask("--tokens", "40")
    counts = reelm.load("random", system="pllava").processor
    assert len(whole["files"][0]["used_s"]) == 16 and whole["text"]
    assert whole["tokens"]["vision"] == counts.vision_count(16)
    assert 30 < short["tokens"]["vision"] <= 40
