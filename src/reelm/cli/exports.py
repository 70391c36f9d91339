"""What `reelm eval --export-lmms` does: folders for lmms-eval, and the line that asks the same model there."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reelm.cli import terminal
from reelm.errors import UsageError

if TYPE_CHECKING:
    from reelm.eval.runner import Settings
    from reelm.tasks.base import Task


def to_lmms(places: list[tuple[Task, Path]], settings: Settings, control: str, folder: Path, model: str,
            how: Mapping[str, Any], max_tokens: int) -> None:
    """Writes a folder for each task into `folder`; prints how lmms-eval asks `model` the same items the same way.

    `how`: "frames", "fps" and "tokens" of `VideoLM.answer`, and parts to exchange; None where the model decides.
    Raises: UsageError for the controls that ask no model, or change the media, and for parts: a model in lmms-eval has
    its own.
    """
    given = {name: value for name, value in how.items() if value is not None}
    if parts := sorted(given.keys() - {"frames", "fps", "tokens"}):
        raise UsageError(f"lmms-eval cannot exchange parts: --{', --'.join(parts)}",
                         remedy="Leave it out, or save a model that has the part")
    if control in ("oracle", "mute", "dark"):
        raise UsageError(f"lmms-eval cannot ask under control {control!r}",
                         remedy="Leave --control or --export-lmms out; blind and rotated can be written")
    from reelm.eval.lmms import export

    made = [export(task, root, settings, folder, max_tokens) for task, root in places]
    for one in made:
        terminal.say(f"{one}: for lmms-eval")
    asked = f"pretrained={model}" + "".join(f",{name}={value:g}" for name, value in given.items())
    print(shlex.join(["lmms-eval", "--model", "reelm", "--model_args", asked, "--tasks",
                      ",".join(one.name for one in made), "--include_path", str(folder), "--batch_size",
                      str(settings.batch)]))
