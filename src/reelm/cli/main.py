"""`reelm VERB …`: puts the verbs together. Importing this file costs no torch, so help is instant."""

from __future__ import annotations

from typing import Annotated

import typer

from reelm.cli import (
    ask,
    caption,
    chat,
    convert,
    data,
    demo,
    doctor,
    failures,
    folders,
    model,
    parts,
    study,
    systems,
    train,
)
from reelm.cli import eval as evaluation
from reelm.cli.failures import guarded

app = typer.Typer(
    name="reelm",
    help="Ask a video, with its pictures and its sound, a question.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
models = typer.Typer(help="List, describe, fetch, check, convert and merge models.", no_args_is_help=True)
records = typer.Typer(help="Make, check and measure files of training records; put them into shards.",
                      no_args_is_help=True)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(f"reelm {version('reelm')}")
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Print the full traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Ask a video, with its pictures and its sound, a question."""
    failures.debug = debug


app.command("ask", help=ask.HELP)(guarded(ask.ask))
app.command("chat", help=chat.HELP)(guarded(chat.chat))
app.command("caption", help=caption.HELP)(guarded(caption.caption))
app.command("train", help=train.HELP)(guarded(train.train))
app.command("eval", help=evaluation.HELP)(guarded(evaluation.eval_))
app.command("demo")(guarded(demo.demo))
app.command("parts")(guarded(parts.parts))
app.command("systems")(guarded(systems.systems))
app.command("study", help=study.HELP)(guarded(study.study))
app.command("doctor")(guarded(doctor.doctor))
models.command("list")(guarded(model.list_models))
models.command("show")(guarded(model.show))
models.command("pull")(guarded(model.pull))
models.command("check")(guarded(folders.check))
models.command("import")(guarded(folders.import_folder))
models.command("export")(guarded(folders.export_folder))
models.command("merge")(guarded(folders.merge))
app.add_typer(models, name="model")
records.command("check", help=data.CHECK_HELP)(guarded(data.check))
records.command("stats", help=data.STATS_HELP)(guarded(data.stats))
records.command("convert", help=convert.HELP)(guarded(convert.convert))
records.command("shard", help=data.SHARD_HELP)(guarded(data.shard))
app.add_typer(records, name="data")

if __name__ == "__main__":
    app()
