"""A question that does not fit is refused with numbers and the smallest change that fits, before decoding."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

import reelm
from model import published_folders as made
from model import small
from reelm.errors import BudgetError
from reelm.model.config import ReelmConfig
from reelm.model.memory import afford_weights, free_bytes, left_in, need, reordered
from reelm.model.official import config_from
from reelm.model.processing import ReelmProcessor, Sketch
from reelm.types import Clip


def bytes_of(lm: reelm.VideoLM, *sketches: Sketch, text: int = 30, max_tokens: int = 256) -> int:
    return need(lm.model.config, lm.processor, sketches, text, max_tokens, 4, reordered(lm.model)).total


def test_plan_names_the_most_frames_that_fit_and_they_do(films: Path) -> None:
    lm = reelm.load("random:av", device="cpu", dtype="float32")
    lm.memory_bytes = bytes_of(lm, Sketch(20, 4.0))
    with pytest.raises(BudgetError, match=r"needs .* for keys and values, .* to compute\), .* free") as caught:
        lm.plan(Clip(films / "a.mp4"), "What?", frames=39)
    most = int(re.search(r"frames=(\d+) fits", str(caught.value))[1])
    assert 10 < most < 39
    assert lm.plan(Clip(films / "a.mp4"), "What?", frames=most)["total"] > 0
    with pytest.raises(BudgetError):
        lm.plan(Clip(films / "a.mp4"), "What?", frames=most + 1)
    with pytest.raises(BudgetError, match="frames="):
        lm.answer(Clip(films / "a.mp4"), "What?", frames=39)


def test_a_shorter_answer_or_less_sound_is_offered_where_frames_do_not_help(films: Path) -> None:
    lm = reelm.load("random:av", device="cpu", dtype="float32")
    lm.memory_bytes = bytes_of(lm, max_tokens=100)
    with pytest.raises(BudgetError, match=r"max_tokens=\d+ fits"):
        lm.answer("What?", max_tokens=2000)
    loud = reelm.load("random:av", device="cpu", dtype="float32", hear_s=30.0)
    loud.memory_bytes = bytes_of(loud, Sketch(8), text=60)
    with pytest.raises(BudgetError, match="audio=False"):
        loud.plan(Clip(films / "a.mp4"), "What?")
    lm.memory_bytes = 100
    with pytest.raises(BudgetError, match="Nothing smaller fits"):
        lm.plan(Clip(films / "a.mp4"), "What?")


def test_the_published_7b_needs_what_its_shapes_say() -> None:
    """Keys and values: 32 layers of 8 heads of 128, twice, 2 bytes: 131,072 bytes a position."""
    flat = {**made.flat_of(made.MISTRAL), "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
            "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 32000, "mm_hidden_size": 1024,
            "mm_vision_tower": "openai/clip-vit-large-patch14-336"}
    config: ReelmConfig = config_from({key: value for key, value in flat.items() if key != "vision_config"})
    processor = ReelmProcessor.of(config, small.tokenizer())
    found = need(config, processor, [Sketch(8)], 100, 55, 2)
    assert found.cache == (100 + 845 + 55) * 131_072
    assert found.work > 945 * 4096 * 2


def test_weights_that_do_not_fit_are_refused_before_they_are_read(tmp_path: Path) -> None:
    shapes = {f"model.layers.{n}.mlp.up_proj.weight": ((1000, 1000), "BF16") for n in range(80)}
    shapes["model.embed_tokens.weight"] = ((1000, 1000), "BF16")
    for free, said in ((200_000_000, "dtype='bfloat16' fits, at 0.16 GB"), (100_000_000, "bits=8 fits, at 82.00 MB"),
                       (50_000_000, "bits=4 fits, at 42.00 MB"), (1_000_000, "Even 4 bits need 42.00 MB")):
        with pytest.raises(BudgetError, match=re.escape(said)):
            afford_weights(shapes, 4, None, free, "x")
    afford_weights(shapes, 4, None, 324_000_000, "x")
    made.write_family(tmp_path / "x", "llama")
    with pytest.raises(BudgetError, match="weights need"):
        reelm.load(tmp_path / "x", device="cpu", memory_bytes=1000)


def test_what_is_free_is_measured() -> None:
    assert 1e6 < free_bytes(torch.device("cpu")) < 1e14


def test_file_pages_of_a_container_count_as_free(tmp_path: Path) -> None:
    for name, text in (("memory.max", "1000\n"), ("memory.current", "900\n"),
                       ("memory.stat", "anon 300\ninactive_file 500\n")):
        (tmp_path / name).write_text(text)
    names = ("memory.max", "memory.current", "inactive_file")
    assert left_in(tmp_path, *names) == 600
    (tmp_path / "memory.max").write_text("max\n")
    assert left_in(tmp_path, *names) is None and left_in(tmp_path / "none", *names) is None


def test_all_of_a_sound_is_heard_where_asked(films: Path) -> None:
    trained = reelm.load("random:av", device="cpu", dtype="float32")
    whole = reelm.load("random:av", device="cpu", dtype="float32", hear_s=2.0)
    clip = Clip(films / "a.mp4")
    assert whole.plan(clip, "What?")["audio"] < trained.plan(clip, "What?")["audio"]
    assert any("2.00 of 4.00 s of sound are heard, from its start" in note
               for note in whole.answer(clip, "What?", max_tokens=1).notes)
