"""`reelm eval TASK[,TASK]`: figures with intervals; `reelm eval A.jsonl [B.jsonl ...]`: scored again, compared."""

from __future__ import annotations

import json as jsons
import time
from collections.abc import Callable
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reelm.cli import ask, options, terminal
from reelm.cli.exports import to_lmms
from reelm.cli.progress import QUIET_S, spoken
from reelm.errors import ReelmError, UsageError

if TYPE_CHECKING:
    from reelm.eval.models import Respondent
    from reelm.eval.panel import Panel
    from reelm.eval.runner import Progress, Row, Settings
    from reelm.tasks.base import Task, Wish

OUT = Path("runs/eval")
CONTROLS = ("none", "blind", "rotated", "mute", "dark", "oracle")
What = Annotated[list[str], typer.Argument(metavar="TASK[,TASK] | ANSWERS.jsonl...",
                                           help="Tasks, or files of answers.")]
Data = Annotated[Path | None, typer.Option(metavar="DIR", help="The data set, as published.")]
Clips = Annotated[Path | None, typer.Option(metavar="DIR", help="Videos to hide needles in (niah).")]
Needles = Annotated[Path | None, typer.Option(metavar="DIR", help="Pictures to hide, named by their files (niah "
                                              "--clips).")]
Each = Annotated[int | None, typer.Option(min=1, help="How much of every kind to make, without --data.")]
Seed = Annotated[int | None, typer.Option(min=0, help="What to make, without --data; 0 unless given.")]
Out = Annotated[Path | None, typer.Option(metavar="DIR", help="For results, answers, reports, made videos; runs/eval "
                                          "unless said.")]
Store = Annotated[Path | None, typer.Option(metavar="FILE", help="Kept answers; answers.sqlite in --out.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Only the first items.")]
Batch = Annotated[int, typer.Option(min=1, help="Items asked at once.")]
CheckData = Annotated[bool, typer.Option("--check-data", help="Only say what is missing.")]
Control = Annotated[str, typer.Option(metavar="|".join(CONTROLS), help="blind: without the media; mute: without the "
                                      "sound; dark: without the pictures; rotated: every option in every place; "
                                      "oracle: the right answers.")]
Share = Annotated[str, typer.Option(metavar="K/N", help="Only the K-th of N parts, for several processes on one store; "
                                    "run once more without it for the result.")]
Judges = Annotated[list[str] | None, typer.Option(metavar="local:FOLDER|MODEL@URL", help="Who grades open answers, "
                                                  "with the key in $REELM_JUDGE_KEY; twice: how far two judges agree.")]
JudgeMode = Annotated[str, typer.Option(metavar="careful|official", help="official: the judge samples, and is read, as "
                                        "in the published scripts; careful: temperature 0.")]
ExportLmms = Annotated[Path | None, typer.Option(metavar="DIR", help="Only write the tasks there, for the "
                                                 "--include_path of lmms-eval.")]
HELP = """Measure a model on a benchmark: every figure with its 95 % interval, drawn by videos, and with chance.

reelm eval world, temporal or audio_visual needs nothing: clips are made, the same ones for the same --seed. reelm eval
niah --clips DIR puts needles into your own videos and asks for them. reelm eval TASK --data DIR reads a data set as
published (several tasks: DIR/TASK each). Answers are kept: run again, only what is missing is asked, and a kill
loses at most one --batch.

reelm eval A.answers.jsonl scores saved answers again; with more files every two runs are compared, item by item, with
--out as a page to look at, with --data DIR beside the clips.
"""


def eval_(
    what: What,
    model: options.Model = "reelm-tiny",
    data: Data = None, clips: Clips = None, needles: Needles = None, each: Each = None, seed: Seed = None,
    out: Out = None, store: Store = None,
    limit: Limit = None, batch: Batch = 1, control: Control = "none", share: Share = "1/1",
    judge: Judges = None, judge_mode: JudgeMode = "careful",
    export_lmms: ExportLmms = None, check_data: CheckData = False,
    frames: options.Frames = None, fps: options.Fps = None, tokens: options.Tokens = None,
    system: options.System = None, sampler: options.Sampler = None, compressor: options.Compressor = None,
    max_tokens: options.MaxTokens = 64, device: options.Device = "auto",
    json: Annotated[bool, typer.Option("--json", help="A list of result objects on stdout.")] = False,
) -> None:
    """Measure a model; see `HELP`."""
    if any(one.endswith(".jsonl") for one in what):
        show(of_files([Path(one) for one in what], panel_of(judge, judge_mode, out or OUT), out, data), json)
        return
    if len(what) > 1:
        raise UsageError(f"{len(what)} arguments", remedy=f"Join tasks by commas: {','.join(what)}")
    from reelm.eval.results import grader
    from reelm.eval.runner import Settings, check

    out = out or OUT
    if control not in CONTROLS:
        raise UsageError(f"no control {control!r}", remedy=f"One of: {', '.join(CONTROLS)}")
    settings = Settings(limit, batch, "none" if control == "oracle" else control, part_of(share))
    places = roots(what[0].split(","), data, out, {"clips": clips, "needles": needles, "each": each, "seed": seed})
    look, parts = {"frames": frames, "fps": fps, "tokens": tokens}, options.parts(system, sampler, compressor)
    counts = {task.name: check(task, root, settings) for task, root in places}
    if check_data:
        listed(counts)
        return
    if export_lmms is not None:
        to_lmms(places, settings, control, export_lmms, model, look | parts, max_tokens)
        return
    by = panel_of(judge, judge_mode, out)
    for task, _ in places:
        grader(task, by)  # says which task lacks a judge before a model is loaded
    lm = None if control == "oracle" else loaded(model, device, look | {"max_tokens": max_tokens}, parts)
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


