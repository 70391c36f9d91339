"""Asking a model about real files: what it answers, and what it says about it."""

from __future__ import annotations

import itertools
import threading
from dataclasses import fields

import numpy as np
import pytest
import torch

from model.films import RATE, Calls, lively, pictures, tone
from reelm.errors import BudgetError, MediaError, ReelmError, UsageError
from reelm.model import sensing
from reelm.model.asking import Ask, Options, spans_in
from reelm.model.processing import Sketch
from reelm.types import AUDIO, VISION, Answer, AudioVideo, Clip, Frames, Image, Message, Span

# -- one question ------------------------------------------------------------------------------------------------------

def test_the_answer_to_a_file_is_what_generate_gives_for_the_processors_inputs(films, hearing):
    with sensing.media.open(Clip(films / "a.mp4")) as reader:
        answer = hearing.answer(Clip(films / "a.mp4"), "What is that?", max_tokens=8)
        medium = AudioVideo(reader.frames(np.array(answer.used_s[0]) + 0.01), reader.audio(RATE))
    inputs = hearing.processor([[Message("user", (medium, "What is that?"))]])
    ids = hearing.model.generate(**inputs, max_new_tokens=8, do_sample=False)[0, inputs["input_ids"].shape[1]:]
    assert answer.text == hearing.processor.tokenizer.decode(ids, skip_special_tokens=True).strip()
    assert answer.tokens["new"] == 8 - (answer.stop == "end")


def test_an_answer_says_what_was_seen_heard_counted_and_timed(films, hearing):
    answer = hearing.answer(Clip(films / "a.mp4"), "What?", max_tokens=5)
    assert len(answer.used_s) == 1
    assert answer.used_s[0] == pytest.approx([0.2, 0.7, 1.2, 1.7, 2.2, 2.7, 3.2, 3.7])
    assert answer.audio_used
    plan = hearing.plan(Clip(films / "a.mp4"), "What?")
    assert all(answer.tokens[name] == plan[name] for name in ("text", "vision", "audio"))
    assert answer.tokens["reused"] == 0
    seconds = answer.seconds
    assert set(seconds) == {"open", "decode", "encode", "prefill", "first_token", "generate", "total"}
    phases = sum(seconds[name] for name in ("open", "decode", "encode", "prefill"))
    assert 0 < phases <= seconds["first_token"] <= seconds["total"]
    assert seconds["total"] == pytest.approx(seconds["first_token"] + seconds["generate"])


def test_pictures_and_sound_change_the_answer(films, hearing):
    options = {"max_tokens": 8}
    one = hearing.answer(Clip(films / "a.mp4"), "What?", **options)
    assert one.text != hearing.answer(Clip(films / "b.mp4"), "What?", **options).text
    assert one.text != hearing.answer(Clip(films / "a.mp4"), "What?", audio=False, **options).text
    assert one.text != hearing.answer("What?", **options).text


def test_a_model_that_does_not_hear_says_so(films, deaf):
    answer = deaf.answer(Clip(films / "a.mp4"), "What?", max_tokens=2)
    assert not answer.audio_used
    assert answer.notes == ("this model does not hear: the sound track was not used",)
    assert deaf.answer(Clip(films / "mute.mp4"), "What?", max_tokens=2).notes == ()
    assert deaf.answer(Clip(films / "a.mp4"), "What?", max_tokens=2, audio=False).notes == ()


def test_frames_and_fps_override_the_models_own_rule(films, deaf):
    clip = Clip(films / "a.mp4")
    assert len(deaf.answer(clip, "What?", max_tokens=1, frames=4).used_s[0]) == 4
    assert deaf.answer(clip, "What?", max_tokens=1, fps=2.5).used_s[0] == pytest.approx(np.arange(10) * 0.4 + 0.2)
    with pytest.raises(UsageError, match="exclude"):
        deaf.answer(clip, "What?", frames=4, fps=1.0)
    with pytest.raises(UsageError, match="above 0"):
        deaf.plan(clip, frames=0)


def test_shortfalls_are_told(films, deaf):
    few = deaf.answer(Clip(films / "short.mp4"), "What?", max_tokens=1)
    assert len(few.used_s[0]) == 8
    assert any("5 of 8 frames" in note for note in few.notes)
    late = deaf.answer(Clip(films / "mute.mp4", 1.0, 9.0), "What?", max_tokens=1)
    assert any("9" in note and "4.00 s" in note for note in late.notes)
    assert min(late.used_s[0]) >= 1.0
    dense = deaf.answer(Clip(films / "short.mp4"), "What?", max_tokens=1, fps=50)
    assert len(dense.used_s[0]) == 3
    assert any("50" in note and "10" in note for note in dense.notes)


