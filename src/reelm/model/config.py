"""What a model is made of: one config, closed to unknown keys, that names every part by its `kind`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field, ValidationError
from transformers import AutoConfig, PreTrainedConfig

from reelm import registry
from reelm.config import PartConfig
from reelm.errors import UsageError
from reelm.model.format import FORMAT, up_to_date

#: Keys that transformers itself hands to every config; anything else that is no field of ours is a mistake.
_LIBRARY_KEYS = frozenset({
    "model_type", "torch_dtype", "name_or_path", "_name_or_path", "_commit_hash", "attn_implementation",
    "_attn_implementation", "_attn_implementation_internal", "experts_implementation", "_experts_implementation",
    "_experts_implementation_internal", "output_attentions", "num_labels", "quantization_config", "per_layer_config",
    "auto_map",
})


class StillSettings(PartConfig):
    """How one still picture becomes a clip: its features are repeated before the connector."""

    repeat: int = Field(ge=1)


class VisionSettings(PartConfig):
    """The way of pictures: `encoder`, `connector` and `sampler` are part settings (`kind` and fields).

    `before`, `after`: compressors on both sides of the connector, in the order in which tokens pass them.

    `frames`: how many frames a clip gives unless the caller says otherwise. `image.repeat` (default `frames`): a medium
    of one frame has no motion; its features are repeated so often before a connector that looks along time.
    """

    encoder: dict[str, Any]
    connector: dict[str, Any]
    sampler: dict[str, Any] = {"kind": "uniform"}
    before: tuple[dict[str, Any], ...] = ()
    after: tuple[dict[str, Any], ...] = ()
    frames: int = Field(default=8, ge=1)
    image: StillSettings | None = None

    @property
    def repeat(self) -> int:
        return self.image.repeat if self.image else self.frames

    def sampler_settings(self, frames: int | None = None) -> dict[str, Any]:
        """Settings for `registry.build("sampler", …)` with the frame count filled in where the kind takes one."""
        fields = registry.find("sampler", self.sampler["kind"]).Config.model_fields  # type: ignore[attr-defined]
        count = {"frames": frames or self.frames} if "frames" in fields else {}
        return {**self.sampler, **count}


class AudioSettings(PartConfig):
    """The way of sound: `encoder` and `connector` are part settings.

    `rate_hz` is the rate the encoder hears. `of_video`: fields of the encoder that are other for the sound of a video
    than for sound alone (VideoLLaMA 2 hears eight short stretches of a video, but the start of a sound file).
    """

    encoder: dict[str, Any]
    connector: dict[str, Any]
    rate_hz: int = 16000
    of_video: dict[str, Any] = {}

    def encoder_settings(self, of_video: bool) -> dict[str, Any]:
        return {**self.encoder, **self.of_video} if of_video else self.encoder


def part_of(family: str, settings: Mapping[str, Any]) -> tuple[Any, Any]:
    """The class and the checked settings of a part, without building it: counts and preparation need no weights.

    Raises: UsageError when `kind` is absent or unknown, or a field is unknown or of the wrong type.
    """
    fields = dict(settings)
    kind = fields.pop("kind", None)
    if kind is None:
        raise UsageError(f"a {family} needs a 'kind'", where=str(dict(settings)))
    cls: Any = registry.find(family, kind)
    return cls, checked(cls.Config, fields, f"{family} {kind!r}")


def checked(schema: type[Any], fields: Mapping[str, Any], where: str) -> Any:
    """`fields` as an instance of `schema`; a pydantic complaint becomes a UsageError that lists the known fields."""
    try:
        return schema(**fields)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(p) for p in first["loc"]) or "config"
        raise UsageError(f"{name}: {first['msg']}", where=where,
                         remedy=f"Fields: {', '.join(schema.model_fields)}") from None


class ReelmConfig(PreTrainedConfig):
    """The parts of a reelm model and how they fit together; saved as `config.json`.

    `text_config`: config of any Hugging Face causal LM. `vision`, `audio`: see `VisionSettings`, `AudioSettings`; None
    where the model does not see or hear. `layout`: settings of the part that turns messages into token ids. `format`:
    the form of the file, see `reelm.model.format`; files of older forms are read.

    Raises: UsageError for an unknown key anywhere, or widths that do not fit.
    """

    model_type = "reelm"
    sub_configs: ClassVar[dict[str, Any]] = {"text_config": AutoConfig}

    text_config: dict | PreTrainedConfig | None = None
    vision: dict | None = None
    audio: dict | None = None
    layout: dict | None = None
    format: int = FORMAT

    def __post_init__(self, **kwargs: Any) -> None:
        unknown = sorted(set(kwargs) - _LIBRARY_KEYS - _generation_keys())
        if unknown:
            raise UsageError(f"unknown key {', '.join(map(repr, unknown))}", where="config.json of a reelm model",
                             remedy="Known: text_config, vision, audio, layout, format")
        if kwargs.get("model_type", "reelm") != "reelm":
            raise UsageError(f"model_type is {kwargs['model_type']!r}, not 'reelm'", where="config.json")
        kwargs.pop("model_type", None)
        text = {"model_type": "llama"} if self.text_config is None else self.text_config
        if isinstance(text, Mapping):
            fields = dict(text)
            text = AutoConfig.for_model(fields.pop("model_type", "llama"), **fields)
        self.text_config = text
        self.layout = dict(self.layout or {"kind": "chat"})
        self._check_parts()
        super().__post_init__(**kwargs)

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """The config in the fields of a file, of today's form or an older one."""
        return super().from_dict(up_to_date(config_dict), **kwargs)

    def _check_parts(self) -> None:
        for name, schema in (("vision", VisionSettings), ("audio", AudioSettings)):
            section = getattr(self, name)
            if section is None:
                continue
            settings = checked(schema, section, name)
            encoder, encoder_settings = part_of("encoder", settings.encoder)
            _, connector_settings = part_of("connector", settings.connector)
            _fits(f"{name}.connector.in_width", connector_settings.in_width, encoder.width_of(encoder_settings),
                  f"the width of encoder {settings.encoder['kind']!r}")
            if isinstance(settings, AudioSettings):
                part_of("encoder", settings.encoder_settings(of_video=True))
            else:
                for compressor in (*settings.before, *settings.after):
                    part_of("compressor", compressor)
            _fits(f"{name}.connector.out_width", connector_settings.out_width, self.text_config.hidden_size,  # type: ignore[union-attr]
                  "hidden_size of the language model")
        part_of("layout", self.layout or {})

    @property
    def vision_settings(self) -> VisionSettings | None:
        return None if self.vision is None else checked(VisionSettings, self.vision, "vision")

    @property
    def audio_settings(self) -> AudioSettings | None:
        return None if self.audio is None else checked(AudioSettings, self.audio, "audio")


def _fits(name: str, got: int, expected: int, of: str) -> None:
    if got != expected:
        raise UsageError(f"{name} is {got}, but {of} is {expected}", where="config")


def _generation_keys() -> frozenset[str]:
    # transformers removes these from any config by itself; some of its savers still write them
    from transformers import GenerationConfig

    return frozenset(GenerationConfig._get_default_generation_params())
