"""Media as tensors for training, made once: frames and filter banks, or what the frozen towers make of them.

Everything that changes a result is part of its key: the content of the file (not its name or date), the stretch, which
seconds are looked at, the settings and weights of the parts, and the versions of the code that does it.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Hashable
from contextlib import ExitStack
from dataclasses import asdict
from functools import cache, lru_cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from reelm import media, registry
from reelm.data.store import Store, Tensors
from reelm.errors import UsageError
from reelm.media.content import content_of, is_folder
from reelm.model.modeling import ReelmModel
from reelm.model.processing import AudioVideo, ReelmProcessor
from reelm.model.sensing import Choice, Medium, Senses
from reelm.types import Audio, Clip, Frames, Image

#: Libraries whose release may change a picture, a sound or a feature in its last bits.
_LIBRARIES = ("av", "pillow", "numpy", "kaldi-native-fbank", "transformers", "torch")
_BLOCK_BYTES = 1 << 20
_PIXELS = "pixel_values_videos"
_LEVELS = 256

_known: dict[Hashable, str] = {}


# --- keys ----------------------------------------------------------------------------------------------------------


def key_of(medium: Medium, *facts: Any) -> str:
    """The name of what is made of a medium: 64 digits that differ when its content, its stretch or any fact does.

    `facts`: whatever else changes the result, as JSON can write it. Raises: MediaError if a file cannot be read.
    Cost: reads a file once per process, as long as it does not change.
    """
    stretch = [medium.start_s, medium.end_s, medium.folder_fps] if isinstance(medium, Clip) else []
    told = json.dumps([content_digest(medium), stretch, facts, _code()], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()


def content_digest(medium: Medium) -> str:
    """SHA-256 of a medium's content: the bytes of its file, the files of its folder, or its pictures or sound."""
    if isinstance(medium, Clip):
        try:
            identity = media.identity(medium)
        except (OSError, ValueError):
            return _digest_of_files(medium)  # which says what is wrong
        if identity not in _known:
            _known[identity] = _digest_of_files(medium)
        return _known[identity]
    arrays = {Image: ("rgb",), Audio: ("wave",), Frames: ("rgb", "at_s", "repeated")}[type(medium)]
    digest = hashlib.sha256(str([getattr(medium, name, None) for name in ("rate_hz", "start_s", "still")]).encode())
    for array in (np.ascontiguousarray(getattr(medium, name)) for name in arrays):
        digest.update(f"{type(medium).__name__} {array.shape} {array.dtype}".encode())
        digest.update(array.view(np.uint8).reshape(-1).data)
    return digest.hexdigest()


def _digest_of_files(clip: Clip) -> str:
    folder = Path(cast(str, clip.source)) if is_folder(clip) else None
    if folder is not None:
        inside = [(path.name, _digest_of_files(Clip(path))) for path in sorted(folder.iterdir())
                  if path.is_file() and path.stat().st_size]
        return hashlib.sha256(json.dumps(inside).encode()).hexdigest()
    digest = hashlib.sha256()
    with content_of(clip, media.Limits()).open() as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


@cache
def _code() -> str:
    """What turns media into numbers: the libraries' releases, and our own code, which changes between releases."""
    home = Path(__file__).parents[1]
    digest = hashlib.sha256(" ".join(f"{name}={version(name)}" for name in _LIBRARIES).encode())
    for path in sorted([*home.glob("media/*.py"), *home.glob("parts/**/*.py"), home / "model" / "sensing.py"]):
        digest.update(path.read_bytes())
    return digest.hexdigest()


@lru_cache(maxsize=256)
def _code_of(family: str, kind: str) -> str:
    """The file of a part, which may come from another package."""
    return hashlib.sha256(Path(inspect.getfile(registry.find(family, kind))).read_bytes()).hexdigest()