def test_several_media_in_any_order_and_in_memory(films, hearing):
    frames = Frames(np.stack(pictures(8)).transpose(0, 3, 1, 2), np.arange(8) / 2, np.zeros(8, bool))
    answer = hearing.answer("First", Clip(films / "mute.mp4"), "then", Image(frames.rgb[0]), tone(2.0), "and", frames,
                            max_tokens=3)
    assert [len(times) for times in answer.used_s] == [8, 0, 0, 8]
    assert answer.audio_used
    assert answer.used_s[3] == tuple(np.arange(8) / 2)


def test_text_alone_is_a_question_too(deaf):
    answer = deaf.answer("Hello?", max_tokens=3)
    assert (answer.used_s, answer.tokens["vision"], answer.tokens["reused"]) == ((), 0, 0)


def test_what_is_no_part_of_a_question_is_refused(films, deaf):
    with pytest.raises(UsageError, match=r"Clip\(path\)"):
        deaf.answer(films / "a.mp4", "What?")
    with pytest.raises(UsageError, match="at least one part"):
        deaf.answer()
    with pytest.raises(UsageError, match="does not hear"):
        deaf.answer(tone(), "What?")
    with pytest.raises(TypeError, match="max_token"):
        deaf.answer("What?", max_token=3)
    with pytest.raises(UsageError, match="temperature"):
        deaf.answer("What?", top_k=3)


def test_a_prompt_that_does_not_fit_is_refused_before_anything_is_decoded(films, monkeypatch):
    lm = lively(max_position_embeddings=100)
    calls = Calls(lm, monkeypatch)
    with pytest.raises(BudgetError, match="100"):
        lm.answer(Clip(films / "a.mp4"), "What?", frames=40)
    assert calls.frames == 0
    assert calls.opened == 1


# -- as it comes -------------------------------------------------------------------------------------------------------

def test_the_stream_joins_to_the_answer(films, deaf):
    pieces: list[str] = []
    answer = deaf.answer(Clip(films / "a.mp4"), "What?", max_tokens=12, stream=pieces.append)
    assert len(pieces) > 3
    assert "".join(pieces).strip() == answer.text
    running = deaf.stream(Clip(films / "a.mp4"), "What?", max_tokens=12)
    assert list(running) == pieces
    assert running.answer.text == answer.text


def test_cancel_and_ctrl_c_keep_what_was_said(films, deaf):
    clip, flag, pieces = Clip(films / "a.mp4"), threading.Event(), []
    whole = deaf.answer(clip, "What?", max_tokens=12)

    def listen(piece: str) -> None:
        pieces.append(piece)
        if len(pieces) == 3:
            flag.set()

    answer = deaf.answer(clip, "What?", max_tokens=12, stream=listen, cancel=flag)
    assert answer.stop == "cancelled"
    assert whole.text.startswith("".join(pieces[:3]).strip())
    assert answer.tokens["new"] < 12

    def interrupt(piece: str) -> None:
        raise KeyboardInterrupt

    stopped = deaf.answer(clip, "What?", max_tokens=12, stream=interrupt)
    assert (stopped.stop, bool(stopped.text)) == ("cancelled", True)
    assert whole.text.startswith(stopped.text)


def test_a_seed_repeats_a_sampled_answer(films, deaf):
    ask = {"max_tokens": 10, "temperature": 1.5}
    clip = Clip(films / "a.mp4")
    first = deaf.answer(clip, "What?", seed=3, **ask).text
    assert deaf.answer(clip, "What?", seed=3, **ask).text == first
    assert deaf.answer(clip, "What?", seed=4, **ask).text != first


def test_stop_strings_end_the_answer(films, deaf):
    clip = Clip(films / "a.mp4")
    whole = deaf.answer(clip, "What?", max_tokens=12).text
    stop = next(letter for letter in whole[3:] if letter not in "\ufffd " and letter not in whole[:3])
    answer = deaf.answer(clip, "What?", max_tokens=12, stop=(stop,))
    assert answer.stop == "stop"
    assert answer.text == whole[:whole.index(stop)].strip()


# -- many --------------------------------------------------------------------------------------------------------------

