"""Asking a model about real files: what it answers, what it says about it, and what it never does twice."""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
import time
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch

import reelm
from model.official_folder import write_official_folder
from parity_root import parity_dir
from reelm.errors import BudgetError, CheckpointError, MediaError, ReelmError, UsageError
from reelm.media import write_video
from reelm.model import sensing
from reelm.model.asking import Ask, Options, spans_in
from reelm.model.engine import Engine
from reelm.model.front import VideoLM
from reelm.model.load import dtype_of
from reelm.model.processing import AudioVideo, Sketch
from reelm.model.toy import random_model
from reelm.types import AUDIO, VISION, Answer, Audio, Clip, Frames, Image, Message, Span

RATE = 16000


def pictures(count: int = 40, seed: int = 0) -> list[np.ndarray]:
    """A bright square that wanders over coloured noise: every frame differs."""
    random = np.random.default_rng(seed)
    ground = random.integers(0, 256, (48, 64, 3), dtype=np.uint8)
    frames = []
    for index in range(count):
        frame = ground.copy()
        frame[10:26, index % 48:index % 48 + 16] = random.integers(0, 256, 3)
        frames.append(frame)
    return frames


def tone(seconds: float = 4.0) -> Audio:
    return Audio((0.3 * np.sin(np.arange(round(RATE * seconds)) / 9)[None]).astype(np.float32), RATE)


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


def lively(which: str = "", **settings) -> VideoLM:
    """A random model with weights so large that its answer depends on everything it is given."""
    model, processor = random_model(which, initializer_range=0.4, **settings)
    with torch.no_grad():
        for connector in (model.connector, model.audio_connector):
            if connector is not None:
                list(connector.parameters())[-2].mul_(8)
    return VideoLM(model, processor, "lively")


@pytest.fixture
def deaf() -> VideoLM:
    return lively()


@pytest.fixture
def hearing() -> VideoLM:
    return lively("av")


class Calls:
    """Counts what the real objects do: files opened, frames decoded, encodings, prompt positions computed."""

    def __init__(self, lm: VideoLM, patch: pytest.MonkeyPatch) -> None:
        self.opened = self.frames = self.sounds = self.encoded = self.positions = 0
        open_clip, fill = sensing.media.open, Engine._fill
        vision, audio = lm.model.encode_vision, lm.model.encode_audio

        def opened(clip):
            self.opened += 1
            reader = open_clip(clip)
            decode, listen = reader.frames, reader.audio

            def frames(at_s):
                self.frames += len(at_s)
                return decode(at_s)

            def sound(rate_hz):
                self.sounds += 1
                return listen(rate_hz)

            reader.frames, reader.audio = frames, sound
            return reader

        def encoded(function):
            def call(*args):
                self.encoded += 1
                return function(*args)
            return call

        def filled(engine, embeds, prefix):
            self.positions += len(embeds)
            return fill(engine, embeds, prefix)

        patch.setattr(sensing.media, "open", opened)
        patch.setattr(Engine, "_fill", filled)
        patch.setattr(lm.model, "encode_vision", encoded(vision))
        patch.setattr(lm.model, "encode_audio", encoded(audio))

    def reset(self) -> None:
        self.opened = self.frames = self.sounds = self.encoded = self.positions = 0

    @property
    def media(self) -> tuple[int, int, int, int]:
        return self.opened, self.frames, self.sounds, self.encoded


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


# -- the second question -----------------------------------------------------------------------------------------------

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


# -- loading -----------------------------------------------------------------------------------------------------------

def test_random_models_load_quickly_and_offline():
    began = time.perf_counter()
    lm = reelm.load("random", device="cpu", dtype="float32")
    assert time.perf_counter() - began < 3
    assert (lm.sees, lm.hears, lm.name) == (True, False, "random")
    assert reelm.load("random:qwen2+av").hears
    assert reelm.load("random:mistral").model.config.text_config.model_type == "mistral"
    assert reelm.load("random", dtype="bfloat16").answer("Hello", max_tokens=2).tokens["new"] > 0


def test_a_saved_model_loads_from_its_folder_and_answers_the_same(films, tmp_path, deaf):
    deaf.model.save_pretrained(tmp_path)
    deaf.processor.save_pretrained(tmp_path)
    again = reelm.load(tmp_path, dtype="float32")
    clip = Clip(films / "a.mp4")
    assert again.answer(clip, "What?", max_tokens=6).text == deaf.answer(clip, "What?", max_tokens=6).text


@pytest.mark.parametrize("name", ["video", "audio_video"])
def test_a_published_folder_loads_and_answers_about_a_file(films, tmp_path, name):
    (config,) = parity_dir(name).glob("*_config.json")
    write_official_folder(parity_dir(name), config.name.removesuffix("_config.json"), tmp_path)
    lm = reelm.load(tmp_path, dtype="float32")
    first = lm.answer(Clip(films / "a.mp4"), "What?", max_tokens=4)
    second = lm.answer(Clip(films / "a.mp4"), "Where?", max_tokens=4)
    assert first.audio_used == lm.hears == (name == "audio_video")
    assert second.tokens["reused"] >= first.tokens["vision"] + first.tokens["audio"] > 0
    lm.forget()
    assert second.text == lm.answer(Clip(films / "a.mp4"), "Where?", max_tokens=4).text


def test_names_devices_and_types_that_do_not_exist_are_told_with_what_does():
    with pytest.raises(CheckpointError, match="reelm-tiny, random"):
        reelm.load("no-such-model")
    with pytest.raises(CheckpointError, match="llama, mistral"):
        reelm.load("random:gpt17")
    with pytest.raises(UsageError, match="float32"):
        reelm.load("random", dtype="float31")
    with pytest.raises(UsageError, match="cannot be used"):
        reelm.load("random", device="toaster")


def test_automatic_types_fit_the_device():
    amx = Path("/proc/cpuinfo").is_file() and "amx_bf16" in Path("/proc/cpuinfo").read_text()
    assert dtype_of("auto", torch.device("cpu")) == (torch.bfloat16 if amx else torch.float32)
    assert dtype_of("auto", torch.device("cuda")) == torch.bfloat16
    assert dtype_of("float16", torch.device("cpu")) == torch.float16


def test_importing_reelm_does_not_import_torch():
    code = "import sys, reelm; reelm.Clip; print('torch' in sys.modules, callable(reelm.load), bool(reelm.__version__))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                          env={"PYTHONPATH": str(Path(reelm.__file__).parents[1])})
    assert done.stdout.split() == ["False", "True", "True"]
    with pytest.raises(AttributeError):
        _ = reelm.nothing


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
