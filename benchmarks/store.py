"""A training loader without a store, with stored frames and with stored features: samples/s, CPU seconds, ratios.

The films are made here; the model has reelm-tiny's shape of a picture tower (random weights, the work is the same) and
a small sound tower. A sample counts when it has become what the connectors take: without stored features, the towers
run on it. The three ways take turns, one batch each, so that other work on the machine meets all of them alike. The
files of the stores are read again and again, so they come from the system's memory, as those of a small set do.

Run: python benchmarks/store.py [--films 8] [--seconds 10] [--batch 4] [--rounds 6] [--width 640]
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from reelm.data.collate import apart, collate
from reelm.data.prepared import Towers, features, pixels
from reelm.data.samples import Samples
from reelm.data.store import Store
from reelm.media import write_video
from reelm.model.config import ReelmConfig
from reelm.model.modeling import ReelmModel
from reelm.model.processing import ReelmProcessor
from reelm.model.sensing import Senses
from reelm.model.toy import byte_tokenizer, language_config
from reelm.types import Audio

WIDTH = 64
VISION = {"encoder": {"kind": "efficientnet_lite", "image_px": 256, "thumbnail": 4}, "frames": 8,
          "connector": {"kind": "stc_v35", "in_width": 1328, "out_width": WIDTH, "depth": 1, "downsample": [2, 2, 2]}}
AUDIO = {"encoder": {"kind": "beats", "embed_dim": 128, "encoder_layers": 4, "encoder_embed_dim": 256,
                     "encoder_ffn_embed_dim": 1024, "encoder_attention_heads": 8},
         "connector": {"kind": "mlp", "in_width": 256, "out_width": WIDTH}}


def films(folder: Path, count: int, seconds: float, width: int) -> Path:
    """Films of moving noise over a gradient, 25 frames per second, with a tone; and a file of records about them."""
    height = width * 9 // 16 // 2 * 2
    ramp = np.add.outer(np.arange(height), np.arange(width))[..., None] * [1, 2, 3] % 256
    rows = []
    for number in range(count):
        rng = np.random.default_rng(number)
        patch = rng.integers(0, 255, (height // 4, width // 4, 3), np.uint8)

        def frame(at: int, patch: np.ndarray = patch) -> np.ndarray:
            picture = ramp.astype(np.uint8)
            x, y = at * 3 % (width - patch.shape[1]), at % (height - patch.shape[0])
            picture[y:y + patch.shape[0], x:x + patch.shape[1]] = patch
            return picture

        tone = np.sin(np.arange(int(16_000 * seconds)) * (0.05 + 0.02 * number)).astype(np.float32)[None] * 0.3
        write_video(folder / f"{number}.mp4", map(frame, range(int(25 * seconds))), 25, audio=Audio(tone, 16_000))
        rows.append({"id": str(number), "video": f"{number}.mp4", "conversations": [
            {"from": "human", "value": "<video>\nWhat moves?"}, {"from": "gpt", "value": "A patch."}]})
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "train.jsonl"


def whole_model() -> tuple[ReelmModel, ReelmProcessor]:
    torch.manual_seed(0)
    config = ReelmConfig(text_config=language_config(hidden_size=WIDTH), vision=VISION, audio=AUDIO)
    model = ReelmModel(config).eval().requires_grad_(False)
    return model, ReelmProcessor.of(config, byte_tokenizer())


@torch.no_grad()
def block(samples: Samples, towers: Towers, at: int, size: int) -> tuple[float, float, float]:
    """(seconds, CPU seconds of loading, CPU seconds of the towers) of one batch."""
    began, cpu = time.perf_counter(), time.process_time()
    batch, _ = apart(collate([samples[(at + i) % len(samples)] for i in range(size)], 0))
    loaded = time.process_time()
    if "pixel_values_videos" in batch:
        towers.model.see(batch["pixel_values_videos"])
        towers.model.hear(batch["input_features"], batch["audio_frames"])
    return time.perf_counter() - began, loaded - cpu, time.process_time() - loaded


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("films", 8), ("seconds", 10.0), ("batch", 4), ("rounds", 6), ("width", 640)):
        parser.add_argument(f"--{name}", type=type(value), default=value)
    given = parser.parse_args()
    model, processor = whole_model()
    senses, towers = Senses(processor), Towers(model)
    with tempfile.TemporaryDirectory() as folder:
        file = films(Path(folder), given.films, given.seconds, given.width)
        stores = {"frames": Store(Path(folder, "frames")), "features": Store(Path(folder, "features"))}
        prepares: dict[str, Callable[..., Any] | None] = {
            "no store": None, "stored frames": partial(pixels, stores["frames"], senses),
            "stored features": partial(features, stores["features"], senses, towers)}
        ways = {name: Samples.read(file, processor, prepare=prepare) for name, prepare in prepares.items()}
        began = time.process_time()
        for way in list(ways.values())[1:]:
            for at in range(given.films):
                way[at]
        filled = time.process_time() - began
        taken: dict[str, list[tuple[float, float, float]]] = {name: [] for name in ways}
        for turn in range(given.rounds):
            for name, samples in ways.items():
                taken[name].append(block(samples, towers, turn * given.batch, given.batch))
        print(f"{given.films} films of {given.seconds:g} s, {given.width} pixels wide, 25 frames per second, with "
              f"sound; 8 frames a sample; {given.rounds} batches of {given.batch} each, in turns; "
              f"{torch.get_num_threads()} threads")
        first = [sum(one) for one in zip(*taken["no store"], strict=True)]
        for name, one in taken.items():
            wall, loading, tower = (sum(column) for column in zip(*one, strict=True))
            ratios = [a[0] / b[0] for a, b in zip(taken["no store"], one, strict=True)]
            count = given.rounds * given.batch
            print(f"{name:15s}: {count / wall:7.2f} samples/s, ratio {statistics.median(ratios):5.1f} "
                  f"({min(ratios):.1f} to {max(ratios):.1f}); CPU seconds a sample: loading {loading / count:.4f} "
                  f"(ratio {first[1] / loading:.1f}), towers {tower / count:.4f}, both together ratio "
                  f"{(first[1] + first[2]) / (loading + tower):.1f}")
        for name, store in stores.items():
            print(f"stored {name}: {store.totals()['bytes'] / given.films / 1e6:.2f} MB a sample, "
                  f"{dict(store.counts)}")
        print(f"filling both: {filled / given.films:.2f} CPU seconds a film")


if __name__ == "__main__":
    main()
