"""Whole-model parity with the recorded VideoLLaMA 2 runs: logits, loss and greedy tokens, for every recorded case.

The checkpoints are rebuilt as complete official folders (file names, shards, index, tokenizer) and read as such. Cases,
sizes and settings come from the files; `pytest -s` prints the maxima, $REELM_PARITY_REPORT names a JSON for them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from model.official_folder import write_official_folder
from parity_root import FIXTURES, parity_dir
from reelm.model import ReelmModel
from reelm.model.checkpoints import load_folder

FOLDERS = ("video", "audio_video")
PLACEHOLDERS = {-200: "image", -201: "video", -202: "audio"}


def _cases() -> list[tuple[str, str, str]]:
    root = Path(os.environ.get("REELM_PARITY_DIR") or FIXTURES)
    found = []
    for folder in FOLDERS:
        for config in sorted((root / folder).glob("videollama2_*_config.json")):
            stem = config.name.removesuffix("_config.json")
            files = sorted((root / folder).glob(f"{stem}_*.safetensors"))
            found += [(folder, stem, path.stem.removeprefix(f"{stem}_")) for path in files
                      if not path.stem.endswith("_weights")]
    return found


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_folder_of_reference_vectors_holds_whole_models(folder: str) -> None:
    assert any(True for _ in parity_dir(folder).glob("videollama2_*_config.json"))
    assert any(case[0] == folder for case in _cases())


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Any]:
    """Each checkpoint, read once, by the same reader that users call, with the attention of the recording."""
    models = {}
    for folder, stem in {case[:2] for case in _cases()}:
        target = tmp_path_factory.mktemp(stem)
        write_official_folder(parity_dir(folder), stem, target)
        models[folder, stem] = load_folder(target, attn="eager")[0]
    return models


@pytest.fixture(scope="module")
def table() -> Iterator[list[dict[str, Any]]]:
    rows: list[dict[str, Any]] = []
    yield rows
    print("\n| checkpoint | case | logits | loss | greedy tokens |\n|---|---|---|---|---|")
    for row in rows:
        cells = row["checkpoint"], row["case"], f"{row['logits']:.1e}", f"{row['loss']:.1e}", f"{row['greedy']} equal"
        print(f"| {' | '.join(cells)} |")
    if path := os.environ.get("REELM_PARITY_REPORT"):
        Path(path).write_text(json.dumps(rows, indent=1))


def _expanded(model: ReelmModel, case: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The recorded ids with each placeholder replaced by its features; labels keep up with -100 there."""
    ids, labels = case["input_ids"][0], case.get("labels", case["input_ids"])[0]
    table = model.get_input_embeddings()
    parts, wanted, medium = [], [], 0
    for token, label in zip(ids.tolist(), labels.tolist(), strict=True):
        if token not in PLACEHOLDERS:
            parts.append(table(torch.tensor([token])))
            wanted.append(label)
            continue
        tokens = []
        for name in ("image", "video"):
            if (pixels := case.get(f"media{medium}.{name}")) is not None:
                tokens += model.encode_vision(pixels, [len(pixels)])
        if (bank := case.get(f"media{medium}.audio")) is not None:
            tokens += model.encode_audio(bank.flatten(0, 1), [bank.shape[-2]])
        parts.append(torch.cat(tokens))
        wanted += [-100] * len(parts[-1])
        medium += 1
    return {"inputs_embeds": torch.cat(parts)[None], "labels": torch.tensor([wanted])}


@pytest.mark.parametrize(("folder", "stem", "case"), _cases())
def test_logits_loss_and_greedy_tokens_are_the_recorded_ones(
    folder: str, stem: str, case: str, loaded: dict[tuple[str, str], Any], table: list[dict[str, Any]]
) -> None:
    model = loaded[folder, stem]
    recorded = load_file(parity_dir(folder) / f"{stem}_{case}.safetensors")
    with torch.no_grad():
        inputs = _expanded(model, recorded)
        out = model(**inputs)
        greedy = model.generate(inputs_embeds=inputs["inputs_embeds"], do_sample=False, eos_token_id=None,
                                max_new_tokens=recorded["greedy"].shape[1])
    logits = float((out.logits - recorded["logits"]).abs().max())
    loss = float((out.loss - recorded["loss"]).abs().max())
    table.append({"checkpoint": stem, "case": case, "logits": logits, "loss": loss, "greedy": greedy.shape[1]})
    assert logits <= 1e-4
    assert loss <= 1e-5
    assert greedy.tolist() == recorded["greedy"].tolist()


@pytest.mark.parametrize(("folder", "stem", "case"), _cases())
def test_cells_in_the_prompt_give_the_same_as_laid_in_features(
    folder: str, stem: str, case: str, loaded: dict[tuple[str, str], Any]
) -> None:
    """The way users go: valid ids, kinds per token, raw pixels and filter banks, everything inside `forward`."""
    model = loaded[folder, stem]
    recorded = load_file(parity_dir(folder) / f"{stem}_{case}.safetensors")
    media = [name for name in sorted(recorded) if name.startswith("media")]
    pixels = [recorded[name] for name in media if not name.endswith(".audio")]
    banks = [recorded[name].flatten(0, 1) for name in media if name.endswith(".audio")]
    with torch.no_grad():
        vision = [len(v) for p in pixels for v in model.encode_vision(p, [len(p)])]
        audio = [len(a) for b in banks for a in model.encode_audio(b, [len(b)])]
        ids, kinds = [], []
        for token in recorded["input_ids"][0].tolist():
            sees = [vision.pop(0)] if token in (-200, -201) and vision else []
            hears = [audio.pop(0)] if token == -202 or (token == -201 and len(pixels) == len(banks) and audio) else []
            cells = [1] * sum(sees) + [2] * sum(hears)
            ids += [0] * len(cells) if token < 0 else [token]
            kinds += cells if token < 0 else [0]
        given: dict[str, Any] = {}
        if pixels:
            given |= {"pixel_values_videos": torch.cat(pixels), "video_frames": [len(p) for p in pixels]}
        if banks:
            given |= {"input_features": torch.cat(banks), "audio_frames": [len(b) for b in banks]}
        inputs = {"input_ids": torch.tensor([ids]), "mm_token_type_ids": torch.tensor([kinds]),
                  "attention_mask": torch.ones(1, len(ids), dtype=torch.long)}
        greedy = model.generate(**inputs, **given, do_sample=False, eos_token_id=None,
                                max_new_tokens=recorded["greedy"].shape[1])
        out = model(**inputs, **given)
    assert float((out.logits - recorded["logits"]).abs().max()) <= 1e-4
    assert greedy[:, len(ids):].tolist() == recorded["greedy"].tolist()
