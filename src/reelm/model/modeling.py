"""The model: towers, connectors and a causal language model under one Hugging Face `PreTrainedModel`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, GenerationMixin, PreTrainedModel
from transformers.cache_utils import Cache
from transformers.modeling_outputs import CausalLMOutputWithPast

from reelm import registry
from reelm.errors import CheckpointError, UsageError
from reelm.model import fuse
from reelm.model.config import AudioSettings, ReelmConfig, VisionSettings
from reelm.model.encoding import MediaEncoding
from reelm.types import AUDIO, VISION


class ReelmModel(MediaEncoding, PreTrainedModel, GenerationMixin):
    """A language model that sees and hears: encode, connect, lay into the prompt, continue.

    Children `vision_tower`, `connector`, `audio_tower`, `audio_connector` (None where the model lacks the sense),
    `before` and `after` (compressors on both sides of the connector) and `language_model`, any Hugging Face causal LM.
    Everything from pixels to logits is differentiable; freezing is the caller's choice. `language_model`, when given,
    is used as it is, with its weights, instead of a fresh one.

    Source: VideoLLaMA 2, arXiv:2406.07476, section 3; logits agree with the recorded ones to 1e-4, greedy tokens are
    equal, loss to 1e-5, tests/model/test_parity.py.
    """

    config: ReelmConfig
    config_class = ReelmConfig
    main_input_name = "input_ids"
    input_modalities = ["image", "video", "audio", "text"]
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _can_compile_fullgraph = False
    #: What the reader of a published folder left aside or took from elsewhere, in sentences.
    loading_notes: tuple[str, ...] = ()

    def __init__(self, config: ReelmConfig, *, language_model: PreTrainedModel | None = None) -> None:
        super().__init__(config)
        self.vision_tower, self.connector = self._sense(config.vision_settings)
        self.before, self.after = (nn.ModuleList(registry.build("compressor", one) for one in chain)
                                   for chain in compressors_of(config))
        self.audio_tower, self.audio_connector = self._sense(config.audio_settings)
        if language_model is None:
            language_model = _fresh(config.text_config)
        else:
            for module in language_model.modules():
                module._is_hf_initialized = True  # type: ignore[assignment]  # post_init must not draw new weights
        self.language_model: Any = language_model
        self.post_init()

    def _sense(self, settings: VisionSettings | AudioSettings | None) -> tuple[Any, Any]:
        if settings is None:
            return None, None
        tower = registry.build("encoder", settings.encoder)
        wanted = self.config._attn_implementation
        if isinstance(tower, PreTrainedModel) and tower._supports_sdpa and wanted in ("eager", "sdpa"):
            tower.set_attn_implementation(wanted)
        return tower, registry.build("connector", settings.connector)

    def _init_weights(self, module: nn.Module) -> None:
        # Parts that are no PreTrainedModel keep PyTorch's own scheme: a normal(0, 0.02) starves convolution stacks.
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()  # type: ignore[operator]

    # --- media -------------------------------------------------------------------------------------------------

    def embed(self, input_ids: Tensor, mm_token_type_ids: Tensor | None = None, vision: Sequence[Tensor] = (),
              audio: Sequence[Tensor] = ()) -> Tensor:
        """Prompt embeddings: words from the table, media from `encode_vision` and `encode_audio`.

        Shapes: `input_ids`, `mm_token_type_ids` [B,S] (0 text, 1 vision, 2 audio); gives [B,S,D].
        Raises: UsageError, before anything is written, when cells and tokens do not match; it names both numbers.
        """
        embeds: Tensor = self.get_input_embeddings()(input_ids)
        if mm_token_type_ids is None:
            if vision or audio:
                raise UsageError("media given without mm_token_type_ids", remedy="Pass what the processor returned")
            return embeds
        # Some language models multiply their inputs by a constant (Gemma). The library does it in the table of words;
        # the official code ran it after media were laid in, so they are multiplied too.
        scale = getattr(self.get_input_embeddings(), "embed_scale", None)
        if scale is not None:
            vision, audio = ([one * scale.to(one) for one in media] for media in (vision, audio))
        embeds = fuse.scatter(embeds, mm_token_type_ids, vision, VISION)
        return fuse.scatter(embeds, mm_token_type_ids, audio, AUDIO)

    # --- the language model ------------------------------------------------------------------------------------

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        mm_token_type_ids: Tensor | None = None,
        pixel_values_videos: Tensor | None = None,
        video_frames: Sequence[int] | None = None,
        input_features: Tensor | None = None,
        audio_frames: Sequence[int] | None = None,
        vision_features: Tensor | None = None, audio_features: Tensor | None = None,
        questions: Sequence[str] | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        packed: bool = False,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Logits, and the loss when labels are given.

        Give `input_ids` (with `mm_token_type_ids` and media) or `inputs_embeds`, never both; media as pixels and filter
        banks, or as what the towers made of them (`vision_features` in place of `pixel_values_videos`, `audio_features`
        in place of `input_features`), with the same counts. `questions`: what compressors that look at the question are
        to see, one for each medium with pictures. A bool `logits_to_keep`
        [B,S] computes logits at those positions only, flattened to [n,V]; with labels, pass `shift_labels` [n] of the
        same positions (`fuse.answer_logits` gives both). `num_items_in_batch` is handed on for exact accumulation.
        `packed`: a row holds several samples one after the other, each begins where `position_ids` begin again, and
        none sees another.

        Shapes: ids, types, labels [B,S]; pixels [sum video_frames,3,S,S]; filter banks [sum audio_frames,128].
        Raises: UsageError on conflicting inputs or counts that differ.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise UsageError("give input_ids or inputs_embeds, exactly one of them")
        if inputs_embeds is None:
            vision, audio = self._encode_given(pixel_values_videos, video_frames, input_features, audio_frames,
                                               vision_features, audio_features, questions or "")
            inputs_embeds = self.embed(input_ids, mm_token_type_ids, vision, audio)  # type: ignore[arg-type]
        elif any(given is not None for given in (pixel_values_videos, input_features, vision_features, audio_features)):
            raise UsageError("media beside inputs_embeds would be ignored", remedy="Lay them in with `embed` first")
        attention_mask, position_ids = _sight(inputs_embeds, attention_mask, position_ids, past_key_values, packed)
        with _kept_positions(self.language_model, logits_to_keep) as keep:
            return self.language_model(
                inputs_embeds=inputs_embeds, attention_mask=attention_mask, position_ids=position_ids,
                past_key_values=past_key_values, labels=labels, logits_to_keep=keep, **kwargs,
                # With a cache the library does not look for the borders inside packed rows.
                use_cache=False if packed else use_cache,
            )

    # --- what Hugging Face generate needs ----------------------------------------------------------------------

    def generate(self, *args: Any, **kwargs: Any) -> Any:
        """As in Hugging Face transformers: see `GenerationMixin.generate`.

        Raises: UsageError for cells without an attention mask: the library would take the filler for padding.
        """
        if kwargs.get("mm_token_type_ids") is not None and kwargs.get("attention_mask") is None:
            raise UsageError("mm_token_type_ids without attention_mask", remedy="Pass all that the processor returned")
        parent: Any = super()
        return parent.generate(*args, **kwargs)

    def prepare_inputs_for_generation(  # type: ignore[override]  # the library passes keywords, and reads these names
        self, input_ids: Any, inputs_embeds: Tensor | None = None, is_first_iteration: bool = False, **kwargs: Any
    ) -> Any:
        parent: Any = super()
        inputs = parent.prepare_inputs_for_generation(
            input_ids, inputs_embeds=inputs_embeds, is_first_iteration=is_first_iteration, **kwargs)
        if not is_first_iteration and kwargs.get("use_cache", True):
            for name in ("video_frames", "audio_frames", "questions", "mm_token_type_ids"):
                inputs.pop(name, None)
        types, ids = inputs.get("mm_token_type_ids"), inputs.get("input_ids")
        if types is not None and ids is not None:
            inputs["mm_token_type_ids"] = types[:, -ids.shape[1]:]
        return inputs

    def _expand_inputs_for_generation(self, expand_size: int = 1, is_encoder_decoder: bool = False,
                                      input_ids: Any = None, **model_kwargs: Any) -> Any:
        # Beams repeat rows of every tensor; frames of all media stand in one tensor, so lay them in before that.
        if expand_size > 1 and (model_kwargs.get("pixel_values_videos") is not None
                                or model_kwargs.get("input_features") is not None):
            vision, audio = self._encode_given(*(model_kwargs.pop(name, None) for name in (
                "pixel_values_videos", "video_frames", "input_features", "audio_frames")))
            kinds = model_kwargs.pop("mm_token_type_ids", None)
            model_kwargs["inputs_embeds"] = self.embed(input_ids, kinds, vision, audio)
        parent: Any = super()
        return parent._expand_inputs_for_generation(expand_size, is_encoder_decoder, input_ids, **model_kwargs)

    def get_input_embeddings(self) -> nn.Module:
        return self.language_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.language_model.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Module:
        return self.language_model.get_output_embeddings()

    def set_output_embeddings(self, new_embeddings: nn.Module) -> None:
        self.language_model.set_output_embeddings(new_embeddings)

    def get_decoder(self, *args: Any, **kwargs: Any) -> Any:
        return self.language_model.get_decoder()

    # --- files -------------------------------------------------------------------------------------------------

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *args: Any, output_loading_info: bool = False,
                        **kwargs: Any) -> Any:
        """The model in a folder, complete: every weight is in the file and every weight of the file is used.

        Raises: CheckpointError that names missing, unexpected or misshapen weights.
        """
        kwargs.setdefault("use_safetensors", True)
        kwargs["ignore_mismatched_sizes"] = True  # so that the report names them, and we can
        parent: Any = super()
        model, report = parent.from_pretrained(pretrained_model_name_or_path, *args, output_loading_info=True, **kwargs)
        refuse_incomplete(report, str(pretrained_model_name_or_path or "the given state dict"))
        return (model, report) if output_loading_info else model

    def save_pretrained(self, save_directory: Any, *args: Any, save_original_format: bool = False,
                        **kwargs: Any) -> None:
        """Writes config.json and safetensors with native keys, whatever layout the weights came from."""
        parent: Any = super()
        parent.save_pretrained(save_directory, *args, save_original_format=save_original_format, **kwargs)


def compressors_of(config: ReelmConfig) -> tuple[tuple[dict[str, Any], ...], tuple[dict[str, Any], ...]]:
    """The settings of the compressors before and after the connector."""
    settings = config.vision_settings
    return (settings.before, settings.after) if settings else ((), ())


def _fresh(config: Any) -> Any:
    """A language model for a config. Some (Gemma 2 caps its attention) have no sdpa form; they run as eager."""
    family: Any = AutoModelForCausalLM._model_mapping[type(config)]
    eager = config._attn_implementation in (None, "sdpa") and not family._supports_sdpa
    return AutoModelForCausalLM.from_config(config, **({"attn_implementation": "eager"} if eager else {}))


def _sight(embeds: Tensor, mask: Tensor | None, positions: Tensor | None, past: Cache | None, packed: bool
           ) -> tuple[Tensor | None, Tensor | None]:
    """Attention mask and positions for rows of embeddings [B,S,D]."""
    if packed:
        if positions is None or mask is not None or past is not None:
            raise UsageError("packed rows go by position_ids alone, without attention_mask or cache",
                             remedy="Pass what `data.collate` returned")
        return None, positions  # the library takes each return of the positions to 0 for the border of a sample
    if mask is None and past is None:
        # Without a mask the library may take uneven positions for packed sequences and cut attention silently.
        mask = torch.ones(embeds.shape[:2], dtype=torch.long, device=embeds.device)
    # With a static cache the library hands over finished masks (4-D, or one per layer type) and positions.
    if positions is None and isinstance(mask, Tensor) and mask.dim() == 2:
        positions = fuse.positions_of(mask, embeds.shape[1])
    return mask, positions


def refuse_incomplete(report: Any, where: str) -> None:
    """Raises CheckpointError when a loading report of transformers lists anything amiss."""
    for key, said in (("missing_keys", "missing"), ("unexpected_keys", "unexpected"), ("mismatched_keys", "misshapen")):
        names = sorted(str(name[0] if isinstance(name, tuple) else name) for name in (report.get(key) or ()))
        if names:
            more = f" and {len(names) - 8} more" if len(names) > 8 else ""
            raise CheckpointError(f"{len(names)} {said} weights: {', '.join(names[:8])}{more}", where=where,
                                  remedy="The files must belong to this config.json and be complete; fetch them again")


@contextmanager
def _kept_positions(language_model: Any, logits_to_keep: int | Tensor) -> Iterator[int | Tensor]:
    """For a bool [B,S] choice: drop the other positions just before the vocabulary product, for any causal LM.

    Newer transformers can do this themselves for some models; doing it at the head covers all models and versions.
    """
    if not (isinstance(logits_to_keep, Tensor) and logits_to_keep.dtype == torch.bool and logits_to_keep.dim() == 2):
        yield logits_to_keep
        return

    def keep(_module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (args[0][logits_to_keep], *args[1:])

    handle = language_model.get_output_embeddings().register_forward_pre_hook(keep)
    try:
        yield 0
    finally:
        handle.remove()
