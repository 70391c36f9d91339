"""The training loop: stages one after another, on any number of processes, stopped at any moment and gone on with.

What a step does is a function of the recipe, the step's number and the weights before it; nothing else is remembered.
So a run that was killed gives, from its last complete state on, the same numbers as one that was not.
"""

from __future__ import annotations

import json
import math
import signal
import statistics
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader

from reelm.errors import CheckpointError, PolicyError
from reelm.train import learning, objectives, parallel
from reelm.train.checkpoint import Checkpoints
from reelm.train.disk import Disk
from reelm.train.parallel import Ranks, Task
from reelm.train.progress import Log, Watch
from reelm.train.recipe import Recipe, Stage, TowerSettings
from reelm.train.source import Mix, Source

#: Of so many good steps before it a gradient's usual length is taken, and not before there are so many.
RECENT, ENOUGH = 50, 10
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")
#: Writes the finished model of a stage into a folder; called by the first process, with all weights by name.
Export = Callable[[Stage, dict[str, Tensor], Path], None]


@dataclass
class Progress:
    """How far a run is: the stage and the steps done in it, samples taken by it, and what later steps depend on."""

    at: int = 0
    step: int = 0
    consumed: int = 0
    skipped_in_a_row: int = 0
    norms: list[float] = field(default_factory=list)


