"""`reelm data check` and `data stats`: what is wrong with which line, before training costs anything."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from house.command import Done, reelm
from house.test_readme import blocks
from house.tree import ROOT
from reelm.cli.data import Records
from reelm.data.records import records

DOCUMENT = (ROOT / "docs" / "data.md").read_text("utf-8")


def turn(tag: str, answer: str = "A tone over grey.") -> list[dict[str, str]]:
    return [{"from": "human", "value": f"<{tag}>\nWhat is it?"}, {"from": "gpt", "value": answer}]


@pytest.fixture
def folder(media_folder: Path, tmp_path: Path) -> Path:
    """`clips` with media of every sort, two of them not what they should be."""
    clips = tmp_path / "clips"
    clips.mkdir()
    for name in ("clip.mp4", "photo.png"):
        (clips / name).write_bytes((media_folder / name).read_bytes())
    (clips / "broken.mp4").write_bytes((media_folder / "clip.mp4").read_bytes()[:400])
    return tmp_path


def write(folder: Path, *objects: Any) -> Path:
    file = folder / "train.jsonl"
    file.write_text("".join(f"{json.dumps(one)}\n" for one in objects), "utf-8")
    return file


def check(folder: Path, *args: str) -> Done:
    return reelm("data", "check", "train.jsonl", "--media", "clips", *args, cwd=folder)


GOOD = ({"id": "a", "video": "clip.mp4", "conversations": turn("video")},
        {"id": "b", "image": "photo.png", "conversations": turn("image")},
        {"id": "c", "conversations": [{"from": "human", "value": "Hello"}, {"from": "gpt", "value": "Hello"}]},
        {"id": "d", "video": {"path": "clip.mp4", "start_s": 0.5, "end_s": 1.5}, "prompt": "<video>Who?",
         "chosen": "Nobody.", "rejected": "A dog and a very long cat."})


def test_a_good_file_has_no_finding_and_ends_with_0(folder: Path) -> None:
    write(folder, *GOOD)
    done = check(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line.split() for line in done.stdout.splitlines()] == [
        ["records", "count"], ["in", "all", "4"], ["nothing", "found", "4"],
        ["spread:", "seconds", "1", "to", "2,", "sum", "3"]]


def test_every_finding_has_its_line_and_the_command_ends_with_3(folder: Path) -> None:
    file = write(folder, GOOD[0], {**GOOD[1], "image": "absent.png"}, {**GOOD[0], "id": "e", "video": "broken.mp4"},
                 GOOD[0], {"id": "f", "audio": "clip.mp4", "conversations": turn("audio")},
                 {**GOOD[0], "id": "g", "video": {"path": "clip.mp4", "start_s": 1, "end_s": 9}},
                 {**GOOD[0], "id": "h", "video": {"path": "clip.mp4", "start_s": 5}},
                 {**GOOD[0], "id": "i", "conversations": turn("video", "")},
                 {**GOOD[1], "id": "j", "conversations": turn("video")})
    with file.open("a") as more:
        more.write("{\n")
    done = check(folder, "--json")
    assert done.returncode == 3
    told = json.loads(done.stdout)
    assert [(found["line"], found["id"], found["kind"]) for found in told["findings"]] == [
        (2, "b", "missing"), (3, "e", "unreadable"), (4, "a", "id"), (5, "f", "kind"), (6, "g", "short"),
        (7, "h", "unusable"), (8, "i", "empty"), (9, "j", "tags"), (9, "j", "tags"), (10, "", "form")]
    assert (told["schema"], told["records"], told["good"], told["readable"]) == (1, 10, 1, 7)
    said = check(folder).stdout
    assert "train.jsonl:4: id: the id stands on line 1 already [a]" in said
    assert f"train.jsonl:2: missing: {Path('clips/absent.png')}: no such file [b]" in said
    assert "findings: tags" in said and "it is video" in said


def test_with_a_model_tokens_are_those_of_training_and_its_context_is_the_most(folder: Path) -> None:
    from reelm.model.load import load
    from reelm.model.sensing import Choice, Senses
    from reelm.types import Message

    lm = load("random:av")
    room = lm.model.config.text_config.max_position_embeddings
    write(folder, GOOD[0], {"id": "z", "conversations": [{"from": "human", "value": "Who?"},
                                                           {"from": "gpt", "value": "word " * room}]})
    done = check(folder, "--model", "random:av", "--json")
    told = json.loads(done.stdout)
    assert [(found["line"], found["kind"]) for found in told["findings"]] == [(2, "tokens")]
    assert f"context holds {room:,}" in told["findings"][0]["said"]
    (record, _) = records(folder / "train.jsonl", folder / "clips")
    with ExitStack() as stack:
        senses = Senses(lm.processor)
        medium, _ = senses.take_in(senses.look(record.clips[0], Choice(), stack))
    asked = [Message(m.role, tuple(p if isinstance(p, str) else medium for p in m.parts)) for m in record.messages]
    batch = lm.processor([asked], labels=True)
    assert told["spreads"]["tokens"]["min"] == batch["input_ids"].shape[1]


def test_of_a_preference_the_longer_reply_counts(folder: Path) -> None:
    def tokens(chosen: str, rejected: str) -> int:
        write(folder, {"prompt": "Who?", "chosen": chosen, "rejected": rejected})
        return int(json.loads(check(folder, "-m", "random", "--json").stdout)["spreads"]["tokens"]["max"])

    assert tokens("I", "you and a dog") == tokens("you and a dog", "I") > tokens("I", "a")


def test_what_a_file_says_cannot_steer_the_terminal(folder: Path) -> None:
    write(folder, {"id": "a\x1b[2J\nb", "video": "absent.mp4", "conversations": turn("video")})
    assert "[a\\x1b[2J\\nb]\n" in check(folder).stdout


def test_a_model_that_does_not_hear_finds_the_sound(folder: Path) -> None:
    import wave

    with wave.open(str(folder / "clips" / "tone.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(16_000))
    write(folder, {"audio": "tone.wav", "conversations": turn("audio")})
    assert check(folder).returncode == 0
    done = check(folder, "-m", "random")
    assert done.returncode == 3 and "tone.wav: holds only sound, and this model does not hear" in done.stdout


def test_stats_measure_what_can_be_read(folder: Path) -> None:
    write(folder, *GOOD, {"id": "x"}, {**GOOD[0], "id": "y", "source": "made"})
    done = reelm("data", "stats", "train.jsonl", "--media", "clips", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["records"], told["readable"], told["pairs"], told["media"]) == (6, 5, 1, {"video": 3, "image": 1})
    assert told["spreads"]["turns"] == {"count": 5, "sum": 9, "min": 1, "median": 2, "mean": 1.8, "max": 2}
    assert told["spreads"]["words answered"]["sum"] == 4 * 3 + 1 + 1 + 7
    assert told["spreads"]["seconds"] == {"count": 3, "sum": 5.0, "min": 1.0, "median": 2.0, "mean": 5 / 3, "max": 2.0}
    table = reelm("data", "stats", "train.jsonl", "--media", "clips", cwd=folder)
    assert [line.split()[0] for line in table.stdout.splitlines()] == [
        "what", "records", "unreadable", "preference", "media:", "media:", "turns", "words", "words", "seconds"]
    assert "the key 'source' has no meaning here and is not used (1 records)" in table.stderr


def test_stats_draw_a_plot_and_refuse_another_kind_at_once(folder: Path) -> None:
    write(folder, *GOOD)
    done = reelm("data", "stats", "train.jsonl", "--media", "clips", "--plot", "train.svg", "--json", cwd=folder)
    assert done.returncode == 0 and "drawn: train.svg" in done.stderr and json.loads(done.stdout)["records"] == 4
    assert "train.jsonl: 4 records" in (folder / "train.svg").read_text("utf-8")
    assert reelm("data", "stats", "absent.jsonl", "--plot", "train.gif", cwd=folder).returncode == 2


def test_a_file_is_opened_once_however_many_records_name_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from reelm import media

    opened, real = [], media.open
    monkeypatch.setattr(media, "open", lambda clip: opened.append(clip) or real(clip))
    write(folder, *[{**GOOD[0], "id": str(i)} for i in range(5)], GOOD[3])
    assert check(folder).returncode == 0
    assert len(opened) == 2  # the whole of it, and a stretch


def test_usage_errors_come_before_any_work(folder: Path) -> None:
    write(folder, *GOOD)
    assert reelm("data", "check", "absent.jsonl", cwd=folder).returncode == 2
    assert reelm("data", "check", "train.jsonl", "--media", "absent", cwd=folder).returncode == 2
    assert check(folder, "-m", "no-such-model").returncode == 4


def test_progress_says_how_much_is_read() -> None:
    progress = Records(Path("train.jsonl"))
    for read in (0.25, 0.5):
        progress.upto(read)
    progress.bad = 3
    assert progress.text().startswith(" 50% read · 2 records · 3 findings · about 0:00 left")


def test_the_forms_that_the_document_shows_are_read_as_it_says(folder: Path) -> None:
    for name in ("film.mp4", "second.mp4"):
        (folder / "clips" / name).write_bytes((folder / "clips" / "clip.mp4").read_bytes())
    shown = blocks(DOCUMENT, "json")
    assert len(shown) == 5
    for text in shown:
        write(folder, json.loads(text))
        done = check(folder)
        assert done.returncode == 0, done.stdout
    (table,) = blocks(DOCUMENT, "csv")
    (folder / "clips" / "questions.csv").write_text(table, "utf-8")
    done = reelm("data", "check", "clips", cwd=folder)
    assert done.returncode == 0, done.stdout


def test_the_python_and_the_kinds_of_findings_of_the_document_are_real(folder: Path, monkeypatch: pytest.MonkeyPatch,
                                                                       capsys: pytest.CaptureFixture[str]) -> None:
    write(folder, *GOOD[:3])
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {}
    for code in (shown := blocks(DOCUMENT, "python")):
        exec(compile(code, "docs/data.md", "exec"), names)
    assert len(shown) == 3 and names["loss"].isfinite() and "vision_features" in names["sample"]
    assert len(capsys.readouterr().out.splitlines()) == 4
    source = "".join((ROOT / "src" / "reelm" / "data" / name).read_text("utf-8")
                     for name in ("check.py", "records.py", "shards.py"))
    (table,) = (part for part in DOCUMENT.split("\n\n") if part.startswith("| kind |"))
    kinds = [line.split("`")[1] for line in table.splitlines() if line.startswith("| `")]
    assert len(kinds) == 16 and all(f'"{kind}"' in source for kind in kinds)
