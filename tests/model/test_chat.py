"""A conversation: what a further question costs, what it knows, and what happens when it grows too long."""

from __future__ import annotations

import pytest

from model.films import Calls, lively
from reelm.errors import BudgetError, MediaError, UsageError
from reelm.model.chat import Chat
from reelm.model.front import VideoLM
from reelm.model.toy import random_model
from reelm.types import Clip, Message

ASK = {"max_tokens": 8}


def test_a_further_question_neither_opens_decodes_encodes_nor_prefills_the_clip_again(films, hearing, monkeypatch):
    calls = Calls(hearing, monkeypatch)
    chat = Chat(hearing, Clip(films / "a.mp4"))
    first = chat.ask("What is that?", **ASK)
    assert calls.media == (1, 8, 1, 2)
    calls.reset()
    second = chat.ask("And where?", **ASK)
    assert calls.media == (0, 0, 0, 0)
    media = first.tokens["vision"] + first.tokens["audio"]
    assert second.tokens["reused"] > media and second.tokens["vision"] + second.tokens["audio"] == media
    assert calls.positions == sum(second.tokens[kind] for kind in ("text", "vision", "audio")) - second.tokens["reused"]


def test_of_the_conversation_only_the_last_answer_and_the_new_question_are_read(films, deaf, monkeypatch):
    chat = Chat(deaf, Clip(films / "a.mp4"))
    answers = [chat.ask(f"Question {number} of a few?", max_tokens=30) for number in range(4)]
    new = [answer.tokens["text"] + answer.tokens["vision"] - answer.tokens["reused"] for answer in answers]
    assert new[2] - new[1] < answers[2].tokens["text"] / 4 and abs(new[3] - new[2]) < 20
    assert answers[3].text == lively().answer(*chat.messages("")[:6], Message("user", ("Question 3 of a few?",)),
                                              max_tokens=30).text, "as computed from scratch"


def test_a_question_knows_what_was_said_before(films, deaf):
    clip = Clip(films / "a.mp4")
    chat = Chat(deaf, clip)
    first, second = chat.ask("What is that?", **ASK), chat.ask("And where?", **ASK)
    assert second.tokens["text"] > first.tokens["text"] + first.tokens["new"]
    fresh = lively().answer(Message("user", (clip, "What is that?")), Message("assistant", (first.text,)),
                            Message("user", ("And where?",)), **ASK)
    assert second.text == fresh.text, "as the whole conversation computed from scratch"
    assert second.text != lively().answer(clip, "And where?", **ASK).text


def test_a_clip_stands_in_the_turn_it_was_added_before(films, deaf, monkeypatch):
    a, b = Clip(films / "a.mp4"), Clip(films / "b.mp4", 1.0, 2.0)
    chat = Chat(deaf, a)
    chat.ask("What?", **ASK)
    chat.add(b)
    assert [message.parts for message in chat.messages("Same?")] == [
        (a, "What?"), (chat.exchanges[0].answer.text,), (b, "Same?")]
    calls = Calls(deaf, monkeypatch)
    both = chat.ask("Same?", **ASK)
    assert calls.media == (1, 8, 0, 1), "only b is new"
    assert len(both.used_s) == 2 and both.tokens["reused"] > 0
    assert chat.media == [a, b] and chat.waiting == []


def test_a_question_that_fails_or_is_stopped_before_its_first_word_leaves_no_trace(films, deaf):
    chat = Chat(deaf, Clip(films / "a.mp4"))
    with pytest.raises(UsageError, match="empty"):
        chat.ask("  ", **ASK)
    assert chat.ask("What?", cancel=lambda: True, **ASK).stop == "cancelled"
    chat.add(Clip(films / "broken.mp4"))
    with pytest.raises(MediaError):
        chat.ask("What?", **ASK)
    assert chat.exchanges == [] and len(chat.waiting) == 2
    chat.waiting.pop()
    assert chat.ask("What?", **ASK).text == lively().answer(Clip(films / "a.mp4"), "What?", **ASK).text


def test_an_answer_that_was_stopped_stays_as_far_as_it_was_said(films, deaf):
    chat = Chat(deaf, Clip(films / "a.mp4"))
    said = []
    stopped = chat.ask("What?", stream=said.append, cancel=lambda: len("".join(said)) > 2, max_tokens=200)
    assert stopped.stop == "cancelled" and stopped.text
    assert chat.messages("And?")[1] == Message("assistant", (stopped.text,))


def test_when_the_context_is_full_the_oldest_questions_leave_and_a_note_says_so(films):
    model, processor = random_model(max_position_embeddings=180)
    chat = Chat(VideoLM(model, processor), Clip(films / "mute.mp4"))
    answers = [chat.ask(f"Question number {number}?", **ASK) for number in range(4)]
    assert answers[0].notes == ()
    assert any("first question was left out (no clip was)" in note for note in answers[2].notes)
    assert any("first 2 questions were left out" in note for note in answers[3].notes)
    assert all(answer.tokens["vision"] == answers[0].tokens["vision"] for answer in answers), "the clip stays"
    assert answers[3].tokens["reused"] > answers[0].tokens["vision"], "and where it stood, so it is not read again"
    with pytest.raises(BudgetError, match="180"):
        chat.ask("Too long. " * 20, **ASK)
    assert len(chat.exchanges) == 4


def test_messages_and_loose_parts_are_not_mixed(films, deaf):
    with pytest.raises(UsageError, match="1 messages beside 1 loose"):
        deaf.answer(Message("user", ("What?",)), "Where?")
    with pytest.raises(UsageError, match="'assistant', so there is nothing to answer"):
        deaf.answer(Message("user", ("What?",)), Message("assistant", ("That.",)))
