"""`reelm chat`: a script of lines through a pipe, and a person at a real terminal."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import select
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from PIL import Image

from house.command import Done, environment, heeds_ctrl_c, reelm
from house.tree import ROOT
from reelm.cli.lines import LineReader

RANDOM = ("-m", "random", "--max-tokens", "4")


def chat(folder: Path, *lines: str, args: tuple[str, ...] = ("clip.mp4",)) -> Done:
    return reelm("chat", *args, *RANDOM, cwd=folder, stdin="".join(f"{line}\n" for line in lines))


def answers(done: Done) -> list[dict]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_every_question_has_its_answer_and_the_second_costs_no_medium(media_folder: Path) -> None:
    done = chat(media_folder, "What is it?", "", "And where?", args=("clip.mp4", "--json"))
    assert done.returncode == 0, done.stderr
    first, second = answers(done)
    assert (first["question"], second["question"]) == ("What is it?", "And where?")
    assert second["seconds"]["decode"] == second["seconds"]["encode"] == 0
    assert second["tokens"]["reused"] > second["tokens"]["vision"] == first["tokens"]["vision"]
    assert second["tokens"]["text"] > first["tokens"]["text"], "it knows the first question"
    assert done.stderr.count("does not hear") == 1, "a note that holds for all is said once"


def test_a_stretch_a_frame_count_and_another_file(media_folder: Path) -> None:
    done = chat(media_folder, "What?", "/at 0:01-1.5", "/frames 3", "And there?", "/add photo.png", "Both?",
                args=("clip.mp4", "--json"))
    assert done.returncode == 0, done.stderr
    _, there, both = answers(done)
    whole, stretch = there["files"]
    assert (whole["start_s"], whole["end_s"]) == (0.0, None) and len(whole["used_s"]) == 3
    assert (stretch["start_s"], stretch["end_s"]) == (1.0, 1.5) and all(1 <= at < 1.5 for at in stretch["used_s"])
    assert [file["source"] for file in both["files"]] == ["clip.mp4", "clip.mp4", "photo.png"]


def test_a_stretch_chosen_before_the_first_question_takes_the_place_of_the_whole(media_folder: Path) -> None:
    done = chat(media_folder, "/at 1 1-", "What?", args=("clip.mp4", "photo.png", "--json"))
    (only,) = answers(done)
    assert [(file["source"], file["start_s"]) for file in only["files"]] == [("clip.mp4", 1.0), ("photo.png", 0.0)]


def test_used_tells_what_the_last_answer_saw_and_a_sheet_shows_it(media_folder: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "a sheet.jpg"
    done = chat(media_folder, "What?", "/used", f"/frames sheet {sheet}")
    assert re.search(r"1 clip.mp4: 8 frames at 0:00.100, ", done.stderr) and "prefill" in done.stderr
    with Image.open(sheet) as drawn:
        assert drawn.format == "JPEG"


def test_a_conversation_is_saved_to_read_or_to_work_with(media_folder: Path, tmp_path: Path) -> None:
    read, work = tmp_path / "talk.md", tmp_path / "talk.json"
    done = chat(media_folder, "What\tis <it>?", "Where?", f"/save {read}", f'/save "{work}"', f"/save {work}")
    assert done.returncode == 0, done.stderr
    saved = json.loads(work.read_text("utf-8"))
    assert [one["question"] for one in saved["exchanges"]] == ["What\tis <it>?", "Where?"]
    assert "> Where?" in read.read_text("utf-8") and "*clip.mp4: 8 frames, 0.10 to 1.80 s*" in read.read_text("utf-8")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["talk.json", "talk.md"], "no scratch file is left"


@pytest.mark.parametrize(("line", "code", "words"), [
    ("/bogus", 2, "/quit"), ("/add", 2, "file name"), ("/add absent.mp4", 3, "absent.mp4"),
    ("/at soon", 2, "1:02-1:15"),
    ("/at 9-10", 2, "starts at 9"), ("/at 7 0-1", 2, "has 1"), ("/frames none", 2, "/frames 16"),
    ("/frames sheet", 2, "seen.jpg"), ("/used", 2, "no question"), ("/save talk.doc", 2, "talk.md"),
    ("/save no/such/talk.md", 2, "folder"), ("/frames 2000", 5, "tokens"),
])
def test_a_line_that_fails_is_told_and_the_chat_goes_on(line: str, code: int, words: str, media_folder: Path) -> None:
    done = chat(media_folder, line, "What?", "/frames auto", " /etc is what?", args=("clip.mp4", "--json"))
    assert done.returncode == code and words in done.stderr, done.stderr
    assert answers(done)[-1]["question"] == "/etc is what?", "a blank before the slash makes it a question"


def test_quit_ends_the_chat_and_so_does_the_end_of_the_input(media_folder: Path) -> None:
    assert chat(media_folder, "/help", "/quit", "What?").stdout == ""
    assert chat(media_folder, args=()).returncode == 0


def test_a_file_that_cannot_be_opened_is_told_before_the_model_is_loaded(media_folder: Path) -> None:
    assert chat(media_folder, "What?", args=("absent.mp4", "-m", "no-such-model")).returncode == 3


def test_tab_completes_commands_and_files(media_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(media_folder)
    reader = LineReader(["/add", "/at", "/save"])
    assert reader.completions("/a") == ["/add ", "/at "]
    assert reader.completions("/add ph") == ["/add photo.png"]
    assert reader.completions("/frames sheet cl") == ["/frames sheet clip.mp4"]
    assert reader.completions("What") == []
    assert [reader.complete("/s", state) for state in (0, 1)] == ["/save ", None]


class Terminal:
    """A chat at a pseudo-terminal: what a person types and sees."""

    def __init__(self, folder: Path, *args: str) -> None:
        import pty

        self.master, slave = pty.openpty()
        self.process = subprocess.Popen([sys.executable, "-m", "reelm.cli", "chat", *args], cwd=folder,
                                        stdin=slave, stdout=slave, stderr=slave, env=environment(TERM="dumb"),
                                        start_new_session=True, preexec_fn=own_terminal)
        os.close(slave)
        self.seen = ""

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def until(self, words: str, within_s: float = 120.0) -> str:
        """What appeared until `words` did; what follows them is left for the next call."""
        end = time.monotonic() + within_s
        while words not in self.seen:
            self.more(end)
        before, _, self.seen = self.seen.partition(words)
        return before

    def press(self, key: str, words: str) -> None:
        """Presses a key, again every few seconds, until `words` appear.

        Python's line editor sees a signal that comes just before it waits only with the next key.
        """
        for _ in range(20):
            self.type(key)
            with suppress(AssertionError):
                self.until(words, 4.0)
                return
        raise AssertionError(f"{words!r} did not appear after {self.seen!r}")

    def more(self, end: float) -> None:
        ready, _, _ = select.select([self.master], [], [], max(0.0, end - time.monotonic()))
        assert ready, f"nothing more came after {self.seen!r}"
        self.seen += os.read(self.master, 4096).decode(errors="replace")


def own_terminal() -> None:
    """Makes the pseudo-terminal the one whose Ctrl-C reaches the process."""
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    heeds_ctrl_c()


@pytest.mark.skipif(os.name == "nt", reason="pseudo-terminals are those of POSIX")
def test_ctrl_c_stops_the_answer_and_not_the_chat(media_folder: Path) -> None:
    person = Terminal(media_folder, "clip.mp4", "-m", "random", "--max-tokens", "3000")
    person.until("/help lists the commands")
    person.until("> ")
    person.type("What is it?\n")
    person.until("\n")
    while len(person.seen) < 200:  # the answer is well under way
        person.more(time.monotonic() + 120)
    person.press("\x03", "stopped")
    person.until("> ")
    person.type("half a line")
    person.until("half a line")
    person.press("\x03", "/quit or Ctrl-D ends the chat")
    person.until("> ")
    person.type("/used\n")
    assert "8 frames" in person.until("> ")
    person.type("\x04")
    assert person.process.wait(60) == 0
    os.close(person.master)


def test_what_the_document_shows_is_what_happens(media_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "docs" / "chat.md").read_text("utf-8")
    script = re.search(r"printf '(.*)' \| reelm chat clip.mp4 --json", text)
    assert script
    done = chat(media_folder, *script[1].split(r"\n"), args=("clip.mp4", "--json"))
    assert done.returncode == 0 and len(answers(done)) == 2, done.stderr
    monkeypatch.chdir(media_folder)
    first, tool = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(compile(first, "docs/chat.md", "exec"), {"__name__": "__main__"})
    if importlib.util.find_spec("pocketsphinx"):
        exec(compile(tool, "docs/chat.md", "exec"), {"__name__": "__main__"})


def test_words_come_from_the_subtitles_that_are_named(media_folder: Path, tmp_path: Path) -> None:
    lines = tmp_path / "a.srt"
    lines.write_text("1\n00:00:00,500 --> 00:00:01,000\nHello\n")
    done = chat(media_folder, "What is said?", args=("clip.mp4", "--subtitles", str(lines)))
    assert done.returncode == 0 and "stand in the prompt (1 lines)" in done.stderr, done.stderr
    refused = chat(media_folder, "What is said?", args=("clip.mp4", "--transcriber", "ear"))
    assert refused.returncode == 2 and "whisper:small" in refused.stderr
