"""The published models on the meta device: names, shapes and totals, without a weight being made."""

from __future__ import annotations

from typing import Any

import pytest

from reelm.model.check import PUBLISHED, expected_shapes
from reelm.model.official import config_from

CLIP = {"mm_vision_tower": "openai/clip-vit-large-patch14-336", "mm_hidden_size": 1024,
        "mm_projector_type": "stc_connector"}
SIGLIP = {"mm_vision_tower": "google/siglip-so400m-patch14-384", "mm_hidden_size": 1152,
          "mm_projector_type": "stc_connector_v35", "num_frames": 16}
MISTRAL = {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
           "num_key_value_heads": 8, "vocab_size": 32000, "rms_norm_eps": 1e-5, "rope_theta": 1e6}
QWEN2_7B = {"hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28,
            "num_key_value_heads": 4, "vocab_size": 152064, "rms_norm_eps": 1e-6, "rope_theta": 1e6}
QWEN2_72B = {**QWEN2_7B, "hidden_size": 8192, "intermediate_size": 29568, "num_hidden_layers": 80,
             "num_attention_heads": 64, "num_key_value_heads": 8}
SOUND = {"mm_audio_tower": "audio_tower.bin", "mm_projector_a_type": "mlp2x_gelu", "mm_hidden_size_a": 768,
         "hidden_size_a": 3584}
FLAT: dict[str, dict[str, Any]] = {
    "7B": {"model_type": "videollama2_mistral", **MISTRAL, **CLIP},
    "8x7B": {"model_type": "videollama2_mixtral", **MISTRAL, **CLIP, "num_local_experts": 8, "num_experts_per_tok": 2},
    "72B": {"model_type": "videollama2_qwen2", **QWEN2_72B, **CLIP},
    "2.1-7B": {"model_type": "videollama2_qwen2", **QWEN2_7B, **SIGLIP},
    "2.1-7B-AV": {"model_type": "videollama2_qwen2", **QWEN2_7B, **SIGLIP, **SOUND},
}
#: Language model, vision tower, projector, audio tower, audio projector; they add up to the published totals.
PARTS = {
    "7B": (7_241_732_096, 303_507_456, 489_188_608, 0, 0),
    "8x7B": (46_702_792_704, 303_507_456, 489_188_608, 0, 0),
    "72B": (72_706_203_648, 303_507_456, 1_934_678_272, 0, 0),
    "2.1-7B": (7_615_616_512, 428_225_600, 376_889_248, 0, 0),
    "2.1-7B-AV": (7_615_616_512, 428_225_600, 376_889_248, 90_717_055, 15_604_736),
}
PREFIXES = ("model.vision_tower.", "model.mm_projector.", "model.audio_tower.", "model.mm_projector_a.")
P = "model.mm_projector."


def stage_shapes(wide: int, width: int) -> dict[str, tuple[int, ...]]:
    """The projector's names and shapes, written out from its description: blocks, sampler, read-out."""
    found: dict[str, tuple[int, ...]] = {}
    for stage in ("s1", "s2"):
        for block in range(1, 5):
            first = (stage, block) == ("s1", 1)
            inside = wide if first else width
            squeeze = round(0.25 * inside)
            name = f"{P}{stage}.b{block}."
            found |= {f"{name}conv1.conv.weight": (width, inside, 1, 1), f"{name}conv2.conv.weight": (width, 1, 3, 3),
                      f"{name}conv3.conv.weight": (width, width, 1, 1), f"{name}se.fc1.weight": (squeeze, width, 1, 1),
                      f"{name}se.fc1.bias": (squeeze,), f"{name}se.fc2.weight": (width, squeeze, 1, 1),
                      f"{name}se.fc2.bias": (width,)}
            norms = ("conv1", "conv2", "conv3", "downsample") if first else ("conv1", "conv2", "conv3")
            found |= {f"{name}{norm}.bn.{kind}": (width,) for norm in norms for kind in ("weight", "bias")}
            if first:
                found[f"{name}downsample.conv.weight"] = (width, wide, 1, 1)
    found |= {f"{P}sampler.0.weight": (width, width, 2, 2, 2), f"{P}sampler.0.bias": (width,)}
    return found | {f"{P}readout.{n}.{kind}": (width, width)[:size] for n in (0, 2)
                    for kind, size in (("weight", 2), ("bias", 1))}


@pytest.fixture(scope="module", params=FLAT)
def size(request: pytest.FixtureRequest) -> tuple[str, dict[str, tuple[int, ...]]]:
    return request.param, expected_shapes(config_from({**FLAT[request.param], "tie_word_embeddings": False}))


