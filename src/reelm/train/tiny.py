"""Rebuilds the shipped weights of reelm-tiny from nothing: `python -m reelm.train.tiny --out DIR`, or `make tiny`.

Sound tower, stored features of the frozen towers, then every stage of the recipe, as `reelm train` would. Started again
with the same --out it goes on where it was: finished shards are left alone and stages resume from their last state.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from reelm.data.features import SHARD_CLIPS
from reelm.data.hearing import SHARD_TRACKS
from reelm.errors import ReelmError, UsageError
from reelm.train import launch
from reelm.train.learning import Row, table
from reelm.train.recipe import ClipSettings, FreshSettings, Recipe, TrackSettings, read
from reelm.train.world import SOUND_TOWER

RECIPE = Path("recipes/reelm_tiny.yaml")
#: Of the steps every so many are told.
_EVERY = 10


def shards_of(recipe: Recipe) -> dict[str, int]:
    """How many shards each stored set has, in the order they are made."""
    made = {}
    for name, one in recipe.sources.items():
        if isinstance(one, ClipSettings) and one.over is None:
            made[name] = math.ceil(one.clips / SHARD_CLIPS)
        elif isinstance(one, TrackSettings):
            made[name] = math.ceil(one.tracks / SHARD_TRACKS)
    return made


def _python(*arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", *arguments])


def _wait(*running: subprocess.Popen[bytes]) -> None:
    """Waits for all of them; what stands in the way of one ends the others.

    Raises: UsageError with the exit code of the first that failed.
    """
    try:
        codes = [process.wait() for process in running]
    except BaseException:
        for process in running:
            process.terminate()
        raise
    if any(codes):
        raise UsageError(f"a step ended with exit code {next(c for c in codes if c)}", where="reelm-tiny",
                         remedy="See what it said above; the same command goes on from there")


def store(recipe: Recipe, path: Path, processes: int = 2) -> None:
    """Makes what is missing of the sound tower and the stored features of a recipe, the file `path`."""
    features = Path(recipe.features or "")
    assert isinstance(recipe.model, FreshSettings)
    if recipe.model.sound_tower and not (features / SOUND_TOWER).is_file():
        print("sound tower", file=sys.stderr)
        _wait(_python("reelm.train.sounds", str(path), "--out", str(features)))
    for name, count in shards_of(recipe).items():
        if len(list((features / name).glob("*.safetensors"))) >= count:
            continue
        print(f"features of {name}: {count} shards", file=sys.stderr)
        cuts = [round(count * i / processes) for i in range(processes + 1)]
        spans = [f"{a}:{b}" for a, b in zip(cuts[:-1], cuts[1:], strict=True)]
        _wait(*(_python("reelm.train.features", str(path), "--set", name, "--out", str(features), "--shards", span)
                for span in spans))


def say(event: dict[str, Any]) -> None:
    """What an onlooker wants of the log: what learns, every tenth step, and whatever is out of the ordinary."""
    told = dict(event)
    if (kind := told.pop("event")) == "stage":
        print(f"stage {told['stage']}: steps {told['step']} to {told['steps']}\n"
              f"{table([Row(**row) for row in told['parts']])}", file=sys.stderr, flush=True)
    elif kind != "saved" and (kind != "step" or told["step"] % _EVERY == 0 or told["step"] == told["steps"]):
        print(json.dumps({kind: told}), file=sys.stderr, flush=True)


def build(path: Path, out: Path, processes: int = 2, features: Path | None = None, device: str = "cpu") -> Path:
    """Everything in order; gives the folder of what ships."""
    recipe = read(path, features=str(features or out / "features"))
    store(recipe, path, processes)
    launch.loop(launch.trainee(recipe), out, device=torch.device(device), watch=say).run()
    return out / recipe.stages[-1].name


def main() -> None:
    """The command line of this module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", type=Path, default=RECIPE)
    parser.add_argument("--out", type=Path, default=Path("runs/reelm-tiny"))
    parser.add_argument("--features", type=Path, help="where the stored features are; else in OUT/features")
    parser.add_argument("--processes", type=int, default=2, help="that store features")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    given = parser.parse_args()
    try:
        folder = build(given.recipe, given.out, given.processes, given.features, given.device)
    except ReelmError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    print(f"{folder}: {sum(f.stat().st_size for f in folder.iterdir()) / 1e6:.1f} MB. Measure it with "
          f"python -m reelm.eval.run --model {folder}", file=sys.stderr)


if __name__ == "__main__":
    main()
