"""Our tasks and models in lmms-eval: the folders as they are written, and (slow) the real package on fifty items."""

from __future__ import annotations

import importlib.util
import json
import os
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from house.command import environment, reelm
from house.tree import ROOT
from reelm.errors import UsageError
from reelm.eval.lmms import Exported, export
from reelm.eval.results import figures
from reelm.eval.runner import Settings, chosen
from reelm.tasks.base import Scored, Task, find
from reelm.types import Clip
from tasks.miniatures.niah import hidden

TASK = find("egoschema")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """EgoSchema's annotations of four questions, which is all that scoring needs."""
    folder = tmp_path / "data"
    folder.mkdir()
    questions = [{"q_uid": name, "question": f"What does C do in {name}?"} |
                 {f"option {number}": f"thing {number} of {name}" for number in range(5)} for name in "abcd"]
    (folder / "questions.json").write_text(json.dumps(questions))
    (folder / "subset_answers.json").write_text(json.dumps(dict(zip("abcd", range(4), strict=True))))
    return folder


def config_of(folder: Path) -> dict[str, Any]:
    """The YAML, with the functions that it names taken from the file beside it, as lmms-eval takes them."""
    spec = importlib.util.spec_from_file_location("utils", folder / "utils.py")
    assert spec is not None and spec.loader is not None
    utils = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(utils)

    class Loader(yaml.SafeLoader):
        pass

    Loader.add_constructor("!function", lambda loader, node: getattr(utils, str(node.value).removeprefix("utils.")))
    found = yaml.load((folder / f"{folder.name}.yaml").read_text("utf-8"), Loader)
    assert isinstance(found, dict)
    return found


def docs_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "items.jsonl").read_text("utf-8").splitlines()]


def figures_here(task: Task, root: Path, settings: Settings, replies: list[str]) -> dict[str, float]:
    items = chosen(task, root, settings)
    return figures(task, [Scored(item, reply, task.score(item, reply))
                          for item, reply in zip(items, replies, strict=True)])


@pytest.mark.parametrize("control", ["none", "rotated", "blind"])
def test_a_folder_asks_and_scores_as_reelm_eval_does(root: Path, tmp_path: Path, control: str) -> None:
    settings = Settings(control=control)
    folder = export(TASK, root, settings, tmp_path / "out", 16)
    assert folder.name == "reelm_egoschema" + ("" if control == "none" else f"_{control}")
    config, docs, items = config_of(folder), docs_of(folder), chosen(TASK, root, settings)
    assert config["task"] == folder.name and config["generation_kwargs"] == {
        "max_new_tokens": 16, "do_sample": False, "temperature": 0, "num_beams": 1, "until": []}
    assert [doc[config["doc_to_text"]] for doc in docs] == [item.text for item in items]
    assert [config["doc_to_visual"](doc) for doc in docs] == [
        [str(part.source) for part in item.media if isinstance(part, Clip)] for item in items]
    replies = [("A", "(B)", "thing 2 of c", "no idea", "Answer: D")[place % 5] for place in range(len(docs))]
    rows = [config["process_results"](doc, [reply]) for doc, reply in zip(docs, replies, strict=True)]
    found = {one["metric"]: one["aggregation"]([row[one["metric"]] for row in rows]) for one in config["metric_list"]}
    assert found == figures_here(TASK, root, settings, replies)
    assert {"accuracy", "accuracy_official", "unread"} <= set(found)
    assert ("every_turn" in found) == (control == "rotated")
    assert all(row["accuracy"]["video"] == item.video for row, item in zip(rows, items, strict=True))


def test_a_stretch_of_a_file_stays_a_part_of_ours(tmp_path: Path) -> None:
    told = [{"source": "/a.mp4", "start_s": 1.5, "end_s": 4.0, "folder_fps": None},
            {"source": "/b", "start_s": 0.0, "end_s": None, "folder_fps": 3.0},
            {"source": "/c.mp4", "start_s": 0.0, "end_s": None, "folder_fps": None}]
    media = Exported("mvbench", tmp_path, ()).media({"rest": json.dumps({"media": told})})
    assert media == [Clip("/a.mp4", 1.5, 4.0), Clip("/b", folder_fps=3.0), "/c.mp4"]


def test_a_task_with_a_judge_is_not_written(root: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="lmms-eval has its own"):
        export(find("msvd_qa"), root, Settings(), tmp_path / "out", 16)


# --- the real package ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lmms() -> str:
    """The interpreter of the environment that `make test-lmms` builds."""
    python = os.environ.get("REELM_LMMS", str(ROOT / ".venv-lmms" / "bin" / "python"))
    if not Path(python).is_file():
        pytest.skip(f"lmms-eval's environment is not there ({python}): make test-lmms")
    return python


def ran(python: str, line: list[str], out: Path) -> tuple[dict[str, float], list[str]]:
    """The figures and the replies of a run of lmms-eval."""
    env = environment(HF_HUB_OFFLINE="1", HF_DATASETS_CACHE=str(out / "cache"), TOKENIZERS_PARALLELISM="false")
    done = subprocess.run([python, "-m", "lmms_eval", *line, "--output_path", str(out), "--log_samples",
                           "--verbosity", "DEBUG"], env=env, cwd=out.parent, text=True, capture_output=True,
                          timeout=3000, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    (results,), (samples,) = out.rglob("*_results.json"), out.rglob("*_samples_*.jsonl")
    (told,) = json.loads(results.read_text("utf-8"))["results"].values()
    rows = sorted((json.loads(text) for text in samples.read_text("utf-8").splitlines()), key=lambda row: row["doc_id"])
    return ({name.removesuffix(",none"): value for name, value in told.items() if isinstance(value, float | int)},
            [row["filtered_resps"] for row in rows])


@pytest.mark.slow
def test_fifty_items_give_the_same_answers_and_figures_through_both(lmms: str, tmp_path: Path) -> None:
    """Our model on our task, and lmms-eval's own model that always says B."""
    data = hidden(tmp_path / "niah", ("ret_edit", "cnt_insert"), 7, count=2)
    args = ("eval", "niah", "--data", str(data), "-m", "random", "--max-tokens", "8", "--limit", "50")
    here = reelm(*args, "--out", str(tmp_path / "here"), "--json")
    assert here.returncode == 0, here.stderr
    (told,) = json.loads(here.stdout)
    replies = [json.loads(line).get("reply") for line in (tmp_path / "here" / "niah.random.answers.jsonl").open()][1:]
    written = reelm(*args, "--export-lmms", str(tmp_path / "tasks"))
    line = shlex.split(written.stdout)
    assert line[0] == "lmms-eval" and "reelm_niah: for lmms-eval" in written.stderr
    there, said = ran(lmms, line[1:], tmp_path / "there")
    assert said == replies and len(said) == 50 and len(set(said)) > 1
    assert {name: there[name] for name in told["scores"]} == pytest.approx(
        {name: figure["value"] for name, figure in told["scores"].items()}, abs=1e-12)
    line[line.index("reelm")], line[line.index("pretrained=random")] = "dummy", "response=B"
    there, said = ran(lmms, line[1:], tmp_path / "dummy")
    assert said == ["B"] * 50 and 0 < there["accuracy"] < 1
    expected = figures_here(find("niah"), data, Settings(limit=50), said)
    assert {name: there[name] for name in expected} == pytest.approx(expected, abs=1e-12)
