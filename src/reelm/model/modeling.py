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
from reelm.model.config import AudioSettings, ReelmConfig, VisionSettings, part_of
from reelm.types import AUDIO, VISION


class ReelmModel(PreTrainedModel, GenerationMixin):
    """A language model that sees and hears: encode, connect, lay into the prompt, continue.

    Children `vision_tower`, `connector`, `audio_tower`, `audio_connector` (None where the model lacks the sense) and
    `language_model`, any Hugging Face causal LM. Everything from pixels to logits is differentiable; freezing is the
    caller's choice. `language_model`, when given, is used as it is, with its weights, instead of a fresh one.

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

    def see(self, pixel_values_videos: Tensor) -> Tensor:
        """What the picture tower makes of frames: [F,3,S,S] to [F, h·w, D].

        Raises: UsageError when the model does not see.
        """
        self._vision_way()
        features: Tensor = self.vision_tower(pixel_values_videos.to(_dtype_of(self.vision_tower)))
        return features

    def hear(self, input_features: Tensor, audio_frames: Sequence[int]) -> list[Tensor]:
        """What the sound tower makes of each filter bank of `audio_frames` rows in `input_features`: one [N_i, D] each.

        Raises: UsageError when the model does not hear, or rows and `audio_frames` differ.
        """
        self._audio_way()
        if len(input_features) != sum(audio_frames):
            raise UsageError(f"{len(input_features)} filter-bank rows given, but audio_frames {list(audio_frames)} "
                             f"sums to {sum(audio_frames)}", where="input_features")
        banks = list(input_features.to(_dtype_of(self.audio_tower)).split(list(audio_frames)))
        towered: list[Tensor] = [torch.empty(0)] * len(banks)
        for group in _by_length(banks):
            for index, features in zip(group, self.audio_tower(torch.stack([banks[i] for i in group])), strict=True):
                towered[index] = features
        return towered

    def encode_vision(self, pixel_values_videos: Tensor, video_frames: Sequence[int]) -> list[Tensor]:
        """Language-model vectors of each picture or clip: one tower call for all frames, one connector call per length.

        A medium of one frame is repeated to `vision.image.repeat` frames after the tower, which equals encoding the
        same picture that often.

        Shapes: `pixel_values_videos` [sum of video_frames, 3, S, S]; gives one [N_i, D] per medium.
        Raises: UsageError when the model does not see, or frames and `video_frames` differ.
        """
        self._vision_way()
        _check_frames(pixel_values_videos, video_frames, "pixel_values_videos")
        return self.connect_vision(self.see(pixel_values_videos), video_frames)

    def connect_vision(self, vision_features: Tensor, video_frames: Sequence[int]) -> list[Tensor]:
        """`encode_vision` from what `see` gave, [sum of video_frames, h·w, D]."""
        settings = self._vision_way()
        _check_frames(vision_features, video_frames, "vision_features")
        clips = [clip.repeat(settings.repeat, 1, 1) if len(clip) == 1 else clip
                 for clip in vision_features.split(list(video_frames))]
        cls, encoder = part_of("encoder", settings.encoder)
        return _connect(self.connector, clips, [cls.grid_of(encoder, len(clip)) for clip in clips])

    def encode_audio(self, input_features: Tensor, audio_frames: Sequence[int]) -> list[Tensor]:
        """Language-model vectors of each sound.

        Shapes: `input_features` [sum of audio_frames, 128] filter banks in a row; gives one [N_i, D] per sound.
        Raises: UsageError when the model does not hear, or rows and `audio_frames` differ.
        """
        heard = self.hear(input_features, audio_frames)
        return self.connect_audio(torch.cat(heard), audio_frames) if heard else []

    def connect_audio(self, audio_features: Tensor, audio_frames: Sequence[int]) -> list[Tensor]:
        """`encode_audio` from what `hear` gave, all sounds in a row; `audio_frames` are the rows they were made of."""
        cls, encoder = part_of("encoder", self._audio_way().encoder)
        grids = [cls.grid_of(encoder, rows) for rows in audio_frames]
        counts = [t * h * w for t, h, w in grids]
        if len(audio_features) != sum(counts):
            raise UsageError(f"{len(audio_features)} sound features given, audio_frames {list(audio_frames)} make "
                             f"{sum(counts)}", where="audio_features")
        return _connect(self.audio_connector, audio_features.split(counts), grids)

    def _vision_way(self) -> VisionSettings:
        settings = self.config.vision_settings
        if settings is None:
            raise UsageError("this model does not see", remedy="Leave pictures out, or load a model with a vision part")
        return settings

    def _audio_way(self) -> AudioSettings:
        settings = self.config.audio_settings
        if settings is None:
            raise UsageError("this model does not hear", remedy="Leave sound out, or load a model with an audio part")
        return settings

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
        vision_features: Tensor | None = None,
        audio_features: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        packed: bool = False,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Logits, and the loss when labels are given.

        Give `input_ids` (with `mm_token_type_ids` and media) or `inputs_embeds`, never both; media as pixels and filter
        banks, or as what the towers made of them (`vision_features` in place of `pixel_values_videos`, `audio_features`
        in place of `input_features`), with the same counts. A bool `logits_to_keep`
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
                                               vision_features, audio_features)
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

    def _encode_given(self, pixels: Tensor | None, video_frames: Sequence[int] | None, banks: Tensor | None,
                      audio_frames: Sequence[int] | None, seen: Tensor | None = None,
                      heard: Tensor | None = None) -> tuple[list[Tensor], list[Tensor]]:
        for raw, towered, counts, names in (
                (pixels, seen, video_frames, "pixel_values_videos (or vision_features) and video_frames"),
                (banks, heard, audio_frames, "input_features (or audio_features) and audio_frames")):
            if raw is not None and towered is not None:
                raise UsageError(f"the same media twice: give {names}, one of the first two")
            if (raw is None and towered is None) != (counts is None):
                raise UsageError(f"give {names} together")
        vision = self.encode_vision(pixels, video_frames) if pixels is not None and video_frames is not None else []
        audio = self.encode_audio(banks, audio_frames) if banks is not None and audio_frames is not None else []
        if seen is not None and video_frames is not None:
            vision = self.connect_vision(seen, video_frames)
        if heard is not None and audio_frames is not None:
            audio = self.connect_audio(heard, audio_frames)
        return vision, audio

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
            for name in ("video_frames", "audio_frames", "mm_token_type_ids"):
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


def _dtype_of(module: nn.Module) -> torch.dtype:
    return next((p.dtype for p in module.parameters() if p.is_floating_point()), torch.float32)


def _check_frames(given: Tensor, video_frames: Sequence[int], where: str) -> None:
    if len(given) != sum(video_frames) or min(video_frames, default=1) < 1:
        raise UsageError(f"{len(given)} frames given, but video_frames {list(video_frames)} sums to "
                         f"{sum(video_frames)}", where=where)


def _by_length(items: Sequence[Tensor]) -> list[list[int]]:
    groups: dict[int, list[int]] = {}
    for index, item in enumerate(items):
        groups.setdefault(len(item), []).append(index)
    return list(groups.values())


def _connect(connector: Any, media: Sequence[Tensor], grids: Sequence[tuple[int, int, int]]) -> list[Tensor]:
    """Media of equal length share one connector call; every result is checked against the promised count."""
    out: list[Tensor] = [torch.empty(0)] * len(media)
    for group in _by_length(media):
        grid = grids[group[0]]
        batch = torch.stack([media[i] for i in group]).reshape(len(group), *grid, -1)
        projected = connector.project(batch.to(_dtype_of(connector))).flatten(1, 3)
        if projected.shape[1] != connector.n_out(grid):
            raise UsageError(f"{type(connector).__name__} promised {connector.n_out(grid)} tokens, made "
                             f"{projected.shape[1]}", where=f"grid {grid}")
        for index, tokens in zip(group, projected, strict=True):
            out[index] = tokens
    return out


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
