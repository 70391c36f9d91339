"""Two models at two rates of frames, as docs/evaluation.md runs zero-shot against fine-tuned: four runs, one table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reelm.cli.eval import eval_
from reelm.errors import UsageError
from tasks.miniatures import ucf_crime

ARMS = [f"{model}.fps{fps}" for model in ("random_av", "random") for fps in (6, 1)]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("ucf")
    ucf_crime.make(root, frames=24, fps=12)
    for model in ("random", "random:av"):
        for fps in (1.0, 6.0):
            eval_(["ucf_crime"], model=model, data=root, out=root / "runs", fps=fps, max_tokens=2, device="cpu")
    return root / "runs"


def test_every_arm_has_its_own_answers_and_looked_as_often_as_asked(runs: Path) -> None:
    told = {arm: json.loads((runs / f"ucf_crime.{arm}.json").read_text("utf-8")) for arm in ARMS}
    assert {arm: one["model"]["options"]["fps"] for arm, one in told.items()} == dict(
        zip(ARMS, (6.0, 1.0, 6.0, 1.0), strict=True))
    assert [one["speed"]["asked"] for one in told.values()] == [4] * 4  # no arm took another's answers
    one = told[ARMS[0]]
    assert {"accuracy", "binary", "mean over classes", "anomalies found", "false alarms"} <= set(one["scores"])
    assert sorted(one["splits"]["class"]) == ["Arson", "Normal", "Shooting"]


def test_one_table_of_all_arms_and_of_every_paired_difference(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    eval_(["ucf_crime"], data=runs.parent, out=runs, control="oracle")  # random models differ in nothing else
    arms = ["oracle", *ARMS]
    capsys.readouterr()
    eval_([str(runs / f"ucf_crime.{arm}.answers.jsonl") for arm in arms], out=runs, json=True)
    told = json.loads(capsys.readouterr().out)
    names = [one["model"]["name"] for one in told]
    assert names[:5] == [f"ucf_crime.{arm}" for arm in arms] and len(names) == 5 + 10
    assert names[5] == "ucf_crime.oracle - ucf_crime.random_av.fps6"
    value = {one["model"]["name"]: one["scores"]["accuracy"]["value"] for one in told[:5]}
    assert value["ucf_crime.oracle"] == 1.0 > value["ucf_crime.random.fps1"]
    for pair in told[5:]:
        one, other = pair["model"]["name"].split(" - ")
        assert pair["differences"]["accuracy"]["value"] == value[one] - value[other]
        assert (pair["items"], pair["only_one"], pair["only_other"]) == (4, 0, 0)


def test_frames_and_frames_per_second_contradict_each_other(runs: Path) -> None:
    with pytest.raises(UsageError, match="--fps and --frames"):
        eval_(["ucf_crime"], model="no such model", data=runs.parent, out=runs, fps=1.0, frames=3)