def roots(names: list[str], data: Path | None, out: Path, wishes: dict[str, Any]) -> list[tuple[Task, Path]]:
    """Every task with the folder of its data, which is made first where none is given."""
    from reelm.tasks.base import Wish, find

    found = [find(name) for name in names]
    given = {name: value for name, value in wishes.items() if value is not None}
    if data is not None:
        if given:
            raise UsageError(f"--{', --'.join(given)} has no effect on the data set of --data",
                             remedy="Leave out one of them: without --data, what can be made is made")
        return [(task, data if len(found) == 1 else data / task.name) for task in found]
    fetched = [task.name for task in found if not task.generated]
    if fetched:
        raise UsageError(f"needs the data set of {', '.join(fetched)}", remedy="Give --data DIR; only these are made "
                         f"here: {', '.join(generated())}")
    for folder in ("clips", "needles"):
        if folder in given and not any(folder in task.takes for task in found):
            raise UsageError(f"--{folder} has no effect on {', '.join(names)}", remedy="Leave it out, or add niah")
    return [(task, made(task, out / task.name, Wish(**given))) for task in found]


def generated() -> list[str]:
    """The tasks that can be made here."""
    from reelm.tasks.base import find, tasks

    return [name for name in tasks() if find(name).generated]


def made(task: Task, out: Path, wish: Wish) -> Path:
    """The folder of a task's data, made now as far as it was not there."""
    began = time.monotonic()
    line = Line(f"making {task.name}")

    def tell(done: int, total: int) -> None:
        line.tell(done, total, "videos", (time.monotonic() - began) / done * (total - done))

    with terminal.busy(f"making {task.name}"):
        there = task.make(out, wish, tell)
    for note in there.notes:
        terminal.say(f"{task.name}: {note}")
    terminal.say(f"{there.videos} videos in {there.root}")
    return there.root


def loaded(name: str, device: str, asked: dict[str, Any], parts: dict[str, Any]) -> Respondent:
    """The model as the runner asks it. Raises: UsageError for both frames and fps."""
    import reelm
    from reelm.eval.models import Local

    ask.check(asked["fps"], asked["frames"], None)
    with terminal.busy(f"loading {name}"):
        lm = reelm.load(name, device=device, **parts)
    return Local(lm, **{key: value for key, value in asked.items() if value is not None})


def measure(task: Task, root: Path, lm: Respondent | None, settings: Settings, out: Path, store: Path | None,
            judges: Panel | None) -> dict[str, Any]:
    """Runs one task, writes TASK.MODEL.json and its answers into `out`, and gives the result."""
    from reelm.eval import report
    from reelm.eval.models import Oracle
    from reelm.eval.results import grader, result, write_answers
    from reelm.eval.runner import run
    from reelm.eval.store import Answers
    from reelm.tasks.base import Task

    model = lm or Oracle(task)
    out.mkdir(parents=True, exist_ok=True)
    grade = grader(task, judges)
    with Answers(store or out / "answers.sqlite") as answers:
        done = run(task, root, model, answers, settings, Line(task.name), grade)
    told = result(done, root, model, settings) | (judges.report(task) if judges else {})
    control = "" if settings.control == "none" else f".{settings.control}"
    share = "" if settings.share == (0, 1) else f".{settings.share[0] + 1}of{settings.share[1]}"
    if done.left_out:
        terminal.say(f"{task.name}: {done.left_out} items without both pictures and sound are left out")
    how = getattr(model, "options", {})
    looked = "".join(f".{name}{how[name]:g}" for name in ("fps", "frames") if name in how)
    stem = f"{task.name}.{Path(model.name).name.replace(':', '_')}{looked}{control}{share}"
    write_answers(out / f"{stem}.answers.jsonl", done, model, settings)
    (out / f"{stem}.json").write_text(jsons.dumps(told, indent=1, ensure_ascii=False) + "\n", "utf-8")
    terminal.say(f"{out / stem}.json and {stem}.answers.jsonl")
    if not share:
        page(out / f"{stem}.html", lambda path: report.write(path, told, task, done.rows))
    if not (control or share) and type(task).submission is not Task.submission:
        (out / stem).mkdir(exist_ok=True)
        for path in task.submission([row.scored for row in done.rows], out / stem):
            terminal.say(f"{path}: for the benchmark's server")
    return told


