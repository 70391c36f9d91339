"""AutoDQ: equal to the recorded scores of the published code, and whole with a judge that misbehaves."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from parity_root import parity_dir
from reelm.errors import UsageError
from reelm.eval.judge import Judge, judged
from reelm.tasks.base import Item, Scored
from reelm.tasks.tarsier_autodq import TarsierAutoDQ, cleaned, f1
from tasks.miniatures.tarsier_autodq import make
from tasks.test_judged import Scripted

RECORDED: dict[str, Any] = json.loads((parity_dir("tarsier_autodq") / "autodq.json").read_text())


def relations(words: list[str]) -> str:
    return json.dumps({"events": [{"event": "x", "relationship": word} for word in words]})


def item_of(sample: dict[str, Any]) -> Item:
    counts = {name: str(value) for name, value in sample["extra_info"].items()}
    return Item(str(sample["idx"]), "v", (), "Describe.", answer="reference",
                facts={"dataset": sample["dataset"], "events": json.dumps(sample["events"]), **counts})


def replies(sample: dict[str, Any]) -> list[str]:
    """What a judge must say to give a recorded sample; nothing is asked about a side without events."""
    said = [json.dumps({"events": sample["pred_events"]})]
    said += [relations(sample["ref_entailed"])] if sample["events"] else []
    return said + ([relations(sample["pred_entailed"])] if sample["pred_events"] else [])


@pytest.fixture(scope="module")
def rows() -> list[Scored]:
    """The recorded samples, judged; a judge is asked each question in turn."""
    task, speaker = TarsierAutoDQ(official=True), Scripted([])
    items = [item_of(sample) for sample in RECORDED["samples"]]
    speaker.script = [reply for sample in RECORDED["samples"] for reply in replies(sample)]
    scores = judged(task, [(item, "reply") for item in items], Judge(speaker))
    assert speaker.script == []
    return [Scored(item, "reply", one) for item, one in zip(items, scores, strict=True)]


def test_recall_and_precision_per_sample_as_recorded(rows: list[Scored]) -> None:
    for row, want in zip(rows, RECORDED["per_sample"], strict=True):
        assert row.scores == pytest.approx({"recall": want["recall"], "precision": want["precision"]}, abs=1e-12)


def test_the_sets_and_the_whole_as_recorded(rows: list[Scored]) -> None:
    found = TarsierAutoDQ().summary(rows)
    for name, (recall, precision, harmonic) in RECORDED["recall_precision_f1_unrounded"].items():
        shown = "overall" if name == "OVERALL" else name
        assert [found[f"{score} ({shown})"] for score in ("recall", "precision", "F1")] == pytest.approx(
            [recall, precision, harmonic], abs=1e-12)


def test_the_buckets_as_recorded(rows: list[Scored]) -> None:
    found = TarsierAutoDQ().summary(rows)
    written = {"in [4, 5]": "4-5", "in [6, 7]": "6-7"}
    for name, table in zip(("n_subjects", "n_shots", "n_events"), RECORDED["buckets"], strict=True):
        for place, column in enumerate(table["columns"][1:], 1):
            label = f"({name} {written.get(column, column)})"
            recall, precision, harmonic, count = (row[place] for row in table["rows"])
            assert found.get(f"items {label}", 0) == count
            if count:
                got = [found[f"{score} {label}"] for score in ("recall", "precision", "F1")]
                assert [round(value, 3) for value in got] == pytest.approx([recall, precision, harmonic], nan_ok=True)


def test_f1_as_recorded() -> None:
    for recall, precision, want in RECORDED["f1"]:
        assert f1(recall, precision) == pytest.approx(float(want), abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("row", RECORDED["reply_cleaning"], ids=lambda row: row["reply"][:24])
def test_replies_are_repaired_as_recorded(row: dict[str, Any]) -> None:
    assert cleaned(row["reply"]) == row["cleaned"]
    task = TarsierAutoDQ(official=True)
    if not row["valid_json"]:
        with pytest.raises(UsageError, match="not JSON"):
            task.read_events(row["reply"])


# --- with care ----------------------------------------------------------------------------------------------------


def test_a_description_is_taken_apart_and_checked_both_ways(tmp_path: Path) -> None:
    make(tmp_path)
    task = TarsierAutoDQ()
    item = next(iter(task.items(tmp_path)))
    speaker = Scripted(['{"events": ["A cat walks.", "It rains."]}', relations(["entailment", "neutral"]),
                        relations(["Entailment ", "contradiction"])])
    assert judged(task, [(item, "A cat walks in the rain.")], Judge(speaker)) == [{"recall": 0.5, "precision": 0.5}]
    listing, recall, precision = speaker.heard
    assert "A cat walks in the rain." in listing and "The cat stops." not in listing
    assert "A cat walks in the rain." in recall and "The cat stops." in recall
    assert "A cat runs. The cat stops." in precision and "It rains." in precision


def test_an_event_left_out_by_the_judge_is_not_scored_but_asked_for_again(tmp_path: Path) -> None:
    make(tmp_path)
    task = TarsierAutoDQ()
    item = next(iter(task.items(tmp_path)))
    judge = Judge(Scripted(['{"events": []}', relations(["entailment"]), relations(["maybe", "neutral"]),
                            relations(["neutral", "entailment"])]))
    assert judged(task, [(item, "Nothing.")], judge) == [{"recall": 0.5, "precision": 1.0}]
    assert judge.counts == {"asked": 4, "again": 2}


def test_recall_and_precision_of_nothing_have_no_f1() -> None:
    assert math.isnan(f1(0, 0))
