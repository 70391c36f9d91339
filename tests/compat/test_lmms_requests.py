"""What lmms-eval asks for, in our words: settings become options or are told, media become parts or are refused."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image as Picture

from reelm.compat.lmms_requests import asked, part_of
from reelm.errors import UsageError
from reelm.types import Audio, Clip, Image

GREEDY: dict[str, Any] = {"temperature": 0.0, "stop": ()}


@pytest.mark.parametrize(("settings", "options"), [
    ({}, GREEDY),
    ({"max_new_tokens": 16, "temperature": 0, "do_sample": False, "num_beams": 1, "until": []},
     GREEDY | {"max_tokens": 16}),
    ({"until": ["\n\n", ""], "temperature": 0.0}, GREEDY | {"stop": ("\n\n",)}),
    ({"until": "###"}, GREEDY | {"stop": ("###",)}),
    ({"temperature": 0.7, "top_p": 0.9, "seed": 3}, {"temperature": 0.7, "top_p": 0.9, "seed": 3, "stop": ()}),
    ({"temperature": 0.7, "do_sample": False, "top_p": None}, GREEDY),
    ({"do_sample": True}, {"temperature": 1.0, "stop": ()}),
])
def test_generation_settings_as_options(settings: dict[str, Any], options: dict[str, Any]) -> None:
    assert asked(settings) == (options, [])


def test_settings_without_effect_are_named_and_beams_are_refused() -> None:
    assert asked({"image_aspect_ratio": "pad", "max_new_tokens": 4})[1] == ["image_aspect_ratio"]
    with pytest.raises(UsageError, match="4 beams"):
        asked({"num_beams": 4})


def test_media_as_parts() -> None:
    assert part_of("a.mp4") == Clip("a.mp4") and part_of(clip := Clip("a.mp4", 1.0, 2.0)) is clip
    red = part_of(Picture.new("RGBA", (3, 2), (255, 0, 0, 255)))
    assert isinstance(red, Image) and red.rgb.shape == (3, 2, 3) and red.rgb[:, 0, 0].tolist() == [255, 0, 0]
    wave = np.linspace(-1, 1, 5)
    decoder = SimpleNamespace(get_all_samples=lambda: SimpleNamespace(data=wave[None], sample_rate=16000))
    for sound in ({"array": wave, "sampling_rate": 16000, "path": None}, decoder):
        found = part_of(sound)
        assert isinstance(found, Audio) and found.rate_hz == 16000
        assert np.array_equal(found.wave, wave[None].astype(np.float32))
    with pytest.raises(UsageError, match="type int"):
        part_of(7)
