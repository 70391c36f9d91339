"""`reelm demo`: films a small scene, opens the file like any other, and asks about it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from reelm.cli import options, terminal


def demo(
    clip: Annotated[Path | None, typer.Argument(help="A file of yours instead of the scene made here.")] = None,
    model: options.Model = "reelm-tiny",
    seed: Annotated[int, typer.Option(help="Which scene to film.")] = 1,
) -> None:
    """Ask about a clip and print the answers; for a scene made here also the true ones."""
    import reelm
    from reelm.data import world
    from reelm.data.noises import COMPUTED
    from reelm.data.questions import ask, types_of
    from reelm.data.tracks import track

    lm = reelm.load(model)
    with tempfile.TemporaryDirectory(prefix="reelm-demo-") as folder:
        if clip is None:
            scene = world.scene(seed, "move", unseen=True)
            types = types_of(scene)[:3]
            if lm.hears:
                scene, types = world.with_sound(scene, track(seed, "one", tuple(COMPUTED))), [*types, "sound"]
            path = world.film(scene, Path(folder) / "scene.mp4")
            asked = [ask(scene, kind, seed) for kind in types]
            pairs = [(question.text, question.answer) for question in asked]
        else:
            path = clip
            pairs = [(text, "") for text in ("What is in this video?", "What colour is it?", "What happens?")]
        for text, truth in pairs:
            terminal.out.print(f"\n> {text}")
            lm.answer(reelm.Clip(path), text, max_tokens=48, stream=terminal.Stream())
            terminal.piece("\n")
            if truth:
                terminal.out.print(f"  (true answer: {truth})")
        if not lm.hears:
            terminal.say("\nThis model looks at the pictures and does not hear the sound.")
