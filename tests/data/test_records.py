"""Training records: every form becomes the same conversation, and what is wrong is told with its line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from reelm.data.records import Finding, Record, examined, records
from reelm.data.rows import RecordError, rows
from reelm.errors import UsageError
from reelm.types import Clip, Message

ASKED, SAID = "What is it?", "A dog."
TURNS = [{"from": "human", "value": f"<video>\n{ASKED}"}, {"from": "gpt", "value": SAID}]


def write(folder: Path, *objects: Any, name: str = "train.jsonl") -> Path:
    file = folder / name
    file.write_text("".join(f"{json.dumps(one)}\n" for one in objects), "utf-8")
    return file


def one(folder: Path, data: dict[str, Any]) -> Record:
    (record,) = records(write(folder, data))
    return record


def wrong(folder: Path, data: dict[str, Any]) -> list[tuple[str, str]]:
    (row,) = examined(write(folder, data))
    assert row.record is None
    return [(found.kind, found.said) for found in row.findings]


def pieces(*parts: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(parts)}, {"role": "assistant", "content": SAID}]


def same_question(path: Path) -> dict[str, dict[str, Any]]:
    text = {"type": "text", "text": ASKED}
    return {
        "llava": {"video": "a.mp4", "conversations": TURNS},
        "llava, a list": {"video": ["a.mp4"], "conversations": TURNS},
        "messages and a list of media": {"videos": ["a.mp4"], "messages": [
            {"role": "user", "content": f"<video>{ASKED}"}, {"role": "assistant", "content": SAID}]},
        "pieces that name their medium": {"messages": pieces({"type": "video", "video": "a.mp4"}, text)},
        "pieces with a path": {"messages": pieces({"type": "video", "path": "a.mp4"}, text)},
        "pieces that take from the list": {"videos": ["a.mp4"], "messages": pieces({"type": "video"}, text)},
        "an absolute path": {"video": str(path / "a.mp4"), "conversations": TURNS},
        "an object": {"video": {"path": "a.mp4"}, "conversations": TURNS},
    }


@pytest.mark.parametrize("form", same_question(Path()))
def test_every_form_of_a_question_is_the_same_conversation(form: str, tmp_path: Path) -> None:
    record = one(tmp_path, {"id": 7} | same_question(tmp_path)[form])
    assert record == Record("7", (Message("user", (Clip(tmp_path / "a.mp4"), ASKED)), Message("assistant", (SAID,))),
                            line=1, kinds=("video",))


def test_a_csv_or_a_folder_with_one_is_read_too_and_its_clips_stand_first(tmp_path: Path) -> None:
    (tmp_path / "clips.csv").write_text('\ufeffanswer,file,question,start_s,end_s,id\n'
                                        '"A dog,\nrunning.",a.mp4,"What, then?",,,\nA cat.,b.mp4,Who?,1.5,4,x\n',
                                        "utf-8")
    first, second = records(tmp_path)
    assert first.messages == (Message("user", (Clip(tmp_path / "a.mp4"), "What, then?")),
                              Message("assistant", ("A dog,\nrunning.",)))
    assert (first.id, first.line, first.kinds) == ("clips.csv:2", 2, ("file",))
    assert second.clips == (Clip(tmp_path / "b.mp4", 1.5, 4.0),)
    assert (second.id, second.line) == ("x", 4)  # the answer before it fills two lines
    assert list(records(tmp_path / "clips.csv")) == [first, second]
    (tmp_path / "tabs.tsv").write_text("file\tquestion\tanswer\na.mp4\tWhat, then?\tA dog.\n", "utf-8")
    (tabs,) = records(tmp_path / "tabs.tsv")
    assert tabs.messages[0] == first.messages[0]


@pytest.mark.parametrize("prompt", [f"<video>\n{ASKED}", [{"role": "user", "content": f"<video>\n{ASKED}"}]])
@pytest.mark.parametrize("reply", [str, lambda text: {"role": "assistant", "content": text},
                                   lambda text: [{"role": "assistant", "content": text}],
                                   lambda text: {"from": "gpt", "value": text}])
def test_a_preference_ends_with_the_user_and_has_two_replies(prompt: Any, reply: Any, tmp_path: Path) -> None:
    record = one(tmp_path, {"video": "a.mp4", "prompt": prompt, "chosen": reply(SAID), "rejected": reply("A cat.")})
    assert record.messages == (Message("user", (Clip(tmp_path / "a.mp4"), ASKED)),)
    assert (record.chosen, record.rejected) == (SAID, "A cat.")


def test_tags_stand_in_any_turn_and_media_of_a_kind_go_by_their_order(tmp_path: Path) -> None:
    record = one(tmp_path, {
        "image": ["1.png", "2.png"], "audio": "s.wav", "system": "Be brief.", "conversations": [
            {"from": "human", "value": "Look:\n<image>\nand listen <audio> then"}, {"from": "gpt", "value": "Yes."},
            {"from": "human", "value": "<image> now?"}, {"from": "gpt", "value": "No.\n"}]})
    assert [message.role for message in record.messages] == ["system", "user", "assistant", "user", "assistant"]
    assert record.messages[1].parts == ("Look:", Clip(tmp_path / "1.png"), "and listen ", Clip(tmp_path / "s.wav"),
                                        "then")
    assert record.messages[3].parts == (Clip(tmp_path / "2.png"), "now?")
    assert record.messages[4].parts == ("No.\n",) and record.kinds == ("image", "audio", "image")


def test_a_stretch_of_a_file_and_another_folder(tmp_path: Path) -> None:
    file = write(tmp_path, {"video": {"path": "a.mp4", "start_s": 2, "end_s": 3.5}, "conversations": TURNS})
    (tmp_path / "media").mkdir()
    (record,) = records(file, tmp_path / "media")
    assert record.clips == (Clip(tmp_path / "media" / "a.mp4", 2.0, 3.5),)


def test_a_turn_of_nothing_but_a_medium_and_a_record_without_one_are_fine(tmp_path: Path) -> None:
    assert one(tmp_path, {"audio": "s.wav", "conversations": [{"from": "human", "value": "<audio>"}, TURNS[1]]}).clips
    assert not one(tmp_path, {"conversations": [{"from": "human", "value": "Hello"}, TURNS[1]]}).clips


def test_keys_without_a_meaning_are_named(tmp_path: Path) -> None:
    assert one(tmp_path, {"video": "a.mp4", "source": "x", "conversations": TURNS}).unused == ("source",)


GOOD = {"video": "a.mp4", "conversations": TURNS}
Q, A = TURNS


@pytest.mark.parametrize(("data", "kind", "said"), [
    ({**GOOD, "video": None}, "tags", "1 <video> in the text, 0 under video"),
    ({**GOOD, "video": ["a.mp4", "b.mp4"]}, "tags", "1 <video> in the text, 2 under video"),
    ({"image": "a.png", "conversations": [{"from": "human", "value": "What?"}, A]}, "tags", "0 <image> in the text"),
    ({**GOOD, "videos": ["a.mp4"]}, "form", "both video and videos"),
    ({**GOOD, "video": 5}, "media", "name of a file, got 5"),
    ({**GOOD, "video": "https://x.org/a.mp4"}, "media", "is an address"),
    ({**GOOD, "video": {"path": "a.mp4", "start_s": 3, "end_s": 2}}, "media", "end_s above start_s"),
    ({**GOOD, "video": {"path": "a.mp4", "from": 3}}, "media", "not from"),
    ({**GOOD, "conversations": [Q, {"from": "gpt", "value": " \n"}]}, "empty", "turn 2 (assistant) says nothing"),
    ({**GOOD, "conversations": [A, Q]}, "roles", "the turns are assistant, user; expected"),
    ({**GOOD, "conversations": [Q]}, "roles", "up to the assistant's"),
    ({**GOOD, "conversations": [Q, {"from": "bob", "value": "x"}]}, "roles", "nobody is called 'bob'"),
    ({**GOOD, "conversations": [Q, "x"]}, "form", "turn 2: a turn is an object"),
    ({**GOOD, "conversations": [Q, {"from": "gpt"}]}, "form", "found from"),
    ({**GOOD, "conversations": [Q, {"from": "gpt", "value": 3}]}, "form", "got int"),
    ({**GOOD, "id": [1]}, "form", "got list"),
    ({**GOOD, "id": "\ud83d"}, "form", "half of a surrogate pair"),
    ({**GOOD, "messages": []}, "form", "found conversations, messages"),
    ({"video": "a.mp4"}, "form", "found none"),
    ({"messages": [{"role": "user", "content": [{"type": "smell"}]}, A]}, "form", "a piece has a type"),
    ({"prompt": "Who?"}, "replies", "belong together, 0 of them"),
    ({"prompt": "Who?", "chosen": "I"}, "replies", "belong together, 1 of them"),
    ({"prompt": "Who?", "chosen": "I", "rejected": "I"}, "replies", "are the same"),
    ({"prompt": "Who?", "chosen": "I", "rejected": " "}, "empty", "a reply says nothing"),
    ({"prompt": "Who?", "chosen": "I", "rejected": "<image>"}, "tags", "cannot stand in a reply"),
    ({"prompt": "Who?", "chosen": "I", "rejected": 3}, "replies", "rejected is a string or one turn"),
    ({"conversations": [{"from": "human", "value": "Who?"}, A], "chosen": "I", "rejected": "You"}, "roles",
     "before the replies"),
])
def test_each_mistake_is_one_finding_that_names_it(data: dict[str, Any], kind: str, said: str, tmp_path: Path) -> None:
    ((found, sentence),) = wrong(tmp_path, data)
    assert found == kind and said in sentence


def test_all_that_is_wrong_with_a_record_is_told_at_once(tmp_path: Path) -> None:
    found = wrong(tmp_path, {"conversations": [Q, {"from": "gpt", "value": ""}, A]})
    assert [kind for kind, _ in found] == ["empty", "tags", "roles"]


def test_reading_for_training_stops_at_the_first_mistake_with_file_and_line(tmp_path: Path) -> None:
    file = write(tmp_path, GOOD, {**GOOD, "video": None}, GOOD)
    read: Iterator[Record] = records(file)
    assert next(read).line == 1
    with pytest.raises(RecordError) as caught:
        next(read)
    assert caught.value.where == f"{file}:2" and caught.value.exit_code == 3
    assert "reelm data check" in caught.value.remedy


def test_broken_lines_are_told_and_the_others_read(tmp_path: Path) -> None:
    file = tmp_path / "train.jsonl"
    good = json.dumps(GOOD).encode()
    file.write_bytes(b"\xef\xbb\xbf" + good + b"\n\n{\"id\": 1\n" + good + b"\n\xff\n[1]\n"
                     + b'{"id": 1, "id": 2, ' + good[1:] + b"\n")
    found = list(examined(file))
    assert [one.record.line if one.record else one.findings[0].line for one in found] == [1, 3, 4, 5, 6, 7]
    assert [one.findings[0].said[:20] for one in found if one.findings] == [
        "no JSON at column 9:", "byte 1 of the line i", "expected an object {", "keys that stand twic"]
    assert [one.read for one in found] == sorted(one.read for one in found) and found[-1].read == 1


def test_what_json_cannot_hold_is_a_finding_and_no_fault_of_ours(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("[" * 100_000 + "\n", "utf-8")
    (tmp_path / "b.jsonl").write_text('{"id": ' + "[" * 100_000 + "\n" + '{"id": ' + "9" * 5000 + "}\n", "utf-8")
    for name, count in (("a.jsonl", 1), ("b.jsonl", 2)):
        found = list(examined(tmp_path / name))
        assert [one.findings[0].said[:25] for one in found] == ["no JSON that can be read:"] * count
    smile = {**GOOD, "conversations": [Q, {"from": "gpt", "value": "\U0001f600"}]}  # written as two halves
    assert one(tmp_path, smile).messages[1].parts == ("\U0001f600",)


def test_a_list_of_json_knows_its_lines_and_ends_where_it_breaks(tmp_path: Path) -> None:
    file = tmp_path / "train.json"
    whole = json.dumps([GOOD, GOOD, {**GOOD, "video": None}], indent=1)
    file.write_text(whole, "utf-8")
    starts = [number for number, line in enumerate(whole.splitlines(), 1) if line == " {"]
    assert [row.line for row in rows(file)] == starts
    file.write_text('[\n"x",\n{,', "utf-8")
    first, second = examined(file)
    assert first.findings == (Finding(2, "", "form", "expected an object {…}, got str"),)
    assert second.findings[0].said.startswith("no JSON at column")
    for rest, said in (("[", "no JSON at column"), ("[] x", "1 characters stand after"), ("[ ]", "holds no record"),
                       ("", "holds no record"), ("[{} {}]", "a comma or the end"), ("[{}", "a comma or the end")):
        file.write_text(rest, "utf-8")
        (only,) = examined(file)
        assert said in only.findings[0].said


@pytest.mark.parametrize(("text", "line", "said"), [
    ("file,answer\na,b\n", 1, "question missing"), ("file,question,answer,file\n", 1, "stands twice"),
    ("file,question,answer\na.mp4,Who?\n", 2, "2 cells for 3 columns"),
    ('file,question,answer\na.mp4,Who?,"I', 2, "no CSV"), ("file,question,answer\n,Who?,I\n", 2, "name of a file"),
    ("file,question,answer,start_s\na.mp4,Who?,I,soon\n", 2, "soon"), ("file,question,answer\n", 1, "no record"),
])
def test_mistakes_of_a_table(text: str, line: int, said: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(text, "utf-8")
    (only,) = examined(tmp_path)
    assert only.findings[0].line == line and said in only.findings[0].said


def test_json_lines_are_read_as_they_are_asked_for(tmp_path: Path) -> None:
    file = write(tmp_path, *[GOOD] * 20_000)
    first = next(islice(examined(file), 1))
    assert first.read < 0.001
    assert sum(1 for _ in records(file)) == 20_000


def test_a_file_or_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file of records"):
        list(records(tmp_path / "absent.jsonl"))
    with pytest.raises(UsageError, match="holds 0 CSV files"):
        list(records(tmp_path))
    with pytest.raises(UsageError, match="no such folder of media"):
        list(records(write(tmp_path, GOOD), tmp_path / "absent"))
