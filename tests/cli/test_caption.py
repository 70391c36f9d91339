"""`reelm caption`: every stretch once, whole lines whatever happens, bad files counted and never in the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from house.command import Done, environment, reelm
from model.films import pictures, tone
from reelm.cli.progress import Progress
from reelm.media import write_video

RANDOM = ("-m", "random", "--max-tokens", "4")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder `clips` as people have them: films, one below, a picture, a text, a broken and an empty file."""
    from house.clips import write_media

    root = tmp_path_factory.mktemp("library")
    clips = root / "clips"
    (clips / "more films").mkdir(parents=True)
    write_media(clips)
    write_video(clips / "more films" / "a film.mp4", pictures(45), 10, tone(4.5))
    (clips / "broken.mp4").write_bytes((clips / "clip.mp4").read_bytes()[:400])
    (clips / "empty.mkv").touch()
    (clips / "notes.txt").write_text("nothing to see")
    (clips / ".hidden.mp4").write_bytes((clips / "clip.mp4").read_bytes())
    return root


def caption(folder: Path, *args: str) -> Done:
    return reelm("caption", *args, *RANDOM, cwd=folder)


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def stretches(records: list[dict[str, Any]]) -> list[tuple[str, float | None, float | None]]:
    return [(record["file"], record["start_s"], record["end_s"]) for record in records]


def test_a_folder_gives_one_line_per_medium_and_bad_files_are_listed_and_counted(library: Path) -> None:
    done = caption(library, "clips")
    assert done.returncode == 3
    film = str(Path("clips/more films/a film.mp4"))
    assert stretches(lines(done.stdout)) == [("clips/clip.mp4", 0.0, 2.0), (film, 0.0, 4.5),
                                             ("clips/photo.png", None, None)]
    assert "passed over: clips/notes.txt" in done.stderr and "hidden" not in done.stderr
    assert "not captioned: clips/broken.mp4" in done.stderr and "not captioned: clips/empty.mkv" in done.stderr
    assert "3 captions made, 5 files, 2 of them bad" in done.stderr


def test_a_line_says_what_was_seen_and_with_which_settings_it_was_made(library: Path) -> None:
    (line,) = lines(caption(library, "clips/clip.mp4", "--frames", "3", "-q", "What?").stdout)
    assert set(line) == {"schema", "file", "start_s", "end_s", "text", "used_s", "audio_used", "stop", "notes", "model",
                         "question", "every_s", "frames", "audio", "max_tokens"}
    assert len(line["used_s"]) == 3 and (line["schema"], line["question"], line["model"]) == (1, "What?", "random")


def test_every_cuts_a_file_into_stretches_the_last_one_shorter(library: Path) -> None:
    done = caption(library, "clips/more films/a film.mp4", "--every", "1.5", "--batch", "2")
    assert done.returncode == 0, done.stderr
    records = lines(done.stdout)
    assert [line[1:] for line in stretches(records)] == [(0.0, 1.5), (1.5, 3.0), (3.0, 4.5)]
    assert all(record["start_s"] <= at < record["end_s"] for record in records for at in record["used_s"])
    longer = caption(library, "clips/more films/a film.mp4", "--every", "2")
    assert [line[1:] for line in stretches(lines(longer.stdout))] == [(0.0, 2.0), (2.0, 4.0), (4.0, 4.5)]


def test_subtitles_have_the_times_of_the_stretches(library: Path, tmp_path: Path) -> None:
    done = caption(library, "clips/clip.mp4", "--every", "1", "--format", "srt")
    first, second, end = done.stdout.split("\n\n")
    assert first.splitlines()[:2] == ["1", "00:00:00,000 --> 00:00:01,000"]
    assert second.splitlines()[:2] == ["2", "00:00:01,000 --> 00:00:02,000"] and end == ""
    many = caption(library, "clips", "--every", "1", "--format", "srt", "--out", str(tmp_path / "srt"))
    assert sorted(path.name for path in (tmp_path / "srt").iterdir()) == ["a film.mp4.srt", "clip.mp4.srt"]
    assert (tmp_path / "srt" / "clip.mp4.srt").read_text("utf-8") == done.stdout
    assert many.returncode == 3 and "photo.png: a still picture has no time" in many.stderr


