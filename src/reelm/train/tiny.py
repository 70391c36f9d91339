"""Rebuilds the shipped weights of reelm-tiny from nothing: `python -m reelm.train.tiny --out DIR`, or `make tiny`.

Sound tower, stored features of the frozen towers, then every stage of the recipe. Started again with the same --out it
goes on where it was: finished shards are left alone and stages resume from their last saved state.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
from pathlib import Path

from reelm.data.features import SHARD_CLIPS
from reelm.data.hearing import SHARD_TRACKS
from reelm.errors import ReelmError, UsageError
from reelm.train.run import SOUND_TOWER
from reelm.train.stage import Recipe

RECIPE = Path("recipes/reelm_tiny.yaml")


def shards_of(recipe: Recipe) -> dict[str, int]:
    """How many shards each stored set has, in the order they are made."""
    clips = {n: math.ceil(s.clips / SHARD_CLIPS) for n, s in recipe.sets.items() if s.over is None}
    return clips | {name: math.ceil(t.tracks / SHARD_TRACKS) for name, t in recipe.tracks.items()}


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


def build(recipe_path: Path, out: Path, processes: int = 2) -> Path:
    """Everything in order; gives the folder of what ships."""
    recipe, features = Recipe.read(recipe_path), out / "features"
    if recipe.sound and not (features / SOUND_TOWER).is_file():
        print("sound tower", file=sys.stderr)
        _wait(_python("reelm.train.sounds", str(recipe_path), "--out", str(features)))
    for name, count in shards_of(recipe).items():
        if len(list((features / name).glob("*.safetensors"))) >= count:
            continue
        print(f"features of {name}: {count} shards", file=sys.stderr)
        cuts = [round(count * i / processes) for i in range(processes + 1)]
        spans = [f"{a}:{b}" for a, b in zip(cuts[:-1], cuts[1:], strict=True)]
        _wait(*(_python("reelm.train.features", str(recipe_path), "--set", name, "--out", str(features), "--shards",
                        span) for span in spans))
    _wait(_python("reelm.train.run", str(recipe_path), "--features", str(features), "--out", str(out)))
    return out / "export"


def main() -> None:
    """The command line of this module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", type=Path, default=RECIPE)
    parser.add_argument("--out", type=Path, default=Path("runs/reelm-tiny"))
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    try:
        folder = build(given.recipe, given.out, given.processes)
    except ReelmError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
    print(f"{folder}: {sum(f.stat().st_size for f in folder.iterdir()) / 1e6:.1f} MB. Measure it with "
          f"python -m reelm.eval.run --model {folder}", file=sys.stderr)


if __name__ == "__main__":
    main()
