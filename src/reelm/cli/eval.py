"""`reelm eval TASK[,TASK]`: figures with intervals; `reelm eval A.jsonl [B.jsonl ...]`: scored again, compared."""

from __future__ import annotations

import json as jsons
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reelm.cli import ask, options, terminal
from reelm.cli.progress import QUIET_S, spoken
from reelm.errors import UsageError

if TYPE_CHECKING:
    from reelm.eval.judge import Judge
    from reelm.eval.models import Respondent
    from reelm.eval.runner import Progress, Settings
    from reelm.tasks.base import Task

NIAH = "niah"
CONTROLS = ("none", "blind", "rotated", "oracle")
HELP = """Measure a model on a benchmark: every figure with its 95 % interval, drawn by videos, and with chance.

reelm eval niah --clips DIR puts needles into your own videos and asks for them; reelm eval TASK --data DIR reads a data
set as published (several tasks: DIR/TASK each). Answers are kept: run again, only what is missing is asked, and a kill
loses at most one --batch.

reelm eval A.answers.jsonl scores saved answers again; with more files every two runs are compared, item by item.
"""


def eval_(
    what: Annotated[list[str], typer.Argument(metavar="TASK[,TASK] | ANSWERS.jsonl...",
                                              help="Tasks, or files of answers.")],
    model: options.Model = "reelm-tiny",
    data: Annotated[Path | None, typer.Option(metavar="DIR", help="The data set, as published.")] = None,
    clips: Annotated[Path | None, typer.Option(metavar="DIR", help="Videos to hide needles in (niah).")] = None,
    each: Annotated[int, typer.Option(min=1, help="Questions for each of the nine sub-tasks (niah --clips).")] = 2,
    seed: Annotated[int, typer.Option(min=0, help="Which needles go where (niah --clips).")] = 0,
    out: Annotated[Path, typer.Option(metavar="DIR", help="For results, answers, made videos.")] = Path("runs/eval"),
    store: Annotated[Path | None, typer.Option(metavar="FILE", help="Kept answers; answers.sqlite in --out.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first items.")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Items asked at once.")] = 1,
    control: Annotated[str, typer.Option(metavar="|".join(CONTROLS), help="blind: without the media; rotated: "
                                         "every option in every place; oracle: the right answers.")] = "none",
    share: Annotated[str, typer.Option(metavar="K/N", help="Only the K-th of N parts, for several processes on one "
                                       "store; run once more without it for the result.")] = "1/1",
    judge: Annotated[str | None, typer.Option(metavar="local:FOLDER|MODEL@URL", help="Who grades open answers; a key "
                                              "for an endpoint is read from the environment.")] = None,
    check_data: Annotated[bool, typer.Option("--check-data", help="Only say what is missing.")] = False,
    frames: options.Frames = None,
    fps: options.Fps = None, tokens: options.Tokens = None,
    system: options.System = None, sampler: options.Sampler = None, compressor: options.Compressor = None,
    max_tokens: options.MaxTokens = 64,
    device: options.Device = "auto",
    json: Annotated[bool, typer.Option("--json", help="A list of result objects on stdout.")] = False,
) -> None:
    """Measure a model; see `HELP`."""
    if any(one.endswith(".jsonl") for one in what):
        show(of_files([Path(one) for one in what], judge, out), json)
        return
    if len(what) > 1:
        raise UsageError(f"{len(what)} arguments", remedy=f"Join tasks by commas: {','.join(what)}")
    from reelm.eval.results import grader
    from reelm.eval.runner import Settings, check

    if control not in CONTROLS:
        raise UsageError(f"no control {control!r}", remedy=f"One of: {', '.join(CONTROLS)}")
    settings = Settings(limit, batch, "none" if control == "oracle" else control, part_of(share))
    places = roots(what[0].split(","), data, clips, out, each, seed)
    counts = {task.name: check(task, root, settings) for task, root in places}
    if check_data:
        listed(counts)
        return
    by = judge_of(judge, out)
    for task, _ in places:
        grader(task, by)  # says which task lacks a judge before a model is loaded
    asked = {"max_tokens": max_tokens, "frames": frames, "fps": fps, "tokens": tokens}
    lm = None if control == "oracle" else loaded(model, device, asked, options.parts(system, sampler, compressor))
    show([measure(task, root, lm, settings, out, store, by) for task, root in places], json)


def listed(counts: dict[str, int]) -> None:
    """Says that nothing is missing."""
    for name, count in counts.items():
        terminal.out.print(f"{name}: {count} items, all media are there")


def part_of(share: str) -> tuple[int, int]:
    """"2/4" as (1, 4). Raises: UsageError."""
    first, slash, last = share.partition("/")
    if not (slash and first.isdigit() and last.isdigit() and 1 <= int(first) <= int(last)):
        raise UsageError(f"--share is no part: {share!r}", remedy="Write 1/4, 2/4, 3/4, 4/4 for four processes")
    return int(first) - 1, int(last)


def roots(names: list[str], data: Path | None, clips: Path | None, out: Path, each: int, seed: int
          ) -> list[tuple[Task, Path]]:
    """Every task with the folder of its data; needles are hidden first where --clips asks for it."""
    from reelm.tasks.base import find

    found = [find(name) for name in names]
    if (data is None) == (clips is None):
        raise UsageError("needs either --data or --clips", remedy="--data DIR for a data set, niah --clips DIR for "
                         "videos of your own")
    if clips is not None:
        if names != [NIAH]:
            raise UsageError(f"--clips is for {NIAH} alone, not {', '.join(names)}", remedy="Give --data DIR")
        from reelm.tasks.niah_make import Settings as Needles
        from reelm.tasks.niah_make import make

        with terminal.busy("hiding needles"):
            made = make(clips, out / NIAH, Needles(seed=seed, each=each))
        for line in made.left_out:
            terminal.say(f"passed over: {line}")
        terminal.say(f"{made.videos} videos in {made.root}")
        return [(found[0], made.root)]
    assert data is not None
    return [(task, data if len(found) == 1 else data / task.name) for task in found]


def loaded(name: str, device: str, asked: dict[str, Any], parts: dict[str, Any]) -> Respondent:
    """The model as the runner asks it. Raises: UsageError for both frames and fps."""
    import reelm
    from reelm.eval.models import Local

    ask.check(asked["fps"], asked["frames"], None)
    with terminal.busy(f"loading {name}"):
        lm = reelm.load(name, device=device, **parts)
    return Local(lm, **{key: value for key, value in asked.items() if value is not None})


def measure(task: Task, root: Path, lm: Respondent | None, settings: Settings, out: Path, store: Path | None,
            judge: Judge | None) -> dict[str, Any]:
    """Runs one task, writes TASK.MODEL.json and its answers into `out`, and gives the result."""
    from reelm.eval.models import Oracle
    from reelm.eval.results import grader, result, write_answers
    from reelm.eval.runner import run
    from reelm.eval.store import Answers
    from reelm.tasks.base import Task

    model = lm or Oracle(task)
    out.mkdir(parents=True, exist_ok=True)
    grade = grader(task, judge)
    with Answers(store or out / "answers.sqlite") as answers:
        done = run(task, root, model, answers, settings, Line(task.name), grade)
    told = result(done, root, model, settings) | ({"judge": judge.report()} if grade and judge else {})
    control = "" if settings.control == "none" else f".{settings.control}"
    share = "" if settings.share == (0, 1) else f".{settings.share[0] + 1}of{settings.share[1]}"
    how = getattr(model, "options", {})
    looked = "".join(f".{name}{how[name]:g}" for name in ("fps", "frames") if name in how)
    stem = f"{task.name}.{Path(model.name).name.replace(':', '_')}{looked}{control}{share}"
    write_answers(out / f"{stem}.answers.jsonl", done, model, settings)
    (out / f"{stem}.json").write_text(jsons.dumps(told, indent=1, ensure_ascii=False) + "\n", "utf-8")
    terminal.say(f"{out / stem}.json and {stem}.answers.jsonl")
    if not (control or share) and type(task).submission is not Task.submission:
        (out / stem).mkdir(exist_ok=True)
        for path in task.submission([row.scored for row in done.rows], out / stem):
            terminal.say(f"{path}: for the benchmark's server")
    return told


def judge_of(spec: str | None, out: Path) -> Judge | None:
    """The judge that `--judge` names, with its kept verdicts in `out`."""
    if spec is None:
        return None
    from reelm.eval.judge import Judge, opened
    from reelm.eval.verdicts import Verdicts

    out.mkdir(parents=True, exist_ok=True)
    return Judge(opened(spec), cache=Verdicts(out / "verdicts.sqlite"))


class Line:
    """How far a run is, on stderr, now and then and at its end."""

    def __init__(self, name: str) -> None:
        self._name, self._shown_at = name, time.monotonic()

    def __call__(self, now: Progress) -> None:
        if now.done < now.total and time.monotonic() - self._shown_at < QUIET_S:
            return
        self._shown_at = time.monotonic()
        left = "" if now.left_s is None or now.done == now.total else f", about {spoken(now.left_s)} left"
        terminal.say(f"{self._name}: {now.done} of {now.total} items, {now.kept} known before{left}")


def of_files(paths: list[Path], judge: str | None, out: Path) -> list[dict[str, Any]]:
    """Saved answers scored again; of several files, every pair compared as well."""
    from reelm.eval.arms import side_by_side
    from reelm.eval.results import read_answers

    return side_by_side(paths, [read_answers(path, judge_of(judge, out)) for path in paths])


def show(results: list[dict[str, Any]], json: bool) -> None:
    """Results as a table, or as JSON."""
    if json:
        terminal.as_json(results)
        return
    rows = []
    for told in results:
        for name, figure in (told.get("scores") or told["differences"]).items():
            ends = "" if figure["low"] is None else f"{figure['low']:.3f} to {figure['high']:.3f}"
            chance = f"{figure['chance']:.3f}" if "chance" in figure else ""
            rows.append([told["task"], told["model"]["name"], name, f"{figure['value']:.3f}", ends, chance,
                         str(figure.get("n", "" if "scores" in told else told["items"]))])
        for failed in told.get("failed", ()):
            terminal.say(f"failed: {failed['id']}: {failed['error']}")
    terminal.table(("task", "model", "figure", "value", "95 % interval", "chance", "items"), rows)
