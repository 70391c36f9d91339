"""Our models inside lmms-eval, found by its entry-point group `lmms_eval.models`.

    lmms-eval --model reelm --model_args pretrained=reelm-tiny,frames=8 --tasks mvbench --batch_size 4

Only lmms-eval imports this file; its release and what else it needs stand in docs/evaluation.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from lmms_eval.api.model import lmms
from lmms_eval.models.registry_v2 import ModelManifest
from loguru import logger
from tqdm import tqdm

from reelm.errors import ReelmError, UsageError
from reelm.types import Audio, AudioVideo, Clip, Frames, Image, Part

#: What lmms-eval's generation settings are called here.
_NAMES = {"max_new_tokens": "max_tokens", "top_p": "top_p", "top_k": "top_k",
          "repetition_penalty": "repetition_penalty", "seed": "seed"}
#: Settings that `asked` reads itself.
_READ = ("do_sample", "temperature", "until", "num_beams")


def manifest() -> ModelManifest:
    """What lmms-eval registers: the model `reelm`."""
    return ModelManifest("reelm", simple_class_path="reelm.compat.lmms.Reelm")


class Reelm(lmms):
    """A model of ours, asked in lmms-eval's simple form: the media in their order, then the text.

    `pretrained` is whatever `reelm.load` takes; `frames`, `fps`, `audio` as in `VideoLM.answer`. `batch_size`: items
    answered at once. Generation settings that have no effect here are told once; an item that cannot be answered is
    told and has an empty reply.
    Raises: UsageError for a batch size that is no number.
    """

    def __init__(self, pretrained: str = "reelm-tiny", device: str | None = None, batch_size: int | str = 1,
                 max_batch_size: int | None = None, frames: int | None = None, fps: float | None = None,
                 audio: bool = True) -> None:
        super().__init__()
        import reelm

        try:
            self._batch = int(batch_size)
        except ValueError:
            self._batch = 0
        if self._batch < 1 or max_batch_size is not None:
            raise UsageError(f"batch_size {batch_size!r}, max_batch_size {max_batch_size!r}", where="lmms-eval",
                             remedy="Give --batch_size a number; it is not searched for")
        self._model = reelm.load(str(pretrained), device=device or "auto")
        self._look = {"frames": frames, "fps": fps, "audio": audio}
        self._told: set[str] = set()

    @property
    def device(self) -> Any:
        return self._model.device

    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        """One reply per request, in order."""
        said: list[str] = []
        with tqdm(total=len(requests), desc="reelm", disable=self.rank != 0) as bar:
            for options, batch in self._batches(requests):
                items = [self._parts(request) for request in batch]
                answers = self._model.answer_many(items, max_batch=self._batch, **options, **self._look)
                for request, answer in zip(batch, answers, strict=True):
                    if isinstance(answer, ReelmError):
                        logger.warning(f"no answer to {request.args[4]} {request.args[3]}: {answer}")
                        said.append("")
                    elif answer.stop == "cancelled":
                        raise KeyboardInterrupt
                    else:
                        said.append(answer.text)
                bar.update(len(batch))
        return said

    def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
        raise UsageError("reelm is asked by generating", where="lmms-eval",
                         remedy="Take a task of output_type generate_until")

    def generate_until_multi_round(self, requests: Sequence[Any]) -> list[str]:
        raise UsageError("reelm is asked one round at a time", where="lmms-eval",
                         remedy="Take a task of output_type generate_until")

    def _batches(self, requests: Sequence[Any]) -> Iterator[tuple[dict[str, Any], list[Any]]]:
        """Requests that stand together and are asked alike, at most so many as go into a batch, with their options."""
        for settings, alike in groupby(requests, key=lambda request: request.args[1]):
            options, run = self._options(settings), list(alike)
            for start in range(0, len(run), self._batch):
                yield options, run[start : start + self._batch]

    def _options(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        options, idle = asked(settings)
        for name in set(idle) - self._told:
            logger.warning(f"the generation setting {name} has no effect on reelm")
        self._told |= set(idle)
        return options

    def _parts(self, request: Any) -> list[Part]:
        text, _, visual, doc_id, task, split = request.args
        found = visual(self.task_dict[task][split][doc_id]) if visual else []
        return [*(part_of(one) for one in found or []), text]


def asked(settings: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """lmms-eval's generation settings as options of `answer_many`, and the names of those without effect here.

    Greedy unless `do_sample` is true or a temperature is above 0 and `do_sample` does not say otherwise.
    Raises: UsageError for more than one beam.
    """
    if (settings.get("num_beams") or 1) != 1:
        raise UsageError(f"{settings['num_beams']} beams", where="lmms-eval", remedy="Give --gen_kwargs num_beams=1")
    options = {ours: settings[theirs] for theirs, ours in _NAMES.items() if settings.get(theirs) is not None}
    heat = settings.get("temperature")
    sampled = settings.get("do_sample", heat is not None and heat > 0)
    options["temperature"] = float(1.0 if heat is None else heat) if sampled else 0.0
    ends = settings.get("until") or ()
    options["stop"] = tuple(end for end in ((ends,) if isinstance(ends, str) else ends) if end)
    return options, [name for name in settings if name not in (*_NAMES, *_READ)]


def part_of(visual: Any) -> Part:
    """A medium as lmms-eval's tasks give it: a path, a picture of PIL, sound of `datasets`, or a part of ours.

    Raises: UsageError for anything else.
    """
    if isinstance(visual, Clip | Frames | Image | Audio | AudioVideo):
        return visual
    if isinstance(visual, str | Path):
        return Clip(str(visual))
    if hasattr(visual, "convert"):
        return Image(np.ascontiguousarray(np.asarray(visual.convert("RGB")).transpose(2, 0, 1)))
    if hasattr(visual, "get_all_samples"):
        sound = visual.get_all_samples()
        return Audio(np.atleast_2d(np.asarray(sound.data, np.float32)), int(sound.sample_rate))
    if isinstance(visual, Mapping) and "array" in visual and "sampling_rate" in visual:
        return Audio(np.atleast_2d(np.asarray(visual["array"], np.float32)), int(visual["sampling_rate"]))
    raise UsageError(f"a medium of type {type(visual).__name__} is not known", where="lmms-eval",
                     remedy="Take a task that gives paths, pictures of PIL, or sound with its rate")
