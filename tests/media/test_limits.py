"""Limits stop a request before it costs anything, and name both numbers."""

from __future__ import annotations

import io
import time
from pathlib import Path

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


@pytest.mark.parametrize("verb", ["info", "frames", "audio", "subtitles"])
def test_every_call_keeps_to_its_time(clip: Clip, verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time is counted per call, and looked at while the file is read."""
    limits = Limits(wall_s=3600)
    with media.open(clip, limits) as reader:
        if verb != "info":
            reader.info()
        monkeypatch.setattr(reader._deadline, "wall_s", -1.0)
        ask = {"info": reader.info, "frames": lambda: reader.frames([0.0]), "audio": lambda: reader.audio(16_000),
               "subtitles": reader.subtitles}[verb]
        with pytest.raises(BudgetError, match=r"longer than the -1 s allowed.*Limits\(wall_s=...\)"):
            ask()
        monkeypatch.undo()
        assert ask() is not None


def test_the_time_of_a_slow_source_is_over_in_the_middle(clip: Clip) -> None:
    """A stream that gives its bytes slowly, as a disk far away does."""
    class Slow(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            time.sleep(0.2)
            return super().read(size)

    with pytest.raises(BudgetError, match=r"longer than the 0\.3 s"), media.open(
            Clip(Slow(Path(str(clip.source)).read_bytes())), Limits(wall_s=0.3)) as reader:
        reader.frames(reader.info().frame_times_s)
        reader.audio(16_000)
        pytest.fail("read in spite of the limit")
