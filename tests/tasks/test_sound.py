"""Sound, and sound with pictures: the published comparisons row by row, the careful ones, the forms of the files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from parity_root import parity_dir
from reelm.errors import UsageError
from reelm.eval.judge import Judge, judged
from reelm.tasks.base import Item, find
from reelm.tasks.exact import same
from reelm.tasks.judged import Judged
from reelm.tasks.sound import SoundChoice, official_hit, turns
from tasks.miniatures import clotho_aqa, music_avqa, tut2017, vggsound
from tasks.test_judged import Scripted


def recorded(name: str) -> list[list[Any]]:
    rows: list[list[Any]] = json.loads((parity_dir("videollama2_eval") / f"{name}.json").read_text())["rows"]
    assert len(rows) > 50
    return rows


def exact(answer: str) -> Item:
    return Item("1", "v", (), "?", answer=answer)


def test_clotho_aqa_as_recorded() -> None:
    for output, truth, correct, in_yes_no in recorded("clotho_aqa"):
        scores = find("clotho_aqa").score(exact(truth), output)
        assert (scores["accuracy_official"], scores.get("yes_no_official")) == (correct, in_yes_no), (output, truth)


def test_music_avqa_as_recorded() -> None:
    for output, truth, correct in recorded("music_qa"):
        assert find("music_avqa").score(exact(truth), output)["accuracy_official"] == correct, (output, truth)


@pytest.mark.parametrize("name", ["tut2017", "vocalsound"])
def test_sounds_chosen_by_letter_as_recorded(name: str) -> None:
    task = find(name)
    assert isinstance(task, SoundChoice)
    for output, truth, correct in recorded(name):
        assert official_hit(output, truth, task.sounds) == correct, (output, truth)


@pytest.mark.parametrize(("text", "answer", "right"), [
    (" Yes, it is.", "yes", True), ("yes and no", "yes", False), ("no", "yes", False), ("none", "no", False),
    ("2", "two", True), ("The piano.", "piano", True), ("piano!", "Piano", True), ("not a piano", "piano", False),
    ("", "two", False), ("more than ten", "ten", False), ("a", "a", True)])
def test_with_care_only_words_matter(text: str, answer: str, right: bool) -> None:
    assert same(text, answer) is right


def test_the_prompts_are_the_official_ones(tmp_path: Path) -> None:
    tut2017.make(tmp_path)
    item = next(iter(find("tut2017").items(tmp_path)))
    assert item.text.startswith("Question: Identify the sound event in the audio.\nOptions:\n(A) beach\n(B) bus\n")
    assert item.text.endswith("(O) tram\n.Answer with the option's letter from the given choices directly and only "
                              "give the best option.")


def test_the_two_readers_of_a_sound(tmp_path: Path) -> None:
    """"carpet" says car to the script; "(O)." says tram to the careful reader only."""
    tut2017.make(tmp_path)
    task = find("tut2017")
    _, tram = task.items(tmp_path)
    assert task.chance(tram) == 1 / 15
    both = {reply: task.score(tram, reply) for reply in ("O", "(O).", "trams and trains", "beach")}
    assert {reply: (one["accuracy"], one["accuracy_official"]) for reply, one in both.items()} == {
        "O": (1, 1), "(O).": (1, 0), "trams and trains": (0, 1), "beach": (0, 0)}


def test_a_sound_outside_the_list_is_an_error(tmp_path: Path) -> None:
    lines = ['{"audio": "a.wav", "gt": "Cough"}', "", '{"audio": "b.wav", "gt": "Yawn"}']
    (tmp_path / "vocalsound.jsonl").write_text("\n".join(lines))
    with pytest.raises(UsageError, match="entry 1.*'Yawn'"):
        list(find("vocalsound").items(tmp_path))


# --- Clotho-AQA and MUSIC-AVQA ------------------------------------------------------------------------------------


def test_every_answer_of_the_release_is_an_item(tmp_path: Path) -> None:
    clotho_aqa.make(tmp_path)
    items = list(find("clotho_aqa").items(tmp_path))
    assert [(item.id, item.answer) for item in items] == [("2", "yes"), ("3", "yes"), ("4", "no"), ("5", "rain")]
    assert items[0].text == "Question: Is a door heard?\nAnswer the question using a single word."
    assert {item.video for item in items[:3]} == {"Creaking, old door.wav"}


def test_the_form_of_the_official_script(tmp_path: Path) -> None:
    talk = [{"from": "human", "value": "<audio>\nIs a door heard?"}, {"from": "gpt", "value": "yes"}]
    (tmp_path / "clotho_aqa_test.json").write_text(json.dumps([{"id": 7, "audio": "a.wav", "conversations": talk}]))
    item, = find("clotho_aqa").items(tmp_path)
    assert (item.id, item.facts["question"], item.answer) == ("7", "Is a door heard?", "yes")


def test_blanks_are_filled_in_their_order(tmp_path: Path) -> None:
    music_avqa.make(tmp_path)
    items = list(find("music_avqa").items(tmp_path))
    assert items[1].text == "Is the cello on the left playing?"
    assert (items[1].facts["needs"], items[1].facts["about"]) == ("Audio-Visual", "Location")


def test_a_blank_without_a_value_is_an_error(tmp_path: Path) -> None:
    music_avqa.make(tmp_path)
    rows = json.loads((tmp_path / "avqa-test.json").read_text())
    rows[1]["templ_values"] = '["cello"]'
    (tmp_path / "avqa-test.json").write_text(json.dumps(rows))
    with pytest.raises(UsageError, match="entry 1.*must hold 2 texts"):
        list(find("music_avqa").items(tmp_path))


@pytest.mark.parametrize("speakers", [[], ["human"], ["gpt", "human"], ["human", "gpt", "human"]])
def test_a_conversation_out_of_turn(speakers: list[str]) -> None:
    with pytest.raises(UsageError, match="human, gpt in turn"):
        turns({"conversations": [{"from": one, "value": "x"} for one in speakers]}, "here")


# --- with a judge ---------------------------------------------------------------------------------------------------


def test_an_event_is_asked_for_in_the_official_words_and_judged(tmp_path: Path) -> None:
    vggsound.make(tmp_path)
    task = find("vggsound")
    assert isinstance(task, Judged)
    item = next(iter(task.items(tmp_path)))
    assert (item.text, item.answer) == ("Identify the event in the video.", "playing cello")
    speaker = Scripted(["{'binary_pred': 'no', 'score': 1}"])
    assert judged(task, [(item, "a dog")], Judge(speaker)) == [{"accuracy": 0.0, "score": 1.0}]
    assert "'binary_pred'" in speaker.heard[0]


def test_the_official_reader_counts_everything_but_yes_as_wrong() -> None:
    task = find("avsd")
    assert isinstance(task, Judged)
    task.official = True
    assert task.read_verdict("{'binary_pred': 'yes', 'score': 4}") == {"accuracy": 1.0, "score": 4.0}
    assert task.read_verdict("{'binary_pred': 'Yes', 'score': 4}") == {"accuracy": 0.0, "score": 4.0}
