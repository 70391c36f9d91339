"""Who is asked: anything with a name, a fingerprint and replies. A model of ours, or the control that knows all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol

import torch

from reelm.errors import ReelmError
from reelm.model.front import VideoLM
from reelm.tasks.base import Item, Task
from reelm.types import Answer, Part

#: Libraries whose release may change a reply.
LIBRARIES = ("torch", "transformers", "tokenizers", "av", "numpy", "pillow", "kaldi-native-fbank")
_OURS = ("kernels", "media", "parts", "model")


class Respondent(Protocol):
    """What the runner needs of a model. `fingerprint` differs whenever a reply could: it is part of an answer's key."""

    name: str

    def fingerprint(self) -> str: ...

    def replies(self, items: Sequence[Item], asked: Sequence[tuple[Part, ...]]) -> Sequence[Answer | ReelmError]:
        """One reply per item, in order; an item that cannot be answered has its error as its reply."""
        ...


class Local:
    """A model of ours, asked greedily unless `options` (those of `VideoLM.answer_many`) say otherwise."""

    def __init__(self, model: VideoLM, **options: Any) -> None:
        self.name, self._model, self.options = model.name, model, options
        self._mark = ""

    def fingerprint(self) -> str:
        """Digest of weights, configuration, device, libraries, our own code and options. Cost: reads all weights."""
        if not self._mark:
            model = self._model.model
            facts = [model.config.to_dict(), str(self._model.device.type), versions(), code_digest(), self.options,
                     self._model.wording,
                     self._model.processor.tokenizer.get_vocab(), self._model.processor.tokenizer.chat_template]
            digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode())
            for name, tensor in sorted(model.state_dict().items()):
                digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
                digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
            self._mark = digest.hexdigest()
        return self._mark

    def replies(self, items: Sequence[Item], asked: Sequence[tuple[Part, ...]]) -> Sequence[Answer | ReelmError]:
        return self._model.answer_many(asked, max_batch=len(asked), **self.options)


class Oracle:
    """The control that knows the answers: a task whose scorer does not give it the top is broken."""

    name = "oracle"
    options: dict[str, Any] = {}

    def __init__(self, task: Task) -> None:
        self._task = task

    def fingerprint(self) -> str:
        return f"oracle of {self._task.name}"

    def replies(self, items: Sequence[Item], asked: Sequence[tuple[Part, ...]]) -> Sequence[Answer | ReelmError]:
        return [Answer(self._task.oracle(item)) for item in items]


@cache
def code_digest() -> str:
    """Digest of our own code that turns media and words into replies; it changes between releases."""
    home = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(path for room in _OURS for path in (home / room).rglob("*.py")):
        digest.update(f"{path.relative_to(home)}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def versions() -> dict[str, str]:
    """The releases of reelm and of the libraries that a reply depends on."""
    try:
        ours = version("reelm")
    except PackageNotFoundError:  # run from its sources, which the digest of the code tells apart
        ours = "not installed"
    return {"reelm": ours} | {name: version(name) for name in LIBRARIES}
