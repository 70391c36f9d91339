"""The runner asks each item once in its life, scores what came, and its results say how they were made."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

import reelm
from reelm.errors import MediaError, UsageError
from reelm.eval.models import Local, Oracle
from reelm.eval.results import compared, read_answers, result, write_answers
from reelm.eval.runner import Settings, check, run
from reelm.eval.store import Answers
from reelm.tasks.base import Item, Task, find
from reelm.types import Answer
from tasks.miniatures.niah import hidden

NIAH = find("niah")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """16 items about 4 videos, hidden in two clips."""
    return hidden(tmp_path_factory.mktemp("niah"), ("ret_edit", "cnt_insert"), 2, count=2)


class Scripted:
    """A respondent that says what it is told to, and counts what it is asked."""

    options: dict[str, str] = {}

    def __init__(self, name: str, say) -> None:
        self.name, self._say, self.batches = name, say, []

    def fingerprint(self) -> str:
        return self.name

    def replies(self, items: Sequence[Item], asked) -> list:
        self.batches.append([item.id for item in items])
        return [Answer(said) if isinstance(said := self._say(item), str) else said for item in items]


def test_the_oracle_reaches_the_top_and_a_guess_that_does_not_look_chance(root, tmp_path):
    with Answers(tmp_path / "a") as store:
        top = result(run(NIAH, root, Oracle(NIAH), store), root, Oracle(NIAH), Settings())
        flat = Scripted("a", lambda item: "A")
        low = result(run(NIAH, root, flat, store), root, flat, Settings())
    assert top["scores"]["accuracy"]["value"] == top["scores"]["circular"]["value"] == 1.0
    assert top["scores"]["accuracy"]["chance"] == 0.25 == low["scores"]["accuracy"]["value"]
    assert low["scores"]["circular"]["value"] == 0.0
    assert top["items"] == 16 and top["videos"] == 2 and set(top["splits"]["type"]) == {"ret_edit", "cnt_insert"}
    assert top["splits"]["type"]["ret_edit"]["n"] == 8


def test_a_rerun_asks_nothing_and_a_bigger_limit_only_the_rest(root, tmp_path):
    model = Scripted("a", lambda item: "A")
    with Answers(tmp_path / "a") as store:
        first = run(NIAH, root, model, store, Settings(limit=6, batch=4))
        assert [len(batch) for batch in model.batches] == [4, 2] and first.asked == 6
        whole = run(NIAH, root, model, store, Settings(batch=16))
        assert whole.asked == 10 and [row.kept for row in whole.rows] == [True] * 6 + [False] * 10
        again = run(NIAH, root, model, store)
    assert again.asked == 0 and [row.scored for row in again.rows] == [row.scored for row in whole.rows]
    assert again.media_digest == whole.media_digest != first.media_digest


def test_answers_follow_content_not_names_and_another_model_or_control_is_asked_anew(root, tmp_path):
    shutil.copytree(root, tmp_path / "elsewhere")
    model = Scripted("a", lambda item: "A")
    with Answers(tmp_path / "a") as store:
        run(NIAH, root, model, store)
        assert run(NIAH, tmp_path / "elsewhere", model, store).asked == 0
        assert run(NIAH, root, model, store, Settings(control="blind")).asked == 16
        assert run(NIAH, root, Scripted("b", lambda item: "B"), store).asked == 16
        changed = tmp_path / "elsewhere" / "ret_edit_0.mp4"
        changed.write_bytes((root / "ret_edit_1.mp4").read_bytes())
        assert run(NIAH, tmp_path / "elsewhere", model, store).asked == 4


def test_shares_of_several_processes_meet_in_one_store(root, tmp_path):
    model = Scripted("a", lambda item: item.answer)
    with Answers(tmp_path / "a") as store:
        parts = [run(NIAH, root, model, store, Settings(share=(k, 3))) for k in range(3)]
        assert [part.asked for part in parts] == [6, 5, 5]
        assert run(NIAH, root, model, store).asked == 0


def test_an_item_that_fails_is_counted_wrong_told_and_asked_again(root, tmp_path):
    sick = Scripted("a", lambda item: MediaError("is broken") if item.id.endswith("_3") else item.answer)
    with Answers(tmp_path / "a") as store:
        told = result(done := run(NIAH, root, sick, store, Settings(batch=5)), root, sick, Settings())
        assert told["scores"]["accuracy"]["value"] == 0.75 and told["scores"]["circular"]["value"] == 0.0
        assert len(told["failed"]) == 4 and all("is broken" in one["error"] for one in told["failed"])
        well = Scripted("a", lambda item: item.answer)
        assert run(NIAH, root, well, store).asked == 4 and done.asked == 16


def test_ctrl_c_in_a_batch_keeps_the_whole_answers_of_it(root, tmp_path):
    def half(item: Item) -> Answer:
        return Answer(item.answer, stop="cancelled" if item.id.endswith(("_2", "_3")) else "end")

    with Answers(tmp_path / "a") as store:
        with pytest.raises(KeyboardInterrupt):
            run(NIAH, root, Scripted("a", half), store, Settings(batch=4))
        assert len(store) == 2


def test_what_is_missing_is_said_before_anything_is_asked(root, tmp_path):
    assert check(NIAH, root, Settings()) == 16 and check(NIAH, root, Settings(limit=3)) == 3
    shutil.copytree(root, tmp_path / "part")
    (tmp_path / "part" / "ret_edit_0.mp4").unlink()
    with pytest.raises(MediaError, match=r"1 media of task niah are missing.*ret_edit_0.mp4"):
        check(NIAH, tmp_path / "part", Settings())
    assert check(NIAH, tmp_path / "part", Settings(control="blind")) == 16
    for wrong in ({"batch": 0}, {"share": (2, 2)}, {"limit": 0}, {"control": "deaf"}):
        with pytest.raises(UsageError):
            Settings(**wrong)


def test_saved_answers_are_scored_again_to_the_same_figures_and_compared(root, tmp_path):
    right = Scripted("right", lambda item: item.answer)
    partly = Scripted("partly", lambda item: item.answer if item.facts["type"] == "ret_edit" else "A")
    with Answers(tmp_path / "a") as store:
        runs = {model.name: run(NIAH, root, model, store) for model in (right, partly)}
        for model in (right, partly):
            write_answers(tmp_path / f"{model.name}.jsonl", runs[model.name], model, Settings())
    read = {name: read_answers(tmp_path / f"{name}.jsonl") for name in runs}
    for name, (head, task, rows) in read.items():
        assert head["model"] == name and task.name == "niah"
        assert [row.scored.scores for row in rows] == [row.scored.scores for row in runs[name].rows]
        assert all(row.scored.item.media == () for row in rows)
    told = compared(NIAH, read["right"][2], read["partly"][2][:12])
    assert (told["items"], told["only_one"], told["only_other"]) == (12, 4, 0)
    assert told["differences"]["ret_edit"]["value"] == 0.0 < told["differences"]["cnt_insert"]["value"]
    with pytest.raises(UsageError, match="share none"):
        compared(NIAH, read["right"][2][:4], read["partly"][2][4:])


def test_a_file_that_holds_no_answers_is_told_with_its_line(tmp_path):
    path = tmp_path / "a.jsonl"
    head = json.dumps({"reelm": "answers", "schema": 1, "task": "niah"})
    for text, message in (("", "no file of answers"), ('{"id": 1}\n', "no file of answers"), (head, "holds no answer"),
                          (head + "\n[1]", "line 2: is list"), (head + "\n{x", "line 2: is no JSON"),
                          (head + '\n{"id": "1"}', "item 0: lacks video")):
        path.write_text(text)
        with pytest.raises(UsageError, match=message):
            read_answers(path)


def test_a_real_model_answers_and_the_result_says_how(root, tmp_path):
    lm = reelm.load("random", device="cpu")
    model = Local(lm, max_tokens=4)
    with Answers(tmp_path / "a") as store:
        told = result(run(NIAH, root, model, store, Settings(limit=6)), root, model, Settings(limit=6))
        batched = run(NIAH, root, model, Answers(tmp_path / "b"), Settings(limit=6, batch=6))
        single = run(NIAH, root, model, store, Settings(limit=6))
        assert single.asked == 0 and Local(lm, max_tokens=5).fingerprint() != model.fingerprint()
    assert [row.scored.reply for row in batched.rows] == [row.scored.reply for row in single.rows]
    assert told["speed"]["asked"] == 6 and told["speed"]["items_per_s"] > 0
    assert {"decode", "encode", "total"} <= set(told["speed"]["phases_s"])
    assert told["peak_bytes"]["process"] > 100 << 20
    assert told["versions"]["torch"] and len(told["data"]["annotations"]["niah.json"]) == 64
    assert told["model"]["options"] == {"max_tokens": 4} and json.loads(json.dumps(told))["settings"]["limit"] == 6
    name, weight = next(iter(lm.model.named_parameters()))
    weight.data.view(-1)[0] += 1
    assert Local(lm, max_tokens=4).fingerprint() != model.fingerprint(), name


def test_the_oracle_knows_each_of_two_items_that_ask_the_same(tmp_path: Path) -> None:
    class Twins(Task):
        def items(self, root: Path) -> Iterator[Item]:
            yield from (Item(name, name, (), "Which?", answer=name) for name in ("a", "b"))

        def annotations(self, root: Path) -> tuple[Path, ...]:
            return ()

        def chance(self, item: Item) -> float:
            return 0.0

        def score(self, item: Item, text: str) -> dict[str, float]:
            return {"accuracy": float(text == item.answer)}

    task = Twins()
    with Answers(tmp_path / "kept.sqlite") as store:
        for _ in range(2):
            done = run(task, tmp_path, Oracle(task), store)
            assert [row.scored.scores for row in done.rows] == [{"accuracy": 1.0}] * 2
