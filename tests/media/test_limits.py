"""Limits stop a request before it costs anything, and name both numbers."""

from __future__ import annotations

import pytest

from media.coded import tone, write_numbered
from reelm import media
from reelm.errors import BudgetError
from reelm.media import Limits, decode
from reelm.types import Clip


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    return Clip(write_numbered(tmp_path_factory.mktemp("limits") / "a.mp4", 50, 25, audio=tone(2.0)))


@pytest.mark.parametrize(("limits", "says"), [
    (Limits(frame_pixels=6143), "6,144 pixels.*6,143 allowed"), (Limits(frames=3), "4 frames asked, 3 allowed"),
    (Limits(decoded_bytes=73_727), "73,728 bytes, 73,727 allowed")])
def test_pictures(clip: Clip, limits: Limits, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode.Decoder, "pictures", lambda *_: pytest.fail("decoded in spite of the limit"))
    with pytest.raises(BudgetError, match=says), media.open(clip, limits) as reader:
        reader.frames([0.0, 0.1, 0.2, 0.3])


@pytest.mark.parametrize(("limits", "says"), [
    (Limits(seconds=1.5), "2.0 s of sound asked, 1.5 s allowed"), (Limits(decoded_bytes=100_000), "128,000 bytes")])
def test_sound(clip: Clip, limits: Limits, says: str) -> None:
    with media.open(clip, limits) as reader, pytest.raises(BudgetError, match=says):
        reader.audio(16_000)


def test_exactly_the_limit_is_allowed(clip: Clip) -> None:
    with media.open(clip, Limits(frame_pixels=6144, frames=4, seconds=2.0, decoded_bytes=128_000)) as reader:
        assert len(reader.frames([0.0, 0.1, 0.2, 0.3])) == 4
        assert reader.audio(16_000) is not None
