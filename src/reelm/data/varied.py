"""More from a stored clip: its mirror image and its reversal, with the scene changed to match."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from reelm.data.world import Actor, Scene

_MIRROR = {"left": "right", "right": "left"}
_BACK = {"left": "right", "right": "left", "up": "down", "down": "up"}
_PLOT = {"enter": "leave", "leave": "enter"}


def mirrored(scene: Scene) -> Scene:
    """The scene seen in a mirror: left is right."""

    def turned(actor: Actor) -> Actor:
        (x0, y0), (x1, y1) = actor.start, actor.stop
        return replace(actor, start=(1 - x0, y0), stop=(1 - x1, y1), flip=not actor.flip)

    actors = tuple(turned(a) for a in scene.actors)
    return replace(scene, actors=actors, direction=_MIRROR.get(scene.direction, scene.direction))


def reversed_in_time(scene: Scene) -> Scene:
    """The scene played backwards: moves go the other way, who entered leaves, the last of a parade is the first."""

    def back(actor: Actor) -> Actor:
        begin, end = actor.shown
        return replace(actor, start=actor.stop, stop=actor.start, shown=(1 - end, 1 - begin))

    actors = tuple(back(a) for a in scene.actors)
    if scene.plot == "parade":
        actors = actors[::-1]
    return replace(scene, actors=actors, plot=_PLOT.get(scene.plot, scene.plot),
                   direction=_BACK.get(scene.direction, ""))


def varied(features: Tensor, scene: Scene, moments: np.ndarray, rng: np.random.Generator,
           thumbnail: int) -> tuple[Tensor, Scene, np.ndarray]:
    """The clip as it is, mirrored, backwards or both, each as likely; features [T, h·w, D].

    A mirrored picture has nearly the mirrored features, as the tower was trained on mirrored pictures too; the last
    3·thumbnail² features are pixels inside a cell, which are mirrored among themselves.
    """
    if rng.random() < 0.5:
        frames, cells, width = features.shape
        side = int(cells**0.5)
        grid = features.reshape(frames, side, side, width).flip(2)
        if thumbnail:
            pixels = grid[..., -3 * thumbnail**2:].unflatten(-1, (3, thumbnail, thumbnail)).flip(-1).flatten(-3)
            grid = torch.cat((grid[..., : -3 * thumbnail**2], pixels), -1)
        features, scene = grid.reshape(frames, cells, width), mirrored(scene)
    if rng.random() < 0.5:
        features, scene, moments = features.flip(0), reversed_in_time(scene), 1 - moments[::-1]
    return features, scene, moments
