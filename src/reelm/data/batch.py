"""Training samples from the synthetic world: pure functions of (seed, index), so a run can go on from anywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from reelm.data.hearing import Hearing
from reelm.data.questions import ask, types_of
from reelm.data.sound_questions import types_of as sound_types
from reelm.data.varied import varied
from reelm.data.world import EMPTY, Scene, with_sound
from reelm.model.processing import Sketch
from reelm.types import Message

if TYPE_CHECKING:
    from reelm.model.processing import ReelmProcessor
    from reelm.parts.layouts.turns import Laid



class Clips(Protocol):
    """A set of stored clips: `features.Features` and what looks like it."""

    @property
    def seed(self) -> int: ...
    @property
    def frames(self) -> int: ...
    def scene(self, index: int) -> tuple[Scene, np.ndarray]: ...
    def clip(self, index: int) -> Tensor: ...


#: What of a sample is given to the model.
Media = Literal["video", "sound", "both"]
#: A parade can be asked several different questions of these types.
_REPEATED = ("order", "order", "before")


def conversation(staged: Scene, medium: Any, seed: int, turns: int, media: Media = "video") -> list[Message]:
    """Up to `turns` questions about a scene with their answers; a caption comes first or last, never in between.

    A caption gives away what later questions ask, so it mostly comes last. What is asked fits the `media` given: of
    a sound alone nothing is asked that only the picture shows.
    """
    rng = np.random.default_rng([staged.seed, seed, 6])
    types = [t for t in types_of(staged) if t != "caption"] if media != "sound" else []
    types += _REPEATED if "order" in types else ()
    if media == "sound":
        types = [str(t) for t in rng.permutation([*sound_types(staged), "sound_present"])][:turns]
    elif media == "both":
        heard = sound_types(staged)
        # What needs both eyes and ears is asked most: it is the hardest.
        first = ["agree", "match", "agree"] if "agree" in heard else heard
        types = [*first, *(str(t) for t in rng.permutation([*types, *heard]))][:turns]
        types = [str(t) for t in rng.permutation(types)]
    else:
        types = [str(t) for t in rng.permutation(types)][: turns - 1]
        types = ["caption", *types[:1]] if rng.random() < 0.2 else [*types, "caption"]
    messages: list[Message] = []
    for i, kind in enumerate(types):
        question = ask(staged, kind, seed=int(rng.integers(2**31)))
        asked: tuple[Any, ...] = (medium, question.text) if i == 0 else (question.text,)
        messages += [Message("user", asked), Message("assistant", (question.answer,))]
    return messages


@dataclass(frozen=True)
class Ticket:
    """What one sample is made of: clip number `clip` of a set, track number `track` of a set of tracks, or both."""

    set: str | None
    clip: int
    tracks: str | None
    track: int

    @property
    def media(self) -> Media:
        return "sound" if self.set is None else "video" if self.tracks is None else "both"


def tickets(mix: Sequence[tuple[str | None, str | None, float]], sizes: Mapping[str, int], count: int,
            seed: int) -> tuple[Ticket, ...]:
    """The first `count` samples of a `mix` of (set, tracks, share), a pure function of the arguments.

    The members of each set come in order, again and again: they are independent draws. Every clip may meet every track
    of the other set, since what is seen and what is heard are drawn apart.
    """
    shares = np.array([share for *_, share in mix])
    drawn = np.random.default_rng([seed, 51]).choice(len(mix), count, p=shares / shares.sum())
    used = dict.fromkeys(sizes, 0)
    made = []
    for which in drawn:
        clips, tracks, _ = mix[which]
        at = [used[name] % sizes[name] if name else 0 for name in (clips, tracks)]
        made.append(Ticket(clips, at[0], tracks, at[1]))
        for name in (clips, tracks):
            if name:
                used[name] += 1
    return tuple(made)


@dataclass(frozen=True)
class WorldSamples(Dataset[dict[str, Any]]):
    """Sample i of `order`: stored features of a clip in one of its four variants, of a track, or of both; its scene,
    and what is asked.

    With `turns` 0 nothing is asked; the sample has no text then.
    """

    processor: ReelmProcessor
    clips: Mapping[str, Clips]
    order: tuple[Ticket, ...]
    turns: int = 4
    tracks: Mapping[str, Hearing] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, at: int) -> dict[str, Any]:
        ticket = self.order[at]
        sample: dict[str, Any] = {}
        if ticket.set:
            stored = self.clips[ticket.set].clip(ticket.clip)
            sample["features"], _, sample["moments"] = self._variant(at, stored)
        if ticket.tracks:
            sample["sound"] = self.tracks[ticket.tracks].features(ticket.track)
        staged = sample["scene"] = self._scene(at)
        if not self.turns:
            return sample
        laid = self._laid(staged, at)
        return sample | {"input_ids": torch.tensor(laid.ids), "labels": torch.tensor(laid.labels),
                         "mm_token_type_ids": torch.tensor(laid.kinds)}

    def length(self, at: int) -> int:
        """Tokens of sample `at`, without reading its features."""
        return len(self._laid(self._scene(at), at).ids) if self.turns else 0

    @property
    def _thumbnail(self) -> int:
        settings = self.processor.vision_settings
        return int(settings.encoder.get("thumbnail", 0)) if settings else 0

    def _scene(self, at: int) -> Scene:
        """What sample `at` shows and lets hear; behind a sound alone stands an empty stage."""
        ticket = self.order[at]
        nothing = torch.zeros(1, 1, 3 * self._thumbnail**2)
        staged = self._variant(at, nothing)[1] if ticket.set else EMPTY
        return with_sound(staged, self.tracks[ticket.tracks].track(ticket.track)) if ticket.tracks else staged

    def _variant(self, at: int, features: Tensor) -> tuple[Tensor, Scene, np.ndarray]:
        ticket = self.order[at]
        of = self.clips[ticket.set or ""]
        rng = np.random.default_rng([of.seed, at, 8])
        return varied(features, *of.scene(ticket.clip), rng, self._thumbnail)

    def _laid(self, staged: Scene, at: int) -> Laid:
        ticket = self.order[at]
        frames = self.clips[ticket.set].frames if ticket.set else 0
        medium = Sketch(frames=frames, audio_s=staged.seconds if ticket.tracks else None)
        asked = conversation(staged, medium, at, self.turns, ticket.media)
        return self.processor.plan(asked, labels=True).laid


def collate(samples: list[dict[str, Any]], pad_id: int) -> dict[str, Any]:
    """One right-padded batch: features [B',T,h·w,D], scenes and moments of the samples that are seen, sounds [B",N,D]
    and tracks of those that are heard; with text also ids, labels, kinds, mask [B,S].

    Labels are -100 where nothing is learnt.
    """
    seen, heard = [s for s in samples if "features" in s], [s for s in samples if "sound" in s]
    batch: dict[str, Any] = {}
    if seen:
        batch |= {"features": torch.stack([s["features"] for s in seen]), "scenes": [s["scene"] for s in seen],
                  "moments": [s["moments"] for s in seen]}
    if heard:
        batch |= {"sounds": torch.stack([s["sound"] for s in heard]), "tracks": [s["scene"].sound for s in heard]}
    if "input_ids" not in samples[0]:
        return batch
    length = max(len(s["input_ids"]) for s in samples)

    def padded(name: str, fill: int) -> Tensor:
        rows = [torch.nn.functional.pad(s[name], (0, length - len(s[name])), value=fill) for s in samples]
        return torch.stack(rows)

    real = torch.tensor([len(s["input_ids"]) for s in samples])
    return batch | {"input_ids": padded("input_ids", pad_id), "labels": padded("labels", -100),
                    "mm_token_type_ids": padded("mm_token_type_ids", 0),
                    "attention_mask": (torch.arange(length)[None] < real[:, None]).long()}
