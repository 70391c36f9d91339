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


def _media(case: dict[str, torch.Tensor]) -> list[tuple[torch.Tensor | None, torch.Tensor | None]]:
    """Pixels and filter bank of each medium in order, either None where the medium lacks it."""
    found: list[tuple[torch.Tensor | None, torch.Tensor | None]] = []
    while own := {name.split(".")[1]: case[name] for name in case if name.startswith(f"media{len(found)}.")}:
        bank = own.get("audio")
        found.append((own.get("video", own.get("image")), None if bank is None else bank.flatten(0, 1)))
    return found


def _encoded(model: ReelmModel, case: dict[str, torch.Tensor]) -> list[tuple[list[torch.Tensor], list[torch.Tensor]]]:
    return [([] if pixels is None else model.encode_vision(pixels, [len(pixels)]),
             [] if bank is None else model.encode_audio(bank, [len(bank)])) for pixels, bank in _media(case)]


def _laid_in(model: ReelmModel, case: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The recorded ids with each placeholder replaced by its features; labels keep up with -100 there."""
    media = iter(_encoded(model, case))
    parts, wanted = [], []
    for token, label in zip(case["input_ids"][0].tolist(), case["labels"][0].tolist(), strict=True):
        if token < 0:
            vision, audio = next(media)
            parts.append(torch.cat(vision + audio))
            wanted += [-100] * len(parts[-1])
        else:
            parts.append(model.get_input_embeddings()(torch.tensor([token])))
            wanted.append(label)
    return {"inputs_embeds": torch.cat(parts)[None], "labels": torch.tensor([wanted])}


def _with_cells(model: ReelmModel, case: dict[str, torch.Tensor]) -> dict[str, Any]:
    """The recorded ids with valid ids and kinds in place of placeholders, and the raw media beside."""
    media = iter(_encoded(model, case))
    ids: list[int] = []
    kinds: list[int] = []
    for token in case["input_ids"][0].tolist():
        vision, audio = next(media) if token < 0 else ([], [])
        cells = [1] * sum(map(len, vision)) + [2] * sum(map(len, audio))
        ids += [0] * len(cells) if token < 0 else [token]
        kinds += cells if token < 0 else [0]
    pixels = [p for p, _ in _media(case) if p is not None]
    banks = [b for _, b in _media(case) if b is not None]
    given: dict[str, Any] = {"input_ids": torch.tensor([ids]), "mm_token_type_ids": torch.tensor([kinds]),
                             "attention_mask": torch.ones(1, len(ids), dtype=torch.long)}
    if pixels:
        given |= {"pixel_values_videos": torch.cat(pixels), "video_frames": [len(p) for p in pixels]}
    if banks:
        given |= {"input_features": torch.cat(banks), "audio_frames": [len(b) for b in banks]}
    return given


@pytest.mark.system("videollama2", "parity")
@pytest.mark.parametrize(("folder", "stem", "case"), _cases())
def test_logits_loss_and_greedy_tokens_are_the_recorded_ones(
    folder: str, stem: str, case: str, loaded: dict[tuple[str, str], Any], table: list[dict[str, Any]]
) -> None:
    model = loaded[folder, stem]
    recorded = load_file(parity_dir(folder) / f"{stem}_{case}.safetensors")
    with torch.no_grad():
        inputs = _laid_in(model, recorded)
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
    with torch.no_grad():
        inputs = _with_cells(model, recorded)
        greedy = model.generate(**inputs, do_sample=False, eos_token_id=None,
                                max_new_tokens=recorded["greedy"].shape[1])
        out = model(**inputs)
    assert float((out.logits - recorded["logits"]).abs().max()) <= 1e-4
    assert greedy[:, inputs["input_ids"].shape[1]:].tolist() == recorded["greedy"].tolist()