class Loop:
    """A recipe carried out on a model, with its states, log and results in the folder `out`.

    `sources` gives the samples of a stage, whose parts are open by then. `watch` gets every event of the log. `export`
    writes what a stage has made. The model is changed in place; its learning parts should be float32.
    """

    def __init__(self, model: nn.Module, recipe: Recipe, sources: Callable[[Stage], Mix], out: Path, *,
                 ranks: Ranks | None = None, watch: Watch = lambda event: None, export: Export | None = None,
                 disk: Disk | None = None) -> None:
        self.model, self.recipe, self.sources, self.out = model, recipe, sources, out
        self.ranks = ranks or Ranks()
        self.log = Log(out, watch, silent=not self.ranks.first)
        self.checkpoints = Checkpoints(out / "states", recipe.keep, disk)
        self.export = export
        self.base = learning.fingerprint(model)
        self.progress = Progress()
        self.moments: dict[str, Tensor] = {}
        self.stop = threading.Event()
        self.said: set[tuple[str, ...]] = set()
        self.task = Task(model.to(self.ranks.device))
        self.ranks.shard(self.task)

    def run(self, until: str | None = None) -> None:
        """Every stage that is not finished, from the newest complete state on; `until` names the last one to do.

        Raises: KeyboardInterrupt after Ctrl-C, when the state is saved; PolicyError when too many steps in a row had
        to be skipped; CheckpointError when a state cannot be saved, or was made with another recipe or model.
        """
        last = self.recipe.stages.index(self.recipe.stage(until)) if until else len(self.recipe.stages) - 1
        with _asked_to_stop(self.stop):
            self._restore()
            self.log("start", recipe=self.recipe.name, seed=self.recipe.seed, processes=self.ranks.count,
                     base=self.base, stage=self.recipe.stages[min(self.progress.at, last)].name,
                     step=self.progress.step)
            while self.progress.at <= last:
                self._stage(self.recipe.stages[self.progress.at])
            self.log("end", stages=last + 1)
        self.log.close()

    # --- a stage -----------------------------------------------------------------------------------------------

    def _stage(self, stage: Stage) -> None:
        """One stage from where it stands to its end, and what it has made written."""
        ranks, progress = self.ranks, self.progress
        groups = learning.open_parts(self.task.model, stage)
        mix, mine = self.sources(stage), ranks.share(stage.passes)
        steps = mix.steps()
        self.task.objective = objectives.build(stage.objective)
        optimizer = torch.optim.AdamW(groups, lr=0.0, betas=stage.betas)
        self._restore_moments(optimizer)
        rows = learning.rows(self.task.model, stage)
        self.log("stage", stage=stage.name, step=progress.step, steps=steps, samples=mix.epoch,
                 parts=[vars(row) for row in rows])
        self._tell_left_out([{"bad": getattr(mix.source, "bad", ()), "notes": ()}] if ranks.first else [], stage)
        stepper = _Stepper(self, stage, mix.source, ranks.wrap(self.task), optimizer)
        batches, order = iter(self._loader(mix, mine)), mix.order(0)
        while progress.step < steps:
            began = perf_counter()
            read = [next(batches) for _ in mine]
            stepper.step(read, steps, order.after(progress.consumed), began)
            stopping = self._stopping()
            if progress.step % stage.save_every == 0 or progress.step == steps or stopping:
                self._save(stage, optimizer)
            if stopping:
                self.log("interrupted", stage=stage.name, step=progress.step)
                self.log.close()
                raise KeyboardInterrupt
        self._finish(stage, self.out / stage.name)

    def _finish(self, stage: Stage, folder: Path) -> None:
        # A run that was killed while it wrote the folder has left none; one that is there is of these weights.
        if stage.export and self.export is not None and not self.ranks.told(folder.is_dir()):
            weights = {name: parallel.whole(value) for name, value in self.model.state_dict().items()}
            if self.ranks.first:
                self.export(stage, weights, folder)
                self.log("exported", stage=stage.name, folder=str(folder))
        self.progress = Progress(at=self.progress.at + 1)
        self.moments = {}

    def _loader(self, mix: Mix, mine: Sequence[int]) -> DataLoader[Any]:
        workers, data, passes = self.recipe.workers, mix.source, mix.passes(self.progress.consumed, mine)
        return DataLoader(data, batch_sampler=passes, collate_fn=mix.source.collate,  # type: ignore[arg-type]
                          num_workers=workers, worker_init_fn=_deaf, prefetch_factor=4 if workers else None,
                          pin_memory=self.ranks.device.type == "cuda")

    def _tell_left_out(self, batches: Sequence[dict[str, Any]], stage: Stage) -> None:
        """Samples that were left out, and what is to be said about those that were not, each once."""
        said: list[tuple[str, dict[str, str]]] = []
        for batch in batches:
            said += [("bad", {"sample": bad.id, "where": bad.where, "why": bad.why}) for bad in batch.get("bad", ())]
            said += [("remark", {"sample": name, "text": text}) for name, text in batch.get("notes", ())]
        if not self.ranks.sums([float(len(said))])[0]:
            return
        for event, told in self.ranks.gathered(said):
            if (key := (event, *told.values())) not in self.said:
                self.said.add(key)
                self.log(event, stage=stage.name, step=self.progress.step, **told)

    def _stopping(self) -> bool:
        """Whether any process was asked to stop; all of them then save at the same step."""
        return self.ranks.sums([float(self.stop.is_set())])[0] > 0

    # --- states ------------------------------------------------------------------------------------------------

    def _save(self, stage: Stage, optimizer: torch.optim.Optimizer) -> None:
        """The state of the run as it is now; every process takes part where weights are divided."""
        names = {id(one): name for name, one in self.model.named_parameters()}
        learnt = {name: parallel.whole(one)
                  for name, one in learning.named(self.model, self.recipe.stages[:self.progress.at + 1])}
        moments = {f"{names[id(one)]}:{key}": parallel.whole(kept[key])
                   for one, kept in optimizer.state.items() for key in _MOMENTS}
        told = {**vars(self.progress), "recipe": self.recipe.lasting(), "base": self.base}
        said = None
        if self.ranks.first:
            try:
                place = self.checkpoints.save(f"{self.progress.at:03d}-{stage.name}-{self.progress.step:09d}", {
                    "learnt.safetensors": partial(save_file, learnt),
                    "moments.safetensors": partial(save_file, moments),
                    "progress.json": json.dumps(told, indent=1).encode()})
                self.log("saved", stage=stage.name, step=self.progress.step, state=place.name)
            except CheckpointError as error:
                said = error.what, error.where, error.remedy
        if failed := self.ranks.told(said):
            raise CheckpointError(failed[0], where=failed[1], remedy=failed[2])

    def _restore(self) -> None:
        """Goes to the newest complete state, if there is one."""
        place = self.ranks.told(self.checkpoints.newest())
        for damaged, said in self.checkpoints.damaged() if self.ranks.first else ():
            self.log("note", text=f"the state {damaged.name} is not complete ({said}) and was passed over")
        if place is None:
            return
        told = json.loads((place / "progress.json").read_text(encoding="utf-8"))
        self._same(told.pop("recipe"), told.pop("base"), place)
        self.progress = Progress(**told)
        learnt = load_file(place / "learnt.safetensors")
        for name, one in learning.named(self.model, self.recipe.stages[:self.progress.at + 1]):
            parallel.fill(one, learnt[name])
        self.moments = load_file(place / "moments.safetensors")

    def _same(self, recipe: dict[str, Any], base: str, place: Path) -> None:
        """Raises: CheckpointError when the state belongs to another recipe or base model."""
        ours = json.loads(json.dumps(self.recipe.lasting()))
        changed = sorted(_differences(recipe, ours))
        if base != self.base:
            changed.append("the weights of the base model")
        if changed:
            raise CheckpointError(f"the state there was made with other settings: {', '.join(changed)}",
                                  where=str(place), remedy="Give another --out, or the settings of the run that began")

    def _restore_moments(self, optimizer: torch.optim.Optimizer) -> None:
        names = {id(one): name for name, one in self.model.named_parameters()}
        for group in optimizer.param_groups:
            for one in group["params"]:
                name = names[id(one)]
                if f"{name}:step" not in self.moments:
                    continue
                state = {"step": self.moments[f"{name}:step"].clone()}
                for key in _MOMENTS[1:]:
                    state[key] = torch.zeros_like(one)
                    parallel.fill(state[key], self.moments[f"{name}:{key}"])
                optimizer.state[one] = state