def page(path: Path, write: Callable[[Path], object]) -> None:
    """Writes a report; figures and answers lie on the disk by then, so what stops a report is told and no more."""
    try:
        with terminal.busy("writing the report"):
            write(path)
    except (ReelmError, OSError) as error:
        terminal.say(f"no report: {error}")
    else:
        terminal.say(f"{path}: to be opened in a browser")


def panel_of(specs: list[str] | None, mode: str, out: Path) -> Panel | None:
    """The judges that `--judge` names, with their kept verdicts in `out`."""
    if not specs:
        if mode != "careful":
            raise UsageError(f"--judge-mode {mode} without a judge", remedy="Name one: --judge MODEL@https://host/v1")
        return None
    from reelm.eval.judge import opened
    from reelm.eval.panel import Panel
    from reelm.eval.verdicts import Verdicts

    return Panel([opened(spec) for spec in specs], Verdicts(out / "verdicts.sqlite"), mode)


class Line:
    """How far a run is, on stderr, now and then and at its end."""

    def __init__(self, name: str) -> None:
        self._name, self._shown_at = name, time.monotonic()

    def __call__(self, now: Progress) -> None:
        self.tell(now.done, now.total, f"items, {now.kept} known before", now.left_s)

    def tell(self, done: int, total: int, what: str, left_s: float | None) -> None:
        """Says "`done` of `total` `what`" with the time left, if it is time to say something."""
        if done < total and time.monotonic() - self._shown_at < QUIET_S:
            return
        self._shown_at = time.monotonic()
        left = "" if left_s is None or done == total else f", about {spoken(left_s)} left"
        terminal.say(f"{self._name}: {done} of {total} {what}{left}")


def of_files(paths: list[Path], judges: Panel | None, out: Path | None, data: Path | None) -> list[dict[str, Any]]:
    """Saved answers scored again; of several files, every pair compared as well. With `out` also a page of it, in which
    the clips play where `data` says where they are: answers hold none."""
    from reelm.eval.arms import side_by_side
    from reelm.eval.results import read_answers

    if data is not None and out is None:
        raise UsageError("--data of saved answers is for their page alone", remedy="Give --out DIR too")
    read, reports = [], []
    for path in paths:
        read.append(read_answers(path, judges))
        reports.append(judges.report(read[-1][1]) if judges else {})  # of this file; the next one counts anew
    told = side_by_side(paths, read)
    for one, more in zip(told, reports, strict=False):  # the pairs come after the files
        one.update(more)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        of_saved([path.name.removesuffix(".jsonl").removesuffix(".answers") for path in paths], told,
                 [(head["model"], task, rows) for head, task, rows in read], out, data)
    return told


def of_saved(stems: list[str], told: list[dict[str, Any]], read: list[tuple[str, Task, list[Row]]], out: Path,
             data: Path | None) -> None:
    """The page of one file of saved answers, or of every pair of several: `told` has the pairs after the files."""
    from reelm.eval import report

    task = read[0][1]
    runs = [(f"{model} ({stem})", rows if data is None else report.with_media(task, rows, data))
            for stem, (model, _, rows) in zip(stems, read, strict=True)]
    if len(runs) == 1:
        page(out / f"{stems[0]}.again.html", lambda path: report.write(path, told[0], task, runs[0][1]))
    for (one, other), pair in zip(combinations(range(len(runs)), 2), told[len(runs):], strict=True):
        both = pair | {"first": told[one], "second": told[other]}
        page(out / f"{stems[one]}.against.{stems[other]}.html",
             partial(report.write_comparison, told=both, task=task, runs=(runs[one], runs[other])))


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
        for name, found in told.get("agreement", {}).items():
            value, *between = ("" if found[key] is None else f"{found[key]:.3f}" for key in ("kappa", "low", "high"))
            rows.append([told["task"], "two judges", f"kappa of {name}", value, " to ".join(filter(None, between)), "",
                         str(found["items"])])
        for failed in told.get("failed", ()):
            terminal.say(f"failed: {failed['id']}: {failed['error']}")
    terminal.table(("task", "model", "figure", "value", "95 % interval", "chance", "items"), rows)
