"""The read-out says what is in a cell, and stored pictures are made once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from reelm.data.features import Features
from reelm.data.world import GALLERY
from reelm.kernels.sprites import COLOURS, KINDS
from reelm.studies.seen import GUESSED, _targets, fit, lite_tower, seen, sources, table


def test_a_cell_inside_an_object_is_told_its_kind_and_colour() -> None:
    stills = Features(Path("unused"), 11, 2, GALLERY)
    for clip in range(5):
        told = _targets(stills, clip, 8).reshape(8, 8, GUESSED)
        main = stills.scene(clip)[0].actors[0]
        cell = told[int(main.start[1] * 8), int(main.start[0] * 8)]
        assert cell[0] == 1 and cell[1:25].sum() == 1 and cell[25:].sum() == 1
        assert cell[1 + KINDS.index(main.kind)] == 1 and cell[25 + list(COLOURS).index(main.colour)] == 1
        assert not told[told[..., 0] == 0].any()


def test_the_read_out_finds_what_is_written_in_the_features() -> None:
    """Features that hold the truth, mixed by a random matrix: the guesses give it back."""
    stills, rng = Features(Path("unused"), 11, 2, GALLERY), np.random.default_rng(0)
    mix = rng.normal(size=(GUESSED, 80)).astype(np.float32)
    truth = np.stack([_targets(stills, i, 4) for i in range(64)])
    shard = {"features": torch.from_numpy(truth @ mix), "index": torch.arange(64)[:, None].expand(-1, 2)}
    read = fit(stills, [shard], 48)
    out = read(shard["features"])
    assert out.shape == (64, 16, 48)
    guess = out[..., 1:25].argmax(-1).numpy()
    there = truth[..., 0] == 1
    assert (guess[there] == truth[..., 1:25].argmax(-1)[there]).mean() > 0.99
    assert out.flatten(0, 1)[:, :GUESSED].std(0) == pytest.approx(1, abs=0.1)
    kept = table(stills, [shard, shard], read)
    assert kept.pictures.shape == (128, 4, 4, 48) and kept.index[64, 0] == 64


def test_pictures_are_made_once_and_the_folder_names_the_scenes(tmp_path: Path) -> None:
    opened = []

    def tower():
        opened.append(1)
        return lite_tower(64, 2, trained=False)

    settings = {"width": 40, "stills": 1, "count": 1, "seed": 11, "say": lambda text: None}
    first = seen("parades", tmp_path, tower, **settings)
    assert len(opened) == 2 and first.pictures.shape[1:] == (2, 2, 40) and first.index.shape == (64, 5)
    assert torch.equal(seen("parades", tmp_path, tower, **settings).pictures, first.pictures) and len(opened) == 2
    spread = first.frames(first.index[0]).flatten(1)
    assert torch.cdist(spread, spread).fill_diagonal_(9).min() > 0.1, "five different pictures"
    names = {f.folder.name for f in sources(tmp_path, 11).values()}
    assert names.isdisjoint(f.folder.name for f in sources(tmp_path, 12).values())
