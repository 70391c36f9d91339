"""`reelm demo`: a scene filmed here with its true answers, or a file of the user's."""

from __future__ import annotations

from pathlib import Path

from house.command import reelm
from reelm.data.noises import COMPUTED
from reelm.data.questions import ask
from reelm.data.tracks import track
from reelm.data.world import scene, with_sound


def test_questions_with_the_true_answers_beside() -> None:
    done = reelm("demo", "-m", "random", "--seed", "3")
    assert done.returncode == 0, done.stderr
    staged = scene(3, "move", unseen=True)
    for kind in ("object", "colour", "direction"):
        question = ask(staged, kind, 3)
        assert f"> {question.text}" in done.stdout
        assert f"(true answer: {question.answer})" in done.stdout
    assert "does not hear" in done.stderr


def test_a_clip_of_the_user_is_asked_about_without_true_answers(media_folder: Path) -> None:
    done = reelm("demo", "photo.png", "-m", "random", cwd=media_folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("> ") >= 3 and "true answer" not in done.stdout


def test_a_model_that_hears_is_asked_about_a_sound_as_well() -> None:
    done = reelm("demo", "-m", "random:av", "--seed", "3")
    assert done.returncode == 0 and "does not hear" not in done.stderr
    heard = with_sound(scene(3, "move", unseen=True), track(3, "one", tuple(COMPUTED)))
    question = ask(heard, "sound", 3)
    assert f"> {question.text}" in done.stdout and f"(true answer: {question.answer})" in done.stdout
