"""`reelm train` with adapters, end to end on a tiny model: LoRA, DoRA and preferences, and what comes out of each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from peft import PeftModel
from transformers import AutoModelForCausalLM

import reelm
from house.command import Done
from house.command import reelm as command
from model import small
from model.films import pictures, tone
from reelm.media import write_video
from reelm.model.export import save_native

ASKED = ("What moves?", "Where does it go?", "And here?")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base model, films with sound, records that describe them and records that prefer one reply."""
    folder = tmp_path_factory.mktemp("place")
    save_native(small.model(small.config(text={"initializer_range": 0.2})), small.processor(), folder / "base")
    talk, pairs = [], []
    for number, asked in enumerate(ASKED):
        write_video(folder / f"{number}.mp4", pictures(12, seed=number), 10, tone(1.2))
        prompt = f"<video>\n{asked}"
        talk.append({"id": f"t{number}", "video": f"{number}.mp4", "conversations": [
            {"from": "human", "value": prompt}, {"from": "gpt", "value": "a red ball"}]})
        pairs.append({"id": f"p{number}", "video": f"{number}.mp4", "prompt": prompt, "chosen": "a red ball",
                      "rejected": "the dog"})
    for name, rows in (("talk", talk), ("pairs", pairs)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def train(place: Path, out: Path, records: str, kind: str = "lora", bits: int | None = None, **stage: Any) -> Done:
    """`reelm train` with a small recipe."""
    recipe = {"name": "tiny", "model": str(place / "base"),
              "adapters": {"kind": kind, "r": 4, "alpha": 8, "bits": bits},
              "sources": {"clips": {"records": str(place / f"{records}.jsonl")}},
              "stages": [{"name": "tune", "learn": {"adapters": 0.01, "connector": 0.003}, "data": "clips",
                          "steps": 6, "batch": 3, "micro_batch": 3, "warmup": 0, "explode": None, **stage}]}
    path = out.parent / f"{out.name}.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return command("train", str(path), "--out", str(out), "--device", "cpu")


def trained(place: Path, out: Path, *given: str, **stage: Any) -> list[dict[str, Any]]:
    """The steps in the log of such a run."""
    done = train(place, out, *given, **stage)
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [event for event in events if event["event"] == "step"]


def agree(place: Path, folder: Path) -> None:
    """The folder gives the same logits through PEFT, through us and merged from the shell, and others than its base."""
    batch = small.processor()([[small.user(small.frames(4), small.sound(), "What moves?")]])
    plain = AutoModelForCausalLM.from_pretrained(place / "base")
    with torch.no_grad():
        before = plain.eval()(**batch).logits
        peft = PeftModel.from_pretrained(plain, folder).eval()(**batch).logits
    done = command("model", "merge", str(folder), "--out", f"{folder}-merged")
    assert done.returncode == 0, done.stderr
    for one in (folder, f"{folder}-merged"):
        with torch.no_grad():
            ours = reelm.load(one, device="cpu", dtype="float32").model(**batch).logits
        assert (ours - peft).abs().max() <= 1e-5
    assert (before - peft).abs().max() > 1e-3
    answered = command("ask", "-m", str(folder), str(place / "0.mp4"), "What moves?", "--max-tokens", "3")
    assert answered.returncode == 0, answered.stderr


@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_an_adapter_learns_what_is_said_about_the_clips(place: Path, tmp_path: Path, kind: str) -> None:
    steps = trained(place, tmp_path / "run", "talk", kind)
    assert steps[-1]["loss"] < 0.8 * steps[0]["loss"] and steps[0]["tokens"] > 0
    agree(place, tmp_path / "run" / "tune")
    print(f"\n| {kind} | loss {steps[0]['loss']:.3f} -> {steps[-1]['loss']:.3f} in {len(steps)} steps |")


def test_an_adapter_learns_on_four_bits(place: Path, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes", reason="pip install reelm[bits]")
    steps = trained(place, tmp_path / "run", "talk", bits=4, steps=3)
    assert steps[-1]["loss"] < steps[0]["loss"]
    agree(place, tmp_path / "run" / "tune")


def test_preferences_draw_the_replies_apart(place: Path, tmp_path: Path) -> None:
    steps = trained(place, tmp_path / "run", "pairs", objective={"kind": "dpo", "beta": 0.5})
    assert steps[0]["loss"] == pytest.approx(0.6931, abs=1e-3) and steps[0]["margin"] == pytest.approx(0, abs=1e-3)
    assert steps[-1]["margin"] > 0.5 and steps[-1]["preferred"] == 1 and steps[-1]["loss"] < 0.5
    assert steps[0]["items"] == 3 and steps[0]["tokens"] > 0
    agree(place, tmp_path / "run" / "tune")
    print(f"\n| dpo | loss {steps[0]['loss']:.3f} -> {steps[-1]['loss']:.3f} | margin {steps[0]['margin']:.2f} -> "
          f"{steps[-1]['margin']:.2f} |")


@pytest.mark.parametrize(("records", "kind", "said"), [("talk", "dpo", "has no chosen and no rejected"),
                                                       ("pairs", "next_token", "preferences are learnt otherwise")])
def test_records_of_the_other_kind_are_refused(place: Path, tmp_path: Path, records: str, kind: str, said: str) -> None:
    done = train(place, tmp_path / "run", records, objective={"kind": kind})
    assert done.returncode == 2 and said in done.stderr, done.stderr
