"""Fills a folder of stored features: `python -m reelm.train.features RECIPE --set clips --out DIR --shards 0:100`.

Several processes may work on one folder; shards that are there already are left alone.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from reelm.data.features import write_shard
from reelm.model.tiny import fresh_tiny
from reelm.train.run import stored
from reelm.train.stage import Recipe


def main() -> None:
    """The command line of this module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--set", required=True, help="a name under `sets` in the recipe")
    parser.add_argument("--shards", required=True, help="first:last+1")
    given = parser.parse_args()
    recipe = Recipe.read(given.recipe)
    model, processor = fresh_tiny(recipe.model, recipe.seed)
    first, last = (int(n) for n in given.shards.split(":"))
    tower = model.vision_tower.eval()
    for shard in range(first, last):
        print(write_shard(tower, processor, stored(recipe, given.set, given.out), shard), flush=True)


if __name__ == "__main__":
    main()
