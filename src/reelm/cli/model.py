"""`reelm model list | show | pull`: which models there are, what one is made of, and fetching its files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reelm.cli import options, terminal
from reelm.errors import CheckpointError, UsageError

if TYPE_CHECKING:
    from reelm.model.front import VideoLM

TINY = "reelm-tiny"
RANDOM = {
    "random": "a tiny model with random weights, made on the spot: it answers noise, offline, at once",
    "random:av": "the same with ears",
    "random:mistral": "the same on another language model; also llama, mixtral, qwen2, and with ears (random:qwen2+av)",
}


def tiny_parts() -> dict[str, Path | None]:
    """The pieces of reelm-tiny and where each is, None for one that is not here yet."""
    from reelm.model.sources import LANGUAGE, VISION, cache_root
    from reelm.model.tiny import SHIPPED

    places = {
        "trained weights (in the package)": SHIPPED / "connector.safetensors",
        f"language base ({LANGUAGE.requirement}, converted)":
            cache_root() / "bases" / LANGUAGE.sha256 / "model.safetensors",
        f"vision base ({VISION.requirement})": cache_root() / "sources" / VISION.sha256 / VISION.name,
    }
    return {name: path if path.is_file() else None for name, path in places.items()}


def list_models(
    json: Annotated[bool, typer.Option("--json", help="A list of objects: name, state, about.")] = False,
) -> None:
    """List the models that `--model` takes by name; a folder with a model works too."""
    missing = [name for name, path in tiny_parts().items() if path is None]
    state = "ready" if not missing else f"missing: {'; '.join(missing)}"
    rows = [{"name": TINY, "state": state, "about": "the default: answers about pictures on a laptop, English"}]
    rows += [{"name": name, "state": "ready", "about": about} for name, about in RANDOM.items()]
    if json:
        terminal.as_json(rows)
        return
    terminal.table(("name", "state", "about"), [(row["name"], row["state"], row["about"]) for row in rows])
    if missing:
        terminal.say(f"fetch what is missing: reelm model pull {TINY}")


def show(
    name: Annotated[str, typer.Argument(help="A name of `reelm model list`, or a folder.",
                                        autocompletion=options.model_names)] = TINY,
    frames: Annotated[int | None, typer.Option(min=1, help="Count the tokens of this many frames.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One object: name, parts, tokens, hears, config.")] = False,
) -> None:
    """Show what a model is made of: its parts, their sizes, and how many tokens a video costs."""
    import reelm

    with terminal.busy(f"loading {name}"):
        lm = reelm.load(name, device="cpu")
    facts = describe(lm, frames)
    if json:
        terminal.as_json(facts)
        return
    terminal.table(("part", "kind", "parameters", "dtype"),
                   [(row["part"], row["kind"], f"{row['parameters']:,}", row["dtype"]) for row in facts["parts"]])
    for count, tokens in facts["tokens"].items():
        terminal.out.print(f"{count} frames: {tokens} tokens")
    terminal.out.print("hears the sound of a video" if facts["hears"] else "does not hear")


def describe(lm: VideoLM, frames: int | None) -> dict[str, Any]:
    """The parts with their parameter counts, and the tokens that a video of `frames` frames costs."""
    from reelm.model.modeling import compressors_of

    config = lm.model.config
    blocks = {"vision_tower": (config.vision or {}).get("encoder"), "connector": (config.vision or {}).get("connector"),
              **{place: {"kind": "+".join(one["kind"] for one in chain)}
                 for place, chain in zip(("before", "after"), compressors_of(config), strict=True) if chain},
              "audio_tower": (config.audio or {}).get("encoder"),
              "audio_connector": (config.audio or {}).get("connector"),
              "language_model": {"kind": config.text_config.model_type}}
    rows = []
    for part, block in blocks.items():
        module = getattr(lm.model, part, None)
        if module is None or block is None:
            continue
        weights = list(module.parameters())
        rows.append({"part": part, "kind": block["kind"], "parameters": sum(weight.numel() for weight in weights),
                     "dtype": "/".join(sorted({str(weight.dtype).removeprefix("torch.") for weight in weights}))})
    tokens = {}
    if lm.sees:
        count = frames or (config.vision or {}).get("frames") or 8
        tokens[count] = lm.processor.vision_count(count)
    return {"name": lm.name, "parts": rows, "tokens": tokens, "hears": lm.hears, "config": config.to_dict()}


def pull(
    name: Annotated[str, typer.Argument(help="reelm-tiny, or the hub id of a published model (OWNER/NAME).",
                                        autocompletion=options.model_names)] = TINY,
) -> None:
    """Fetch what a model needs into the cache; does nothing when it is there."""
    if name in RANDOM or name.startswith("random:"):
        terminal.say(f"{name} is made on the spot, nothing to fetch")
        return
    if name != TINY:
        from reelm.model import hub

        if not hub.is_hub_id(name):
            raise UsageError(f"cannot fetch {name!r}", remedy=f"Give {TINY} or a hub id, OWNER/NAME; a folder needs no "
                             "fetching: reelm ask -m FOLDER …")
        terminal.say(f"{name} is in {hub.pull(name, terminal.say)}")
        return
    if None in tiny_parts().values():
        from reelm.model.sources import VISION, fetch
        from reelm.model.tiny import language_folder

        fetch(VISION, terminal.say)
        language_folder(terminal.say)
    missing = [part for part, path in tiny_parts().items() if path is None]
    if missing:
        raise CheckpointError(f"{TINY} is not complete: {'; '.join(missing)}",
                              remedy="Reinstall reelm; the trained weights ship with the package")
    terminal.say(f"{TINY} is complete")