ALL = ("clips/clip.mp4", "clips/more films/a film.mp4", "--every", "1")


@pytest.mark.parametrize("form", ["jsonl", "srt"])
@pytest.mark.parametrize("kept", [0.0, 0.62, 1.0])
def test_resume_gives_the_same_file_whatever_was_left_of_it(form: str, kept: float, library: Path,
                                                            tmp_path: Path) -> None:
    one = ALL if form == "jsonl" else ("clips/more films/a film.mp4", "--every", "1")
    whole, cut = tmp_path / f"whole.{form}", tmp_path / f"cut.{form}"
    assert caption(library, *one, "--format", form, "--out", str(whole)).returncode == 0
    content = whole.read_bytes()
    cut.write_bytes(content[:int(len(content) * kept)])
    again = caption(library, *one, "--format", form, "--out", str(cut), "--resume")
    assert again.returncode == 0, again.stderr
    assert cut.read_bytes() == content
    torn = 0.0 < kept < 1.0
    assert ("was not finished" in again.stderr) == torn
    assert ("were there before" in again.stderr) == (kept > 0)


def test_a_line_is_a_line_whatever_signs_stand_in_it(library: Path, tmp_path: Path) -> None:
    asked = ("clips/clip.mp4", "--question", "What\u2028happens\x85?", "--out", str(tmp_path / "out.jsonl"))
    assert caption(library, *asked).returncode == 0
    again = caption(library, *asked, "--resume")
    assert again.returncode == 0 and "1 were there before" in again.stderr, again.stderr


def test_a_file_that_was_bad_is_tried_again_and_lands_where_it_belongs(library: Path, tmp_path: Path) -> None:
    film, out = tmp_path / "film.mp4", tmp_path / "film.srt"
    film.write_bytes((library / "clips/more films/a film.mp4").read_bytes())
    assert caption(tmp_path, str(film), "--every", "1.5", "--format", "srt", "--out", str(out)).returncode == 0
    whole = out.read_text("utf-8")
    first, second, third = whole.split("\n\n")[:3]
    out.write_text(f"{first}\n\n" + third.replace("3\n", "2\n", 1) + "\n\n")  # as if the second had failed
    assert caption(tmp_path, str(film), "--every", "1.5", "--format", "srt", "--out", str(out), "--resume"
                   ).returncode == 0
    assert out.read_text("utf-8") == whole


@pytest.mark.skipif(os.name == "nt", reason="signals are those of POSIX")
def test_a_killed_run_leaves_whole_lines_and_resume_neither_repeats_nor_loses_one(library: Path,
                                                                                   tmp_path: Path) -> None:
    out = tmp_path / "captions.jsonl"
    args = (*ALL[:2], "--every", "0.2", "--batch", "1", "--out", str(out))
    command = [sys.executable, "-m", "reelm.cli", "caption", *args, *RANDOM]
    with subprocess.Popen(command, cwd=library, env=environment(), stderr=subprocess.PIPE) as running:
        while not (out.exists() and out.read_bytes().count(b"\n") >= 3):
            assert running.poll() is None, running.stderr and running.stderr.read()
            time.sleep(0.005)
        locked = caption(library, *args, "--resume")
        assert locked.returncode == 2 and "another run is writing it" in locked.stderr
        running.send_signal(signal.SIGKILL)
    left = lines(out.read_text("utf-8"))
    done = caption(library, *args, "--resume")
    assert done.returncode == 0, done.stderr
    found = stretches(lines(out.read_text("utf-8")))
    assert 3 <= len(left) < len(found) == 10 + 22, "the last stretch of the film takes in a rest of 0.1 s"
    assert len(set(found)) == len(found) and found == sorted(found)
    assert f"{len(left)} were there before" in done.stderr


