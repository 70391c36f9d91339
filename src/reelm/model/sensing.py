"""From a medium that a user named to what the model can take in: identity, seconds to look at, pictures, sound."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np

from reelm import media, registry
from reelm.errors import BudgetError, ReelmError, UsageError
from reelm.model.config import VisionSettings, part_of
from reelm.model.processing import ReelmProcessor, Sketch
from reelm.types import Audio, AudioVideo, Clip, Frames, Image, MediaInfo, Tokens

Medium = Clip | Frames | Image | Audio | AudioVideo


class Clock:
    """Wall time per phase: `with clock("decode"): …` adds up; `total` runs from the start."""

    def __init__(self) -> None:
        self.started = perf_counter()
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        began = perf_counter()
        try:
            yield
        finally:
            self.add(phase, perf_counter() - began)

    def add(self, phase: str, seconds: float) -> None:
        self.seconds[phase] = self.seconds.get(phase, 0.0) + seconds

    @property
    def now(self) -> float:
        """Seconds since the start."""
        return perf_counter() - self.started


@dataclass(frozen=True)
class Choice:
    """How to look and listen: `frames` or `fps` instead of the model's own sampler, sound or none.

    Raises: UsageError when both frames and fps are given, or one is not above 0.
    """

    frames: int | None = None
    fps: float | None = None
    audio: bool = True

    def __post_init__(self) -> None:
        if self.frames is not None and self.fps is not None:
            raise UsageError("frames and fps exclude each other", remedy="Give one of them")
        for name, value in (("frames", self.frames), ("fps", self.fps)):
            if value is not None and not value > 0:
                raise UsageError(f"{name} must be above 0, got {value}")


@dataclass
class Look:
    """A medium that is opened but not decoded: `sketch` counts its tokens, `at_s` are the seconds to decode."""

    key: Hashable
    sketch: Sketch
    medium: Frames | Image | Audio | AudioVideo | None = None
    reader: Any = None
    at_s: np.ndarray | None = None
    hears: bool = False
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Seen:
    """A medium that the model has taken in: its tokens as the language model reads them, what is to be said about it.

    `frames_at_s`: the time of each picture used; empty for stills and sound.
    """

    key: Hashable
    sketch: Sketch
    vision: Tokens | None
    audio: Tokens | None
    frames_at_s: tuple[float, ...]
    notes: tuple[str, ...]

    @property
    def bytes(self) -> int:
        columns = [getattr(tokens, name) for tokens in (self.vision, self.audio) if tokens is not None
                   for name in ("x", "kind", "at_s", "cell", "source", "size", "score")]
        return sum(column.numel() * column.element_size() for column in columns)


class Senses:
    """Opens, samples and decodes media as one model wants them. Holds no weights."""

    def __init__(self, processor: ReelmProcessor) -> None:
        self.processor = processor

    def key(self, medium: Medium, choice: Choice) -> Hashable:
        """What tells this medium, looked at this way, from any other; a file that changed has another key."""
        if not isinstance(medium, Medium):
            raise UsageError(f"a {type(medium).__name__} is no part of a question", remedy="Text is a str, a file a "
                             "Clip(path), and Frames, Image, Audio and AudioVideo hold media in memory")
        if isinstance(medium, Clip):
            try:
                source = media.identity(medium)
            except (OSError, ValueError, ReelmError):
                return object()  # opening it will say what is wrong
            return ("clip", source, medium.start_s, medium.end_s, choice)
        if isinstance(medium, AudioVideo):
            return ("both", self.key(medium.frames, choice), self.key(medium.audio, choice))
        if isinstance(medium, Audio):
            return ("audio", _digest(medium.wave), medium.rate_hz, medium.start_s)
        if isinstance(medium, Image):
            return ("image", _digest(medium.rgb))
        return ("frames", _digest(medium.rgb), _digest(medium.at_s), _digest(medium.repeated), medium.still)

    def look(self, medium: Medium, choice: Choice, stack: ExitStack) -> Look:
        """Opens a medium and decides which seconds to decode. A clip stays open until `stack` closes."""
        key = self.key(medium, choice)
        if isinstance(medium, Clip):
            return self._look_at_file(key, medium, choice, stack)
        if isinstance(medium, Audio):
            return Look(key, Sketch(audio_s=medium.duration_s), medium)
        if isinstance(medium, AudioVideo):
            return Look(key, Sketch(len(medium.frames), medium.audio.duration_s), medium)
        return Look(key, Sketch(frames=len(medium) if isinstance(medium, Frames) else 1), medium)

    def counts_exactly(self, look: Look) -> bool:
        """Whether the sketch's token count is sure before decoding: not so for sound of a length yet unknown."""
        length_s = look.sketch.audio_s
        if length_s is None or look.medium is not None:
            return True
        shorter = Sketch(look.sketch.frames, length_s / 2)
        return self.processor.counts(shorter) == self.processor.counts(look.sketch)

    def take_in(self, look: Look) -> tuple[Frames | Image | Audio | AudioVideo, list[str]]:
        """Decodes what was looked up: the medium for the processor, and what is to be said about it."""
        if look.medium is not None:
            heard: tuple[str, ...] = ()
            if isinstance(look.medium, AudioVideo):
                heard = self._on_sound(look.medium.audio, of_video=True)
            elif isinstance(look.medium, Audio):
                heard = self._on_sound(look.medium, of_video=False)
            return look.medium, [*look.notes, *heard]
        frames = look.reader.frames(look.at_s) if look.at_s is not None else None
        sound = look.reader.audio(self._rate_hz) if look.hears else None
        medium = _joined(frames, sound)
        notes = [*look.reader.notes, *look.notes]
        if frames is not None and frames.repeated.any():
            notes.append(f"{int(frames.repeated.sum())} of {len(frames)} frames show a picture that was already used "
                         "(more were asked than the clip holds)")
        if sound is not None:
            notes += self._on_sound(sound, of_video=frames is not None)
        return medium, notes

    # --- inside ------------------------------------------------------------------------------------------------

    @property
    def _rate_hz(self) -> int:
        settings = self.processor.audio_settings
        return settings.rate_hz if settings else 0

    def _look_at_file(self, key: Hashable, clip: Clip, choice: Choice, stack: ExitStack) -> Look:
        reader = stack.enter_context(media.open(clip))
        info: MediaInfo = reader.info()
        settings = self.processor.audio_settings
        notes = []
        hears = info.has_audio and choice.audio and settings is not None
        if info.has_audio and choice.audio and settings is None:
            if info.kind == "audio":
                raise UsageError("holds only sound, and this model does not hear", where=info.source)
            notes.append("this model does not hear: the sound track was not used")
        if info.kind == "audio" and not choice.audio:
            raise UsageError("holds only sound, which the call leaves out", where=info.source)
        at_s = self._seconds(info, choice) if info.kind != "audio" else None
        if choice.fps is not None and info.kind == "video" and choice.fps > info.fps * 1.01:
            notes.append(f"{choice.fps:g} frames per second asked, the clip has {info.fps:.4g}: each is used once")
        sketch = Sketch(len(at_s) if at_s is not None else 0, info.duration_s if hears else None)
        return Look(key, sketch, None, reader, at_s, hears, notes)

    def _seconds(self, info: MediaInfo, choice: Choice) -> np.ndarray:
        settings = self.processor.vision_settings
        if settings is None:
            raise UsageError("holds pictures, and this model does not see", where=info.source)
        if info.kind == "image":
            return np.zeros(1)
        if choice.frames is not None and choice.frames > (most := media.Limits().frames):
            raise BudgetError(f"{choice.frames:,} frames asked, {most:,} allowed", where=info.source)
        sampler = registry.build("sampler", _sampler(settings, choice))
        at_s = np.asarray(sampler.pick(info, choice.frames), dtype=np.float64)
        if len(at_s) == 0:
            raise UsageError(f"no frame falls to be looked at between {info.start_s:g} and {info.end_s:g} s",
                             where=info.source, remedy="Ask for frames=…, a higher fps or a longer clip")
        return at_s

    def _on_sound(self, sound: Audio, of_video: bool) -> tuple[str, ...]:
        """What the encoder leaves out of a sound or adds to it."""
        settings = self.processor.audio_settings
        if settings is None:
            return ()  # the processor refuses it with a reason
        encoder, encoder_settings = part_of("encoder", settings.encoder_settings(of_video))
        notes: tuple[str, ...] = encoder.notes_on(encoder_settings, sound)
        return notes


def _joined(frames: Frames | None, sound: Audio | None) -> Frames | Audio | AudioVideo:
    if frames is not None:
        return AudioVideo(frames, sound) if sound is not None else frames
    assert sound is not None, "a reader of kind 'audio' has a sound track"
    return sound


def _sampler(settings: VisionSettings, choice: Choice) -> dict[str, Any]:
    if choice.fps is not None:
        return {"kind": "fps", "fps": choice.fps}
    fields = registry.find("sampler", settings.sampler["kind"]).Config.model_fields  # type: ignore[attr-defined]
    if choice.frames is not None and "frames" not in fields:
        return {"kind": "uniform", "frames": choice.frames}
    return settings.sampler_settings(choice.frames)


def _digest(array: np.ndarray) -> tuple[str, tuple[int, ...], str]:
    # The shape and type belong to the key: 30×100 and 100×30 pictures may have the same bytes.
    data = np.ascontiguousarray(array)
    return hashlib.sha256(data.view(np.uint8).reshape(-1).data).hexdigest(), array.shape, str(array.dtype)
