"""`reelm train RECIPE`: a recipe carried out, stopped and gone on with."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reelm.cli import options, terminal
from reelm.cli.progress import Progress, spoken
from reelm.errors import UsageError

if TYPE_CHECKING:
    from reelm.train.plan import Plan
    from reelm.train.recipe import Recipe

#: The number of the layout of the JSON outputs.
SCHEMA = 1
HELP = """Train a model by a recipe, or fine-tune one on clips of your own.

reelm train recipes/finetune.yaml --data clips.csv --model reelm-tiny --out run

Started again with the same --out it goes on from the newest complete state; Ctrl-C saves one first. In the folder:
log.jsonl (every step), loss.png, states/, and after each stage a folder with its name that `reelm ask -m` takes.
Under `torchrun` every process runs this same command.
Exit code: 0 done, 130 interrupted and saved; 2 recipe or data, 3 media, 4 model or state, 5 too many bad steps in a
row or not enough memory.
"""
RecipeFile = Annotated[Path, typer.Argument(metavar="RECIPE", help="A YAML file, see recipes/ and docs/training.md.")]
Data = Annotated[list[str] | None, typer.Option("--data", metavar="[NAME=]FILE", help="Records (.jsonl, .json, .csv, "
                 ".tsv), a folder of clips with one CSV, or shards; with a name where a recipe has several sources.")]
Media = Annotated[Path | None, typer.Option(metavar="DIR", help="Names of media count from here; else from the folder "
                                            "of the records.")]
Changes = Annotated[list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Another value for a field: "
                    "--set stages.joint.steps=100.")]
BaseModel = Annotated[str | None, typer.Option("--model", "-m", help="Begin with this model instead of the recipe's.",
                                               autocompletion=options.model_names)]


def train(
    recipe: RecipeFile,
    data: Data = None,
    media: Media = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where everything goes.")] = Path("run"),
    model: BaseModel = None,
    changes: Changes = None,
    stage: Annotated[str | None, typer.Option(metavar="NAME", help="Do not go on after this stage.")] = None,
    device: options.Device = "auto",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell what learns, memory, time and disk; train nothing."
                                          )] = False,
    json: Annotated[bool, typer.Option("--json", help="The plan, or what was made, as one object on stdout.")] = False,
) -> None:
    """The run; see `HELP`."""
    chosen = resolved(recipe, data or [], media, model, changes or [])
    from reelm.model.load import device_of
    from reelm.train import launch

    place = device_of(device)
    with terminal.busy(f"loading {chosen.model}"):
        made = launch.trainee(chosen)
    if dry_run:
        from reelm.train.plan import plan

        with terminal.busy("measuring one pass of every stage"):
            told = plan(made, out, place)
        terminal.as_json({"schema": SCHEMA, **asdict(told)}) if json else show(told)
        return
    watch = Steps(chosen, out)
    run = launch.loop(made, out, device=place, watch=watch)
    with watch:
        try:
            run.run(until=stage)
        finally:
            watch.picture()
            run.ranks.close()
    if run.ranks.first:
        folders = [str(out / one.name) for one in chosen.stages if (out / one.name).is_dir()]
        if json:
            terminal.as_json({"schema": SCHEMA, "out": str(out), "folders": folders, "bad": watch.bad,
                              "skipped": watch.skipped, "losses": watch.losses})
        else:
            for folder in folders:
                terminal.out.print(folder)


def resolved(file: Path, data: list[str], media: Path | None, model: str | None, changes: list[str]) -> Recipe:
    """The recipe of a file with what the command line changes. Raises: UsageError."""
    from reelm.train.recipe import read

    first = read(file, changes, **({"model": model} if model else {}))
    if not data:
        if media is not None:
            raise UsageError("--media without --data")
        return first
    every = {name: one.model_dump() for name, one in first.sources.items()}
    sources = {name: one for name, one in every.items() if one["kind"] == "records"}
    if not sources:
        raise UsageError("--data, but the recipe reads no records", where=str(file))
    for given in data:
        name, equals, path = given.partition("=")
        if not equals or name not in sources:
            if len(sources) > 1:
                raise UsageError(f"--data {given}: the recipe has several sources", where=str(file),
                                 remedy=f"Write --data NAME=FILE, NAME one of {', '.join(sources)}")
            name, path = next(iter(sources)), given
        sources[name] |= {"records": path, "media": str(media) if media else None}
    return first.model_validate({**first.model_dump(), "sources": {**every, **sources}})


class Steps(Progress):
    """Steps done on stderr: a line that changes on a terminal, one now and then elsewhere."""

    def __init__(self, recipe: Recipe, out: Path) -> None:
        super().__init__([out], of_bytes=False)
        self._out, self._share, self._stages = out, 0.0, [stage.name for stage in recipe.stages]
        self._last: dict[str, Any] = {}
        self.skipped, self.losses = 0, dict[str, float]()
        self._drawn = time.monotonic()

    def __call__(self, event: dict[str, Any]) -> None:
        """One event of the run's log."""
        told = getattr(self, f"_{event['event']}", None)
        if told is not None:
            told(event)

    def _stage(self, event: dict[str, Any]) -> None:
        from reelm.train.learning import Row, table

        self._worked, self._began = 0.0, self._clock()  # the time left is that of the stage
        self._share = event["step"] / event["steps"]
        self.skip(self._out, self._share - self._shares[self._out])
        self.say(f"stage {event['stage']}: {event['steps']:,} steps, {event['samples']:,} samples an epoch"
                 + (f", going on after step {event['step']:,}" if event["step"] else ""))
        self.say(table([Row(**row) for row in event["parts"]]))

    def _step(self, event: dict[str, Any]) -> None:
        self._last = event
        if isinstance(event["loss"], float):
            self.losses[event["stage"]] = event["loss"]
        share = event["step"] / event["steps"]
        self.done(self._out, share - self._share)
        self._share = share

    def _skipped(self, event: dict[str, Any]) -> None:
        self.skipped += 1
        self.say(f"step {event['step']:,} skipped: {event['why']}; samples {', '.join(event['ids'])}")

    def _bad(self, event: dict[str, Any]) -> None:
        self.bad += 1
        self.say(f"left out: {event['where']}: {event['why']}")

    def _saved(self, event: dict[str, Any]) -> None:
        if time.monotonic() - self._drawn > 60:
            self.picture()

    def _note(self, event: dict[str, Any]) -> None:
        self.say(f"note: {event['text']}")

    def _interrupted(self, event: dict[str, Any]) -> None:
        self.say(f"saved after step {event['step']:,} of {event['stage']}; the same command goes on from there")

    def picture(self) -> None:
        """Draws the losses so far beside the states."""
        from reelm.train.progress import LOG, plot

        self._drawn = time.monotonic()
        if self._last and (self._out / LOG).is_file() and plot(self._out) is None:
            self.say("note: matplotlib is not installed, so there is no loss.png")

    def text(self) -> str:
        one = self._last
        left = "" if self.left_s is None else f" · about {spoken(self.left_s)} left"
        bad = f" · {self.bad} bad" if self.bad else ""
        loss = f"{one['loss']:.4g}" if isinstance(one["loss"], float) else one["loss"]
        return (f"{one['stage']} {one['step']:,} of {one['steps']:,} · loss {loss} · {one['samples_per_s']:.3g} "
                f"samples/s · {one['tokens_per_s']:,.0f} tokens/s{bad}{left}")


def show(told: Plan) -> None:
    """A plan as text on stdout."""
    from reelm.train.learning import table

    for one in told.stages:
        terminal.out.print(f"stage {one.name}: {one.steps:,} steps of {one.batch} samples ({one.passes} passes), "
                           f"{one.samples:,} samples an epoch, {one.tokens:,} tokens in the first pass")
        terminal.out.print(table(list(one.rows)))
        parts = ", ".join(f"{name} {_size(size)}" for name, size in one.memory.items())
        terminal.out.print(f"  memory {_size(sum(one.memory.values()))}: {parts}")
        terminal.out.print(f"  time about {spoken(one.seconds)} of computing; reading the first pass took "
                           f"{one.read_s:.2f} s")
        terminal.out.print(f"  disk {_size(one.state_bytes)} a state, {_size(one.export_bytes)} for the result")
    terminal.out.print(f"disk in all up to {_size(told.disk_bytes)} ({_size(told.disk_free)} free), memory free "
                       f"{_size(told.memory_free)}")
    for warning in told.warnings:
        terminal.say(f"warning: {warning}")


def _size(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e8 else f"{count / 1e6:.2f} MB"
