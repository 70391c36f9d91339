"""Names that the picture tower knows: features made from its classifier are read as the name they were made for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image as Picture

from reelm.data.named import box, named_scene, names, towards
from reelm.data.photographs import HELD_OUT, composed, training
from reelm.data.questions import ask, types_of


def test_features_moved_towards_a_class_are_taken_for_it() -> None:
    drawn = torch.Generator().manual_seed(1)
    weight, bias = torch.randn(1000, 1280, generator=drawn) * 0.06, torch.zeros(1000)
    mean = torch.rand(1280, generator=drawn) * 0.3
    for which in (0, 7, 999):
        moved = mean + towards(mean, which, weight, bias, 0.6)
        chances = (weight @ moved + bias).softmax(0)
        assert chances.argmax() == which and chances[which] >= 0.6 and moved.min() >= 0


def test_the_names_are_the_thousand_of_imagenet() -> None:
    assert len(names()) == 1000
    assert [names()[i] for i in (0, 1, 281, 340, 999)] == ["tench", "goldfish", "tabby cat", "zebra", "toilet paper"]
    assert all(name == name.strip() and name and "," not in name for name in names())


def test_the_box_of_a_thing_is_never_empty_and_grows_with_it() -> None:
    assert box(4, 0.1, (0.13, 0.13)).sum() >= 1
    assert box(8, 0.9, (0.5, 0.5)).sum() > box(8, 0.5, (0.5, 0.5)).sum()
    left = box(8, 0.4, (0.25, 0.5))
    assert left[:, :4].any() and not left[:, 5:].any()


def test_a_named_thing_is_asked_for_by_its_name() -> None:
    staged = named_scene(3, "red fox", 0.8, (0.5, 0.5))
    assert set(types_of(staged)) == {"caption", "name", "name_present"}
    assert ask(staged, "name").answer == "red fox" and ask(staged, "caption").answer == "A picture of a red fox."
    for seed in range(20):
        asked = ask(staged, "name_present", seed)
        assert (asked.answer == "yes") == ("a red fox" in asked.text)


def test_held_out_photographs_are_never_trained_on(tmp_path: Path) -> None:
    for name in (*list(HELD_OUT)[:3], "animals/birds/crow", "symbols/math/1", "animals/birds/crow_mirror"):
        path = tmp_path / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Picture.new("RGBA", (20, 10), (255, 0, 0, 255)).save(path)
    assert training(tmp_path) == ["animals/birds/crow"] and len(HELD_OUT) >= 60


def test_a_cut_out_stands_on_its_ground(tmp_path: Path) -> None:
    Picture.new("RGBA", (20, 10), (255, 0, 0, 255)).save(tmp_path / "a.png")
    whole = composed(tmp_path / "a.png", 100, (0, 0, 255), share=0.5, centre=(0.25, 0.5))
    red = (whole == (255, 0, 0)).all(-1)
    rows, columns = np.nonzero(red)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (38, 62, 0, 49) or red.sum() == 50 * 25
    assert (whole[~red] == (0, 0, 255)).all()
