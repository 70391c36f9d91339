"""What the README, CONTRIBUTING and the examples show is what happens."""

from __future__ import annotations

import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest

from house.command import python, reelm
from house.tree import ROOT
from reelm.cli.model import tiny_parts
from reelm.data.noises import COMPUTED
from reelm.data.questions import ask
from reelm.data.tracks import track
from reelm.data.world import scene, with_sound

README = (ROOT / "README.md").read_text("utf-8")
NAMED_FILE = re.compile(r"`((?:src|docs|tests|examples|recipes)/[\w/.]*)`")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.fixture
def any_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where reelm-tiny has not been fetched, a model with random weights answers in its place."""
    if None not in tiny_parts().values():
        return
    from reelm.model.load import load

    def stand_in(name: str = "reelm-tiny", *args: object, **options: object) -> object:
        return load("random" if name == "reelm-tiny" else name, *args, **options)

    monkeypatch.setattr("reelm.model.load.load", stand_in)


def test_every_block_is_of_a_kind_that_is_run_here() -> None:
    assert set(re.findall(r"^```(\w+)$", README, re.MULTILINE)) == {"python", "bash", "text"}
    assert len(blocks(README, "text")) == 1  # the demo's output, checked below


@pytest.mark.parametrize("code", blocks(README, "python"))
def test_python_runs(code: str, media_folder: Path, any_model: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(media_folder)
    exec(compile(code, "README.md", "exec"), {"__name__": "__main__"})


@pytest.mark.parametrize("line", [line for block in blocks(README, "bash") for line in block.splitlines()])
def test_shell_runs(line: str, media_folder: Path, any_model: None) -> None:
    program, *args = shlex.split(line)
    assert program == "reelm"
    done = reelm(*args, cwd=media_folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_the_first_screen_is_a_sentence_the_two_commands_and_the_output_of_the_demo() -> None:
    head = README.splitlines()[:15]
    assert [line.split("#")[0].strip() for line in head if line.startswith("    make")] == ["make demo", "make test"]
    assert "<!-- demo: begin -->" in head


def test_the_output_of_the_demo_is_that_of_its_scene() -> None:
    (shown,) = blocks(README, "text")
    staged = with_sound(scene(1, "move", unseen=True), track(1, "one", tuple(COMPUTED)))
    for kind in ("object", "colour", "direction", "sound"):
        question = ask(staged, kind, 1)
        assert f"> {question.text}\n" in shown and f"(true answer: {question.answer})" in shown


def test_files_that_the_documents_name_exist() -> None:
    to_come = {"src/reelm/parts/samplers/ends.py"}
    missing = []
    for document in ("README.md", "CONTRIBUTING.md", "docs/tour.md"):
        for name in NAMED_FILE.findall((ROOT / document).read_text("utf-8")):
            if not (ROOT / name).exists() and name not in to_come:
                missing.append(f"{document}: {name}")
    assert missing == []


def test_the_part_in_contributing_is_one_new_file_and_works() -> None:
    (code,) = blocks((ROOT / "CONTRIBUTING.md").read_text("utf-8"), "python")
    done = python(code + """
from reelm import registry
info = MediaInfo("video", "a.mp4", 0.0, 1.0, np.arange(10) / 10)
assert registry.build("sampler", {"kind": "ends"}).pick(info).tolist() == [0.0, 0.9]
assert any(row.kind == "ends" and row.source == "ours, an example." for row in registry.rows())
""")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("script", "args", "shown"), [
    ("ask.py", ["clip.mp4", "What?", "random"], ""),
    ("many.py", ["random", "What?", "clip.mp4", "photo.png", "absent.mp4"], '"error"'),
    ("second_question.py", ["random", "clip.mp4", "What?", "Who?"], "positions reused"),
])
def test_an_example_runs(script: str, args: list[str], shown: str, media_folder: Path,
                         capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(media_folder)
    monkeypatch.setattr(sys, "argv", [script, *args])
    runpy.run_path(str(ROOT / "examples" / script), run_name="__main__")
    out = capsys.readouterr().out
    assert out.strip() and shown in out


def test_every_example_is_run_above() -> None:
    assert {path.name for path in (ROOT / "examples").glob("*.py")} == {"ask.py", "many.py", "second_question.py"}
