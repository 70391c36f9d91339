"""A conversation as a file: JSON to work with, Markdown to read."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reelm.cli import ask
from reelm.errors import UsageError
from reelm.types import Clip

if TYPE_CHECKING:
    from reelm.model.chat import Exchange


def save(path: Path, model: str, exchanges: Sequence[Exchange]) -> None:
    """Writes the conversation to `path`, whole or not at all; a file that is there is replaced.

    JSON: schema, model, exchanges [the record of `reelm ask --json`]. The suffix of an output is the person's wish.
    Raises: UsageError for another suffix, or when the file cannot be written.
    """
    forms = {".json": _as_json, ".md": _as_markdown}
    if path.suffix.lower() not in forms:
        raise UsageError(f"a conversation is not saved as {path.suffix or 'a file without a suffix'}", where=str(path),
                         remedy=f"Name it {path.stem or 'chat'}.md or {path.stem or 'chat'}.json")
    text = forms[path.suffix.lower()](_records(model, exchanges), model)
    try:
        handle, scratch = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".partial")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            os.replace(scratch, path)
        except OSError:
            os.unlink(scratch)
            raise
    except OSError as error:
        raise UsageError(f"cannot be written: {error.strerror}", where=str(path),
                         remedy="Check the folder and the free space") from None


def _records(model: str, exchanges: Sequence[Exchange]) -> list[dict[str, Any]]:
    clips: list[Clip] = []
    records = []
    for exchange in exchanges:
        clips += [medium for medium in exchange.media if isinstance(medium, Clip)]
        records.append(ask.record(model, exchange.question, clips, exchange.answer))
    return records


def _as_json(records: list[dict[str, Any]], model: str) -> str:
    whole = {"schema": ask.SCHEMA, "model": model, "exchanges": records}
    return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"


def _as_markdown(records: list[dict[str, Any]], model: str) -> str:
    blocks, shown = [f"# A conversation with {model}"], 0
    for record in records:
        blocks += [f"*{_clip_line(file)}*" for file in record["files"][shown:]]
        shown = len(record["files"])
        blocks += [_quoted(record["question"]), record["text"] or "*(no words)*"]
        blocks += [f"*note: {note}*" for note in record["notes"]]
    return "\n\n".join(blocks) + "\n"


def _clip_line(file: dict[str, Any]) -> str:
    span = "" if file["start_s"] == 0 and file["end_s"] is None else f", from {file['start_s']:g} s" + (
        "" if file["end_s"] is None else f" to {file['end_s']:g} s")
    times = file["used_s"]
    return f"{file['source']}{span}" + (f": {len(times)} frames, {times[0]:.2f} to {times[-1]:.2f} s" if times else "")


def _quoted(text: str) -> str:
    return "\n".join(f"> {line}" for line in text.splitlines())
