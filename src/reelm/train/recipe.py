"""What a training run is: a model, sources of samples, and stages; read from YAML, closed to unknown fields.

A stage says which parts learn at which rate, on which samples, for how long, and how. Nothing else changes weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    field_validator,
    model_validator,
)

from reelm.errors import UsageError

Part = Literal["vision_tower", "compressors", "connector", "audio_tower", "audio_connector", "language_model",
               "adapters"]
#: The parts that a stage may let learn, in the order in which they are told.
PARTS: tuple[Part, ...] = get_args(Part)
#: Fields of a stage that may be changed between two runs of one training: they do not change what is learnt.
FREE = frozenset({"save_every", "export", "checkpointing"})


class Closed(BaseModel):
    """Settings that refuse what they do not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class SourceSettings(Closed):
    """Where samples come from: a file of records, a folder of clips with a CSV, or a folder of shards.

    `media`: the folder from which the names in the records count; that of the file unless given. `on_bad`: whether a
    sample that cannot be read, or is longer than the stage allows, ends the run or is left out, counted and listed.
    """

    kind: Literal["records"] = "records"
    records: str
    media: str | None = None
    on_bad: Literal["fail", "skip"] = "fail"


class ClipSettings(Closed):
    """A set of clips 0..clips-1 as stored features, looked at in `frames` moments; nothing reads it but draws.

    `kind`: `world` are drawn scenes, `plot` fixing their plot (None mixes all); `rows` is made of the picture tower's
    classifier over the set `over`; `photos` are photographs that a package ships, stored under `over` if it is given.
    """

    kind: Literal["world", "rows", "photos"]
    clips: int = Field(ge=1)
    frames: int = Field(ge=1)
    plot: str | None = None
    over: str | None = None


class TrackSettings(Closed):
    """A set of sound tracks 0..tracks-1 as stored features; `script` fixes what happens in them, None mixes all."""

    kind: Literal["tracks"]
    tracks: int = Field(ge=1)
    script: str | None = None


class Draw(Closed):
    """One kind of sample: a clip of a set, a track of a set of tracks, or one of each; `share` of all draws."""

    clips: str | None = None
    tracks: str | None = None
    share: float = Field(default=1.0, gt=0)


class DrawSettings(Closed):
    """Samples drawn from stored sets, as many as the stage takes, no two alike.

    The members of every set are gone through in order, again and again. `turns`: questions asked about each; 0 none.
    """

    kind: Literal["draws"]
    of: tuple[Draw, ...] = Field(min_length=1)
    turns: int = Field(default=0, ge=0)


def _form(given: Any) -> str:
    kind = given.get("kind", "records") if isinstance(given, Mapping) else getattr(given, "kind", "records")
    return "clips" if kind in ("world", "rows", "photos") else str(kind)


AnySource = Annotated[Annotated[SourceSettings, Tag("records")] | Annotated[ClipSettings, Tag("clips")]
                      | Annotated[TrackSettings, Tag("tracks")] | Annotated[DrawSettings, Tag("draws")],
                      Discriminator(_form)]


class TowerSettings(Closed):
    """The training of a sound tower from nothing, before the stages: `steps` batches of `batch` tracks.

    Units: `rate` is the peak; `warmup` a share of the steps, `floor` a share of the peak.
    """

    steps: int = Field(ge=1)
    batch: int = Field(default=16, ge=1)
    rate: float = Field(default=0.001, gt=0)
    warmup: float = Field(default=0.0375, ge=0, le=1)
    floor: float = Field(default=0.05, ge=0, le=1)
    clip: float = Field(default=1.0, gt=0)
    save_every: int = Field(default=50, ge=1)


class FreshSettings(Closed):
    """A model whose connectors begin from nothing, on the public bases of reelm-tiny; the blocks of `config.json`."""

    vision: dict[str, Any]
    audio: dict[str, Any] | None = None
    layout: dict[str, Any]
    sound_tower: TowerSettings | None = None

    @property
    def parts(self) -> dict[str, Any]:
        """The blocks as the configuration of a model takes them."""
        return self.model_dump(exclude={"sound_tower"}, exclude_none=True)

    def __str__(self) -> str:
        return "fresh parts on the bases of reelm-tiny"


