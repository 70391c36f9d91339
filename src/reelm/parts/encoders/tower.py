"""What the Hugging Face picture towers share: settings, the layer that is read, and preprocessing through PIL.

Source: the vision towers of VideoLLaMA 2 (CLIP, SigLIP); held to recorded vectors in tests/parts/test_towers.py.
"""

from __future__ import annotations

from functools import cache
from typing import Any, ClassVar, Literal

from pydantic import field_validator, model_validator
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

from reelm.config import PartConfig
from reelm.parts.base import Encoder, Grid
from reelm.parts.encoders.pictures import on_square, pictures
from reelm.types import Frames, Image

Colour = tuple[float, float, float]

#: Fields that older transformers wrote into every config and that say nothing about a tower.
_INERT = frozenset({
    "_attn_implementation", "_name_or_path", "add_cross_attention", "architectures", "attn_implementation",
    "bad_words_ids", "begin_suppress_tokens", "bos_token_id", "chunk_size_feed_forward",
    "cross_attention_hidden_size", "decoder_start_token_id", "diversity_penalty", "do_sample", "dtype",
    "early_stopping", "encoder_no_repeat_ngram_size", "eos_token_id", "exponential_decay_length_penalty",
    "finetuning_task", "forced_bos_token_id", "forced_eos_token_id", "id2label", "is_decoder", "is_encoder_decoder",
    "label2id", "length_penalty", "max_length", "min_length", "no_repeat_ngram_size", "num_beam_groups",
    "num_beams", "num_return_sequences", "output_attentions", "output_hidden_states", "output_scores",
    "pad_token_id", "prefix", "problem_type", "pruned_heads", "remove_invalid_values", "repetition_penalty",
    "return_dict", "return_dict_in_generate", "sep_token_id", "suppress_tokens", "task_specific_params",
    "temperature", "tf_legacy_loss", "tie_encoder_decoder", "tie_word_embeddings", "tokenizer_class", "top_k",
    "top_p", "torch_dtype", "torchscript", "transformers_version", "typical_p", "use_bfloat16",
})


class TowerConfig(PartConfig):
    """Settings of a Hugging Face picture tower.

    `tower` is the vision config; `select_layer` counts as `hidden_states` does (0 is the embedding, -2 leaves out the
    last layer); `aspect` "pad" puts a picture on a square of the mean colour before the tower's own preprocessing.
    """

    hf_config: ClassVar[type[PreTrainedConfig]]
    default_mean: ClassVar[Colour]
    default_std: ClassVar[Colour]

    tower: dict[str, Any]
    select_layer: int = -2
    select_feature: Literal["patch", "cls_patch"] = "patch"
    aspect: Literal["pad"] | None = None
    image_mean: Colour | None = None
    image_std: Colour | None = None

    @field_validator("tower")
    @classmethod
    def _only_known_fields(cls, tower: dict[str, Any]) -> dict[str, Any]:
        expected = cls.hf_config.model_type
        if tower.get("model_type", expected) != expected:
            raise ValueError(f"model_type {tower['model_type']!r}, not {expected!r}")
        known = cls.hf_config().to_dict()
        # Hugging Face keeps unknown keywords without a word, so a misspelt one must be caught here.
        if unknown := [key for key in tower if key not in known and key not in _INERT]:
            raise ValueError(f"unknown fields {unknown}")
        return {key: value for key, value in tower.items() if key in known and key not in _INERT}

    @model_validator(mode="after")
    def _layer_exists(self) -> TowerConfig:
        layers = self.full_tower().num_hidden_layers
        if not -layers - 1 <= self.select_layer <= layers:
            raise ValueError(f"select_layer {self.select_layer} of {layers + 1} hidden states")
        return self

    def full_tower(self) -> PreTrainedConfig:
        """The Hugging Face config, defaults filled in."""
        return self.hf_config(**{key: value for key, value in self.tower.items() if key != "model_type"})

    def layers_run(self) -> int:
        """How many layers lie before the selected hidden state; those after it are never computed."""
        layers: int = self.full_tower().num_hidden_layers
        return self.select_layer if self.select_layer >= 0 else layers + 1 + self.select_layer

    def mean(self) -> Colour:
        return self.image_mean or self.default_mean

    def std(self) -> Colour:
        return self.image_std or self.default_std


class PictureTower(PreTrainedModel, Encoder):
    """A Hugging Face vision model of which one hidden state is read.

    It is itself a `PreTrainedModel`, so that dtype, attention implementation and tied weights reach the tower inside.
    Layers after the selected one hold weights (they are saved and loaded) but are not run.
    """

    main_input_name = "pixel_values"
    base_model_prefix = ""
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    supports_gradient_checkpointing = True

    modality = "vision"
    Config = TowerConfig
    tower_class: ClassVar[type[PreTrainedModel]]
    has_cls: ClassVar[bool] = False
    tiny: ClassVar[dict[str, Any]] = {"tower": {
        "hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 28,
        "patch_size": 14}}
    settings: TowerConfig
    tower: Any

    def __init__(self, settings: TowerConfig) -> None:
        config = settings.full_tower()
        super().__init__(config)
        self.settings = settings
        self.tower = self.tower_class(config)
        self.layers_run = settings.layers_run()
        self.post_init()

    @classmethod
    def width_of(cls, settings: TowerConfig) -> int:
        width: int = settings.full_tower().hidden_size
        return width

    @classmethod
    def grid_of(cls, settings: TowerConfig, length: int) -> Grid:
        """(T,h,w); with `cls_patch` the rows are no grid any more: (T, 1, h·w + 1)."""
        tower = settings.full_tower()
        side = tower.image_size // tower.patch_size
        return (length, side, side) if settings.select_feature == "patch" else (length, 1, side * side + 1)

    @classmethod
    def _processor(cls, side_px: int, mean: Colour, std: Colour) -> Any:
        """The tower's own image processor (PIL backend) for a side length."""
        raise NotImplementedError

    @classmethod
    def prepare(cls, settings: TowerConfig, media: Frames | Image) -> Tensor:
        """Pixels [T,3,S,S] as the published preprocessing gives them, equal to 1e-6 in tests/parts/test_towers.py."""
        images = pictures(media)
        mean = settings.mean()
        if settings.aspect == "pad":
            red, green, blue = (int(255 * value) for value in mean)
            images = [on_square(image, (red, green, blue)) for image in images]
        processor = cls._processor(settings.full_tower().image_size, mean, settings.std())
        return processor.preprocess(images, return_tensors="pt")["pixel_values"]

    def _embed(self, pixels: Tensor) -> Tensor:
        """Hidden state 0."""
        return self.tower.embeddings(pixels)

    def forward(self, pixels: Tensor) -> Tensor:
        hidden = self._embed(pixels)
        for layer in self.tower.encoder.layers[:self.layers_run]:
            hidden = layer(hidden, None)
        return hidden[:, 1:] if self.has_cls and self.settings.select_feature == "patch" else hidden


@cache
def processor_of(cls: type, side: tuple[tuple[str, int], ...], crop_px: int | None, mean: Colour, std: Colour) -> Any:
    """An image processor, built once per setting (building costs more than one frame)."""
    crop = {} if crop_px is None else {"crop_size": {"height": crop_px, "width": crop_px}}
    return cls(size=dict(side), image_mean=list(mean), image_std=list(std), **crop)

