"""IG-VLM: frames tiled into one picture, as recorded from the released code."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from house.command import reelm as command
from kernels.recorded import recorded
from parity_root import parity_dir
from reelm.parts.samplers.grid import grid_indices
from reelm.registry import build
from reelm.types import Frames, MediaInfo


@pytest.mark.system("ig_vlm", "parity")
def test_the_picture_is_the_recorded_one() -> None:
    file = recorded("ig_vlm", "grid")
    for count, wanted in file.named("grid.").items():
        rgb = file[f"frames.{count}"].numpy().transpose(0, 3, 1, 2)
        sampler = build("sampler", {"kind": "grid", "frames": int(count)})
        made = sampler.arrange(Frames(rgb, np.arange(len(rgb)) / 2, np.zeros(len(rgb), bool)))
        assert len(made) == sampler.pictures(len(rgb)) == 1
        assert np.array_equal(made.rgb[0].transpose(1, 2, 0), wanted.numpy())
        assert made.at_s.tolist() == [(len(rgb) - 1) / 4]


@pytest.mark.system("ig_vlm", "parity")
def test_the_frames_are_the_recorded_ones_where_it_does_as_released() -> None:
    told = json.loads((parity_dir("ig_vlm") / "frames.json").read_text())
    for key, wanted in told["frames_picked"].items():
        count, frames = map(int, key.split(":"))
        assert grid_indices(count, frames).tolist() == wanted, key
        info = MediaInfo("video", "a.mp4", 0.0, float(count), np.arange(count, dtype=float), fps=1.0)
        sampler = build("sampler", {"kind": "grid", "frames": frames, "as_released": True})
        assert sampler.pick(info).tolist() == wanted


def test_by_itself_it_sees_the_whole_clip() -> None:
    info = MediaInfo("video", "a.mp4", 0.0, 60.0, np.arange(60, dtype=float), fps=1.0)
    assert build("sampler", {"kind": "grid"}).pick(info).tolist() == [5, 15, 25, 34, 44, 54]


@pytest.mark.system("ig_vlm", "cli")
def test_it_answers_about_a_file(media_folder: Path) -> None:
    def ask(file: str, *more: str) -> dict:
        done = command("ask", file, "What moves?", "-m", "random", "--json", "--max-tokens", "4", *more,
                       cwd=media_folder)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    tiled, still, plain = ask("clip.mp4", "--system", "ig_vlm"), ask("photo.png"), ask("clip.mp4")
    assert len(tiled["files"][0]["used_s"]) == 6 and tiled["text"]
    assert tiled["tokens"]["vision"] == still["tokens"]["vision"], "one picture, however many frames are in it"
    assert tiled["tokens"]["text"] > plain["tokens"]["text"], "the prompt says what the picture is"
    assert len(ask("clip.mp4", "--system", "ig_vlm", "--frames", "9")["files"][0]["used_s"]) == 9
