"""The two published scorers agree with what they were recorded to say, quirks included; the careful one does not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from parity_root import parity_dir
from reelm.errors import UsageError
from reelm.tasks.niah_scores import careful, official, official_detail, official_letter


@pytest.fixture(scope="module")
def recorded() -> dict[str, Any]:
    return json.loads((parity_dir("videoniah") / "scoring.json").read_text("utf-8"))


@pytest.mark.system("videoniah", "parity")
def test_the_first_official_scorer_is_reproduced(recorded):
    wanted = {kind: share for kind, (_, _, share) in recorded["per_task_true_total_accuracy"].items()}
    assert official(recorded["records"]) == wanted | {"overall": recorded["overall"]}


@pytest.mark.system("videoniah", "parity")
def test_the_second_official_scorer_is_reproduced_with_its_exchange(recorded):
    second = recorded["second_scorer"]
    assert official_detail(second["records"]) == second["result"]


def test_a_letter_is_read_as_the_official_script_reads_it(recorded):
    table = recorded["letter_mapping"]
    assert [[reply, official_letter(reply)] for reply, _ in table] == table
    assert official_letter("BAD") == "A"  # not what anybody means: why the careful parser is the default


def record(kind: str, item: int, turn: int, pred: str | None, gt: Any = "A") -> dict[str, Any]:
    return {"question_id": f"{kind}_{item}_{turn}", "type": kind, "gt": gt, "pred": pred}


def test_one_wrong_turn_or_one_missing_reply_costs_the_item():
    four = [record("ret_edit", 0, turn, "A") for turn in range(4)]
    assert official(four)["overall"] == 1
    assert official([*four[:3], record("ret_edit", 0, 3, "B")])["overall"] == 0
    assert official([*four[:3], record("ret_edit", 0, 3, None)])["overall"] == 0
    with pytest.raises(UsageError, match="no record has a reply"):
        official([record("ret_edit", 0, turn, None) for turn in range(4)])


def test_the_second_scorer_stops_where_the_published_one_does():
    def entry(pred: str, video: str = "a") -> dict[str, Any]:
        return {"video_path": video, "task_type": "ret_insert1", "gt": "A", "pred": pred}

    with pytest.raises(UsageError, match="no first character"):
        official_detail([entry("")])
    with pytest.raises(UsageError, match="3 records for 1 videos"):
        official_detail([entry("A")] * 3)
    with pytest.raises(UsageError, match="ret_insert1"):
        official_detail([entry("A")] * 4)


def test_the_careful_figures_give_each_sub_task_the_same_weight_and_count_what_is_incomplete():
    tries = [("ret_edit", item, 1.0) for item in range(3) for _ in range(4)]
    tries += [("ord_edit", 0, right) for right in (1.0, 1.0, 0.0, 1.0)]
    told = careful(tries)
    assert told == {"ret_edit": 1.0, "ord_edit": 0.0, "retrieval": 1.0, "ordering": 0.0, "circular": 0.5}
    assert careful([*tries, ("ord_edit", 1, 1.0)]) == told | {"incomplete": 1.0}