class _Stepper:
    """Makes the steps of one stage."""

    def __init__(self, loop: Loop, stage: Stage, source: Source, module: nn.Module,
                 optimizer: torch.optim.Optimizer) -> None:
        self.loop, self.stage, self.source, self.module, self.optimizer = loop, stage, source, module, optimizer
        self.learning = [one for group in optimizer.param_groups for one in group["params"]]
        self.good: dict[str, Any] | None = None

    def step(self, batches: Sequence[dict[str, Any]], steps: int, consumed: int, began: float) -> None:
        """One step on this process' share of a batch: weights changed, or the step skipped and said why.

        `began`: when reading the batch began; the rates that are told count from there.
        """
        loop, stage, progress = self.loop, self.stage, self.loop.progress
        read_s = perf_counter() - began
        share = rate_share(progress.step, steps, stage)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * share
        sums, suspects = self._passes(batches)
        total, count, tokens, samples, *told = loop.ranks.sums(list(sums.values()))
        parallel.scale_gradients(self.learning, loop.ranks.count / max(count, 1e-30))
        norm = parallel.clip(self.learning, stage.clip) if count else 0.0
        loss = total / count if count else math.nan
        fault = self._fault(loss, norm, count)
        if progress.step == 0:
            self._tell_idle()
        progress.step += 1
        progress.consumed = consumed
        if fault is None:
            self.optimizer.step()
            progress.norms = [*progress.norms, norm][-RECENT:]
            progress.skipped_in_a_row = 0
        self.optimizer.zero_grad(set_to_none=True)
        seconds = perf_counter() - began
        names = list(sums)[4:]
        loop.log("step", stage=stage.name, step=progress.step, steps=steps, loss=loss, norm=norm,
                 rates={group["part"]: group["lr"] for group in self.optimizer.param_groups}, items=count,
                 tokens=int(tokens), samples=int(samples), consumed=progress.consumed, seconds=seconds,
                 read_s=read_s, tokens_per_s=tokens / seconds, samples_per_s=samples / seconds,
                 **{name: value / count for name, value in zip(names, told, strict=True)
                    if count and math.isfinite(value)})
        loop._tell_left_out(batches, stage)
        if fault is not None:
            self._skip(fault, suspects, batches)

    def _passes(self, batches: Sequence[dict[str, Any]]) -> tuple[dict[str, float], list[str]]:
        """Gradients of the sum of all losses; the sums, and the samples of passes that gave no finite loss."""
        loop, stage = self.loop, self.stage
        sums = {"total": 0.0, "count": 0.0, "tokens": 0.0, "samples": 0.0}
        suspects: list[str] = []
        for number, batch in enumerate(batches):
            weight = 1.0
            if not batch["ids"]:
                if loop.ranks.count == 1:
                    continue
                # Processes meet in every pass. Nothing is learnt from this one: its losses are multiplied by 0.
                batch, weight = self._stand_in(), 0.0
            at = loop.ranks.rank + number * loop.ranks.count
            torch.manual_seed(draw(loop.recipe.seed, loop.progress.at, loop.progress.step, at))
            with loop.ranks.accumulating(self.module, last=number == len(batches) - 1):
                with torch.autocast(loop.ranks.device.type, torch.bfloat16, enabled=stage.dtype == "bfloat16"):
                    total, count, told = self.module(objectives.moved(batch, loop.ranks.device))
                (total * weight).backward()
            value = float(total.detach()) * weight
            if math.isfinite(value):
                self.good = batch  # one that is not would spoil what it stands in for, even times 0
            else:
                suspects += batch["ids"]
            here = {"total": value, "count": count * weight, "samples": len(batch["ids"]) * weight,
                    "tokens": objectives.tokens_of(batch) * weight,
                    **{name: one * weight for name, one in told.items()}}
            for name, one in here.items():
                sums[name] = sums.get(name, 0.0) + one
        return sums, suspects

    def _tell_idle(self) -> None:
        """Weights that are open and that nothing reached, such as the layers of a tower behind the one that is read."""
        for group in self.optimizer.param_groups:
            if idle := sum(one.numel() for one in group["params"] if one.grad is None):
                self.loop.log("note", text=f"{idle:,} weights of {group['part']} had no gradient in the first step of "
                              f"{self.stage.name}: its samples do not use them")

    def _stand_in(self) -> dict[str, Any]:
        """A batch to keep the processes in step with: the last one of this process, or any that can be made."""
        whole = range(len(self.source)) if self.good is None else ()
        for batch in (self.source.collate([self.source[index]]) for index in whole):
            if batch["ids"]:
                self.good = batch
                break
        if self.good is None:
            raise PolicyError("not one sample can be read", where=f"stage {self.stage.name}",
                              remedy="`reelm data check` lists what is wrong with the records")
        return self.good

    def _fault(self, loss: float, norm: float, count: float) -> str | None:
        """What is wrong with a step, None when nothing is."""
        norms, most = self.loop.progress.norms, self.stage.explode
        if not count:
            return "there is nothing to learn from: no sample could be read"
        if not (math.isfinite(loss) and math.isfinite(norm)):
            return f"loss {loss:g}, gradient {norm:g}"
        if most is not None and len(norms) >= ENOUGH and norm > most * (usual := statistics.median(norms)):
            return f"gradient {norm:.4g}, usually {usual:.4g}"
        return None

    def _skip(self, fault: str, suspects: list[str], batches: Sequence[dict[str, Any]]) -> None:
        """Tells a skipped step with its samples, and stops the run after too many.

        Raises: PolicyError then; the weights saved are those after the last good step.
        """
        loop, progress = self.loop, self.loop.progress
        mine = suspects or [name for batch in batches for name in batch["ids"]]
        flagged = bool(loop.ranks.sums([float(len(suspects))])[0])
        ids = loop.ranks.gathered(mine if suspects or not flagged else [])
        progress.skipped_in_a_row += 1
        loop.log("skipped", stage=self.stage.name, step=progress.step, why=fault, ids=ids)
        if progress.skipped_in_a_row < loop.recipe.skip_in_a_row:
            return
        progress.skipped_in_a_row = 0
        loop._save(self.stage, self.optimizer)
        loop.log.close()
        raise PolicyError(f"{loop.recipe.skip_in_a_row} steps in a row had to be skipped, the last because of {fault}",
                          where=f"stage {self.stage.name}, step {progress.step}",
                          remedy="The weights after the last good step are saved; look at the samples under "
                          f'"skipped" in {loop.log.path}, lower the rate, or start again to go on behind them')


