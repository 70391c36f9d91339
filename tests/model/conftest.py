"""Fixtures of the tests of asking: files made once, models that see, and that see and hear."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.films import lively, pictures, tone
from reelm.media import write_video
from reelm.model.front import VideoLM


@pytest.fixture(scope="session")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real files: a.mp4 and b.mp4 (4 s, sound), mute.mp4, short.mp4 (3 frames), broken.mp4."""
    folder = tmp_path_factory.mktemp("films")
    write_video(folder / "a.mp4", pictures(), 10, tone())
    write_video(folder / "b.mp4", pictures(seed=1), 10, tone())
    write_video(folder / "mute.mp4", pictures(seed=2), 10)
    write_video(folder / "short.mp4", pictures(3), 10)
    (folder / "broken.mp4").write_bytes((folder / "a.mp4").read_bytes()[:400])
    return folder


@pytest.fixture
def deaf() -> VideoLM:
    return lively()


@pytest.fixture
def hearing() -> VideoLM:
    return lively("av")
