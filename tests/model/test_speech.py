"""What is said in a clip: from subtitles, from a tool, or an honest sentence that nobody told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model.films import lively
from reelm.errors import UsageError
from reelm.model.chat import Chat
from reelm.model.front import VideoLM
from reelm.model.speech import as_text, asks_for_words
from reelm.model.toy import random_model
from reelm.model.transcribers import transcriber
from reelm.types import Audio, Clip, Cue, Image

SRT = "1\n00:00:00,500 --> 00:00:01,500\n<i>Hello</i> there\n\n2\n00:00:02,000 --> 00:00:03,000\nGood\nbye\n\n"
ASK = {"max_tokens": 8}


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    (tmp_path / "a.srt").write_text(SRT)
    return tmp_path / "a.srt"


class Beeps:
    """A real, if modest, tool: it says where a sound begins to be loud."""

    rate_hz = 8000

    def __init__(self) -> None:
        self.heard: list[float] = []

    def transcribe(self, sound: Audio) -> list[Cue]:
        assert sound.rate_hz == self.rate_hz
        self.heard.append(sound.duration_s)
        loud = float((abs(sound.wave[0]) > 0.1).argmax()) / self.rate_hz
        return [Cue(loud, loud + 1.0, "beep"), Cue(2.0, 2.5, "  ")]


def prompt_of(lm: VideoLM, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts of every prompt that is laid out from now on, one string each."""
    plan, said = lm.processor.plan, []

    def noted(turns, **options):
        said.append("\n".join(part for turn in turns for part in turn.parts if isinstance(part, str)))
        return plan(turns, **options)

    monkeypatch.setattr(lm.processor, "plan", noted)
    return said


@pytest.mark.parametrize("question", [
    "What does she say?", "What is said at the end?", "Who is talking?", "Transcribe the speech.",
    "Which words are spoken?", "What are the lyrics?", "Does he mention a dog?", "What did they talk about?"])
def test_a_question_about_words_is_known(question: str) -> None:
    assert asks_for_words(question)


@pytest.mark.parametrize("question", [
    "What happens?", "Tell me what you see.", "Describe it in a few words.", "Answer with one word: what colour?",
    "What does the sign say?", "What does the clock tell?", "Say what you see.", "Is there a sword?"])
def test_a_question_about_something_else_is_not_taken_for_one(question: str) -> None:
    assert not asks_for_words(question)


def test_lines_stand_behind_their_clip_with_their_times(films, deaf, lines, monkeypatch):
    said = prompt_of(deaf, monkeypatch)
    answer = deaf.answer(Clip(films / "a.mp4"), "What does she say?", subtitles=lines, **ASK)
    assert said[-1] == ('Spoken words:\n0.5 to 1.5 s: "Hello there"\n2.0 to 3.0 s: "Good bye"\n\nWhat does she say?')
    assert any(f"words from {lines} stand in the prompt (2 lines)" in note for note in answer.notes)
    assert not any("neither events nor words" in note for note in answer.notes)
    assert answer.text != lively().answer(Clip(films / "a.mp4"), "What does she say?", **ASK).text


def test_only_the_lines_of_the_stretch_are_given(films, deaf, lines, monkeypatch):
    said = prompt_of(deaf, monkeypatch)
    deaf.answer(Clip(films / "a.mp4", 1.8), "What does she say?", subtitles=lines, **ASK)
    assert "Good bye" in said[-1] and "Hello" not in said[-1]


def test_a_question_about_something_else_gets_the_prompt_the_model_was_trained_on(films, deaf, lines):
    clip = Clip(films / "a.mp4")
    plain, given = deaf.answer(clip, "What?", **ASK), deaf.answer(clip, "What?", subtitles=lines, **ASK)
    assert (given.text, given.tokens["text"], given.notes) == (plain.text, plain.tokens["text"], plain.notes)
    always = deaf.answer(clip, "What?", subtitles=lines, speech="always", **ASK)
    assert always.tokens["text"] > plain.tokens["text"]


