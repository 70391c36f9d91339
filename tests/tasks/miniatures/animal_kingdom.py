"""Animal Kingdom in small: two clips, three stretches, two sentences about one of them."""

from __future__ import annotations

import json
from pathlib import Path

from tasks.miniatures.films import film

CLIPS = ("MADEAAAA", "MADEBBBB")
LINES = ("MADEAAAA 0.2 1.1##The heron is keeping still.", "MADEAAAA 0.2 1.1##The fish is swimming.",
         "MADEAAAA 1.1 9.0##The heron is eating.", "MADEBBBB 0.0 0.9##The vole is digging.")


def make(root: Path) -> None:
    (root / "test.txt").write_text("".join(f"{line}\n" for line in LINES))
    (root / "ak_vg_duration.json").write_text(json.dumps({name: {"duration": 2.0} for name in CLIPS}))
    for name in CLIPS:
        film(root / "dataset" / f"{name}.mp4")
