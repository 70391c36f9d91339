"""Questions on sound: every answer is true of the track, and those on both senses need both."""

from __future__ import annotations

from reelm.data.questions import ask
from reelm.data.sound_questions import FACTS, PARADES, SCRIPTS_OF, shown_at, types_of
from reelm.data.tracks import track
from reelm.data.world import scene, with_sound


def test_only_what_makes_sense_can_be_asked() -> None:
    parade, still = scene(1, "parade"), scene(1, "still")
    assert types_of(still) == []
    assert set(PARADES) <= set(types_of(with_sound(parade, track(1, "one"))))
    assert not set(PARADES) & set(types_of(with_sound(still, track(1, "one"))))
    assert types_of(with_sound(still, track(1, "silent"))) == ["sound", "sound_present"]
    assert set(FACTS) == set(SCRIPTS_OF)


def test_answers_are_true_of_the_track() -> None:
    for seed in range(40):
        row = with_sound(scene(seed, "still"), track(seed, "row"))
        assert row.sound is not None and row.seconds == row.sound.seconds
        asked = ask(row, "sound_order", seed)
        names = [e.name for e in row.sound.events]
        rank = next(r for r in ("first", "second", "third", "last") if r in asked.text)
        assert asked.answer == names[{"first": 0, "second": 1, "third": 2, "last": -1}[rank]]
        beats = with_sound(scene(seed, "still"), track(seed, "beats"))
        assert beats.sound is not None and ask(beats, "sound_count", seed).answer == str(len(beats.sound.events))
        there = ask(row, "sound_present", seed)
        assert (there.answer == "yes") == any(f" {n}" in there.text for n in names)


def test_which_object_made_the_sound_is_the_one_shown_then() -> None:
    answers = {"yes": 0, "no": 0}
    for seed in range(200):
        staged = with_sound(scene(seed, "parade"), track(seed, "one"))
        assert staged.sound is not None
        event = staged.sound.events[0]
        shown = shown_at(staged, event)
        assert shown is not None and shown.at(event.middle) is not None
        assert ask(staged, "match", seed).answer == shown.kind
        agree = ask(staged, "agree", seed)
        assert (agree.answer == "yes") == (f" {shown.kind}" in agree.text)
        answers[agree.answer] += 1
    assert 70 < answers["yes"] < 130


def test_no_sound_is_called_nothing() -> None:
    staged = with_sound(scene(5, "still"), track(5, "silent"))
    assert ask(staged, "sound").answer == "nothing"
