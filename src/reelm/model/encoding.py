"""From pixels and filter banks to the language model's vectors: towers, compressors, connectors, alone or together."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from reelm.errors import UsageError
from reelm.model.config import AudioSettings, ReelmConfig, VisionSettings, part_of
from reelm.model.way import Step, way_of
from reelm.types import Tokens


class MediaEncoding:
    """The part of `ReelmModel` that takes in media; every step is differentiable.

    `see` and `hear` are the towers, `connect_vision` and `connect_audio` what follows them, `encode_vision` and
    `encode_audio` both in one. `look_at` is `encode_vision` with the columns of every token, and takes a budget.
    """

    config: ReelmConfig
    vision_tower: Any
    connector: Any
    before: nn.ModuleList
    after: nn.ModuleList
    audio_tower: Any
    audio_connector: Any

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
        for group in _alike([len(bank) for bank in banks]):
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
        return [tokens.x for tokens in self.look_at(pixel_values_videos, video_frames)]

    def connect_vision(self, vision_features: Tensor, video_frames: Sequence[int]) -> list[Tensor]:
        """`encode_vision` from what `see` gave, [sum of video_frames, h·w, D]."""
        return [tokens.x for tokens in self.reduce_vision(vision_features, video_frames)]

    def look_at(self, pixel_values_videos: Tensor, video_frames: Sequence[int],
                at_s: Sequence[np.ndarray] | None = None, keep: Sequence[int | None] | None = None,
                question: str | Sequence[str] = "") -> list[Tokens]:
        """`encode_vision` with columns; see `reduce_vision` for the rest."""
        self._vision_way()
        _check_frames(pixel_values_videos, video_frames, "pixel_values_videos")
        return self.reduce_vision(self.see(pixel_values_videos), video_frames, at_s, keep, question)

    def reduce_vision(self, vision_features: Tensor, video_frames: Sequence[int],
                      at_s: Sequence[np.ndarray] | None = None, keep: Sequence[int | None] | None = None,
                      question: str | Sequence[str] = "") -> list[Tokens]:
        """What `see` gave through compressors and connector: the tokens of each medium, in the count that was planned.

        `at_s`: seconds of each medium's frames, NaN without them. `keep`: the most tokens that each may become.
        `question`: what guided compressors look at, one for all or one for each medium.

        Raises: UsageError when the counts of frames or questions differ; BudgetError where a medium cannot become so
        few tokens.
        """
        settings = self._vision_way()
        _check_frames(vision_features, video_frames, "vision_features")
        questions = [question] * len(video_frames) if isinstance(question, str) else list(question)
        if len(questions) != len(video_frames):
            raise UsageError(f"{len(questions)} questions for {len(video_frames)} media", where="question")
        way, media, plans = way_of(settings), [], []
        for index, clip in enumerate(vision_features.split(list(video_frames))):
            grid = way.encoded(len(clip))
            times = np.full(len(clip), np.nan) if at_s is None else at_s[index]
            if len(clip) == 1:
                clip, times = clip.repeat(settings.repeat, 1, 1), np.repeat(times, settings.repeat)
            media.append(Tokens.of_grid(clip.flatten(0, 1), grid, torch.from_numpy(times)))
            plans.append(way.steps(video_frames[index], None if keep is None else keep[index]))
        first = len(self.before)
        media = [_compressed(self.before, one, plan[:first], said)
                 for one, plan, said in zip(media, plans, questions, strict=True)]
        media = _connected(self.connector, media)
        return [_compressed(self.after, one, plan[first + 1:], said)
                for one, plan, said in zip(media, plans, questions, strict=True)]

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

    def _encode_given(self, pixels: Tensor | None, video_frames: Sequence[int] | None, banks: Tensor | None,
                      audio_frames: Sequence[int] | None, seen: Tensor | None = None,
                      heard: Tensor | None = None, question: str | Sequence[str] = ""
                      ) -> tuple[list[Tensor], list[Tensor]]:
        for raw, towered, counts, names in (
                (pixels, seen, video_frames, "pixel_values_videos (or vision_features) and video_frames"),
                (banks, heard, audio_frames, "input_features (or audio_features) and audio_frames")):
            if raw is not None and towered is not None:
                raise UsageError(f"the same media twice: give {names}, one of the first two")
            if (raw is None and towered is None) != (counts is None):
                raise UsageError(f"give {names} together")
        vision: list[Tensor] = []
        if pixels is not None and video_frames is not None:
            vision = [one.x for one in self.look_at(pixels, video_frames, question=question)]
        audio = self.encode_audio(banks, audio_frames) if banks is not None and audio_frames is not None else []
        if seen is not None and video_frames is not None:
            vision = [one.x for one in self.reduce_vision(seen, video_frames, question=question)]
        if heard is not None and audio_frames is not None:
            audio = self.connect_audio(heard, audio_frames)
        return vision, audio


def _dtype_of(module: nn.Module) -> torch.dtype:
    return next((p.dtype for p in module.parameters() if p.is_floating_point()), torch.float32)


def _check_frames(given: Tensor, video_frames: Sequence[int], where: str) -> None:
    if len(given) != sum(video_frames) or min(video_frames, default=1) < 1:
        raise UsageError(f"{len(given)} frames given, but video_frames {list(video_frames)} sums to "
                         f"{sum(video_frames)}", where=where)


def _alike(facts: Sequence[Hashable]) -> list[list[int]]:
    """The places of equal facts, together."""
    groups: dict[Hashable, list[int]] = {}
    for index, fact in enumerate(facts):
        groups.setdefault(fact, []).append(index)
    return list(groups.values())


def _compressed(chain: nn.ModuleList, tokens: Tokens, plan: Sequence[Step], question: str) -> Tokens:
    """Tokens through a chain of compressors; every result is checked against what was planned."""
    for compressor, step in zip(chain, plan, strict=True):
        tokens = compressor(tokens, step.keep, question)
        if (len(tokens), tokens.grid) != step.shape:
            raise UsageError(f"{type(compressor).__name__} was planned to give {step.shape}, gave "
                             f"{(len(tokens), tokens.grid)}")
    return tokens


def _connected(connector: Any, media: Sequence[Tokens]) -> list[Tokens]:
    """Tokens on grids through the connector; a token that comes out has the mean time of the slices it covers."""
    grids = [tokens.grid for tokens in media if tokens.grid is not None]  # `Way` refuses tokens on none
    vectors = _connect(connector, [tokens.x for tokens in media], grids)
    made = []
    for tokens, grid, x in zip(media, grids, vectors, strict=True):
        out = connector.grid_of(connector.settings, grid)
        slice_s = tokens.at_s.reshape(grid[0], -1)[:, 0]
        made.append(Tokens.of_grid(x, out, connector.slice_times(slice_s, out[0]), kind=int(tokens.kind[0]),
                                   source=int(tokens.source[0])))
    return made


def _connect(connector: Any, media: Sequence[Tensor], grids: Sequence[tuple[int, int, int]]) -> list[Tensor]:
    """Media on equal grids share one connector call; every result is checked against the promised count."""
    out: list[Tensor] = [torch.empty(0)] * len(media)
    for group in _alike(grids):
        grid = grids[group[0]]
        batch = torch.stack([media[i] for i in group]).reshape(len(group), *grid, -1)
        projected = connector.project(batch.to(_dtype_of(connector))).flatten(1, 3)
        if projected.shape[1] != connector.n_out(grid):
            raise UsageError(f"{type(connector).__name__} promised {connector.n_out(grid)} tokens, made "
                             f"{projected.shape[1]}", where=f"grid {grid}")
        for index, tokens in zip(group, projected, strict=True):
            out[index] = tokens
    return out
