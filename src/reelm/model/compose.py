"""A system put on a loaded model: another sampler, compressors, a prompt; by name, by settings, or from a recipe."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from torch import nn

from reelm import registry
from reelm.config import PartConfig
from reelm.errors import CheckpointError, UsageError
from reelm.model.config import ReelmConfig, VisionSettings, checked, part_of
from reelm.model.modeling import ReelmModel, compressors_of
from reelm.model.processing import ReelmProcessor
from reelm.model.way import way_of
from reelm.systems.recipes import recipes

#: A part as a caller names it: "pool", "pool,h=4,w=4", "before:pool,h=12", or a mapping with `kind` and fields.
Spec = str | Mapping[str, Any]


class System(PartConfig):
    """What a recipe of a system says: parts that take the place of a model's own, None where it keeps its own.

    `compressors`: settings with `kind` and, where the kind stands elsewhere than it does by itself, `place`. `prompt`:
    what is asked instead of the bare question, which stands in it as `{question}`.
    """

    name: str
    sampler: dict[str, Any] | None = None
    compressors: tuple[dict[str, Any], ...] | None = None
    prompt: str | None = None


def system(name: str | Path) -> System:
    """The recipe called `name`, or in the file `name` (with its ending).

    Raises: UsageError for an unknown name, or a recipe with an unknown field.
    """
    path = Path(name) if str(name).endswith((".yaml", ".yml")) else recipes().get(str(name))
    if path is None or not path.is_file():
        raise UsageError(f"no system and no recipe is called {str(name)!r}",
                         remedy=f"Known: {', '.join(recipes()) or 'none'}; see `reelm systems`")
    try:
        fields = yaml.safe_load(path.read_text("utf-8"))
    except yaml.YAMLError as error:
        raise UsageError(f"no YAML: {error}", where=str(path)) from None
    if not isinstance(fields, dict):
        raise UsageError("a recipe is a mapping", where=str(path), remedy=f"Fields: {', '.join(System.model_fields)}")
    found: System = checked(System, fields, str(path))
    if found.prompt is not None and "{question}" not in found.prompt:
        raise UsageError("the prompt has no place for the question", where=str(path), remedy="Write {question} in it")
    return found


def spelt(spec: Spec) -> dict[str, Any]:
    """A part's settings, written out: "before:pool,h=4" is {"kind": "pool", "place": "before", "h": 4}.

    Raises: UsageError for text of another form.
    """
    if isinstance(spec, Mapping):
        return dict(spec)
    head, *pairs = spec.split(",")
    place, _, kind = head.strip().rpartition(":")
    fields: dict[str, Any] = {"kind": kind} | ({"place": place} if place else {})
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name.strip():
            raise UsageError(f"{pair!r} is no setting", where=spec, remedy="Write KIND,NAME=VALUE,NAME=VALUE")
        fields[name.strip()] = yaml.safe_load(value)
    return fields


def compose(model: ReelmModel, processor: ReelmProcessor, name: str, *, sampler: Spec | None = None,
            compressors: Sequence[Spec] | None = None, fresh: bool = False) -> ReelmProcessor:
    """Puts a sampler and compressors in the place of the model's own; the processor that belongs to it then.

    `fresh`: parts that must be trained may have random weights (a model of random weights).
    Raises: UsageError when the model does not see or the parts do not fit together; CheckpointError for a part that
    must be trained, when the model brings no weights for it.
    """
    if model.config.vision is None:
        raise UsageError("a sampler and compressors are for pictures, and this model does not see", where=name)
    vision = dict(model.config.vision)
    if sampler is not None:
        vision |= _sampled(spelt(sampler), checked(VisionSettings, vision, "vision"))
    if compressors is not None:
        vision |= _placed([spelt(spec) for spec in compressors])
    settings: VisionSettings = checked(VisionSettings, vision, "vision")
    chains = [list(_built(chain, model, name, fresh)) for chain in (settings.before, settings.after)]
    way_of(settings).shape(settings.frames)  # says what does not fit
    model.config.vision = vision
    model.before, model.after = (nn.ModuleList(chain).eval() for chain in chains)
    return ReelmProcessor.of(model.config, processor.tokenizer)


def _sampled(settings: dict[str, Any], own: VisionSettings) -> dict[str, Any]:
    cls, checked_settings = part_of("sampler", settings)
    changed: dict[str, Any] = {"sampler": settings}
    if "frames" in settings or (cls.length == "fixed" and hasattr(checked_settings, "frames")):
        # A still picture goes on being repeated as the connector was trained.
        changed |= {"frames": checked_settings.frames, "image": {"repeat": own.repeat}}
    return changed


def _placed(chain: Sequence[dict[str, Any]]) -> dict[str, Any]:
    places: dict[str, list[dict[str, Any]]] = {"before": [], "after": []}
    for settings in chain:
        fields = dict(settings)
        place = fields.pop("place", None)
        cls, _ = part_of("compressor", fields)
        if (place or cls.place) not in places:
            raise UsageError(f"a compressor stands {place!r}", where=str(settings), remedy="One of: before, after")
        places[place or cls.place].append(fields)
    return dict(places)


def _built(chain: Sequence[dict[str, Any]], model: ReelmModel, name: str, fresh: bool) -> Iterator[nn.Module]:
    """The compressors of a chain: those the model has with their weights, the others anew."""
    there = _present(model, model.config)
    weight: Any = model.get_input_embeddings().weight
    for settings in chain:
        known = there.get(_key(settings))
        if known is not None:
            yield known
            continue
        made: nn.Module = registry.build("compressor", settings)
        needed = sum(tensor.numel() for tensor in made.state_dict().values())
        if needed and not fresh:
            raise CheckpointError(f"compressor {settings['kind']!r} has {needed:,} numbers that must be trained, and "
                                  "the model brings none for it", where=name,
                                  remedy="Load a model that was trained with it, or take one without weights, as pool")
        yield made.to(weight.device, weight.dtype)


def _present(model: ReelmModel, config: ReelmConfig) -> dict[str, nn.Module]:
    before, after = compressors_of(config)
    return {_key(settings): module for chain, modules in ((before, model.before), (after, model.after))
            for settings, module in zip(chain, modules, strict=True)}


def _key(settings: Mapping[str, Any]) -> str:
    return json.dumps(settings, sort_keys=True)
