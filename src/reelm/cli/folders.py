"""`reelm model check | import | export | merge`: model folders examined, and carried from one form to the other."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reelm.cli import terminal
from reelm.errors import CheckpointError, UsageError


def check(
    folder: Annotated[Path, typer.Argument(help="A model folder, ours or published.")],
    ask: Annotated[list[Path] | None, typer.Option(help="A video, picture or sound for a question to record.")] = None,
    question: Annotated[str | None, typer.Option(help="The question to record.")] = None,
    record: Annotated[Path | None, typer.Option(help="Write the question and its answer to this file.")] = None,
    against: Annotated[Path | None, typer.Option(help="Put the questions of this record, compare the answers.")] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="The longest answer to record, in tokens.")] = 64,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda.")] = "auto",
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16, float16.")] = "auto",
    json: Annotated[bool, typer.Option("--json", help="A list of objects: name, ok, said.")] = False,
) -> None:
    """Check a model folder: names, shapes, sizes, tokens; record a question, or compare with a recorded one."""
    if (record is None) != (question is None):
        raise UsageError("--record and --question belong together", remedy="Give both, and --ask FILE")
    if ask and record is None:
        raise UsageError("--ask without --question and --record does nothing")
    from dataclasses import asdict

    from reelm.model.check import compare, inspect, write
    from reelm.model.check import record as recorded

    found = inspect(folder)
    if (question is not None and record is not None) or against is not None:
        import reelm

        with terminal.busy(f"loading {folder}"):
            lm = reelm.load(folder, device=device, dtype=dtype)
        if question is not None and record is not None:
            write(recorded(lm, [reelm.Clip(path) for path in ask or ()], question, max_tokens), record)
        if against is not None:
            found += compare(lm, against)
    if json:
        terminal.as_json([asdict(one) for one in found])
    else:
        terminal.table(("", "what", "found"), [
            ("" if one.ok is None else "ok" if one.ok else "BAD", one.name, one.said) for one in found])
    if bad := [one for one in found if one.ok is False]:
        raise CheckpointError(f"{len(bad)} of {len(found)} checks failed: {', '.join(one.name for one in bad)}",
                              where=str(folder), remedy="Fetch the folder again, or compare it with its config.json")


def import_folder(
    folder: Annotated[Path, typer.Argument(help="A published folder: whole, -Base or LoRA.")],
    target: Annotated[Path, typer.Argument(help="A new folder in our form.")],
    official: Annotated[bool, typer.Option("--official", help="Refuse a folder that is in our form already.")] = False,
) -> None:
    """Write a published folder in our form, every piece of it in one place, numbers unchanged."""
    from reelm.model.checkpoints import load_folder
    from reelm.model.export import save_native
    from reelm.model.files import read_config

    if official and read_config(folder).get("model_type") == "reelm":
        raise UsageError("this folder is in our form already", where=str(folder))
    _new(target)
    with terminal.busy(f"reading {folder}"):
        model, processor = load_folder(folder)
    save_native(model, processor, target)
    for note in model.loading_notes:
        terminal.say(f"note: {note}")
    terminal.say(f"wrote {target}")


def export_folder(
    folder: Annotated[Path, typer.Argument(help="A model folder.")],
    target: Annotated[Path, typer.Argument(help="A new folder.")],
    official: Annotated[bool, typer.Option("--official", help="In the published form: flat config, official names.")]
    = False,
    shard_mb: Annotated[int, typer.Option(min=1, help="The largest weight file, in MB.")] = 5000,
) -> None:
    """Write a model folder in the published form, numbers unchanged."""
    if not official:
        raise UsageError("export knows one form so far", remedy="Say --official; for our form use reelm model import")
    from reelm.model.checkpoints import load_folder
    from reelm.model.export import save_official

    _new(target)
    with terminal.busy(f"reading {folder}"):
        model, processor = load_folder(folder)
    written = save_official(model, processor, target, shard_mb * 1_000_000)
    terminal.say(f"wrote {target}: {', '.join(path.name for path in written)}")


def merge(
    folder: Annotated[Path, typer.Argument(help="A folder with a LoRA or DoRA: ours, PEFT's, or published.")],
    out: Annotated[Path, typer.Option(help="A new folder in our form, whole.")],
    base: Annotated[str | None, typer.Option(help="Where the adapter's base lies, if not where it says.")] = None,
) -> None:
    """Merge an adapter into its base: one whole model folder that needs neither."""
    from reelm.model.adapters import SETTINGS, is_adapter
    from reelm.model.checkpoints import load_adapted, load_folder
    from reelm.model.export import save_native

    if not (folder / SETTINGS).is_file():
        raise UsageError(f"no {SETTINGS}, so no adapter", where=str(folder), remedy="Give the folder of an adapter")
    ours = is_adapter(folder)
    if base is not None and not ours:
        raise UsageError("--base is for adapters of PEFT's form", where=str(folder),
                         remedy="A published folder names its base in its own files")
    _new(out)
    with terminal.busy(f"merging {folder}"):
        model, processor = load_adapted(folder, base=base) if ours else load_folder(folder)
        save_native(model, processor, out)
    for note in model.loading_notes:
        terminal.say(f"note: {note}")
    terminal.say(f"wrote {out}")


def _new(target: Path) -> None:
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError("is there already", where=str(target), remedy="Give a new folder")