class CacheSettings(Closed):
    """Where decoded frames and the features of frozen towers are kept, so that they are made once (see docs/data.md).

    `limit_gb`: the folder does not grow beyond so many 10^9 bytes.
    """

    folder: str
    limit_gb: float = Field(default=50.0, gt=0)


class Stage(Closed):
    """One stretch of training.

    `learn`: peak rate per part; every other part is frozen. `data`: how many times the samples of each source come in
    an epoch (0.5: one half of them, then the other), or the name of the only source. Exactly one of `steps` and
    `epochs`. `batch`: samples per step over all processes; `micro_batch`: samples in one forward pass, so
    batch / micro_batch passes make a step, dealt out to the processes. `frames`, `fps` or `sampler` replace the
    model's way of looking, `sound` false leaves the sound track of videos out; a folder written at the end keeps the
    way of looking. `form`: whole conversations by the `chat` template, of which the assistant's words are learnt, or
    the official pre-training's `plain` text (pictures) or `bare` media (sound). `max_length`: tokens of a sample; a
    longer one counts as bad, it is never cut. `pack`: the samples of a pass in one row without padding. `group`:
    batches among which samples of like length are put together. `explode`: a step whose gradient is so many times the
    usual one is skipped like one that is not finite.

    Units: `warmup` is a share of the steps, `floor` a share of the peak rate.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][\w-]*$")
    learn: dict[Part, float] = Field(min_length=1)
    data: dict[str, float] = Field(min_length=1)
    steps: int | None = Field(default=None, ge=1)
    epochs: float | None = Field(default=None, gt=0)
    batch: int = Field(default=8, ge=1)
    micro_batch: int = Field(default=1, ge=1)
    objective: dict[str, Any] = {"kind": "next_token"}
    form: Literal["chat", "plain", "bare"] = "chat"
    frames: int | None = Field(default=None, ge=1)
    fps: float | None = Field(default=None, gt=0)
    sampler: dict[str, Any] | None = None
    sound: bool = True
    max_length: int | None = Field(default=None, ge=1)
    pack: bool = False
    group: int = Field(default=8, ge=1)
    dtype: Literal["float32", "bfloat16"] = "float32"
    checkpointing: bool = False
    warmup: float = Field(default=0.03, ge=0, le=1)
    floor: float = Field(default=0.0, ge=0, le=1)
    weight_decay: float = Field(default=0.0, ge=0)
    betas: tuple[float, float] = (0.9, 0.999)
    clip: float = Field(default=1.0, gt=0)
    explode: float | None = Field(default=30.0, gt=1)
    save_every: int = Field(default=500, ge=1)
    export: bool = True

    @field_validator("data", "objective", mode="before")
    @classmethod
    def _named(cls, given: Any, info: Any) -> Any:
        if isinstance(given, str):
            return {given: 1.0} if info.field_name == "data" else {"kind": given}
        return given

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("exactly one of steps and epochs is needed")
        if self.batch % self.micro_batch:
            raise ValueError(f"batch {self.batch} is no multiple of micro_batch {self.micro_batch}")
        if self.fps is not None and (self.frames is not None or self.sampler is not None):
            raise ValueError("fps excludes frames and sampler")
        for field, numbers in (("learn", self.learn), ("data", self.data)):
            if wrong := [name for name, number in numbers.items() if not 0 < number < float("inf")]:
                raise ValueError(f"{field}: {wrong[0]} must be above 0")
        if "kind" not in self.objective:
            raise ValueError("objective: it needs a kind")
        return self

    @property
    def passes(self) -> int:
        """Forward passes that make one step, over all processes."""
        return self.batch // self.micro_batch


class Recipe(Closed):
    """A whole run. `model`: a name or folder as `reelm.load` takes it, or the parts of a new one; `fresh`: connectors
    of it that begin anew, with random weights; `system`: a system of `reelm systems`, or its recipe file, whose parts
    are put on the model first, with random weights where they have any; `adapters`: settings of the adapters that go on
    the language model, see `train.adapters`. `features`: the folder of the stored sets.

    `parallel`: what several processes share: "ddp" the work, "fsdp" the weights too. `keep`: how many states to keep.
    `workers`: processes that read samples. `cache`: where what frozen towers give is kept. `skip_in_a_row`: so many
    bad steps one after another stop the run.
    """

    name: str
    model: str | FreshSettings
    seed: int = 42
    sources: dict[str, AnySource]
    features: str | None = None
    fresh: tuple[Literal["connector", "audio_connector"], ...] = ()
    system: str | None = None
    adapters: dict[str, Any] | None = None
    stages: tuple[Stage, ...] = Field(min_length=1)
    parallel: Literal["ddp", "fsdp"] = "ddp"
    keep: int = Field(default=2, ge=1)
    workers: int = Field(default=0, ge=0)
    cache: CacheSettings | None = None
    skip_in_a_row: int = Field(default=5, ge=1)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        names = [stage.name for stage in self.stages]
        if doubled := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"stages: two are called {doubled[0]}")
        for stage in self.stages:
            if unknown := sorted(set(stage.data) - set(self.sources)):
                raise ValueError(f"stages.{stage.name}.data: no source is called {unknown[0]}")
            if "adapters" in stage.learn and self.adapters is None:
                raise ValueError(f"stages.{stage.name}.learn: adapters are to learn, but the recipe has none")
            self._drawn(stage)
        for name, source in self.sources.items():
            self._refers(name, source)
        return self

    def _drawn(self, stage: Stage) -> None:
        """Raises: ValueError where a stage cannot learn from the sources it names."""
        for name in stage.data:
            source = self.sources[name]
            if isinstance(source, ClipSettings | TrackSettings):
                raise ValueError(f"stages.{stage.name}.data: {name} holds stored features; name a source of kind draws")
            if isinstance(source, DrawSettings) and (len(stage.data) > 1 or stage.steps is None):
                raise ValueError(f"stages.{stage.name}: draws have no end, so they stand alone and `steps` is needed")

    def _refers(self, name: str, source: AnySource) -> None:
        """Raises: ValueError where a source takes from a set that is not there, or stored features have no tower."""
        wanted: list[tuple[str | None, tuple[str, ...]]] = []
        if isinstance(source, DrawSettings):
            for draw in source.of:
                wanted += [(draw.clips, ("world", "rows", "photos")), (draw.tracks, ("tracks",))]
                if draw.clips is None and draw.tracks is None:
                    raise ValueError(f"sources.{name}.of: a draw is of clips, of tracks or of both")
        elif isinstance(source, ClipSettings) and source.kind == "rows":
            wanted.append((source.over or "", ("world",)))
        for of, kinds in wanted:
            if of is not None and (of not in self.sources or self.sources[of].kind not in kinds):
                raise ValueError(f"sources.{name}: no source of kind {' or '.join(kinds)} is called {of!r}")
        if not isinstance(source, SourceSettings) and (self.features is None or isinstance(self.model, str)):
            raise ValueError(f"sources.{name}: stored features need `features`, and a `model` that says which towers")

    def stage(self, name: str) -> Stage:
        """A stage by its name. Raises: UsageError that lists them."""
        found = next((stage for stage in self.stages if stage.name == name), None)
        if found is None:
            raise UsageError(f"no stage is called {name!r}", where=self.name,
                             remedy=f"Stages: {', '.join(stage.name for stage in self.stages)}")
        return found

    def lasting(self) -> dict[str, Any]:
        """What a run that goes on must have in common with the run that began."""
        whole = self.model_dump(mode="json", exclude={"keep", "workers", "parallel", "skip_in_a_row", "cache",
                                                      "features"})
        for stage in whole["stages"]:
            for name in FREE:
                del stage[name]
        return whole


def read(path: str | Path, changes: Sequence[str] = (), **fields: Any) -> Recipe:
    """The recipe in a YAML file. `changes`: `a.b=c` as on the command line, a stage by its name or its number from 0;
    `fields` replace whole fields of the recipe. A block `defaults` holds for every stage that does not say otherwise.

    Raises: UsageError that names the field that is wrong.
    """
    try:
        raw = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"no readable recipe: {error.strerror}", where=str(path), remedy="See recipes/") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"no YAML: {' '.join(str(error).split())}", where=str(path)) from None
    if not isinstance(raw, dict):
        raise UsageError(f"a recipe is a table of fields, got {type(raw).__name__}", where=str(path))
    for change in changes:
        _set(raw, change)
    return recipe(raw | fields, str(path))


def recipe(raw: Mapping[str, Any], where: str = "recipe") -> Recipe:
    """A recipe from plain values, as YAML gives them. Raises: UsageError that names the field that is wrong."""
    whole = dict(raw)
    defaults = whole.pop("defaults", {})
    stages = whole.get("stages")
    if isinstance(stages, list) and isinstance(defaults, Mapping):
        whole["stages"] = [{**defaults, **stage} if isinstance(stage, Mapping) else stage for stage in stages]
    try:
        return Recipe(**whole)
    except (ValidationError, TypeError) as error:
        raise UsageError(_told(error, whole), where=where, remedy="docs/training.md lists every field") from None


def _told(error: ValidationError | TypeError, raw: Mapping[str, Any]) -> str:
    """Every complaint with the path of its field, a stage by its name."""
    if isinstance(error, TypeError):
        return str(error)
    said = []
    for one in error.errors():
        path = [str(step) for step in one["loc"]]
        if len(path) > 1 and path[0] == "stages" and path[1].isdigit():
            stage = raw["stages"][int(path[1])]
            path[1] = str(stage.get("name", path[1])) if isinstance(stage, Mapping) else path[1]
        if len(path) > 2 and path[0] == "sources":
            del path[2]  # which form of source was meant
        text = "no such field" if one["type"] == "extra_forbidden" else one["msg"].removeprefix("Value error, ")
        said.append(f"{'.'.join(path)}: {text}" if path else text)
    return "; ".join(said)


def _set(raw: dict[str, Any], change: str) -> None:
    """Carries out one `a.b=c` on the values of a recipe. Raises: UsageError when there is no such place."""
    path, equals, text = change.partition("=")
    steps = path.strip().split(".")
    if not equals or not all(steps):
        raise UsageError(f"--set takes FIELD=VALUE, got {change!r}", remedy="For example --set stages.joint.steps=100")
    at: Any = raw
    for step in steps[:-1]:
        at = _inside(at, step, change)
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError(f"the value is no YAML: {' '.join(str(error).split())}", where=f"--set {change}") from None
    if isinstance(at, list):
        at[_numbered(at, steps[-1], change)] = value
    else:
        at[steps[-1]] = value


def _inside(at: Any, step: str, change: str) -> Any:
    if isinstance(at, dict):
        below = at.setdefault(step, {})
        # A source or the share of one may be written as a bare name; that is no table to go into.
        if isinstance(below, dict | list):
            return below
        raise UsageError(f"{step} holds {below!r}, no fields", where=f"--set {change}")
    return at[_numbered(at, step, change)]


def _numbered(items: list[Any], step: str, change: str) -> int:
    names = [str(item.get("name")) if isinstance(item, dict) else "" for item in items]
    if step in names:
        return names.index(step)
    if step.isdigit() and int(step) < len(items):
        return int(step)
    raise UsageError(f"no {step!r} among {', '.join(name for name in names if name) or len(items)}",
                     where=f"--set {change}")