def _ways(processor: ReelmProcessor, choice: Choice) -> list[Any]:
    """Everything about a processor and a choice that changes frames and filter banks."""
    vision, audio = processor.vision_settings, processor.audio_settings
    ways: list[Any] = [asdict(choice)]
    if vision is not None:
        ways += [vision.encoder, vision.sampler_settings(), _code_of("encoder", vision.encoder["kind"]),
                 _code_of("sampler", vision.sampler["kind"])]
    if audio is not None:
        ways += [audio.encoder, audio.of_video, audio.rate_hz, _code_of("encoder", audio.encoder["kind"])]
    return ways


# --- frames and filter banks ---------------------------------------------------------------------------------------


def pixels(store: Store | None, senses: Senses, medium: Medium, choice: Choice | None = None) -> dict[str, Any]:
    """A medium as `ReelmModel.forward` takes it: pixel_values_videos [T,3,S,S] with video_frames [1] = T, and
    input_features [K,128] with audio_frames [1] = K, only those that the medium has and the model takes; and `notes`,
    what there is to say about it.

    From the store if it is there, without opening more than the file's bytes; bit for bit the same either way.
    Raises: ReelmError as opening and decoding do; nothing is kept then.
    """
    choice = choice or Choice()
    if store is None:
        return _said(_prepared(senses, medium, choice))
    key = key_of(medium, "pixels", _ways(senses.processor, choice))
    return _said(_unpacked(store.get(key, lambda: _packed(_prepared(senses, medium, choice)))))


def _prepared(senses: Senses, medium: Medium, choice: Choice) -> Tensors:
    with ExitStack() as stack:
        seen, notes = senses.take_in(senses.look(medium, choice, stack))
    processor = senses.processor
    frames = seen.frames if isinstance(seen, AudioVideo) else None if isinstance(seen, Audio) else seen
    sound = seen.audio if isinstance(seen, AudioVideo) else seen if isinstance(seen, Audio) else None
    made: Tensors = {"notes": torch.tensor(list(json.dumps(notes).encode()), dtype=torch.uint8)}
    if frames is not None:
        made[_PIXELS] = processor.pixels(frames)
        made["video_frames"] = torch.tensor([len(made[_PIXELS])])
    if sound is not None:
        made["input_features"] = processor.filter_bank(sound, of_video=frames is not None)
        made["audio_frames"] = torch.tensor([len(made["input_features"])])
    return made


def _said(made: Tensors) -> dict[str, Any]:
    """With the notes as sentences; a store holds nothing but tensors."""
    return made | {"notes": json.loads(bytes(made["notes"].tolist()))}


def _packed(made: Tensors) -> Tensors:
    """Pixels as one byte each and a table of what each byte means, per colour; as they are if that would lose any."""
    values = made.get(_PIXELS)
    if values is None or values.dtype != torch.float32:
        return made
    tables, codes = [], []
    for colour in values.unbind(1):
        table, code = torch.unique(colour.contiguous().view(torch.int32), return_inverse=True)  # bits, so -0 is not 0
        if len(table) > _LEVELS:
            return made
        tables.append(torch.nn.functional.pad(table, (0, _LEVELS - len(table))).view(torch.float32))
        codes.append(code.to(torch.uint8))
    rest = {name: tensor for name, tensor in made.items() if name != _PIXELS}
    return rest | {"codes": torch.stack(codes, 1), "tables": torch.stack(tables)}


def _unpacked(kept: Tensors) -> Tensors:
    if "codes" not in kept:
        return kept
    codes, tables = kept["codes"].numpy(), kept["tables"].numpy()
    values = np.empty(codes.shape, tables.dtype)
    for colour, table in enumerate(tables):
        np.take(table, codes[:, colour], out=values[:, colour])
    rest = {name: tensor for name, tensor in kept.items() if name not in ("codes", "tables")}
    return {_PIXELS: torch.from_numpy(values)} | rest


# --- features ------------------------------------------------------------------------------------------------------


