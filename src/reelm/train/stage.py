"""What a training run is made of: a recipe with stages, and for each stage which parameters learn."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import nn

from reelm.errors import UsageError

Learner = Literal["connector", "audio_connector", "lora"]
#: which parameters a learner stands for, by a pattern of their name.
_MARKS = {"connector": r"(^|\.)connector\.", "audio_connector": r"(^|\.)audio_connector\.", "lora": "lora_"}


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LoraSettings(_Closed):
    """Low-rank adapters on the language model; `targets` is a regular expression over module names."""

    r: int
    alpha: int
    targets: str


class ClipSet(_Closed):
    """Training clips 0..clips-1, looked at in `frames` moments.

    `source`: `world` are drawn scenes, `plot` fixing their plot (None mixes all); `rows` is made of the picture tower's
    classifier over the set `over`; `photos` are photographs that a package ships, stored under `over` if it is given.
    """

    clips: int
    frames: int
    plot: str | None = None
    source: Literal["world", "rows", "photos"] = "world"
    over: str | None = None


class TrackSet(_Closed):
    """Training sound tracks 0..tracks-1; `script` fixes what happens in them, None mixes all."""

    tracks: int
    script: str | None = None


class Draw(_Closed):
    """One kind of sample in a mix: a clip of a set, a track of a set of tracks, or one of each, with its share."""

    clips: str | None = None
    tracks: str | None = None
    share: float = 1.0


class Stage(_Closed):
    """One stretch of training: which loss, for how many steps of how many samples, and who learns at which peak rate.

    `mix` says what samples are made of; the members of every set are gone through in order, again and again: they are
    independent draws. `word_weight` adds the words loss to the answers loss, so that connectors do not forget.
    """

    name: str
    loss: Literal["words", "answers"]
    mix: tuple[Draw, ...]
    rates: dict[Learner, float]
    steps: int
    batch: int
    word_weight: float = 0.0
    turns: int = 4


class SoundStage(_Closed):
    """The training of the sound tower from nothing: `steps` batches of `batch` tracks at a peak rate."""

    steps: int
    batch: int = 16
    rate: float = 0.001


class Recipe(_Closed):
    """A whole run, read from YAML; unknown fields are errors."""

    name: str
    seed: int
    sets: dict[str, ClipSet]
    tracks: dict[str, TrackSet] = {}
    model: dict[str, Any]
    lora: LoraSettings
    stages: tuple[Stage, ...]
    sound: SoundStage | None = None
    warmup_steps: int = 100
    grad_clip: float = 1.0
    save_every_steps: int = 100
    #: how much of the tower the connector must do without while it learns: single features, and all of them.
    drop_features: float = 0.2
    drop_tower: float = 0.15

    @classmethod
    def read(cls, path: Path) -> Recipe:
        """The recipe in a YAML file. Raises: UsageError that names the field that is wrong."""
        try:
            return cls(**yaml.safe_load(path.read_text()))
        except FileNotFoundError:
            raise UsageError("no such recipe", where=str(path), remedy="See recipes/") from None
        except (ValidationError, TypeError, yaml.YAMLError) as error:
            raise UsageError(str(error), where=str(path)) from None


def open_stage(model: nn.Module, stage: Stage) -> list[dict[str, Any]]:
    """Lets exactly the stage's parameters learn; gives them as optimizer groups {"name", "params", "peak"}.

    Everything else is frozen. Raises: UsageError if a name in `rates` matches no parameter.
    """
    groups: dict[Any, dict[str, Any]] = {
        word: {"name": word, "params": [], "peak": rate} for word, rate in stage.rates.items()
    }
    for name, parameter in model.named_parameters():
        word = next((w for w in stage.rates if re.search(_MARKS[w], name)), None)
        parameter.requires_grad_(word is not None)
        if word is not None:
            groups[word]["params"].append(parameter)
    missing = [word for word, group in groups.items() if not group["params"]]
    if missing:
        raise UsageError(f"nothing to learn for {', '.join(missing)}", where=f"stage {stage.name}")
    return list(groups.values())


def table(model: nn.Module) -> str:
    """What learns and what is frozen, with counts, one line a part."""
    counts: dict[str, list[int]] = {}
    for name, parameter in model.named_parameters():
        part = (
            "lora"
            if "lora_" in name
            else next(
                (
                    p
                    for p in ("vision_tower", "audio_tower", "audio_connector", "connector", "language_model")
                    if f"{p}." in name
                ),
                "other",
            )
        )
        row = counts.setdefault(part, [0, 0])
        row[0 if parameter.requires_grad else 1] += parameter.numel()
    return "\n".join(
        f"  {part:<16} learns {learns:>12,}   frozen {frozen:>12,}" for part, (learns, frozen) in counts.items()
    )
