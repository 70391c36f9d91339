"""What a request of lmms-eval says, in our words: how to generate, and the media as parts. Needs no lmms-eval."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from reelm.errors import UsageError
from reelm.types import Audio, AudioVideo, Clip, Frames, Image, Part

#: What lmms-eval's generation settings are called here.
_NAMES = {"max_new_tokens": "max_tokens", "top_p": "top_p", "top_k": "top_k",
          "repetition_penalty": "repetition_penalty", "seed": "seed"}
#: Settings that `asked` reads itself.
_READ = ("do_sample", "temperature", "until", "num_beams")


def asked(settings: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """lmms-eval's generation settings as options of `answer_many`, and the names of those without effect here.

    Greedy unless `do_sample` is true or a temperature is above 0 and `do_sample` does not say otherwise.
    Raises: UsageError for more than one beam.
    """
    if (settings.get("num_beams") or 1) != 1:
        raise UsageError(f"{settings['num_beams']} beams", where="lmms-eval", remedy="Give --gen_kwargs num_beams=1")
    options = {ours: settings[theirs] for theirs, ours in _NAMES.items() if settings.get(theirs) is not None}
    heat = settings.get("temperature")
    sampled = settings.get("do_sample", heat is not None and heat > 0)
    options["temperature"] = float(1.0 if heat is None else heat) if sampled else 0.0
    ends = settings.get("until") or ()
    options["stop"] = tuple(end for end in ((ends,) if isinstance(ends, str) else ends) if end)
    return options, [name for name in settings if name not in (*_NAMES, *_READ)]


def part_of(visual: Any) -> Part:
    """A medium as lmms-eval's tasks give it: a path, a picture of PIL, sound of `datasets`, or a part of ours.

    Raises: UsageError for anything else.
    """
    if isinstance(visual, Clip | Frames | Image | Audio | AudioVideo):
        return visual
    if isinstance(visual, str | Path):
        return Clip(str(visual))
    if hasattr(visual, "convert"):
        return Image(np.ascontiguousarray(np.asarray(visual.convert("RGB")).transpose(2, 0, 1)))
    if hasattr(visual, "get_all_samples"):
        sound = visual.get_all_samples()
        return Audio(np.atleast_2d(np.asarray(sound.data, np.float32)), int(sound.sample_rate))
    if isinstance(visual, Mapping) and "array" in visual and "sampling_rate" in visual:
        return Audio(np.atleast_2d(np.asarray(visual["array"], np.float32)), int(visual["sampling_rate"]))
    raise UsageError(f"a medium of type {type(visual).__name__} is not known", where="lmms-eval",
                     remedy="Take a task that gives paths, pictures of PIL, or sound with its rate")
