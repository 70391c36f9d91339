"""Prepared media: the same tensors with a store and without one, and another key for everything that changes them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from house.clips import write_media
from reelm import media
from reelm.data import prepared
from reelm.data.collate import apart, collate
from reelm.data.prepared import Towers, content_digest, features, from_store, key_of, pixels
from reelm.data.samples import Samples
from reelm.data.store import Store
from reelm.errors import MediaError, UsageError
from reelm.media import write_video
from reelm.model.front import VideoLM
from reelm.model.load import load
from reelm.model.processing import ReelmProcessor, Sketch
from reelm.model.sensing import Choice, Senses
from reelm.types import Audio, Clip, Frames, Image, Message


@pytest.fixture(scope="module")
def lm() -> VideoLM:
    model = load("random:av")
    model.model.requires_grad_(False)
    return model


@pytest.fixture
def senses(lm: VideoLM) -> Senses:
    return Senses(lm.processor)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film with sound whose pictures differ, a photograph, a tone."""
    folder = write_media(tmp_path_factory.mktemp("media"))
    rng = np.random.default_rng(3)
    tone = np.sin(np.arange(24_000) * 0.2).astype(np.float32)[None] * 0.3
    write_video(folder / "film.mp4", (rng.integers(0, 255, (48, 64, 3), np.uint8) for _ in range(15)), 10,
                audio=Audio(tone, 16_000))
    return folder