class Towers:
    """Those towers of a model that do not learn, and the digest of their weights.

    Raises: UsageError if there is none.
    """

    def __init__(self, model: ReelmModel) -> None:
        self.model = model
        both = {"vision": model.vision_tower, "audio": model.audio_tower}
        self.frozen = {sense: tower for sense, tower in both.items() if _is_frozen(tower)}
        if not self.frozen:
            raise UsageError("features of towers that learn cannot be kept", where="store",
                             remedy="Freeze one (requires_grad_(False)), or keep frames only")
        self._version = self._versions()
        self.digest = weights_digest(*self.frozen.values())

    def facts(self) -> list[Any]:
        """What changes the features besides the medium: weights, where they are, the kind of attention.

        Raises: UsageError if the weights changed since this was made.
        """
        if self._versions() != self._version:
            raise UsageError("the weights of a tower changed while its features were kept", where="store",
                             remedy="Make new Towers after loading weights")
        return [self.digest, [[sense, str(next(tower.parameters()).device.type),
                               getattr(getattr(tower, "config", None), "_attn_implementation", None)]
                              for sense, tower in self.frozen.items()]]

    @torch.no_grad()
    def encode(self, prepared: Tensors) -> Tensors:
        """What the towers make of a medium, as when asked about it (dropout off); what a learning tower takes stays."""
        learning = [module for tower in self.frozen.values() for module in tower.modules() if module.training]
        kept, device = dict(prepared), next(next(iter(self.frozen.values())).parameters()).device
        try:
            for module in learning:
                module.training = False
            with torch.autocast(device.type, enabled=False):  # the key says what type the weights have
                if _PIXELS in kept and "vision" in self.frozen:
                    kept["vision_features"] = self.model.see(kept.pop(_PIXELS).to(device)).cpu()
                if "input_features" in kept and "audio" in self.frozen:
                    heard = self.model.hear(kept.pop("input_features").to(device), kept["audio_frames"].tolist())
                    kept["audio_features"] = torch.cat(heard).cpu()
        finally:
            for module in learning:
                module.training = True
        return kept

    def _versions(self) -> list[tuple[int, int]]:
        return [(p.data_ptr(), p._version) for tower in self.frozen.values()
                for p in (*tower.parameters(), *tower.buffers())]


def _is_frozen(tower: torch.nn.Module | None) -> bool:
    return tower is not None and not any(parameter.requires_grad for parameter in tower.parameters())


def weights_digest(*modules: torch.nn.Module) -> str:
    """SHA-256 of all parameters and buffers, by name, type and value."""
    digest = hashlib.sha256()
    for module in modules:
        for name, tensor in sorted(module.state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def features(store: Store | None, senses: Senses, towers: Towers, medium: Medium,
             choice: Choice | None = None) -> dict[str, Any]:
    """What the frozen towers make of a medium, as `ReelmModel.forward` takes it: vision_features [T,h·w,D] with
    video_frames [1] = T, and audio_features [N,D] with audio_frames [1], the filter-bank rows they were made of; for a
    tower that learns, what it takes, as `pixels` gives it; and `notes`.

    From the store if they are there. Frames of a medium are not kept on the way. Raises: as `pixels`.
    """
    choice = choice or Choice()

    def make() -> Tensors:
        return _packed(towers.encode(_prepared(senses, medium, choice)))

    if store is None:
        return _said(_unpacked(make()))
    key = key_of(medium, "features", _ways(senses.processor, choice), towers.facts())
    return _said(_unpacked(store.get(key, make)))


def from_store(store: Store, model: ReelmModel, processor: ReelmProcessor,
               choice: Choice | None = None) -> Callable[[Medium], dict[str, Any]]:
    """The `prepare` of `data.samples` that keeps the most of a stage: features of towers that are frozen now, else
    frames. Samples and store must be given the same `choice`."""
    senses = Senses(processor)
    if _is_frozen(model.vision_tower) or _is_frozen(model.audio_tower):
        return partial(features, store, senses, Towers(model), choice=choice)
    return partial(pixels, store, senses, choice=choice)