def test_many_questions_equal_each_alone_and_a_bad_file_loses_only_itself(films, hearing):
    items = [(Clip(films / "a.mp4"), "What?"), (Clip(films / "broken.mp4"), "What?"), ("Hello",),
             (Clip(films / "mute.mp4"), "Who is there, and why?"), (Clip(films / "none.mp4"), "?"),
             (tone(1.0), "Loud?")]
    results = hearing.answer_many(items, max_batch=3, max_tokens=8)
    assert [type(result) for result in results] == [Answer, MediaError, Answer, Answer, MediaError, Answer]
    for item, result in zip(items, results, strict=True):
        if isinstance(result, Answer):
            alone = lively("av").answer(*item, max_tokens=8)
            assert (result.text, result.stop, result.used_s) == (alone.text, alone.stop, alone.used_s)
    assert isinstance(results[4], ReelmError)
    assert "none.mp4" in str(results[4])
    assert hearing.answer_many([]) == []


def test_options_that_conflict_concern_every_item(films, deaf):
    with pytest.raises(UsageError):
        deaf.answer_many([("Hello",)], frames=1, fps=1.0)


def test_interrupted_among_many_the_finished_ones_stay(films, deaf):
    items = [("One",), ("Two",), ("Three",)]

    steps = itertools.count(1)

    def in_the_second() -> bool:
        if next(steps) > 8:
            raise KeyboardInterrupt
        return False

    results = deaf.answer_many(items, max_batch=1, max_tokens=5, cancel=in_the_second)
    assert [result.stop for result in results] == ["length", "cancelled", "cancelled"]
    assert results[0].text == deaf.answer("One", max_tokens=5).text


# -- without asking ----------------------------------------------------------------------------------------------------

def test_a_plan_counts_exactly_and_decodes_nothing(films, hearing, monkeypatch):
    calls = Calls(hearing, monkeypatch)
    parts = (Clip(films / "a.mp4"), "What?", Clip(films / "mute.mp4", 1.0, 2.0))
    plan = hearing.plan(*parts)
    assert calls.media == (2, 0, 0, 0)
    answer = hearing.answer(*parts, max_tokens=1)
    assert plan["total"] == plan["text"] + plan["vision"] + plan["audio"]
    assert {name: plan[name] for name in ("text", "vision", "audio")} == {
        name: answer.tokens[name] for name in ("text", "vision", "audio")}
    assert [tuple(medium["at_s"]) for medium in plan["media"]] == list(answer.used_s)
    assert plan["media"][0]["audio"] > 0 == plan["media"][1]["audio"]
    assert not plan["exact"], "the sound track might be shorter than the pictures"
    assert hearing.plan(*parts, audio=False)["exact"]


def test_encode_gives_the_vectors_with_their_times(films, hearing):
    tokens = hearing.encode(Clip(films / "a.mp4"))
    vision, audio = tokens.take(tokens.kind == VISION), tokens.take(tokens.kind == AUDIO)
    counts = hearing.processor.counts(Sketch(frames=8))
    assert len(vision) == counts["vision"]
    assert len(audio) > 0
    for part in (vision, audio):
        assert (part.at_s.diff() >= 0).all()
        assert part.at_s.min() >= 0 and part.at_s.max() <= 4.1
    alone = hearing.encode(Clip(films / "a.mp4"), audio=False)
    assert alone.grid is not None
    assert torch.equal(alone.x, vision.x)
    assert hearing.encode(Image(pictures(1)[0].transpose(2, 0, 1))).at_s.isnan().all()


# -- small things ------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("text", "expected"), [
    ("It runs from 3.2 s to 5 s.", [(3.2, 5.0)]),
    ("2-4 seconds, then between 10 and 12.5 secs", [(2.0, 4.0), (10.0, 12.5)]),
    ("1.5s \u2013 2s", [(1.5, 2.0)]),
    ("at 3 s; 5 and 6 s; from 7 to 9; 0:03 to 0:05 s; 5 s to 3 s; 2 to 3 sheep", []),
])
def test_spans_are_found_exactly_or_not_at_all(text, expected):
    assert spans_in(text) == tuple(Span(*pair) for pair in expected)


def test_every_option_is_documented_once():
    assert set(Options.__annotations__) == {field.name for field in fields(Ask)}
    assert all(f"`{name}`" in (Options.__doc__ or "") for name in Options.__annotations__)
