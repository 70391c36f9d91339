"""A judge on this machine: a real language model in a folder, with random weights, so only the protocol is tested."""

from __future__ import annotations

from pathlib import Path

import pytest

from reelm.errors import CheckpointError
from reelm.eval.judge import Declined, Judge, JudgeSettings
from reelm.eval.local_judge import LocalJudge
from reelm.eval.verdicts import Verdicts
from reelm.model.toy import byte_tokenizer, language_model
from reelm.tasks.verdict import read_object
from reelm.types import Message

QUESTION = (Message("system", ("You grade.",)), Message("user", ("Is it a dog?",)))
SHORT = JudgeSettings(max_tokens=12, readings=2)


def folder_of(place: Path, seed: int = 0) -> Path:
    language_model(seed=seed).save_pretrained(place)
    byte_tokenizer().save_pretrained(place)
    return place


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_of(tmp_path_factory.mktemp("judge"))


def test_at_temperature_0_it_always_says_the_same(folder: Path) -> None:
    judge = LocalJudge(folder)
    assert judge.reply(QUESTION, SHORT, 0) == judge.reply(QUESTION, SHORT, 1)


def test_above_it_draws_anew_for_every_try_and_can_be_repeated(folder: Path) -> None:
    judge, warm = LocalJudge(folder), JudgeSettings(temperature=0.7, top_p=0.95, max_tokens=12)
    first, second = judge.reply(QUESTION, warm, 0), judge.reply(QUESTION, warm, 1)
    assert first != second and first == judge.reply(QUESTION, warm, 0)


def test_a_model_that_cannot_judge_gives_no_grades(folder: Path, tmp_path: Path) -> None:
    judge = Judge(LocalJudge(folder), SHORT, Verdicts(tmp_path / "v.sqlite"))
    assert judge.ask("1", QUESTION, read_object).value is None
    assert judge.counts == {"asked": 2, "again": 2, "unreadable": 1}


def test_its_verdicts_are_kept_under_its_weights(folder: Path, tmp_path: Path) -> None:
    cache = Verdicts(tmp_path / "v.sqlite")
    said = Judge(LocalJudge(folder), SHORT, cache).ask("1", QUESTION, str)
    assert Judge(LocalJudge(folder), SHORT, cache).ask("1", QUESTION, str).reply == said.reply
    other = LocalJudge(folder_of(tmp_path / folder.name, seed=1))
    assert other.name == LocalJudge(folder).name and other.version != LocalJudge(folder).version
    assert not Judge(other, SHORT, cache).ask("1", QUESTION, str).cached


def test_a_question_that_does_not_fit_is_declined(folder: Path) -> None:
    with pytest.raises(Declined, match="4,096 fit"):
        LocalJudge(folder).reply((Message("user", ("x" * 4090,)),), SHORT, 0)


def test_folders_that_hold_no_judge(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(CheckpointError, match="no such folder"):
        LocalJudge(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match="no language model"):
        LocalJudge(tmp_path)
