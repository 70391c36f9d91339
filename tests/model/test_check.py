"""Checking a folder and comparing recorded answers: what an owner of real weights can run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import reelm
from house.command import reelm as run
from model import published_folders as made
from model import small
from reelm.errors import CheckpointError
from reelm.model.check import compare, inspect
from reelm.model.checkpoints import load_folder
from reelm.model.export import save_native


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made.write_family(tmp_path / "model", "qwen2")
    return tmp_path / "model"


def bad(folder: Path) -> list[str]:
    return [f"{one.name}: {one.said}" for one in inspect(folder) if one.ok is False]


def test_every_form_passes_and_tells_what_it_is(tmp_path: Path, folder: Path) -> None:
    made.write_av(tmp_path / "av")
    (tmp_path / "1").mkdir()
    made.write_base(tmp_path / "1" / "base")
    made.write_lora(tmp_path / "2" / "lora")
    save_native(*load_folder(folder), tmp_path / "native")
    forms = {"model": "whole", "av": "whole", "1/base": "base", "2/lora": "lora", "native": "native"}
    for name, form in forms.items():
        assert bad(tmp_path / name) == []
        assert inspect(tmp_path / name)[0].said == form
    said = {one.name: one.said for one in inspect(tmp_path / "av")}
    assert said["parts"] == "qwen2, siglip, stc_v35, beats, mlp" and said["repetition penalty"] == "1.05"
    assert "none missing, none extra" in said["names"]


def test_what_is_wrong_is_named(folder: Path) -> None:
    shard = sorted(folder.glob("model-*.safetensors"))[-1]
    weights = load_file(shard)
    name = sorted(key for key in weights if key.endswith("weight"))[0]
    save_file({**weights, name: torch.zeros(2, 2)}, shard, {"format": "pt"})
    assert bad(folder) == [line for line in bad(folder) if name in line and "is [2, 2], not" in line] != []
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**settings, "num_hidden_layers": 3}))
    with pytest.raises(CheckpointError, match="no qwen2 language model"):
        inspect(folder)
    made.write_config(folder, {**settings, "num_hidden_layers": 3, "layer_types": ...})
    assert any("missing, the first is model.layers.2" in line for line in bad(folder))
    shutil.copy(folder / "config.json", folder / "tokenizer.json")
    assert any(line.startswith("tokens") for line in bad(folder))


def test_a_recorded_question_passes_on_the_same_weights_and_fails_on_others(folder: Path, films: Path, tmp_path: Path
                                                                            ) -> None:
    shutil.copy(films / "a.mp4", tmp_path / "a.mp4")
    record = tmp_path / "record.json"
    done = run("model", "check", str(folder), "--ask", str(tmp_path / "a.mp4"), "--question", "What moves?", "--record",
               str(record), "--dtype", "float32", "--max-tokens", "6", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    known = json.loads(record.read_text())
    assert known["format"] == 1 and len(known["asks"][0]["logprobs"]) > 0
    done = run("model", "check", str(folder), "--against", str(record), "--dtype", "float32", "--json")
    assert done.returncode == 0 and all(one["ok"] is not False for one in json.loads(done.stdout))
    names = [one["name"] for one in json.loads(done.stdout)]
    assert names[-4:] == ["weights", "ask 0: answer", "ask 0: tokens", "ask 0: logprobs"]
    other = small.model(made.family_config("qwen2"), seed=1)
    lm = reelm.VideoLM(other, load_folder(folder)[1])
    assert {one.name for one in compare(lm, record) if one.ok is False} >= {"ask 0: answer", "ask 0: logprobs"}


def test_a_record_made_elsewhere_needs_only_question_and_answer(folder: Path, tmp_path: Path) -> None:
    record = tmp_path / "record.json"
    record.write_text(json.dumps({"format": 1, "asks": [{"media": [], "question": "Hello?", "answer": "never this"}]}))
    done = run("model", "check", str(folder), "--against", str(record))
    assert done.returncode == 4 and "ask 0: answer" in done.stderr and "never this" in done.stdout
    lm = reelm.VideoLM(*load_folder(folder))
    for broken, said in (({"format": 2, "asks": []}, "no record"), ({"format": 1, "asks": [{"media": []}]}, "lacks"),
                         ({"format": 1, "asks": [{"media": [{"file": "gone.mp4"}], "question": "", "answer": ""}]},
                          "not there")):
        record.write_text(json.dumps(broken))
        with pytest.raises(CheckpointError, match=said):
            compare(lm, record)
