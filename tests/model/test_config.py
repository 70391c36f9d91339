"""A config names every part and admits nothing it does not know."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers import AutoConfig

from model import small
from reelm.errors import UsageError
from reelm.model import ReelmConfig


def test_a_saved_config_comes_back_the_same(tmp_path: Path) -> None:
    config = small.config("qwen2", layout={"kind": "chat", "system": "Be brief."})
    config.save_pretrained(tmp_path)
    again = AutoConfig.from_pretrained(tmp_path)
    assert isinstance(again, ReelmConfig)
    assert {**again.to_dict(), "_name_or_path": ""} == config.to_dict()
    assert again.text_config.model_type == "qwen2"


def test_an_unknown_key_is_refused_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="connectr"):
        ReelmConfig(connectr="stc")
    small.config().save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "visoin": {}}))
    with pytest.raises(UsageError, match="visoin"):
        ReelmConfig.from_pretrained(tmp_path)


@pytest.mark.parametrize(("section", "match"), [
    ({**small.VISION, "framse": 4}, "framse"),
    ({**small.VISION, "encoder": {"kind": "clop"}}, "clop"),
    ({**small.VISION, "connector": {**small.VISION["connector"], "dpeth": 1}}, "dpeth"),
    ({**small.VISION, "image": {"repeat": 0}}, "repeat"),
])
def test_a_mistake_inside_a_section_is_named(section: dict, match: str) -> None:
    with pytest.raises(UsageError, match=match):
        ReelmConfig(text_config=small.text_config(), vision=section)


def test_widths_that_do_not_fit_are_refused_before_any_weight_exists() -> None:
    with pytest.raises(UsageError, match=r"in_width is 17.*16"):
        ReelmConfig(text_config=small.text_config(),
                    vision={**small.VISION, "connector": {**small.VISION["connector"], "in_width": 17}})
    with pytest.raises(UsageError, match=r"out_width is 32.*64"):
        ReelmConfig(text_config=small.text_config(hidden_size=64), audio=small.AUDIO)


def test_the_frame_count_reaches_the_sampler_and_the_repetition_of_stills() -> None:
    vision = small.config().vision_settings
    assert vision is not None
    assert (vision.frames, vision.repeat) == (4, 4)
    assert vision.sampler_settings(6)["frames"] == 6
