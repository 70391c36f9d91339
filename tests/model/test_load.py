"""Names, folders, devices and number types: what `reelm.load` takes, and that importing reelm is cheap."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import reelm
from model.official_folder import write_official_folder
from parity_root import parity_dir
from reelm.errors import CheckpointError, UsageError
from reelm.model.load import dtype_of
from reelm.types import Clip


def test_random_models_load_quickly_and_offline():
    began = time.process_time()
    lm = reelm.load("random", device="cpu", dtype="float32")
    assert time.process_time() - began < 3
    assert (lm.sees, lm.hears, lm.name) == (True, False, "random")
    assert reelm.load("random:qwen2+av").hears
    assert reelm.load("random:mistral").model.config.text_config.model_type == "mistral"
    assert reelm.load("random", dtype="bfloat16").answer("Hello", max_tokens=2).tokens["new"] > 0


def test_a_saved_model_loads_from_its_folder_and_answers_the_same(films, tmp_path, deaf):
    deaf.model.save_pretrained(tmp_path)
    deaf.processor.save_pretrained(tmp_path)
    again = reelm.load(tmp_path, dtype="float32")
    clip = Clip(films / "a.mp4")
    assert again.answer(clip, "What?", max_tokens=6).text == deaf.answer(clip, "What?", max_tokens=6).text


@pytest.mark.parametrize("name", ["video", "audio_video"])
def test_a_published_folder_loads_and_answers_about_a_file(films, tmp_path, name):
    (config,) = parity_dir(name).glob("*_config.json")
    write_official_folder(parity_dir(name), config.name.removesuffix("_config.json"), tmp_path)
    lm = reelm.load(tmp_path, dtype="float32")
    first = lm.answer(Clip(films / "a.mp4"), "What?", max_tokens=4)
    second = lm.answer(Clip(films / "a.mp4"), "Where?", max_tokens=4)
    assert first.audio_used == lm.hears == (name == "audio_video")
    assert second.tokens["reused"] >= first.tokens["vision"] + first.tokens["audio"] > 0
    lm.forget()
    assert second.text == lm.answer(Clip(films / "a.mp4"), "Where?", max_tokens=4).text


def test_names_devices_and_types_that_do_not_exist_are_told_with_what_does():
    with pytest.raises(CheckpointError, match="reelm-tiny, random"):
        reelm.load("no-such-model")
    with pytest.raises(CheckpointError, match="llama, mistral"):
        reelm.load("random:gpt17")
    with pytest.raises(UsageError, match="float32"):
        reelm.load("random", dtype="float31")
    with pytest.raises(UsageError, match="cannot be used"):
        reelm.load("random", device="toaster")


def test_automatic_types_fit_the_device():
    amx = Path("/proc/cpuinfo").is_file() and "amx_bf16" in Path("/proc/cpuinfo").read_text()
    assert dtype_of("auto", torch.device("cpu")) == (torch.bfloat16 if amx else torch.float32)
    assert dtype_of("auto", torch.device("cuda")) == torch.bfloat16
    assert dtype_of("float16", torch.device("cpu")) == torch.float16


def test_importing_reelm_does_not_import_torch():
    code = "import sys, reelm; reelm.Clip; print('torch' in sys.modules, callable(reelm.load), bool(reelm.__version__))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                          env={"PYTHONPATH": str(Path(reelm.__file__).parents[1])})
    assert done.stdout.split() == ["False", "True", "True"]
    with pytest.raises(AttributeError):
        _ = reelm.nothing
