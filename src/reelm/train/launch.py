"""From a recipe to a loop: the model with its adapters, the samples of each stage, and the folder a stage ends in."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from reelm.errors import UsageError
from reelm.model import compose
from reelm.model.adapters import Base, base_of, is_named
from reelm.model.checkpoints import load_folder, load_named
from reelm.model.export import save_native
from reelm.model.hub import locate
from reelm.model.processing import ReelmProcessor
from reelm.model.tiny import fresh_tiny, without_bars
from reelm.train import adapters, world
from reelm.train.learning import part_of
from reelm.train.loop import Loop
from reelm.train.parallel import Ranks
from reelm.train.progress import Watch
from reelm.train.recipe import FreshSettings, Recipe, SourceSettings, Stage
from reelm.train.source import Mix, Recorded, Source

if TYPE_CHECKING:
    from reelm.model.modeling import ReelmModel


@dataclass
class Trainee:
    """A model ready to be trained. `whole`: what the loop trains, the model itself or the adapters' wrapper of it;
    `base`: what an adapter belongs to; `dtype`: in which the model was stored, and is stored again."""

    recipe: Recipe
    model: ReelmModel
    processor: ReelmProcessor
    whole: Any
    base: Base | None
    dtype: torch.dtype

    def looking(self, stage: Stage) -> ReelmProcessor:
        """The processor under which a stage looks at its media."""
        vision = self.processor.vision
        if vision is None or not (stage.frames or stage.fps or stage.sampler):
            return self.processor
        changes: dict[str, Any] = {}
        if stage.frames is not None:
            changes["frames"] = stage.frames
        if stage.sampler is not None or stage.fps is not None:
            changes["sampler"] = stage.sampler or {"kind": "fps", "fps": stage.fps}
        tokenizer = self.processor.tokenizer
        return ReelmProcessor(tokenizer, {**vision, **changes}, self.processor.audio, self.processor.layout)

    def mix(self, stage: Stage) -> Mix:
        """The samples of a stage, whose parts are open or frozen by now.

        Raises: UsageError or RecordError for a source that cannot be read.
        """
        recorded = [told for name in stage.data if isinstance(told := self.recipe.sources[name], SourceSettings)]
        sources: Sequence[Source] = (self._recorded(stage, recorded) if recorded
                                     else [world.drawn(self.recipe, stage, self.processor)])
        return Mix(stage, sources, self.recipe.seed)

    def _recorded(self, stage: Stage, settings: Sequence[SourceSettings]) -> list[Source]:
        # These open media files; stored features are trained on where PyAV is not installed.
        from reelm.data.prepared import from_store
        from reelm.data.samples import Samples
        from reelm.data.store import Store
        from reelm.model.sensing import Choice

        processor, choice, cache = self.looking(stage), Choice(audio=stage.sound), self.recipe.cache
        prepare = None if cache is None else from_store(Store(cache.folder, int(cache.limit_gb * 1e9)), self.model,
                                                        processor, choice)
        return [Recorded(Samples.read(told.records, processor, media=told.media, form=stage.form, on_bad=told.on_bad,
                                      choice=choice, max_tokens=stage.max_length, prepare=prepare), stage.pack)
                for told in settings]

    def export(self, stage: Stage, weights: dict[str, Tensor], folder: Path) -> None:
        """Writes a folder that `reelm.load` reads: an adapter's where there is one, else a complete model. Of a model
        on the bases of reelm-tiny, what reelm-tiny ships."""
        new = folder.with_name(f".{folder.name}.new")
        shutil.rmtree(new, ignore_errors=True)
        processor = self.looking(stage)
        state = _stored_as(weights, self.dtype)
        if self.base is not None:
            adapters.save(self.whole, processor, new, self.base, state)
        elif self.recipe.adapters is not None:
            adapters.ship(self.whole, new, weights)
        else:
            config = self.model.config
            before, config.vision = config.vision, processor.vision
            try:
                with without_bars():
                    save_native(self.model, processor, new, state)
            finally:
                config.vision = before
        shutil.rmtree(folder, ignore_errors=True)
        new.rename(folder)


def trainee(recipe: Recipe) -> Trainee:
    """The model of a recipe with its adapters, in the types in which it learns.

    Raises: CheckpointError for a model that is not there; UsageError for stages that the adapters leave no room for.
    """
    torch.manual_seed(recipe.seed)  # for the matrices of fresh adapters
    base = None
    if isinstance(recipe.model, FreshSettings):
        tower = Path(recipe.features or "") / world.SOUND_TOWER if recipe.model.sound_tower else None
        model, processor = fresh_tiny(recipe.model.parts, recipe.seed, tower)
    elif is_named(recipe.model):
        model, processor = load_named(recipe.model, "cpu", torch.float32, "sdpa")
    else:
        model, processor = load_folder(locate(recipe.model))
    if recipe.adapters is not None and isinstance(recipe.model, str):
        base = base_of(recipe.model)
    for part in recipe.fresh:
        _begin_anew(model, part, recipe)
    if recipe.system is not None:
        told = compose.system(recipe.system)
        processor = compose.compose(model, processor, str(recipe.model), sampler=told.sampler,
                                    compressors=told.compressors, fresh=True)
    dtype = next(one.dtype for one in model.parameters() if one.is_floating_point())
    whole: Any = model
    if recipe.adapters is not None:
        whole = adapters.attach(model, _adapter_settings(recipe.adapters))
        _room_for(recipe, whole)
    _set_types(whole, recipe)
    return Trainee(recipe, model, processor, whole, base, dtype)


def loop(made: Trainee, out: Path, *, device: torch.device | None = None, watch: Watch = lambda event: None) -> Loop:
    """The loop that carries the recipe out in the folder `out`."""
    return Loop(made.whole, made.recipe, made.mix, out, ranks=Ranks(made.recipe.parallel, device), watch=watch,
                export=made.export)


def _begin_anew(model: ReelmModel, part: str, recipe: Recipe) -> None:
    connector = getattr(model, part, None)
    if connector is None:
        raise UsageError(f"fresh: the model has no {part}", where=str(recipe.model), remedy="Leave it out of `fresh`")
    for module in connector.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()


def _adapter_settings(given: Mapping[str, Any]) -> adapters.AdapterSettings:
    try:
        return adapters.AdapterSettings(**given)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(step) for step in first["loc"])
        raise UsageError(f"adapters.{name}: {first['msg']}", where="recipe",
                         remedy=f"Fields: {', '.join(adapters.AdapterSettings.model_fields)}") from None


def _room_for(recipe: Recipe, whole: nn.Module) -> None:
    """Beside adapters only parts that are saved with them can learn."""
    kept = {part_of(name) for name, _ in whole.named_parameters() if "modules_to_save" in name} | {"adapters"}
    for stage in recipe.stages:
        if lost := sorted(set(stage.learn) - kept):
            raise UsageError(f"{lost[0]} is to learn, but an adapter's folder does not hold it",
                             where=f"stage {stage.name}", remedy="Name a tower in adapters.beside; train a whole "
                             "language model without adapters")


def _set_types(whole: nn.Module, recipe: Recipe) -> None:
    """float32 for what any stage lets learn: small steps would be lost otherwise. What never learns takes the type in
    which all stages compute; where weights are divided among processes, they are of one type."""
    learn = {part for stage in recipe.stages for part in stage.learn}
    half = all(stage.dtype == "bfloat16" for stage in recipe.stages) and recipe.parallel != "fsdp"
    for name, parameter in whole.named_parameters():
        if parameter.is_floating_point():
            wanted = torch.bfloat16 if half and part_of(name) not in learn else torch.float32
            parameter.data = parameter.data.to(wanted)
    for module in whole.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.weight is not None:
            for name in ("running_mean", "running_var"):
                setattr(module, name, getattr(module, name).to(module.weight.dtype))


def _stored_as(weights: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """The weights in one type; tied ones stay one tensor."""
    made: dict[tuple[int, torch.Size], Tensor] = {}
    for value in weights.values():
        key = (value.data_ptr(), value.shape)
        made.setdefault(key, value.to(dtype) if value.is_floating_point() else value)
    return {name: made[value.data_ptr(), value.shape] for name, value in weights.items()}

