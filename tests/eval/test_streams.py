"""A clip without its sound, or without its pictures, is otherwise the same clip."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from reelm import media
from reelm.errors import UsageError
from reelm.eval.runner import Settings, check, run
from reelm.eval.store import Answers
from reelm.eval.streams import copied, has_both
from reelm.media import write_video
from reelm.tasks.base import find
from reelm.tasks.making import put
from reelm.types import Answer, Audio, Clip

TASK = find("audio_visual")
SECONDS, FPS = 2.0, 10


def written(path: Path, sounds: bool) -> Clip:
    rng = np.random.default_rng(3)
    tone = Audio(np.sin(np.arange(round(16_000 * SECONDS)) * 0.3).astype(np.float32)[None] * 0.5, 16_000)
    pictures = (rng.integers(0, 255, (12, 16, 3)).repeat(4, 0).repeat(4, 1).astype(np.uint8)
                for _ in range(round(SECONDS * FPS)))
    write_video(path, pictures, FPS, tone if sounds else None)
    return Clip(path)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm"])
def test_what_is_left_is_the_very_same(suffix: str, tmp_path: Path) -> None:
    whole = written(tmp_path / f"a{suffix}", True)
    mute, dark = (Clip(copied(whole, stream)) for stream in ("video", "audio"))
    assert copied(whole, "video") == mute.source
    assert has_both(whole) and not has_both(mute) and not has_both(dark)
    with media.open(whole) as one, media.open(mute) as silent, media.open(dark) as unseen:
        assert not silent.info().has_audio and unseen.info().kind == "audio"
        assert silent.info().frame_times_s == pytest.approx(one.info().frame_times_s, abs=0.002)
        at_s = one.info().frame_times_s + 0.01
        assert np.array_equal(one.frames(at_s).rgb, silent.frames(at_s).rgb)
        heard, alone = one.audio(16_000), unseen.audio(16_000)
        assert heard is not None and alone is not None
        count = min(heard.wave.shape[1], alone.wave.shape[1])
        assert count > 1.9 * 16_000 and np.abs(heard.wave[:, :count] - alone.wave[:, :count]).max() < 0.01


class Witness:
    """A respondent that keeps what it is given."""

    name, options = "witness", {}

    def __init__(self) -> None:
        self.kinds: list[tuple[str, bool]] = []

    def fingerprint(self) -> str:
        return "witness"

    def replies(self, items, asked):
        for clip, _ in asked:
            with media.open(clip) as reader:
                self.kinds.append((reader.info().kind, reader.info().has_audio))
        return [Answer("A") for _ in items]


def asked_about(root: Path, names: list[str]) -> None:
    put(root / "audio_visual.json", {"items": [
        {"id": name, "video": name, "type": "match", "question": "Which?", "options": ["ball", "key"], "answer": 0}
        for name in names]})


def test_the_controls_ask_about_one_stream_and_tell_what_they_leave_out(tmp_path: Path) -> None:
    written(tmp_path / "both.mp4", True)
    written(tmp_path / "silent.mp4", False)
    asked_about(tmp_path, ["both.mp4", "silent.mp4"])
    for control, given in (("none", [("video", True), ("video", False)]), ("mute", [("video", False)]),
                           ("dark", [("audio", True)])):
        model = Witness()
        with Answers(tmp_path / f"{control}.sqlite") as store:
            done = run(TASK, tmp_path, model, store, Settings(control=control))
            assert model.kinds == given and done.left_out == 2 - len(given) and not any(row.error for row in done.rows)
            assert run(TASK, tmp_path, model, store, Settings(control=control)).asked == 0
    asked_about(tmp_path, ["silent.mp4"])
    with pytest.raises(UsageError, match="no clip with pictures and sound"):
        check(TASK, tmp_path, Settings(control="mute"))