def equal(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Bit for bit, types and notes too."""
    return one.keys() == other.keys() and all(
        value.dtype == other[name].dtype and torch.equal(value, other[name]) if isinstance(value, torch.Tensor)
        else value == other[name] for name, value in one.items())


MEDIA: dict[str, Callable[[Path], Any]] = {
    "film with sound": lambda folder: Clip(folder / "film.mp4"),
    "stretch": lambda folder: Clip(folder / "film.mp4", 0.3, 1.0),
    "photograph": lambda folder: Clip(folder / "photo.png"),
    "bytes": lambda folder: Clip((folder / "film.mp4").read_bytes()),
    "frames in memory": lambda folder: Frames(np.arange(2 * 3 * 5 * 4, dtype=np.uint8).reshape(2, 3, 5, 4),
                                              np.array([0.0, 1.0]), np.zeros(2, bool)),
    "picture in memory": lambda folder: Image(np.zeros((3, 8, 8), np.uint8)),
    "sound in memory": lambda folder: Audio(np.zeros((1, 16_000), np.float32), 16_000),
}


@pytest.mark.parametrize("name", MEDIA)
def test_frames_and_filter_banks_are_the_processors_with_the_store_and_without(name: str, folder: Path, senses: Senses,
                                                                               tmp_path: Path) -> None:
    store, medium = Store(tmp_path), MEDIA[name](folder)
    plain = pixels(None, senses, medium)
    for _ in range(2):
        assert equal(pixels(store, senses, medium), plain)
    assert store.counts == {"made": 1, "found": 1}
    if "pixel_values_videos" in plain:
        assert plain["video_frames"].tolist() == [len(plain["pixel_values_videos"])]
    if "input_features" in plain:
        assert plain["audio_frames"].tolist() == [len(plain["input_features"])]
    assert ("input_features" in plain) == (name in ("film with sound", "stretch", "bytes", "sound in memory"))


def test_a_hit_opens_and_decodes_nothing(folder: Path, senses: Senses, tmp_path: Path,
                                         monkeypatch: pytest.MonkeyPatch) -> None:
    store, clip = Store(tmp_path), Clip(folder / "film.mp4")
    made = pixels(store, senses, clip)
    monkeypatch.setattr(media, "open", lambda *_: pytest.fail("it was opened"))
    assert equal(pixels(store, senses, clip), made)


def test_pixels_take_a_byte_each_on_disk(folder: Path, senses: Senses, tmp_path: Path) -> None:
    store = Store(tmp_path)
    made = pixels(store, senses, Clip(folder / "film.mp4"))["pixel_values_videos"]
    assert store.totals()["bytes"] < 0.3 * made.numel() * 4 + 100_000


def test_pixels_of_more_than_256_values_a_colour_are_kept_as_they_are() -> None:
    made = {"pixel_values_videos": torch.linspace(-1, 1, 3 * 20 * 20).reshape(1, 3, 20, 20)}
    assert prepared._packed(made) is made and prepared._unpacked(made) is made
    few = {"pixel_values_videos": (made["pixel_values_videos"] * 9).round() / 7}
    few["pixel_values_videos"][0, :, 0, :4] = torch.tensor([0.0, -0.0, float("nan"), -1e-40])
    packed = prepared._packed(few)
    (again,) = prepared._unpacked(packed).values()
    assert packed["codes"].dtype == torch.uint8
    assert torch.equal(again.view(torch.int32), few["pixel_values_videos"].view(torch.int32))


def test_a_file_that_changed_or_moved_is_told_by_its_content(folder: Path, senses: Senses, tmp_path: Path) -> None:
    store, file = Store(tmp_path / "store"), tmp_path / "a.mp4"
    file.write_bytes((folder / "film.mp4").read_bytes())
    first = pixels(store, senses, Clip(file))
    os.utime(file, (1, 1))
    moved = file.rename(tmp_path / "b.mp4")
    assert equal(pixels(store, senses, Clip(moved)), first) and store.counts["made"] == 1
    moved.write_bytes((folder / "clip.mp4").read_bytes())
    second = pixels(store, senses, Clip(moved))
    assert not equal(second, first) and equal(second, pixels(None, senses, Clip(moved)))
    assert store.counts["made"] == 2


def test_a_folder_of_pictures_is_told_by_its_pictures(folder: Path, tmp_path: Path) -> None:
    data = (folder / "photo.png").read_bytes()
    for name in ("1.png", "2.png"):
        (tmp_path / name).write_bytes(data)
    before = key_of(Clip(tmp_path))
    assert key_of(Clip(tmp_path)) == before != key_of(Clip(tmp_path, folder_fps=5))
    (tmp_path / "2.png").write_bytes(data + b"\0")
    changed = key_of(Clip(tmp_path))
    (tmp_path / "2.png").rename(tmp_path / "3.png")
    assert len({before, changed, key_of(Clip(tmp_path))}) == 3


def changed(processor: ReelmProcessor, section: str, **fields: Any) -> Senses:
    settings = {"vision": processor.vision, "audio": processor.audio}
    settings[section] = {**getattr(processor, section), **fields}
    return Senses(ReelmProcessor(processor.tokenizer, layout=processor.layout, **settings))


def test_everything_that_changes_the_result_changes_the_key(folder: Path, lm: VideoLM, senses: Senses, tmp_path: Path,
                                                            monkeypatch: pytest.MonkeyPatch) -> None:
    store, film, processor = Store(tmp_path), folder / "film.mp4", lm.processor
    vision, audio = processor.vision, processor.audio
    assert vision is not None and audio is not None
    tower = {**vision["encoder"]["tower"], "image_size": 2 * vision["encoder"]["tower"]["image_size"]}
    asked: list[tuple[Senses, Clip, Choice]] = [
        (senses, Clip(film), Choice()), (senses, Clip(film, 0.2), Choice()), (senses, Clip(film, 0, 1.2), Choice()),
        (senses, Clip(film), Choice(frames=3)), (senses, Clip(film), Choice(fps=2)),
        (senses, Clip(film), Choice(audio=False)),
        (changed(processor, "vision", frames=vision["frames"] + 1), Clip(film), Choice()),
        (changed(processor, "vision", sampler={"kind": "fps", "fps": 4.0}), Clip(film), Choice()),
        (changed(processor, "vision", sampler={"kind": "uniform", "formula": "linspace"}), Clip(film), Choice()),
        (changed(processor, "vision", encoder={**vision["encoder"], "tower": tower}), Clip(film), Choice()),
        (changed(processor, "vision", encoder={**vision["encoder"], "aspect": "pad"}), Clip(film), Choice()),
    ]
    for number, one in enumerate(asked, 1):
        found = pixels(store, *one)
        assert store.counts["made"] == number and equal(found, pixels(None, *one)), one
        assert equal(pixels(store, *one), found) and store.counts["made"] == number
    monkeypatch.setattr(prepared, "_code", lambda: "another release")
    pixels(store, *asked[0])
    assert store.counts["made"] == len(asked) + 1


def test_the_connector_and_the_language_model_may_change_without_another_key(lm: VideoLM, folder: Path,
                                                                             tmp_path: Path, senses: Senses) -> None:
    store = Store(tmp_path)
    vision = lm.processor.vision
    assert vision is not None
    other = changed(lm.processor, "vision", connector={**vision["connector"], "out_width": 8})
    pixels(store, senses, Clip(folder / "photo.png"))
    pixels(store, other, Clip(folder / "photo.png"))
    assert store.counts == {"made": 1, "found": 1}


def test_features_in_place_of_media_give_the_same_logits(lm: VideoLM, folder: Path, senses: Senses,
                                                         tmp_path: Path) -> None:
    store, towers, clip = Store(tmp_path), Towers(lm.model), Clip(folder / "film.mp4")
    raw = pixels(None, senses, clip)
    first, again = (features(store, senses, towers, clip) for _ in range(2))
    assert equal(first, again) and store.counts == {"made": 1, "found": 1}
    assert set(first) == {"vision_features", "video_frames", "audio_features", "audio_frames", "notes"}
    plan = lm.processor.plan([Message("user", (Sketch(len(raw["pixel_values_videos"]), 1.5), "What?"))])
    words = lm.processor.pad([plan.laid])
    counts = {name: raw[name].tolist() for name in ("video_frames", "audio_frames")}
    with torch.no_grad():
        by_media = lm.model(**words, **counts, pixel_values_videos=raw["pixel_values_videos"],
                            input_features=raw["input_features"]).logits
        by_features = lm.model(**words, **counts, vision_features=again["vision_features"],
                               audio_features=again["audio_features"]).logits
    assert torch.equal(by_media, by_features)
    with pytest.raises(UsageError, match="same media twice"):
        lm.model(**words, **counts, vision_features=again["vision_features"], audio_features=again["audio_features"],
                 pixel_values_videos=raw["pixel_values_videos"])
    with pytest.raises(UsageError, match="give pixel_values_videos"):
        lm.model(**words, vision_features=again["vision_features"])
    with pytest.raises(UsageError, match="frames given"):
        lm.model.connect_vision(again["vision_features"][1:], counts["video_frames"])
    with pytest.raises(UsageError, match="sound features given"):
        lm.model.connect_audio(again["audio_features"][1:], counts["audio_frames"])


def test_features_are_those_of_full_precision_even_where_the_trainer_computes_with_less(
        lm: VideoLM, folder: Path, senses: Senses, tmp_path: Path) -> None:
    towers, clip = Towers(lm.model), Clip(folder / "film.mp4")
    plain = features(None, senses, towers, clip)
    with torch.autocast("cpu", torch.bfloat16):
        assert equal(features(Store(tmp_path), senses, towers, clip), plain)
    assert plain["vision_features"].dtype == torch.float32 and not plain["vision_features"].requires_grad


def test_features_belong_to_the_weights_that_made_them(folder: Path, tmp_path: Path) -> None:
    lm = load("random:av")
    with pytest.raises(UsageError, match="towers that learn"):
        Towers(lm.model)
    lm.model.requires_grad_(False)
    lm.model.train()
    senses, store, clip, towers = Senses(lm.processor), Store(tmp_path), Clip(folder / "photo.png"), Towers(lm.model)
    first = features(store, senses, towers, clip)
    assert all(module.training for module in lm.model.vision_tower.modules())
    with torch.no_grad():
        next(lm.model.vision_tower.parameters()).mul_(1.5)
    with pytest.raises(UsageError, match="changed"):
        features(store, senses, towers, clip)
    second = features(store, senses, Towers(lm.model), clip)
    assert store.counts == {"made": 2} and not equal(first, second)


@pytest.mark.parametrize("kept", ["frames", "features"])
def test_training_samples_are_the_same_from_the_store_by_workers_too(kept: str, lm: VideoLM, folder: Path,
                                                                      senses: Senses, tmp_path: Path) -> None:
    said = [{"from": "human", "value": "<video>\nWhat?"}, {"from": "gpt", "value": "That."}]
    rows = [{"id": name, "video": {"path": "film.mp4", "start_s": start}, "conversations": said}
            for name, start in (("a", 0), ("b", 0.5), ("c", 0))]
    file = folder / "train.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    store = Store(tmp_path)
    prepare = from_store(store, lm.model, lm.processor) if kept == "features" else partial(pixels, store, senses)
    plain = Samples.read(file, lm.processor)
    stored = Samples.read(file, lm.processor, prepare=prepare)
    for _ in range(2):
        loaded = list(DataLoader(stored, batch_size=None, num_workers=2, multiprocessing_context="fork"))
        for one, other in zip(loaded, plain, strict=True):
            tensors = {"input_ids", "labels", "mm_token_type_ids", "video_frames", "audio_frames", "notes", "id"}
            tensors |= {"pixel_values_videos", "input_features"} if kept == "frames" else set()
            assert equal({name: one[name] for name in tensors}, {name: other[name] for name in tensors})
    assert 2 <= store.totals()["kept"] <= 3  # two workers may have made the same one at once
    with torch.no_grad():
        (loss, other) = (float(lm.model(**apart(collate([one], 0))[0]).loss) for one in (loaded[1], plain[1]))
    assert loss == pytest.approx(other, abs=1e-6)


def test_notes_come_along(folder: Path, senses: Senses, tmp_path: Path) -> None:
    store = Store(tmp_path)
    for _ in range(2):
        (note,) = pixels(store, senses, Clip(folder / "film.mp4", 0, 0.25))["notes"]
        assert "picture that was already used" in note


def test_of_a_tower_that_learns_the_store_keeps_what_it_takes(folder: Path, tmp_path: Path) -> None:
    lm = load("random:av")
    senses, store, clip = Senses(lm.processor), Store(tmp_path), Clip(folder / "film.mp4")
    raw = pixels(None, senses, clip)
    assert set(from_store(store, lm.model, lm.processor)(clip)) == set(raw)
    lm.model.vision_tower.requires_grad_(False)
    for _ in range(2):
        mixed = from_store(store, lm.model, lm.processor)(clip)
        assert torch.equal(mixed["input_features"], raw["input_features"])
        assert "vision_features" in mixed and "pixel_values_videos" not in mixed
    lm.model.vision_tower.requires_grad_(True)
    lm.model.audio_tower.requires_grad_(False)
    other = from_store(store, lm.model, lm.processor)(clip)
    assert torch.equal(other["pixel_values_videos"], raw["pixel_values_videos"]) and "audio_features" in other
    assert store.counts == {"made": 3, "found": 1}


def test_an_unreadable_file_is_told_and_nothing_is_kept(senses: Senses, tmp_path: Path) -> None:
    store, file = Store(tmp_path / "store"), tmp_path / "bad.mp4"
    file.write_bytes(b"no film")
    for _ in range(2):
        with pytest.raises(MediaError):
            pixels(store, senses, Clip(file))
    assert not store.counts and store.totals()["bytes"] == 0
    with pytest.raises(MediaError):
        pixels(store, senses, Clip(tmp_path / "absent.mp4"))
    assert content_digest(Clip(file)) == content_digest(Clip(b"no film"))