def test_without_words_the_answer_says_so_when_words_are_asked_for(films, hearing, deaf):
    clip, mute = Clip(films / "a.mp4"), Clip(films / "mute.mp4")
    told = hearing.answer(clip, "What is said?", **ASK).notes
    assert any(note.startswith("I hear events, not words") for note in told)
    for notes in (deaf.answer(clip, "What is said?", **ASK).notes,
                  hearing.answer(clip, "What is said?", audio=False, **ASK).notes):
        assert any(note.startswith("I hear neither events nor words") for note in notes)
    assert hearing.answer(clip, "What happens?", **ASK).notes == ()
    assert hearing.answer(mute, "What is said?", **ASK).notes == (), "there is no sound that could hold words"
    assert any(note.startswith("I hear events") for note in
               hearing.answer(clip, "What is said?", speech="off", **ASK).notes)


def test_a_subtitle_file_that_lies_near_is_named_and_not_taken(films, deaf, tmp_path, lines):
    film = tmp_path / "a.mp4"
    film.write_bytes((films / "a.mp4").read_bytes())
    notes = deaf.answer(Clip(film), "What is said?", **ASK).notes
    assert any("nothing told me what is said" in note and "beside it: a.srt" in note for note in notes)


def test_a_tool_hears_the_stretch_once_and_its_times_are_those_of_the_file(films, hearing, monkeypatch):
    tool, said = Beeps(), prompt_of(hearing, monkeypatch)
    clip = Clip(films / "a.mp4", 1.0, 3.0)
    answer = hearing.answer(clip, "What is said?", transcriber=tool, **ASK)
    assert tool.heard == [pytest.approx(2.0, abs=0.05)]
    assert said[-1].startswith('Spoken words:\n1.0 to 2.0 s: "beep"\n\n'), "and empty lines are none"
    assert any("recognised by Beeps, which may be wrong" in note for note in answer.notes)
    hearing.answer(clip, "Who said it?", transcriber=tool, **ASK)
    assert len(tool.heard) == 1
    hearing.answer(clip, "Who said it?", transcriber=Beeps(), **ASK)
    assert len(tool.heard) == 1, "another tool is asked itself"


def test_subtitles_come_before_the_tool_and_pictures_have_no_words(films, deaf, lines):
    tool = Beeps()
    still = Image(np.zeros((3, 20, 20), np.uint8))
    deaf.answer(still, Clip(films / "a.mp4"), "What is said?", subtitles=lines, transcriber=tool, **ASK)
    assert tool.heard == []


def test_in_a_chat_words_stay_once_they_were_asked_for(films, deaf, lines):
    chat = Chat(deaf, Clip(films / "a.mp4"))
    questions = ("What?", "What is said?", "Hm?")
    counts = [chat.ask(question, subtitles=lines, **ASK).tokens["text"] for question in questions]
    assert counts[1] > counts[0] + 60 and counts[2] > counts[1]


def test_lines_that_do_not_fit_are_left_out_from_the_end_and_counted(films, tmp_path):
    model, processor = random_model(max_position_embeddings=400)
    long = tmp_path / "long.srt"
    long.write_text("".join(f"{k}\n00:00:0{k // 10},{k % 10}00 --> 00:00:0{k // 10},{k % 10}90\nLine {k} of many\n\n"
                            for k in range(32)))
    answer = VideoLM(model, processor).answer(Clip(films / "mute.mp4"), "What is said?", subtitles=long, **ASK)
    (note,) = [note for note in answer.notes if "fit into the prompt" in note]
    assert note == "only the first 8 of 32 lines fit into the prompt; ask about a shorter stretch"


@pytest.mark.parametrize("options", [{"speech": "loud"}, {"speech": "off", "subtitles": "a.srt"}])
def test_options_that_contradict_are_refused(options, deaf):
    with pytest.raises(UsageError, match="speech"):
        deaf.answer("What?", **options)


def test_a_tool_that_is_not_installed_says_how_to_get_it():
    with pytest.raises(UsageError, match="whisper:small"):
        transcriber("ear")
    try:
        import faster_whisper  # noqa: F401
    except ImportError:
        with pytest.raises(UsageError, match=r"reelm\[speech\]"):
            transcriber("whisper:tiny")


def test_text_of_lines_is_one_line_each() -> None:
    assert as_text([Cue(0.04, 1.0, "a\n b")]) == 'Spoken words:\n0.0 to 1.0 s: "a b"\n'