def rate_share(step: int, steps: int, stage: Stage | TowerSettings) -> float:
    """Share of the peak rate in a step (from 0): linear warm-up, then a cosine down to the floor."""
    warmup = math.ceil(stage.warmup * steps)
    if step < warmup:
        return (step + 1) / warmup
    fallen = 0.5 * (1 - math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))
    return 1 - (1 - stage.floor) * fallen


def draw(seed: int, *at: int) -> int:
    """A seed for what is drawn at one place of a run (stage, step, pass)."""
    return int(np.random.SeedSequence([seed, *at]).generate_state(1)[0])


def _differences(one: Any, other: Any, path: str = "") -> Iterator[str]:
    """Paths of the fields in which two plain values differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in {*one, *other}:
            yield from _differences(one.get(key), other.get(key), f"{path}.{key}".lstrip("."))
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for number, (a, b) in enumerate(zip(one, other, strict=True)):
            name = a.get("name", number) if isinstance(a, dict) else number
            yield from _differences(a, b, f"{path}.{name}")
    elif one != other:
        yield path


@contextmanager
def _asked_to_stop(stop: threading.Event) -> Iterator[None]:
    """While the block runs, Ctrl-C and a request to end set `stop`; a second Ctrl-C ends at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def heard(number: int, frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {one: signal.signal(one, heard) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def _deaf(worker: int) -> None:
    """Readers do not hear Ctrl-C: the run ends them when its state is saved."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
