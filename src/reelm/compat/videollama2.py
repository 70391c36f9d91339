"""`model_init` and `mm_infer` as scripts of the official VideoLLaMA 2 repository call them.

What such a script passes means the same here, and a greedy answer has the same tokens. What the official code does
without a word (a black frame, silence for sound, an ignored option) is a warning or an error here; see
docs/coming-from-videollama2.md.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import reelm
from reelm import media
from reelm.errors import BudgetError, UsageError
from reelm.model import ReelmModel, ReelmProcessor
from reelm.model.engine import LENGTH, Engine, Request
from reelm.model.sampling import Sampling
from reelm.parts.layouts.turns import Cells, Laid, Turn
from reelm.parts.samplers.uniform import uniform_indices
from reelm.types import Clip, Frames

MODALS = ("image", "video", "audio", "text")
#: Keyword arguments of the official loader: what they mean here, None where it makes no difference.
_LOADING: dict[str, str | None] = {"load_8bit": "bits", "load_4bit": "bits", "device": "device", "device_map": "device",
                                   "use_flash_attn": None}


def model_init(model_path: str | Path | None = None, **kwargs: Any
               ) -> tuple[ReelmModel, dict[str, Callable[..., Any]], Any]:
    """Model, processors by modality ("image", "video", "audio" where the model hears), tokenizer.

    `model_path` is a folder or a pulled hub id; None is the id the official code takes. Known keyword arguments:
    `load_8bit`, `load_4bit`, `device`, `device_map` ("auto" or one device), `use_flash_attn` (makes no difference).
    Raises: UsageError for any other.
    """
    if unknown := sorted(set(kwargs) - set(_LOADING)):
        raise UsageError(f"unknown option {', '.join(unknown)}", where="model_init",
                         remedy=f"Known: {', '.join(_LOADING)}")
    if kwargs.get("load_8bit") and kwargs.get("load_4bit"):
        raise UsageError("load_8bit and load_4bit exclude each other", where="model_init")
    device = kwargs.get("device") or kwargs.get("device_map") or "auto"
    if not isinstance(device, str):
        raise UsageError(f"device_map {device!r} spreads a model over devices", where="model_init",
                         remedy='One device is used: "auto", "cpu", "cuda:1" …')
    bits = 8 if kwargs.get("load_8bit") else 4 if kwargs.get("load_4bit") else None
    lm = reelm.load(model_path or "DAMO-NLP-SG/VideoLLaMA2-7B", device=device, bits=bits)
    for note in lm.model.loading_notes:
        warnings.warn(note, stacklevel=2)
    return lm.model, _processors(lm.processor), lm.processor.tokenizer


def _processors(processor: ReelmProcessor) -> dict[str, Callable[..., Any]]:
    found: dict[str, Callable[..., Any]] = {}
    if processor.vision_settings is not None:
        frames = processor.vision_settings.frames

        def video(video_path: Any, s: float | None = None, e: float | None = None, num_frames: int = frames,
                  va: bool = False) -> Any:
            """Pixels [T,3,S,S]; with `va` a dict of them and the filter bank of the sound."""
            return _video(processor, video_path, s, e, num_frames, va)

        found["image"] = lambda image_path: _image(processor, image_path)
        found["video"] = video
    if processor.audio_settings is not None:
        found["audio"] = lambda audio_path: _sound(processor, audio_path, of_video=False)
    return found


def _image(processor: ReelmProcessor, picture: Any) -> Tensor:
    """Pixels [1,3,S,S] of a file, a PIL picture or an array [H,W,3]."""
    if not isinstance(picture, str | Path):
        return processor.pixels(_given([picture]))
    with media.open(Clip(picture)) as reader:
        return processor.pixels(reader.frames(reader.info().frame_times_s[:1].tolist() or [0.0]))


def _given(pictures: Sequence[Any]) -> Frames:
    arrays = [np.asarray(one if isinstance(one, np.ndarray) else one.convert("RGB")) for one in pictures]
    if len({one.shape for one in arrays}) != 1:
        raise UsageError("frames of different sizes", where="process_video")
    rgb = np.stack(arrays).transpose(0, 3, 1, 2)
    return Frames(np.ascontiguousarray(rgb), np.arange(len(arrays), dtype=np.float64), np.zeros(len(arrays), bool))


def _video(processor: ReelmProcessor, source: Any, s: float | None, e: float | None, count: int, va: bool) -> Any:
    if not isinstance(source, str | Path):
        frames = _given(list(source))
        if len(frames) != count:
            warnings.warn(f"{len(frames)} frames given, {count} asked: they are used as they are, no black frame is "
                          "added and none is cut", stacklevel=3)
    else:
        with media.open(Clip(source)) as reader:
            times = reader.info().frame_times_s
            first, last = _bounds(s, e, reader.info().fps, len(times))
            frames = reader.frames(times[first + uniform_indices(last - first + 1, count)].tolist())
    pixels = processor.pixels(frames)
    if not va:
        return pixels
    bank = _sound(processor, source, of_video=True)
    return {"video": pixels} if bank is None else {"video": pixels, "audio": bank}


def _bounds(s: float | None, e: float | None, fps: float, count: int) -> tuple[int, int]:
    """First and last frame of seconds s to e, by the official arithmetic."""
    if (s is None) != (e is None):
        raise UsageError("s without e, or e without s, is ignored by the official code", where="process_video",
                         remedy="Give both")
    if s is None or e is None:
        return 0, count - 1
    start, end = sorted((max(s, 0.0), max(e, 0.0)))
    end = end if end > start else start + 1
    first, last = max(int(start * fps) - 1, 0), min(int(end * fps) - 1, count - 1)
    if first > last:
        raise UsageError(f"no frame between {start:g} and {end:g} s", where="process_video")
    return first, last


def _sound(processor: ReelmProcessor, source: Any, *, of_video: bool) -> Tensor | None:
    """Filter bank [1,K,128]; None, with a warning, where a video has no sound."""
    settings = processor.audio_settings
    if settings is None:
        raise UsageError("va=True, but this model does not hear", where="process_video", remedy="Leave va out")
    if not isinstance(source, str | Path):
        raise UsageError("frames have no sound", where="process_video", remedy="Leave va out, or give a file")
    with media.open(Clip(source)) as reader:
        audio = reader.audio(settings.rate_hz)
    if audio is None:
        if not of_video:
            raise UsageError("holds no sound", where=str(source))
        warnings.warn(f"{source}: no sound track; only the pictures are used (the official code feeds 30 s of silence)",
                      stacklevel=4)
        return None
    return processor.filter_bank(audio, of_video=of_video)[None]


def mm_infer(image_or_video: Any, instruct: str | Sequence[Mapping[str, str]], model: ReelmModel, tokenizer: Any,
             modal: str = "video", **kwargs: Any) -> str:
    """The model's answer to `instruct` about what a processor of `model_init` made of a medium.

    `modal` is "image", "video", "audio" or "text" (then the medium is None). A video may be a dict of "video" and
    "audio". `instruct` is a question, or a conversation of {"role", "content"} whose first message the medium belongs
    to. Options: `do_sample` (False), `temperature` (0.2), `top_p` (0.9), `max_new_tokens` (2048).

    Raises: UsageError for another option or modality, or a medium that does not fit it.
    Source: `mm_infer` of the official code; prompts as literal strings in tests/compat/test_videollama2.py.
    """
    if unknown := sorted(set(kwargs) - {"do_sample", "temperature", "top_p", "max_new_tokens"}):
        raise UsageError(f"unknown option {', '.join(unknown)}", where="mm_infer",
                         remedy="Known: do_sample, temperature, top_p, max_new_tokens")
    processor = ReelmProcessor.of(model.config, tokenizer)
    pixels, bank = _media_of(image_or_video, modal)
    cells = Cells(0 if pixels is None else processor.vision_count(len(pixels)),
                  0 if bank is None else int(np.prod(processor.audio_grid(len(bank)))))
    laid = _laid_out(processor, instruct, cells if modal != "text" else None)
    longest = int(kwargs.get("max_new_tokens", 2048))
    text: Any = model.config.text_config
    most = min(longest, text.max_position_embeddings - len(laid.ids))
    if most < 1:
        raise BudgetError(f"a prompt of {len(laid.ids)} tokens fills the model's context", where="mm_infer",
                          remedy="Use fewer frames or a shorter question")
    embeds = _embeds(model, processor, laid, pixels, bank)
    engine = Engine(model.language_model, _end_ids(model, tokenizer), lambda ids: str(tokenizer.decode(
        list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)))
    events = list(engine.run([Request(embeds, most, _sampling(model, kwargs))]))
    if most < longest and events[-1].stop == LENGTH:
        warnings.warn(f"the answer was cut at {most} tokens, where the model's context ends", stacklevel=2)
    return "".join(event.text for event in events).strip()


def _sampling(model: ReelmModel, kwargs: Mapping[str, Any]) -> Sampling:
    penalty = getattr(model.generation_config, "repetition_penalty", None) or 1.0
    if not kwargs.get("do_sample", False):
        return Sampling(repetition_penalty=penalty)
    own = model.generation_config  # as the official call: its generation defaults hold where it names nothing
    return Sampling(kwargs.get("temperature", 0.2), kwargs.get("top_p", 0.9), getattr(own, "top_k", None) or 50,
                    penalty, int(torch.randint(1 << 31, (1,))))


def _end_ids(model: ReelmModel, tokenizer: Any) -> list[int]:
    own = model.generation_config.eos_token_id
    return [*(own if isinstance(own, list) else [own] if own is not None else []), tokenizer.eos_token_id]


def _media_of(given: Any, modal: str) -> tuple[Tensor | None, Tensor | None]:
    """Pixels [T,3,S,S] and filter bank [K,128] of what a processor made."""
    if modal not in MODALS:
        raise UsageError(f"modal is {modal!r}", where="mm_infer", remedy=f"One of {', '.join(MODALS)}")
    if (modal == "text") != (given is None):
        raise UsageError(f"modal is {modal!r}, the medium is {'absent' if given is None else 'there'}",
                         where="mm_infer")
    if isinstance(given, Mapping):
        if modal != "video" or set(given) - {"video", "audio"} or "video" not in given:
            raise UsageError(f"a dict of {', '.join(given)} as {modal}", where="mm_infer",
                             remedy='A dict of "video" and "audio" is a video')
        bank = given.get("audio")
        return given["video"], None if bank is None else bank.flatten(0, -2)
    if modal == "audio":
        return None, given.flatten(0, -2)
    return given, None


def _laid_out(processor: ReelmProcessor, instruct: str | Sequence[Mapping[str, str]], cells: Cells | None) -> Laid:
    messages = [{"role": "user", "content": instruct}] if isinstance(instruct, str) else list(instruct)
    turns = [Turn(one["role"], (one["content"],)) for one in messages]
    if not turns or turns[0].role != "user":
        raise UsageError("a conversation begins with the user", where="mm_infer")
    if cells is not None:
        turns[0] = Turn("user", (cells, *turns[0].pieces))
    laid: Laid = processor.chat_layout.lay_out(processor.tokenizer, turns, add_generation_prompt=True, labels=False)
    return laid


@torch.inference_mode()
def _embeds(model: ReelmModel, processor: ReelmProcessor, laid: Laid, pixels: Tensor | None, bank: Tensor | None
            ) -> Tensor:
    device = next(model.get_input_embeddings().parameters()).device
    vision = [] if pixels is None else model.encode_vision(pixels.to(device), [len(pixels)])
    audio = [] if bank is None else model.encode_audio(bank.to(device), [len(bank)])
    rows = {name: value.to(device) for name, value in processor.pad([laid]).items()}
    return model.embed(rows["input_ids"], rows["mm_token_type_ids"], vision, audio)[0]
