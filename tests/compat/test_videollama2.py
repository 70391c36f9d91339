"""Scripts of the official repository, run as they stand but for the import."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as PilImage

import reelm
from house.tree import ROOT
from model import published_folders as made
from model import small
from model.films import pictures, tone
from model.official_folder import write_official_folder
from reelm.compat.videollama2 import mm_infer, model_init
from reelm.errors import UsageError
from reelm.media import write_video
from reelm.parts.samplers.uniform import uniform_indices
from reelm.types import Clip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("official")
    write_video(folder / "a.mp4", pictures(), 10, tone())
    write_video(folder / "mute.mp4", pictures(seed=2), 10)
    PilImage.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)).save(folder / "a.png")
    made.write_av(folder / "av")
    write_official_folder(*made.MISTRAL, folder / "seeing")
    return folder


@pytest.fixture(scope="module")
def av(place: Path) -> Any:
    with pytest.warns(UserWarning, match="not read"):
        return model_init(str(place / "av"), device="cpu")


@pytest.fixture(scope="module")
def seeing(place: Path) -> Any:
    return model_init(str(place / "seeing"), device="cpu")


def test_the_signatures_are_the_official_ones() -> None:
    assert list(inspect.signature(model_init).parameters) == ["model_path", "kwargs"]
    assert str(inspect.signature(mm_infer).parameters["modal"]) == "modal: 'str' = 'video'"
    assert list(inspect.signature(mm_infer).parameters) == ["image_or_video", "instruct", "model", "tokenizer", "modal",
                                                            "kwargs"]


@pytest.mark.parametrize(("modal", "file"), [("video", "a.mp4"), ("image", "a.png")])
def test_the_official_inference_script_says_what_reelm_says(place: Path, seeing: Any, modal: str, file: str) -> None:
    model, processor, tokenizer = seeing
    output = mm_infer(processor[modal](str(place / file)), "What is it?", model=model, tokenizer=tokenizer,
                      do_sample=False, modal=modal, max_new_tokens=8)
    lm = reelm.load(place / "seeing", device="cpu")
    assert output == lm.answer(Clip(place / file), "What is it?", max_tokens=8).text != ""
    assert processor[modal](str(place / file)).shape == (8 if modal == "video" else 1, 3, 56, 56)


@pytest.mark.parametrize("kind", ["a", "v", "av"])
def test_the_official_audio_visual_script_hears_as_told(place: Path, av: Any, kind: str) -> None:
    model, processor, tokenizer = av
    preprocess = processor["audio" if kind == "a" else "video"]
    tensor = preprocess(str(place / "a.mp4")) if kind == "a" else preprocess(str(place / "a.mp4"), va=kind == "av")
    output = mm_infer(tensor, "What is it?", model=model, tokenizer=tokenizer,
                      modal="audio" if kind == "a" else "video", do_sample=False, max_new_tokens=8)
    assert isinstance(output, str)
    if kind == "av":
        assert {key: tuple(one.shape) for key, one in tensor.items()} == {"video": (8, 3, 70, 70),
                                                                        "audio": (1, 2998, 128)}
    if kind != "a":
        lm = reelm.load(place / "av", device="cpu")
        assert output == lm.answer(Clip(place / "a.mp4"), "What is it?", max_tokens=8, audio=kind == "av").text


def test_an_image_alone_is_answered_by_the_audio_visual_model(place: Path, av: Any) -> None:
    model, processor, tokenizer = av
    assert isinstance(mm_infer(processor["image"](str(place / "a.png")), "What?", model, tokenizer, modal="image",
                               max_new_tokens=3), str)


def test_text_alone_and_conversations(place: Path, seeing: Any) -> None:
    model, processor, tokenizer = seeing
    lm = reelm.load(place / "seeing", device="cpu")
    alone = mm_infer(None, "Hello?", model, tokenizer, modal="text", max_new_tokens=5)
    assert alone == lm.answer("Hello?", max_tokens=5).text
    turns = [{"role": "user", "content": "What?"}, {"role": "assistant", "content": "a ball"},
             {"role": "user", "content": "Which?"}]
    video = processor["video"](str(place / "a.mp4"))
    assert isinstance(mm_infer(video, turns, model, tokenizer, max_new_tokens=5), str)
    assert mm_infer(video, turns[:1], model, tokenizer, max_new_tokens=5) == mm_infer(
        video, "What?", model, tokenizer, max_new_tokens=5)
    with pytest.raises(UsageError, match="begins with the user"):
        mm_infer(video, turns[1:], model, tokenizer)


def test_frames_between_seconds_are_those_of_the_official_arithmetic(place: Path, seeing: Any) -> None:
    _, processor, _ = seeing
    path = str(place / "a.mp4")
    whole = processor["video"](path, num_frames=40)
    assert torch.equal(processor["video"](path), whole[uniform_indices(40, 8)])
    # From int(1 · 10) - 1 to int(3 · 10) - 1, both included; swapped and negative ends are put right.
    for start, end in ((1, 3), (3, 1)):
        assert torch.equal(processor["video"](path, s=start, e=end), whole[9 + uniform_indices(21, 8)])
    assert torch.equal(processor["video"](path, s=-2, e=0), whole[uniform_indices(10, 8)])
    with pytest.raises(UsageError, match="without e"):
        processor["video"](path, s=1)


def test_given_pictures_are_used_as_they_are_and_said_so(seeing: Any) -> None:
    _, processor, _ = seeing
    frames = [frame.transpose(1, 2, 0) for frame in small.frames(5).rgb]
    with pytest.warns(UserWarning, match="no black frame"):
        tensor = processor["video"](frames)
    assert len(tensor) == 5 and torch.equal(processor["image"](frames[0])[0], tensor[0])
    assert torch.equal(processor["image"](PilImage.fromarray(frames[0])), processor["image"](frames[0]))


def test_sound_that_is_not_there_is_no_silence(place: Path, av: Any) -> None:
    _, processor, _ = av
    with pytest.warns(UserWarning, match="no sound track"):
        assert set(processor["video"](str(place / "mute.mp4"), va=True)) == {"video"}
    with pytest.raises(UsageError, match="holds no sound"):
        processor["audio"](str(place / "mute.mp4"))


def test_sampling_uses_the_official_defaults_and_follows_the_seed_of_torch(place: Path, seeing: Any) -> None:
    model, processor, tokenizer = seeing
    video = processor["video"](str(place / "a.mp4"))
    torch.manual_seed(3)
    first = mm_infer(video, "What?", model, tokenizer, do_sample=True, temperature=5.0, max_new_tokens=8)
    torch.manual_seed(3)
    assert first == mm_infer(video, "What?", model, tokenizer, do_sample=True, temperature=5.0, max_new_tokens=8)


def test_options_that_the_official_code_ignores_are_errors(place: Path, av: Any, seeing: Any) -> None:
    model, processor, tokenizer = seeing
    video = processor["video"](str(place / "a.mp4"))
    for call, said in ((lambda: model_init(str(place / "av"), load_16bit=True), "load_16bit"),
                       (lambda: model_init(str(place / "av"), load_8bit=True, load_4bit=True), "exclude"),
                       (lambda: model_init(str(place / "av"), device_map={"": 0}), "spreads"),
                       (lambda: mm_infer(video, "?", model, tokenizer, num_beams=2), "num_beams"),
                       (lambda: mm_infer(video, "?", model, tokenizer, modal="film"), "film"),
                       (lambda: mm_infer(None, "?", model, tokenizer), "absent"),
                       (lambda: mm_infer({"audio": video}, "?", model, tokenizer), "dict of audio"),
                       (lambda: processor["video"](str(place / "a.mp4"), va=True), "does not hear")):
        with pytest.raises(UsageError, match=said):
            call()


def test_the_default_length_ends_with_the_context(place: Path, seeing: Any) -> None:
    model, processor, tokenizer = seeing
    model.config.text_config.max_position_embeddings = 520
    try:
        with pytest.warns(UserWarning, match="where the model's context ends"):
            mm_infer(None, "Hello?", model, tokenizer, modal="text")
    finally:
        model.config.text_config.max_position_embeddings = 2048


def test_the_page_for_newcomers_names_things_that_exist() -> None:
    page = (ROOT / "docs" / "coming-from-videollama2.md").read_text()
    for name in re.findall(r"`reelm (model \w+|\w+)", page):
        from house.command import reelm as run

        assert run(*name.split(), "--help").returncode == 0, name
    (code,) = re.findall(r"```python\n(.*?)```", page, re.S)
    compile(code, "page", "exec")
    assert "model_init" in code and "mm_infer" in code
