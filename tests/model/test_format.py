"""A model folder of yesterday loads today; one of tomorrow says what to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig

from model import small
from reelm.errors import CheckpointError
from reelm.model import ReelmConfig, format
from reelm.model.load import load
from reelm.model.toy import random_model


def rewritten(folder: Path, **change: Any) -> Path:
    """The config file in `folder` with other fields; None takes one out."""
    path = folder / "config.json"
    fields = json.loads(path.read_text()) | change
    path.write_text(json.dumps({key: value for key, value in fields.items() if value is not None}))
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    small.config().save_pretrained(tmp_path)
    return tmp_path


def test_a_saved_config_has_the_number_of_its_form(folder: Path) -> None:
    assert json.loads((folder / "config.json").read_text())["format"] == format.FORMAT == max(format.STEPS) + 1


def test_every_form_up_to_todays_has_a_step() -> None:
    assert sorted(format.STEPS) == list(range(format.FORMAT))


def test_a_model_saved_before_there_was_a_number_loads_and_answers_the_same(tmp_path: Path) -> None:
    model, processor = random_model()
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    now = load(tmp_path, dtype="float32")
    before = load(rewritten(tmp_path, format=None), dtype="float32")
    assert before.model.config.format == format.FORMAT
    assert all(torch.equal(one, other) for one, other in zip(now.model.parameters(), before.model.parameters(),
                                                             strict=True))
    assert before.answer("Who?", max_tokens=4).text == now.answer("Who?", max_tokens=4).text


def test_the_steps_are_taken_one_after_another_from_where_a_file_stands(folder: Path,
                                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    # Form 1 is imagined to have called the layout "prompt", form 2 to have written its kind alone.
    def prompt_is_layout(fields: dict) -> dict:
        return {("layout" if key == "prompt" else key): value for key, value in fields.items()}

    def layout_has_settings(fields: dict) -> dict:
        return fields | {"layout": {"kind": fields["layout"]}}

    monkeypatch.setattr(format, "FORMAT", 3)
    monkeypatch.setattr(format, "STEPS", {**format.STEPS, 1: prompt_is_layout, 2: layout_has_settings})
    for number, old in ((None, {"prompt": "chat", "layout": None}), (1, {"prompt": "chat", "layout": None}),
                        (2, {"prompt": None, "layout": "chat"}), (3, {"prompt": None, "layout": {"kind": "chat"}})):
        config = AutoConfig.from_pretrained(rewritten(folder, format=number, **old))
        assert config.layout == {"kind": "chat"} and config.format == 3, number


@pytest.mark.parametrize("opened", [AutoConfig.from_pretrained, ReelmConfig.from_pretrained])
def test_a_newer_form_is_refused_with_what_to_do(folder: Path, opened: Any) -> None:
    with pytest.raises(CheckpointError, match=r"format 2.*reads formats 0 to 1.*pip install -U reelm"):
        opened(rewritten(folder, format=2))


@pytest.mark.parametrize("number", ["1", 1.0, -1, True])
def test_a_number_that_is_none_is_refused(folder: Path, number: Any) -> None:
    with pytest.raises(CheckpointError, match="expected a number"):
        ReelmConfig.from_pretrained(rewritten(folder, format=number))


def test_reading_leaves_the_given_fields_alone() -> None:
    fields = {"layout": {"kind": "chat"}}
    assert format.up_to_date(fields) == fields | {"format": format.FORMAT} and "format" not in fields
