"""`reelm ask`: what goes to stdout, what to stderr, and which code comes back."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import chdir
from pathlib import Path

import pytest
from PIL import Image

from house.command import environment, reelm, reelm_process
from reelm.cli.ask import readable, split

RANDOM = ("-m", "random", "--max-tokens", "6")


def test_the_answer_is_on_stdout_and_the_account_of_it_on_stderr(media_folder: Path) -> None:
    done = reelm_process("ask", "clip.mp4", "What is it?", *RANDOM, cwd=media_folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("\n") and "tokens:" not in done.stdout
    assert "8 frames" in done.stderr and "sound not heard" in done.stderr


def test_json_is_one_object_of_the_documented_fields(media_folder: Path) -> None:
    done = reelm("ask", "clip.mp4", "photo.png", "What is it?", "--json", "--start", "0:00.5", "--end", "1.5",
                 "--frames", "4", *RANDOM, cwd=media_folder)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert set(said) == {"schema", "model", "question", "files", "text", "audio_used", "spans", "tokens", "seconds",
                         "stop", "notes"}
    assert said["schema"] == 1 and said["model"] == "random" and said["question"] == "What is it?"
    clip, picture = said["files"]
    assert clip["source"] == "clip.mp4" and (clip["start_s"], clip["end_s"]) == (0.5, 1.5)
    assert len(clip["used_s"]) == 4 and all(0.5 <= at < 1.5 for at in clip["used_s"])
    assert picture["source"] == "photo.png" and said["tokens"]["new"] <= 6


def test_the_same_text_comes_streamed_and_in_json(media_folder: Path) -> None:
    streamed = reelm("ask", "clip.mp4", "What?", *RANDOM, cwd=media_folder).stdout
    whole = reelm("ask", "clip.mp4", "What?", "--json", *RANDOM, cwd=media_folder).stdout
    assert streamed == json.loads(whole)["text"] + "\n"


def test_sound_is_heard_unless_it_is_switched_off(media_folder: Path) -> None:
    heard, deaf = (json.loads(reelm("ask", "clip.mp4", "What?", "--json", "-m", "random:av", "--max-tokens", "2",
                                    *more, cwd=media_folder).stdout) for more in ((), ("--no-audio",)))
    assert heard["audio_used"] and heard["tokens"]["audio"] > 0
    assert not deaf["audio_used"] and deaf["tokens"]["audio"] == 0


def test_a_dash_reads_the_question_from_stdin(media_folder: Path) -> None:
    done = reelm("ask", "clip.mp4", "-", "--json", *RANDOM, cwd=media_folder, stdin="Who is there?\n")
    assert json.loads(done.stdout)["question"] == "Who is there?"


def test_a_dash_reads_a_file_from_stdin(media_folder: Path) -> None:
    """Through a real pipe, and not from a file that only looks like one."""
    done = subprocess.run([sys.executable, "-m", "reelm.cli", "ask", "-", "What is it?", "--json", *RANDOM],
                          input=(media_folder / "clip.mp4").read_bytes(), capture_output=True, env=environment(),
                          timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    piped = json.loads(done.stdout)
    named = json.loads(reelm("ask", "clip.mp4", "What is it?", "--json", *RANDOM, cwd=media_folder).stdout)
    assert piped["files"][0]["source"] == "standard input"
    assert (piped["text"], piped["files"][0]["used_s"]) == (named["text"], named["files"][0]["used_s"])


def test_a_folder_of_pictures_is_a_video_of_the_stated_rate(media_folder: Path, tmp_path: Path) -> None:
    for number in range(4):
        Image.new("RGB", (40, 40), (60 * number, 0, 0)).save(tmp_path / f"{number}.png")
    done = reelm("ask", str(tmp_path), "What?", "--json", "--folder-fps", "2", "--frames", "4", *RANDOM)
    assert json.loads(done.stdout)["files"][0]["used_s"] == [0.0, 0.5, 1.0, 1.5]


@pytest.mark.parametrize("name", ["two words.mp4", "Größe 漢字 🎬.mp4", "-dash.mp4", "100%d [1].mp4", "new\nline.mp4"])
def test_a_file_may_have_any_name(media_folder: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes((media_folder / "clip.mp4").read_bytes())
    for spelled in (str(tmp_path / name), f"./{name}", name):
        with chdir(tmp_path):
            clips, _ = split([spelled, "What?"], 0.0, None)
            readable(clips)
        assert clips[0].name == spelled


def test_a_file_whose_name_begins_with_a_dash_comes_after_two(media_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "-dash.mp4").write_bytes((media_folder / "clip.mp4").read_bytes())
    after = reelm("ask", *RANDOM, "--json", "--", "-dash.mp4", "What?", cwd=tmp_path)
    assert json.loads(after.stdout)["files"][0]["source"] == "-dash.mp4"


def test_a_question_may_be_longer_than_a_file_name(media_folder: Path) -> None:
    done = reelm("ask", "clip.mp4", "What is it? " * 60, "--json", *RANDOM, cwd=media_folder)
    assert done.returncode == 0, done.stderr


def test_show_frames_draws_what_the_model_saw_one_sheet_per_file(media_folder: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.jpg"
    done = reelm("ask", "clip.mp4", "photo.png", "What?", "--fps", "2", "--show-frames", str(sheet), *RANDOM,
                 cwd=media_folder)
    assert done.returncode == 0, done.stderr
    with Image.open(sheet) as first, Image.open(tmp_path / "sheet-2.jpg") as second:
        assert first.format == second.format == "JPEG" and first.width > second.width


def test_as_much_of_the_sound_is_heard_as_is_asked_for(media_folder: Path) -> None:
    done = [reelm("ask", "clip.mp4", "What?", "-m", "random:av", "--max-tokens", "1", "--json", "--hear", seconds,
                  cwd=media_folder) for seconds in ("1", "60")]
    short, whole = (json.loads(one.stdout) for one in done)
    assert 0 < short["tokens"]["audio"] < whole["tokens"]["audio"]
    assert any("1.00 of 2.00 s of sound are heard" in note for note in short["notes"]) and not whole["notes"]


def test_a_seed_without_temperature_is_named_as_useless(media_folder: Path) -> None:
    greedy = reelm("ask", "clip.mp4", "What?", "--seed", "3", *RANDOM, cwd=media_folder)
    assert "--seed changes nothing" in greedy.stderr
    drawn = [reelm("ask", "clip.mp4", "What?", "--seed", "3", "--temperature", "1", *RANDOM, cwd=media_folder)
             for _ in range(2)]
    assert drawn[0].stdout == drawn[1].stdout and "--seed" not in drawn[0].stderr


@pytest.mark.parametrize(("args", "code", "words"), [
    (("ask", "clip.mp4", "What?", "--fps", "1", "--frames", "2"), 2, "contradict"),
    (("ask", "clip.mp4", "What?", "--fps", "0"), 2, "above 0"),
    (("ask", "clip.mp4", "What?", "--frames", "0"), 2, "--frames"),
    (("ask", "clip.mp4", "What?", "--bogus"), 2, "--bogus"),
    (("ask", "clip.mp4"), 2, "not both"),
    (("ask", "clip.mp4", "photo.png"), 2, "is a file"),
    (("ask", "-", "-"), 2, "only once"),
    (("ask", "-", "-", "What?"), 2, "only once"),
    (("ask", "-", "What?"), 3, "standard input"),
    (("ask", "clip.mp4", "What?", "--folder-fps", "5"), 2, "no folder"),
    (("ask", "clip.mp4", "-"), 2, "empty"),
    (("ask", "clip.mp4", "What?", "--start", "soon"), 2, "not a time"),
    (("ask", "clip.mp4", "What?", "--start", "2", "--end", "1"), 2, "end_s above start_s"),
    (("ask", "clip.mp4", "What?", "-m", "random", "--device", "abacus"), 2, "abacus"),
    (("ask", "clip.mp4", "What?", "--show-frames", "no/such/folder/sheet.jpg"), 2, "folder"),
    (("ask", "clip.mp4", "What?", "-m", "random", "--hear", "9"), 2, "does not hear"),
    (("ask", "clip.mp4", "What?", "-m", "random", "--bits", "3"), 2, "8 or 4"),
    (("ask", "absent.mp4", "What?"), 3, "absent.mp4"),
    (("ask", "clip.mp4", "What?", "-m", "no-such-model"), 4, "no-such-model"),
    (("ask", "clip.mp4", "What?", "-m", "random", "--frames", "2000"), 5, "tokens"),
    (("model", "pull", "unheard-of"), 2, "unheard-of"),
    (("parts", "furniture"), 2, "connector"),
])
def test_every_failure_has_its_exit_code_and_says_what_is_wrong(args: tuple[str, ...], code: int, words: str,
                                                                  media_folder: Path) -> None:
    done = reelm(*args, cwd=media_folder)
    assert (done.returncode, done.stdout) == (code, "")
    assert words in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(("args", "code"), [
    (("ask", "clip.mp4"), 2), (("ask", "absent.mp4", "What?"), 3), (("ask", "clip.mp4", "What?", "-m", "absent"), 4),
    (("ask", "https:clip.mp4", "What?"), 5),
])
def test_a_script_sees_these_codes(args: tuple[str, ...], code: int, media_folder: Path) -> None:
    done = reelm_process(*args, cwd=media_folder)
    assert (done.returncode, done.stdout) == (code, "") and done.stderr.lower().startswith("error:")