@pytest.mark.parametrize(("args", "words"), [
    (("clips", "--resume"), "--resume needs --out"),
    (("clips", "--every", "0"), "--every must be above"),
    (("clips", "--format", "srt"), "5 files do not fit into one SRT"),
    (("clips", "--out", "no/such/folder/a.jsonl"), "cannot be written"),
    (("clips/clip.mp4", "--out", "clips/notes.txt"), "exists"),
    (("clips/clip.mp4", "--out", "clips/notes.txt", "--resume"), "is no output of this command"),
    (("empty",), "there is no media"),
])
def test_what_cannot_work_is_refused_before_the_model_is_loaded(args: tuple[str, ...], words: str,
                                                               library: Path) -> None:
    (library / "empty").mkdir(exist_ok=True)
    notes = (library / "clips/notes.txt").read_text()
    done = reelm("caption", *args, "-m", "no-such-model", cwd=library)
    assert done.returncode == 2 and words in done.stderr and "no-such-model" not in done.stderr, done.stderr
    assert (library / "clips/notes.txt").read_text() == notes, "another's file stays as it is"


def test_lines_of_other_settings_are_not_gone_on_with(library: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "a.jsonl")
    assert caption(library, "clips/clip.mp4", "--out", out).returncode == 0
    other = caption(library, "clips/clip.mp4", "--out", out, "--resume", "--every", "1", "-q", "Who?")
    assert other.returncode == 2 and "question 'Describe the video.', not 'Who?'" in other.stderr
    assert "every_s None, not 1.0" in other.stderr


@pytest.mark.parametrize("text", ["1\n00:00:00,700 --> 00:00:01,200\nSpoken by somebody\n\n", "Dear diary\n\n", "Dear"])
def test_subtitles_of_another_are_not_gone_on_with(text: str, library: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.srt"
    out.write_text(text)
    done = caption(library, "clips/clip.mp4", "--every", "1", "--format", "srt", "--out", str(out), "--resume")
    assert done.returncode == 2 and "is no output of this command" in done.stderr and out.read_text() == text


def test_a_file_named_twice_is_captioned_once_and_that_is_said(library: Path) -> None:
    done = caption(library, "clips/clip.mp4", "clips/../clips/clip.mp4")
    assert len(done.stdout.splitlines()) == 1 and "already there as clips/clip.mp4" in done.stderr


def test_a_fault_in_one_file_leaves_the_others_of_its_group(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from reelm.model.sensing import Senses

    take_in = Senses.take_in

    def faulty(senses: Senses, look: Any) -> Any:
        if look.reader.info().source.endswith("a film.mp4"):
            raise ZeroDivisionError("one by none")
        return take_in(senses, look)

    monkeypatch.setattr(Senses, "take_in", faulty)
    done = caption(library, *ALL[:2])
    assert done.returncode == 3 and [line["file"] for line in lines(done.stdout)] == ["clips/clip.mp4"]
    assert "ZeroDivisionError: one by none (a fault of reelm)" in done.stderr


def test_the_time_left_is_the_rest_at_the_speed_so_far(tmp_path: Path) -> None:
    small, large = tmp_path / "small", tmp_path / "large"
    small.write_bytes(b"1" * 100)
    large.write_bytes(b"1" * 300)
    now = [0.0]
    progress = Progress([small, large], of_bytes=True, clock=lambda: now[0])
    assert progress.left_s is None and "left" not in progress.text()
    with progress:
        now[0] = 50.0
        progress.done(small, 1.0)
        assert progress.left_s == 150 and progress.text() == "1 of 2 files · 0 captions · about 2:30 left"
        progress.skip(large, 0.5)  # was there before: less is left, and nothing is learnt about the speed
        assert progress.left_s == 75
        progress.done(large, 0.5)
    assert progress.left_s == 0 and progress.text().startswith("2 of 2 files")
