"""Converters: a miniature in the published form of each set becomes records that `data check` finds nothing wrong with.

The miniatures in tests/fixtures/convert have the names and the form of the published files; what they say is made up.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from house.tree import ROOT
from reelm.data.check import Checker
from reelm.data.convert import convert, format_of, names
from reelm.data.convert.entries import LETTERS, Left, Work
from reelm.data.records import Record, records
from reelm.data.rows import RecordError
from reelm.errors import UsageError
from reelm.media import write_video
from reelm.types import Clip

FIXTURES = ROOT / "tests" / "fixtures" / "convert"


@dataclass(frozen=True)
class Case:
    """What a format makes of its miniature: `said` are (id, medium, question, answer) of first turns."""

    files: tuple[str, ...]
    media: tuple[str, ...]
    said: tuple[tuple[str, Any, str, str], ...]
    left: dict[str, int] = field(default_factory=dict)
    notes: dict[str, int] = field(default_factory=dict)
    missing: tuple[str, ...] = ()


CRIMES = ("A surveillance camera recorded this. What does it show?\nA. Abuse\nB. Arrest\nC. Arson\nD. Assault\n"
          "E. Burglary\nF. Explosion\nG. Fighting\nH. Road accident\nI. Robbery\nJ. Shooting\nK. Shoplifting\n"
          "L. Stealing\nM. Vandalism\nN. Nothing unusual\nAnswer with the letter of the right choice.")
HEARD, DONE = "Describe what can be heard.", "Say what the animals do here."
CASES = {
    "valley": Case(
        ("Valley_instruct_65k.json",), ("aB3-kite_000.mp4", "vatex/cutalready1_000010_000020.mp4", "jukin_70077.mp4"),
        (("1001", Clip("aB3-kite_000.mp4", 1.0, 3.0), "What flies above the meadow?", "A paper kite with a long tail."),
         ("1002", Clip("vatex/cutalready1_000010_000020.mp4"), "Tell what happens.",
          "A barrel rolls down a ramp and stops at a fence."),
         ("1003", Clip("jukin_70077.mp4"), "Describe the scene in detail.",
          "Two goats stand on a wooden table and look at a bucket.")),
        {"no such media file": 1}, {"a stretch of an uncut VATEX video": 1}, ("jukin_70078.mp4",)),
    "video-chatgpt": Case(
        ("VideoInstruct100K.json",), ("v_made0000001.mkv",),
        (("v_made0000001", Clip("v_made0000001.mkv"), "What does the woman build?",
          "She builds a bird house out of thin boards."),
         ("v_made0000001#2", Clip("v_made0000001.mkv"), "Summarise the video.",
          "A bird house is sawn, glued and painted blue.")),
        {"no such media file": 1, "not of this format": 1}, {"an id that stood twice got a number": 1},
        ("v_made0000002",)),
    "llava": Case(
        ("llava_v1_5_mix665k.json",), ("coco/train2017/000000000017.jpg", "ocr_vqa/images/0140made.png"),
        (("000000000017", Clip("coco/train2017/000000000017.jpg"),
          "What colour is the roof?\nAnswer the question using a single word or phrase.", "Green"),
         ("000000000017#2", Clip("coco/train2017/000000000017.jpg"), "Where is the ladder?", "It leans at the wall."),
         ("oZ1made", None, "Give a word that rhymes with moon.", "Spoon."),
         ("0140made", Clip("ocr_vqa/images/0140made.png"), "Who wrote this book?", "Nobody; the cover is empty.")),
        {"no such media file": 1, "no record: tags": 1, "no answer in it": 1},
        {"an id that stood twice got a number": 1, "a first turn of the assistant dropped": 1,
         "a last turn without an answer dropped": 1}, ("gqa/images/404.jpg",)),
    "wavcaps": Case(
        ("sb_final.json", "as_final.json"), ("SoundBible_flac/9001.wav", "AudioSet_SL_flac/Ymade-up_1x0.wav"),
        (("9001", Clip("SoundBible_flac/9001.wav"), HEARD, "A metal gate is squeaking."),
         ("Ymade-up_1x0.wav", Clip("AudioSet_SL_flac/Ymade-up_1x0.wav"), HEARD, "Someone is tapping on a glass.")),
        {"no such media file": 1, "no id or no caption": 1}, {}, ("9002",)),
    "clotho-aqa": Case(
        ("clotho_aqa_train.csv",), ("audio_files/Rain on a tent, near.wav", "audio_files/train_far.wav"),
        (("clotho_aqa_train.csv:2", Clip("audio_files/Rain on a tent, near.wav"), "Is it raining?", "yes"),
         ("clotho_aqa_train.csv:8", Clip("audio_files/train_far.wav"), "How many horns sound?", "two")),
        {"no answer that two people gave": 1, "no such media file": 1}, {"an answer that not all people gave": 1},
        ("absent.wav",)),
    "avqa": Case(
        ("train_qa.json",), ("-made_up01-_000030.mp4",),
        (("avqa-5", Clip("-made_up01-_000030.mp4"), "What makes the sound in the video?\nA. kettle\nB. drum\nC. saw\n"
          "D. violin\nAnswer with the letter of the right choice.", "B"),
         ("avqa-6", Clip("-made_up01-_000030.mp4"), "What happens before the drum stops?\nA. a door opens\n"
          "B. a light goes out\nC. rain begins\nD. nothing\nAnswer with the letter of the right choice.", "D")),
        {"an answer that is none of the choices": 1, "no such media file": 1}, {}, ("notthere000_000010",)),
    "avsd": Case(
        ("train_set4DSTC7-AVSD.json", "avsd_val.json"), ("Charades_v1/7MADE.mp4", "Charades_v1/8MADE.mp4"),
        (("7MADE", Clip("Charades_v1/7MADE.mp4"), "how many people are there ?", "there is one woman ."),
         ("8MADE", Clip("Charades_v1/8MADE.mp4"), "is it day or night ?", "day , i think ."),
         ("7MADE#2", Clip("Charades_v1/7MADE.mp4"), "is she alone ?", "yes .")),
        {"no such media file": 1}, {"a round without a question or an answer dropped": 1,
                                    "an id that stood twice got a number": 1}, ("GONE0",)),
    "ucf-crime": Case(
        ("Anomaly_Train.txt", "Temporal_Anomaly_Annotation.txt"),
        ("Abuse/Abuse901_x264.mp4", "Anomaly-Videos-Part-3/RoadAccidents902_x264.mp4", "Arson/Arson904_x264.mp4",
         "Training_Normal_Videos_Anomaly/Normal_Videos903_x264.mp4",
         "Testing_Normal_Videos_Anomaly/Normal_Videos_905_x264.mp4"),
        (("Abuse901_x264", Clip("Abuse/Abuse901_x264.mp4"), CRIMES, "A"),
         ("RoadAccidents902_x264", Clip("Anomaly-Videos-Part-3/RoadAccidents902_x264.mp4"), CRIMES, "H"),
         ("Normal_Videos903_x264", Clip("Training_Normal_Videos_Anomaly/Normal_Videos903_x264.mp4"), CRIMES, "N"),
         ("Arson904_x264", Clip("Arson/Arson904_x264.mp4"), CRIMES, "C"),
         ("Normal_Videos_905_x264", Clip("Testing_Normal_Videos_Anomaly/Normal_Videos_905_x264.mp4"), CRIMES, "N")),
        {"no such media file": 1, "an unknown class": 1},
        {"frames of the event not used: the question is about the whole video": 1},
        ("Vandalism/Vandalism999_x264.mp4",)),
    "animal-kingdom": Case(
        ("train.txt",), ("video/MADEAAAA.mp4", "video/MADEBBBB.mp4"),
        (("MADEAAAA-0.2-1.1", Clip("video/MADEAAAA.mp4", 0.2, 1.1), DONE,
          "The heron is keeping still. The fish is swimming."),
         ("MADEAAAA-1.1-2", Clip("video/MADEAAAA.mp4", 1.1, 2.0), DONE, "The heron is eating."),
         ("MADEBBBB-0-0.9", Clip("video/MADEBBBB.mp4", 0.0, 0.9), DONE, "The vole is digging.")),
        {"no such media file": 1, "cannot be read": 1},
        {"a stretch ended with its clip": 1, "a sentence joined to another about the same stretch": 1}, ("MADECCCC",)),
}


def make(path: Path) -> None:
    """A real file of the kind that its ending says; films last 3 s or, for Animal Kingdom, 2 s."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix in (".mp4", ".mkv"):
        count = 20 if path.name.startswith("MADE") else 30
        made = path.with_suffix(".mp4")
        write_video(made, (np.full((32, 48, 3), 8 * i, np.uint8) for i in range(count)), 10)
        made.rename(path)
    elif path.suffix == ".wav":
        import wave

        with wave.open(str(path), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(8000)
            file.writeframes(bytes(16_000))
    else:
        Image.new("RGB", (24, 16), (90, 120, 60)).save(path)


def converted(name: str, folder: Path) -> tuple[Any, list[Record]]:
    case = CASES[name]
    for medium in case.media:
        make(folder / "media" / medium)
    inputs = [FIXTURES / name.replace("-", "_") / file for file in case.files]
    report = convert(name, inputs, folder / "media", folder / "out.jsonl")
    return report, list(records(folder / "out.jsonl", folder / "media"))


@pytest.mark.parametrize("name", CASES)
def test_a_published_form_becomes_records_and_every_entry_is_accounted_for(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    report, found = converted(name, tmp_path)
    seen = []
    for record in found:
        user, assistant = record.messages[0], record.messages[1]
        clips = [part for part in user.parts if isinstance(part, Clip)]
        (words,) = (part for part in user.parts if isinstance(part, str))
        medium = None
        if clips:
            path = Path(str(clips[0].source)).relative_to(tmp_path / "media").as_posix()
            medium = Clip(path, clips[0].start_s, clips[0].end_s)
        seen.append((record.id, medium, words, assistant.parts[0]))
    assert tuple(seen) == case.said
    assert (dict(report.left), dict(report.notes), report.missing) == (case.left, case.notes, case.missing)
    assert report.taken == len(found) and report.entries == report.taken + sum(report.left.values())
    listed = [json.loads(line) for line in report.left_file.read_text().splitlines()]
    assert Counter(one["reason"] for one in listed) == case.left
    assert sorted(path.name for path in tmp_path.iterdir()) == ["media", "out.jsonl", "out.jsonl.left.jsonl"]


@pytest.mark.parametrize("name", CASES)
def test_data_check_finds_nothing_wrong_with_them_and_their_media(name: str, tmp_path: Path) -> None:
    converted(name, tmp_path)
    checked = list(Checker().through(tmp_path / "out.jsonl", tmp_path / "media"))
    assert checked and [one.findings for one in checked] == [()] * len(checked)
    assert not any(one.record and one.record.unused for one in checked)


def test_every_format_has_a_miniature_and_says_where_it_comes_from() -> None:
    assert names() == sorted(CASES)
    for name in names():
        form = format_of(name)
        assert form.about and form.source and form.record.__module__.endswith(name.replace("-", "_"))


def test_all_turns_of_a_conversation_come_along(tmp_path: Path) -> None:
    _, found = converted("avsd", tmp_path)
    assert [len(record.messages) for record in found] == [6, 2, 4]
    assert found[0].messages[-1].parts == ("a white towel .",)


def test_sounds_with_several_captions_become_several_records(tmp_path: Path) -> None:
    file = tmp_path / "several.json"
    sound = {"id": "5", "caption_1": "A", "caption_2": "B"}
    file.write_text(json.dumps({"num_captions_per_audio": 2, "data": [sound]}))
    make(tmp_path / "media" / "5.wav")
    report = convert("wavcaps", [file], tmp_path / "media", tmp_path / "out.jsonl")
    found = records(tmp_path / "out.jsonl", tmp_path / "media")
    assert [record.messages[1].parts for record in found] == [("A",), ("B",)]
    assert report.taken == 2 and not report.left_file.exists()


def test_the_letters_cover_every_choice() -> None:
    from reelm.data.convert.ucf_crime import CLASSES

    assert len(CLASSES) == 14 <= len(LETTERS) and list(CLASSES)[-1] == "Normal"


def test_a_published_name_is_found_by_path_then_beside_then_anywhere_and_never_guessed(tmp_path: Path) -> None:
    for name in ("a/x.mp4", "b/x.webm", "b/y.mp4", "c/z.mp4", "c/z.mkv", "d/s.wav", "d/s.mp4", "e/dot.ted.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "e" / "back").symlink_to(tmp_path)
    work = Work(tmp_path)
    assert work.find("a/x.mp4", "video") == "a/x.mp4"
    assert work.find("b/x.avi", "video") == "b/x.webm"
    assert work.find("y", "video") == work.find("elsewhere/y.mkv", "video") == "b/y.mp4"
    assert (work.find("s", "audio"), work.find("s", "video")) == ("d/s.wav", "d/s.mp4")
    assert work.find("dot.ted", "video") == "e/dot.ted.mp4"
    for name, reason in (("x", "several"), ("z.avi", "several"), ("w", "no such"), ("../a/w.mp4", "no such")):
        with pytest.raises(Left, match=reason):
            work.find(name, "video")
    assert list(work.missing) == ["w", "../a/w.mp4"]


def test_older_files_in_latin_1_are_read(tmp_path: Path) -> None:
    make(tmp_path / "media" / "café.wav")
    file = tmp_path / "clotho_aqa_val.csv"
    file.write_bytes(b"file_name,QuestionText,answer,confidence\n" + "café.wav,Loud?,yes,yes\n".encode("latin-1") * 3)
    assert convert("clotho-aqa", [file], tmp_path / "media", tmp_path / "out.jsonl").taken == 1


def test_files_that_are_not_of_the_form_and_wrong_calls_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    media, out, bad = tmp_path / "media", tmp_path / "out.jsonl", tmp_path / "bad"
    media.mkdir()
    bad.write_text("{ no json")
    with pytest.raises(RecordError, match="no JSON"):
        convert("wavcaps", [bad], media, out)
    bad.write_text("question,answer\n")
    with pytest.raises(RecordError, match="no column file_name, QuestionText"):
        convert("clotho-aqa", [bad], media, out)
    for form, inputs, folder in (("mystery", [bad], media), ("avqa", [tmp_path / "absent"], media),
                                 ("avqa", [bad], tmp_path / "absent")):
        with pytest.raises(UsageError):
            convert(form, inputs, folder, out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad", "media"]
    out.write_text("mine")
    with pytest.raises(UsageError, match="there already"):
        convert("avqa", [bad], media, out)
    assert out.read_text() == "mine"
