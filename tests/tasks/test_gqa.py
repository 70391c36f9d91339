"""GQA: what is asked, the two comparisons, and the file that the benchmark's own script reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reelm.errors import UsageError
from reelm.tasks.base import Scored, find
from tasks.miniatures import gqa


def test_what_is_asked_and_how_questions_are_split(tmp_path: Path) -> None:
    gqa.make(tmp_path)
    overcast, dress, bowl = find("gqa").items(tmp_path)
    assert overcast.text == "Is it overcast?\nAnswer the question using a single word or phrase."
    assert [item.facts["kind"] for item in (overcast, dress, bowl)] == ["binary", "open", "open"]
    assert dress.video == bowl.video == "n235859"


@pytest.mark.parametrize(("reply", "careful", "official"), [
    ("Woman", 1, 1), ("woman...", 1, 1), ("The woman.", 1, 0), ("woman!", 1, 0), ("women", 0, 0), ("", 0, 0)])
def test_the_two_comparisons(tmp_path: Path, reply: str, careful: int, official: int) -> None:
    gqa.make(tmp_path)
    task = find("gqa")
    dress = list(task.items(tmp_path))[1]
    assert task.score(dress, reply) == {"accuracy": careful, "accuracy_official": official,
                                        "open_official": official}


def test_the_predictions_that_the_published_script_reads(tmp_path: Path) -> None:
    gqa.make(tmp_path)
    task = find("gqa")
    rows = [Scored(item, reply, {}) for item, reply in zip(task.items(tmp_path), ("No.", "A man", "Blue"), strict=True)]
    path, = task.submission(rows, tmp_path)
    assert path.name == "testdev_balanced_predictions.json" and json.loads(path.read_text()) == [
        {"questionId": "201307251", "prediction": "no"}, {"questionId": "201640614", "prediction": "a man"},
        {"questionId": "202225914", "prediction": "blue"}]


def test_an_entry_of_another_form_is_named(tmp_path: Path) -> None:
    (tmp_path / "testdev_balanced_questions.json").write_text('{"1": {"question": "?", "imageId": "n1"}}')
    with pytest.raises(UsageError, match="questions.json, 1: 'types' must be a dict"):
        list(find("gqa").items(tmp_path))
