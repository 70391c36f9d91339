"""Our models inside lmms-eval, found by its entry-point group `lmms_eval.models`.

    lmms-eval --model reelm --model_args pretrained=reelm-tiny,frames=8 --tasks mvbench --batch_size 4

Only lmms-eval imports this file; its release and what else it needs stand in docs/evaluation.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from lmms_eval.api.model import lmms
from lmms_eval.models.registry_v2 import ModelManifest
from loguru import logger
from tqdm import tqdm

from reelm.compat.lmms_requests import asked, part_of
from reelm.errors import ReelmError, UsageError
from reelm.types import Part


def manifest() -> ModelManifest:
    """What lmms-eval registers: the model `reelm`."""
    return ModelManifest("reelm", simple_class_path="reelm.compat.lmms.Reelm")


class Reelm(lmms):
    """A model of ours, asked in lmms-eval's simple form: the media in their order, then the text.

    `pretrained` is whatever `reelm.load` takes; `frames`, `fps`, `tokens`, `audio` as in `VideoLM.answer`.
    `batch_size`: items answered at once. Settings that have no effect here are told once; an item that cannot
    be answered is told and has an empty reply.
    Raises: UsageError for a batch size that is no number.
    """

    def __init__(self, pretrained: str = "reelm-tiny", device: str | None = None, batch_size: int | str = 1,
                 max_batch_size: int | None = None, frames: int | None = None, fps: float | None = None,
                 tokens: int | None = None, audio: bool = True) -> None:
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
        self._look: dict[str, Any] = {"frames": frames, "fps": fps, "tokens": tokens, "audio": audio}
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
