"""The second question: what was decoded, encoded and prefilled for the first is not done again."""

from __future__ import annotations

import time

import numpy as np

from model.films import Calls, lively
from reelm.model.front import VideoLM
from reelm.model.toy import random_model
from reelm.types import Clip, Image


def test_a_second_question_neither_opens_decodes_encodes_nor_prefills_the_clip_again(films, hearing, monkeypatch):
    calls = Calls(hearing, monkeypatch)
    clip = Clip(films / "a.mp4")
    first = hearing.answer(clip, "What is that?", max_tokens=4)
    assert calls.media == (1, 8, 1, 2)
    asked = first.tokens["text"] + first.tokens["vision"] + first.tokens["audio"]
    assert calls.positions == asked
    calls.reset()
    second = hearing.answer(clip, "And where?", max_tokens=8)
    assert calls.media == (0, 0, 0, 0)
    total = second.tokens["text"] + second.tokens["vision"] + second.tokens["audio"]
    assert second.tokens["reused"] > first.tokens["vision"] + first.tokens["audio"]
    assert calls.positions == total - second.tokens["reused"]
    assert second.seconds["decode"] == second.seconds["encode"] == 0
    assert second.text == lively("av").answer(clip, "And where?", max_tokens=8).text, "as computed from scratch"
    assert (second.used_s, second.audio_used, second.notes) == (first.used_s, first.audio_used, first.notes)


def test_what_differs_is_looked_at_again(films, deaf, monkeypatch, tmp_path):
    calls = Calls(deaf, monkeypatch)
    path = tmp_path / "film.mp4"
    path.write_bytes((films / "a.mp4").read_bytes())
    deaf.answer(Clip(path), "What?", max_tokens=2)
    for again in ({"frames": 4}, {"fps": 1.0}, {"audio": False}):
        calls.reset()
        assert deaf.answer(Clip(path), "What?", max_tokens=2, **again).tokens["new"] > 0
        assert calls.opened == 1, again
    calls.reset()
    deaf.answer(Clip(path, 1.0), "What?", max_tokens=2)
    assert calls.opened == 1
    calls.reset()
    time.sleep(0.01)
    path.write_bytes((films / "b.mp4").read_bytes())
    changed = deaf.answer(Clip(path), "What?", max_tokens=8)
    assert calls.opened == 1
    assert changed.text == lively().answer(Clip(films / "b.mp4"), "What?", max_tokens=8).text


def test_a_longer_conversation_of_media_goes_on_from_what_is_known(films, deaf, monkeypatch):
    calls = Calls(deaf, monkeypatch)
    a, b = Clip(films / "a.mp4"), Clip(films / "b.mp4")
    alone = deaf.answer(a, "What?", max_tokens=3)
    calls.reset()
    both = deaf.answer(a, b, "Same?", max_tokens=8)
    assert calls.media == (1, 8, 0, 1), "only b is new"
    assert both.tokens["reused"] > alone.tokens["vision"]
    assert both.text == lively().answer(a, b, "Same?", max_tokens=8).text
    calls.reset()
    swapped = deaf.answer(b, a, "Same?", max_tokens=8)
    assert calls.media == (0, 0, 0, 0), "their vectors are known, only the prefix is not"
    assert swapped.tokens["reused"] < alone.tokens["vision"]
    assert swapped.text == lively().answer(b, a, "Same?", max_tokens=8).text


def test_the_same_clip_twice_in_a_question_is_taken_in_once(films, deaf, monkeypatch):
    calls = Calls(deaf, monkeypatch)
    answer = deaf.answer(Clip(films / "a.mp4"), Clip(films / "a.mp4"), "Same?", max_tokens=2)
    assert calls.encoded == 1
    assert len(answer.used_s) == 2


def test_media_in_memory_are_known_by_their_content(deaf, monkeypatch):
    calls = Calls(deaf, monkeypatch)
    wide, tall = Image(np.zeros((3, 20, 60), np.uint8)), Image(np.zeros((3, 60, 20), np.uint8))
    deaf.answer(wide, "What?", max_tokens=1)
    deaf.answer(Image(wide.rgb.copy()), "And?", max_tokens=1)
    assert calls.encoded == 1
    deaf.answer(tall, "What?", max_tokens=1)
    assert calls.encoded == 2


def test_what_is_kept_stays_within_its_bytes_and_can_be_forgotten(films, monkeypatch):
    model, processor = random_model()
    lm = VideoLM(model, processor, keep_bytes=0)
    calls = Calls(lm, monkeypatch)
    for _ in range(2):
        assert lm.answer(Clip(films / "a.mp4"), "What?", max_tokens=1).tokens["reused"] == 0
    assert calls.encoded == 2
    lm = VideoLM(model, processor)
    lm.answer(Clip(films / "a.mp4"), "What?", max_tokens=1)
    lm.forget()
    assert lm.answer(Clip(films / "a.mp4"), "What?", max_tokens=1).tokens["reused"] == 0
