"""From a medium that a user named to what the model can take in: identity, seconds to look at, pictures, sound."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Hashable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any

import numpy as np

from reelm import media, registry
from reelm.errors import BudgetError, ReelmError, UsageError
from reelm.model.budget import Demand, fewest, frames_within, shares
from reelm.model.config import VisionSettings, part_of
from reelm.model.processing import ReelmProcessor, Sketch
from reelm.model.way import way_of
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

    `tokens`: the most that all media of a question may become together.

    Raises: UsageError when both frames and fps are given, or one is not above 0.
    """

    frames: int | None = None
    fps: float | None = None
    audio: bool = True
    tokens: int | None = None

    def __post_init__(self) -> None:
        if self.frames is not None and self.fps is not None:
            raise UsageError("frames and fps exclude each other", remedy="Give one of them")
        for name, value in (("frames", self.frames), ("fps", self.fps), ("tokens", self.tokens)):
            if value is not None and not value > 0:
                raise UsageError(f"{name} must be above 0, got {value}")


@dataclass
class Look:
    """A medium that is opened but not decoded: `sketch` counts its tokens, `at_s` are the seconds to decode.

    `used_s`: the times of the frames, once they are decoded.
    """

    key: Hashable
    sketch: Sketch
    medium: Frames | Image | Audio | AudioVideo | None = None
    reader: Any = None
    sampler: Any = None
    at_s: np.ndarray | None = None
    hears: bool = False
    used_s: tuple[float, ...] = ()
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

    def keys(self, media: Sequence[Medium], choice: Choice, question: str = "") -> list[Hashable]:
        """What tells what a model makes of each medium from anything else that it could make.

        Beside the medium that is everything that decides frames and tokens: the settings of all parts; the question
        where one of them looks at it; the other media where they share a budget.
        """
        base = [self.key(medium, choice) for medium in media]
        settings = self.processor.vision_settings
        asked = question if settings is not None and self._guided(settings, choice) else ""
        among = tuple(base) if choice.tokens is not None else ()
        return [(key, choice.tokens, among, json.dumps(self.processor.vision), asked) for key in base]

    def look(self, medium: Medium, choice: Choice, stack: ExitStack) -> Look:
        """Opens a medium and decides which seconds to decode. A clip stays open until `stack` closes."""
        return self.looks([medium], choice, stack)[0]

    def looks(self, media: Sequence[Medium], choice: Choice, stack: ExitStack, question: str = "",
              keys: Sequence[Hashable] | None = None) -> list[Look]:
        """`look` for all media of a question: with `choice.tokens` they share that many.

        Raises: BudgetError when they need more, with the least that would do.
        """
        names = self.keys(media, choice, question) if keys is None else keys
        looks = [self._opened(key, medium, choice, stack) for key, medium in zip(names, media, strict=True)]
        given: list[int | None] = [None] * len(looks) if choice.tokens is None else self._shared(
            choice.tokens, looks, choice, question)
        for look, share in zip(looks, given, strict=True):
            self._settle(look, choice, question, share)
        return looks

    def counts_exactly(self, look: Look) -> bool:
        """Whether the sketch's token count is sure before decoding: not so for sound of a length yet unknown."""
        length_s = look.sketch.audio_s
        if length_s is None or look.medium is not None:
            return True
        shorter = replace(look.sketch, audio_s=length_s / 2)
        return self.processor.counts(shorter) == self.processor.counts(look.sketch)

    def take_in(self, look: Look) -> tuple[Frames | Image | Audio | AudioVideo, list[str]]:
        """Decodes what was looked up: the medium for the processor, and what is to be said about it."""
        if look.medium is not None:
            heard: tuple[str, ...] = ()
            if isinstance(look.medium, AudioVideo):
                heard = self._on_sound(look.medium.audio, of_video=True)
            elif isinstance(look.medium, Audio):
                heard = self._on_sound(look.medium, of_video=False)
            look.used_s = _times(look.medium.frames if isinstance(look.medium, AudioVideo) else look.medium)
            return look.medium, [*look.notes, *heard]
        frames = look.reader.frames(look.at_s) if look.at_s is not None else None
        look.used_s = _times(frames)
        sound = look.reader.audio(self._rate_hz) if look.hears else None
        medium = _joined(look.sampler.arrange(frames) if look.sampler and frames is not None else frames, sound)
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

    def _guided(self, settings: VisionSettings, choice: Choice) -> bool:
        sampler: Any = registry.find("sampler", _sampler(settings, choice)["kind"])
        return bool(sampler.guided) or way_of(settings).guided

    def _opened(self, key: Hashable, medium: Medium, choice: Choice, stack: ExitStack) -> Look:
        if isinstance(medium, Clip):
            return self._opened_file(key, medium, choice, stack)
        if isinstance(medium, Audio):
            return Look(key, Sketch(audio_s=medium.duration_s), medium)
        if isinstance(medium, AudioVideo):
            return Look(key, Sketch(len(medium.frames), medium.audio.duration_s), medium)
        return Look(key, Sketch(frames=len(medium) if isinstance(medium, Frames) else 1), medium)

    def _opened_file(self, key: Hashable, clip: Clip, choice: Choice, stack: ExitStack) -> Look:
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
        if info.kind != "audio" and self.processor.vision_settings is None:
            raise UsageError("holds pictures, and this model does not see", where=info.source)
        if choice.frames is not None and choice.frames > (most := media.Limits().frames) and info.kind == "video":
            raise BudgetError(f"{choice.frames:,} frames asked, {most:,} allowed", where=info.source)
        if choice.fps is not None and info.kind == "video" and choice.fps > info.fps * 1.01:
            notes.append(f"{choice.fps:g} frames per second asked, the clip has {info.fps:.4g}: each is used once")
        sketch = Sketch(1 if info.kind == "image" else 0, info.duration_s if hears else None)
        look = Look(key, sketch, None, reader, hears=hears, notes=notes)
        if info.kind == "image":
            look.at_s = np.zeros(1)
        elif info.kind == "video" and self.processor.vision_settings is not None:
            look.sampler = registry.build("sampler", _sampler(self.processor.vision_settings, choice))
        return look

    def _shared(self, budget: int, looks: Sequence[Look], choice: Choice, question: str) -> list[int | None]:
        """How many tokens the pictures of each medium may become; None where there are none."""
        pictures = [self._demand(look, choice, question) for look in looks]
        sounds = [self._sound(look) for look in looks]
        each = iter(shares(budget, [demand for demand in (*pictures, *sounds) if demand is not None]))
        given = [None if demand is None else next(each) for demand in pictures]
        # A clip that stands twice is taken in once, so both places get the same.
        return [None if share is None else min(other for look, other in zip(looks, given, strict=True)
                                               if other is not None and look.key == mine.key)
                for mine, share in zip(looks, given, strict=True)]

    def _settle(self, look: Look, choice: Choice, question: str, share: int | None) -> None:
        """Decides which seconds of an opened clip are decoded, and how many tokens its pictures may become."""
        if look.sampler is not None:
            info, most = look.reader.info(), choice.frames
            own = look.at_s  # what the sampler takes by itself, where that was asked already
            if share is not None and choice.frames is None and look.sampler.length != "fixed":
                most = frames_within(self.processor.way, look.sampler.pictures, self._most(look, choice), share)
                if look.sampler.length == "free" and self.processor.vision_settings is not None:
                    free = self.processor.vision_settings.sampler_settings(most)
                    look.sampler = registry.build("sampler", free)
            at_s = np.asarray(look.sampler.pick(info, most, question, look.reader.frames), dtype=np.float64)
            if len(at_s) == 0:
                raise UsageError(f"no frame falls to be looked at between {info.start_s:g} and {info.end_s:g} s",
                                 where=info.source, remedy="Ask for frames=…, a higher fps or a longer clip")
            if own is not None and len(at_s) < len(own):
                look.notes.append(f"{len(own)} frames would have been looked at, {len(at_s)} fit into {choice.tokens} "
                                  "tokens: they are spread over the clip")
            look.at_s = at_s
            look.sketch = replace(look.sketch, frames=look.sampler.pictures(len(at_s)))
        look.sketch = replace(look.sketch, keep=share)

    def _most(self, look: Look, choice: Choice) -> int:
        """The most frames that could be looked at: all of the clip, or those that the sampler takes by itself."""
        if look.sampler.length == "free" and choice.frames is None:
            return max(1, min(look.reader.info().frame_count, media.Limits().frames))
        assert look.at_s is not None  # the sampler has picked by itself, see `_demand`
        return len(look.at_s)

    def _demand(self, look: Look, choice: Choice, question: str) -> Demand | None:
        """What the pictures of a medium ask of a budget; None where there are none."""
        name, sampler = self._named(look), look.sampler
        if sampler is None:
            if not look.sketch.frames:
                return None
            way, frames = self.processor.way, look.sketch.frames
            return Demand(name, way.least(frames), way.shape(frames)[0])
        way, info = self.processor.way, look.reader.info()
        if sampler.length != "free" or choice.frames is not None:
            look.at_s = np.asarray(sampler.pick(info, choice.frames, question, look.reader.frames))
        most = self._most(look, choice)
        many = way.shape(sampler.pictures(most))[0]
        if sampler.length == "fixed" or choice.frames is not None:
            return Demand(name, way.least(sampler.pictures(most)), many)
        return Demand(name, min(least := fewest(way, sampler.pictures, most), many), max(many, least))

    def _sound(self, look: Look) -> Demand | None:
        if look.sketch.audio_s is None:
            return None
        seen = 1 if look.sampler else look.sketch.frames  # the sound of a video may be cut otherwise than sound alone
        count = self.processor.counts(Sketch(seen, look.sketch.audio_s))["audio"]
        return Demand(f"sound of {self._named(look)}" if seen else self._named(look), count, count)

    def _named(self, look: Look) -> str:
        return look.reader.info().source if look.reader else type(look.medium).__name__

    def _on_sound(self, sound: Audio, of_video: bool) -> tuple[str, ...]:
        """What the encoder leaves out of a sound or adds to it."""
        settings = self.processor.audio_settings
        if settings is None:
            return ()  # the processor refuses it with a reason
        encoder, encoder_settings = part_of("encoder", settings.encoder_settings(of_video))
        notes: tuple[str, ...] = encoder.notes_on(encoder_settings, sound)
        return notes


def _times(frames: Any) -> tuple[float, ...]:
    """When the frames are; nothing for stills and sound."""
    return tuple(frames.at_s.tolist()) if isinstance(frames, Frames) and not frames.still else ()


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