def total(shapes: dict[str, tuple[int, ...]], *prefixes: str) -> int:
    count = 0
    for name, shape in shapes.items():
        product = 1
        for side in shape:
            product *= side
        count += product * name.startswith(prefixes)
    return count


def test_every_part_has_the_published_number_of_weights(size: tuple[str, dict[str, tuple[int, ...]]]) -> None:
    name, shapes = size
    language = total(shapes, "") - total(shapes, *PREFIXES)
    parts = (language, *(total(shapes, prefix) for prefix in PREFIXES))
    print(f"\n| {name} | {len(shapes)} names | {' | '.join(f'{count:,}' for count in parts)} | {sum(parts):,} |")
    assert parts == PARTS[name]
    assert sum(parts) in PUBLISHED and name.split("-")[0] in PUBLISHED[sum(parts)]


def test_the_projector_has_the_published_names_and_shapes(size: tuple[str, dict[str, tuple[int, ...]]]) -> None:
    name, shapes = size
    flat = FLAT[name]
    mine = {key: shape for key, shape in shapes.items() if key.startswith(P)}
    assert mine == stage_shapes(flat["mm_hidden_size"], flat["hidden_size"])


def test_language_model_and_towers_have_the_published_names(size: tuple[str, dict[str, tuple[int, ...]]]) -> None:
    name, shapes = size
    flat = FLAT[name]
    hidden, inner, layers = flat["hidden_size"], flat["intermediate_size"], flat["num_hidden_layers"]
    head = hidden // flat["num_attention_heads"]
    last = f"model.layers.{layers - 1}."
    words = (flat["vocab_size"], hidden)
    expected = {"model.embed_tokens.weight": words, "lm_head.weight": words,
                "model.norm.weight": (hidden,), f"{last}self_attn.q_proj.weight": (hidden, hidden),
                f"{last}self_attn.k_proj.weight": (flat["num_key_value_heads"] * head, hidden),
                f"{last}post_attention_layernorm.weight": (hidden,)}
    if name == "8x7B":
        expected |= {f"{last}block_sparse_moe.gate.weight": (8, hidden),
                     f"{last}block_sparse_moe.experts.7.w1.weight": (inner, hidden),
                     f"{last}block_sparse_moe.experts.0.w2.weight": (hidden, inner),
                     f"{last}block_sparse_moe.experts.7.w3.weight": (inner, hidden)}
    else:
        expected[f"{last}mlp.gate_proj.weight"] = (inner, hidden)
    tower = "model.vision_tower.vision_tower.vision_model."
    if "clip" in flat["mm_vision_tower"]:
        expected |= {f"{tower}embeddings.class_embedding": (1024,), f"{tower}pre_layrnorm.weight": (1024,),
                     f"{tower}embeddings.position_embedding.weight": (577, 1024),
                     f"{tower}encoder.layers.23.mlp.fc1.weight": (4096, 1024)}
    else:
        expected |= {f"{tower}embeddings.patch_embedding.bias": (1152,), f"{tower}head.probe": (1, 1, 1152),
                     f"{tower}embeddings.position_embedding.weight": (729, 1152),
                     f"{tower}encoder.layers.26.self_attn.out_proj.weight": (1152, 1152)}
    assert {key: shapes.get(key) for key in expected} == expected
    assert not any(key.startswith(f"model.layers.{layers}.") for key in shapes)


def test_the_audio_tower_has_the_published_names() -> None:
    shapes = expected_shapes(config_from({**FLAT["2.1-7B-AV"], "num_hidden_layers": 1}))
    tower = "model.audio_tower."
    expected = {"post_extract_proj.weight": (768, 512), "patch_embedding.weight": (512, 1, 16, 16),
                "layer_norm.weight": (512,), "encoder.pos_conv.0.weight_g": (1, 1, 128),
                "encoder.pos_conv.0.weight_v": (768, 48, 128), "encoder.pos_conv.0.bias": (768,),
                "encoder.layers.11.self_attn.grep_linear.weight": (8, 64),
                "encoder.layers.11.self_attn.grep_a": (1, 12, 1, 1), "encoder.layers.0.fc1.weight": (3072, 768),
                "encoder.layers.0.self_attn.relative_attention_bias.weight": (320, 12), "predictor.weight": (527, 768)}
    assert {key: shapes.get(tower + key) for key in expected} == expected
    assert shapes["model.mm_projector_a.0.weight"] == (3584, 768) and shapes["model.mm_projector_a.2.bias"] == (3584,)
