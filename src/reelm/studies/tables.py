"""The four studies: each a table of arms, what is asked, and where its films come from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from reelm.studies.films import Films, Flashes, Intruders, Sounding, WorldClips
from reelm.studies.run import Arm, Make, Study
from reelm.studies.seen import Say, Seen, Tower, lite_tower, seen, sources

#: Of the numbers per cell that every connector gets and of the language part.
WIDTH = 48
_SEED = 11


def _connector(kind: str, **settings: Any) -> dict[str, Any]:
    return {"kind": kind, "in_width": WIDTH, "out_width": WIDTH, **settings}


def _volume(kind: str, *downsample: int) -> dict[str, Any]:
    return _connector(kind, depth=1, downsample=list(downsample))


#: Eight frames of 8×8 cells become 64 tokens, where the geometry of an arm allows it.
_CONNECTORS = {
    "linear, mean over time": _connector("linear", average_time=True),
    "spatial_pool": _connector("spatial_pool", depth=0, downsample=[1, 2, 4]),
    "spatial_conv": _connector("spatial_conv", depth=0, downsample=[1, 3, 4]),
    "stp": _volume("stp", 2, 2, 2),
    "stc, 125 tokens": _volume("stc", 2, 2, 2),
    "stc, 45 tokens": _volume("stc", 2, 3, 3),
    "stc_v35": _volume("stc_v35", 2, 2, 2),
    "qformer": _connector("qformer", queries=64, depth=2, width=WIDTH, heads=4),
}

CONNECTORS = Study(
    "connectors", "Which connector tells order, motion, count and detail best?",
    (*(Arm(name, settings) for name, settings in _CONNECTORS.items()), Arm("blind", None)),
    (("stc_v35", "stp"), ("stc_v35", "spatial_pool"), ("stc_v35", "spatial_conv"), ("stc_v35", "qformer"),
     ("stc_v35", "linear, mean over time"), ("stc, 125 tokens", "stp"), ("stc, 125 tokens", "stc_v35")),
    steps=800,
)

FRAMES = Study(
    "frames", "Do more frames help where things happen fast?",
    tuple(Arm(f"{n} frames", _volume("stc_v35", 2, 4, 4), films={"frames": n}) for n in (4, 8, 16, 32)),
    (("8 frames", "4 frames"), ("16 frames", "8 frames"), ("32 frames", "16 frames")),
    steps=700,
)

_SLOW, _LEAN, _FAST = {"frames": 6}, {"frames": 6}, {"frames": 36}
_RICH_FRAME, _LEAN_FRAME = _connector("spatial_pool", depth=0, downsample=[1, 2, 2]), _connector(
    "spatial_pool", depth=0, downsample=[1, 8, 4])
_TUNED = {"low_s": 0.15, "high_s": 0.4}

RATE = Study(
    "rate", "Six seconds at 1 or 6 frames a second: who sees what lasts a fraction of a second?",
    tuple(Arm(name + tuned, connector, films=films, then=then)
          for tuned, then in (("", {}), (", tuned on brief events", _TUNED))
          for name, connector, films in (
              ("1 fps of 16 tokens", _RICH_FRAME, _SLOW), ("1 fps of 2 tokens", _LEAN_FRAME, _LEAN),
              ("6 fps of 2 tokens", _LEAN_FRAME, _FAST),
              ("1 fps of 2 tokens, asked at 6", _LEAN_FRAME, {"frames": 6, "test_frames": 36}))
          if not (tuned and "asked" in name)),
    (("6 fps of 2 tokens", "1 fps of 16 tokens"),
     ("6 fps of 2 tokens, tuned on brief events", "1 fps of 16 tokens, tuned on brief events"),
     ("6 fps of 2 tokens, tuned on brief events", "6 fps of 2 tokens"),
     ("1 fps of 16 tokens, tuned on brief events", "1 fps of 16 tokens"),
     ("1 fps of 2 tokens, asked at 6", "1 fps of 2 tokens")),
    steps=600,
)

_SIGHT = _volume("stc_v35", 2, 4, 4)
SOUND = Study(
    "sound", "Does hearing help, and does it matter where sound and picture meet?",
    (Arm("video only", _SIGHT), Arm("audio only", None, ears="alone"), Arm("joint, tokens side by side", _SIGHT,
     ears="tokens"), Arm("joint, fused in time", _SIGHT, ears="fused")),
    (("joint, tokens side by side", "video only"), ("joint, tokens side by side", "audio only"),
     ("joint, fused in time", "joint, tokens side by side")),
    steps=900,
)

STUDIES = {study.name: study for study in (CONNECTORS, FRAMES, RATE, SOUND)}


@dataclass(frozen=True)
class Stock:
    """How much is drawn and encoded for the studies, and by which tower; shards are of 64 clips."""

    folder: Path
    tower: Callable[[], Tower] = lite_tower
    stills: int = 30
    clips: tuple[int, int] = (80, 100)
    parades: tuple[int, int] = (10, 14)

    def maker(self, study: Study, say: Say) -> Make:
        """Films for the arms of a study; features are made when first asked for, and kept."""
        made = sources(self.folder, _SEED)

        @cache
        def shown(name: str, count: int) -> Seen:
            return seen(name, self.folder, self.tower, study.width, self.stills, count, _SEED, say)

        @cache
        def films(**settings: Any) -> Films:
            if study.name == "connectors":
                types = ("object", "colour", "direction", "count", "order")
                return WorldClips(shown("clips", self.clips[1]), made["clips"], self.clips[0], types)
            kind, usual = _FILMS[study.name]
            return kind(shown("parades", self.parades[1]), made["parades"], self.parades[0], **{**usual, **settings})

        return lambda settings: films(**settings)


_FILMS: dict[str, tuple[Any, dict[str, Any]]] = {
    "frames": (Flashes, {"seconds": 4.0}), "rate": (Intruders, {"seconds": 6.0}),
    "sound": (Sounding, {"frames": 16, "seconds": 4.0}),
}
