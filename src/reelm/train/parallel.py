"""Several processes on one training: who holds which weights, and how numbers of all of them are added up.

Under `torchrun` every process runs the same command. `ddp`: each holds the model and works on its share of every
step. `fsdp`: the weights, gradients and moments are divided among them too (PyTorch's `fully_shard`).
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from reelm.errors import ReelmError, UsageError
from reelm.train.objectives import Batch, Loss, Objective

Kind = Literal["ddp", "fsdp"]


class Task(nn.Module):
    """An objective on a model as one module: whatever the objective does with the model happens inside `forward`,
    where the wrappers of PyTorch expect it.

    `touched`: names of weights that take part in every pass, times 0, whether the batch uses them or not. Processes
    that share weights exchange them, and their gradients, group by group and in step; one whose batch has no medium
    must not leave out what another does.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.objective: Objective | None = None
        self.touched: frozenset[str] = frozenset()
        self._entered = False

    def forward(self, batch: Batch) -> tuple[Tensor, float, dict[str, float]]:
        """The sum of the losses, how many there are, and what else is told."""
        assert self.objective is not None, "a stage sets its objective first"
        self._entered = False
        loss: Loss = self.objective(self.model, batch)
        total = loss.total
        if (self.touched and not self._entered) or not total.requires_grad:
            total = total + self._nothing()
        return total, loss.count, dict(loss.told)

    def enter(self, layer: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        """Before the first decoder layer, where the backward pass through all of them ends: 0 is added."""
        if not self.touched:
            return None
        self._entered = True
        return (args[0] + self._nothing().to(args[0].dtype), *args[1:])

    def _nothing(self) -> Tensor:
        # By name: while a group is gathered, other tensors than the divided ones stand under it.
        used = [one.flatten()[0] for name, one in self.named_parameters()
                if (name in self.touched if self.touched else one.requires_grad)]
        return 0.0 * torch.stack([one.float() for one in used]).sum()


class Ranks:
    """This process among all; alone unless started by `torchrun`."""

    def __init__(self, kind: Kind = "ddp", device: torch.device | None = None) -> None:
        self.rank, self.count = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        self.kind = kind
        self.device = device or torch.device("cpu")
        self._mine = False
        if self.count > 1:
            if self.device.type == "cuda":
                self.device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
                torch.cuda.set_device(self.device)
            if not dist.is_initialized():
                dist.init_process_group("nccl" if self.device.type == "cuda" else "gloo")
                self._mine = True

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and tells."""
        return self.rank == 0

    def share(self, passes: int) -> range:
        """Which of the passes of a step this process makes.

        Raises: UsageError when they cannot be dealt out evenly.
        """
        if passes % self.count:
            raise UsageError(f"{passes} passes a step (batch / micro_batch) cannot be dealt out to {self.count} "
                             "processes", remedy="Make batch / micro_batch a multiple of the number of processes")
        return range(self.rank, passes, self.count)

    # --- the model ---------------------------------------------------------------------------------------------

    def shard(self, task: Task) -> None:
        """Divides the weights among the processes, where the kind is `fsdp`; once, before the first stage.

        A decoder layer is a group of its own and whole only while it runs. Everything else is one group: towers and
        connectors run for the media that a process happens to have, and a group is gathered by all at once.

        Raises: ReelmError when weights are not divided afterwards.
        """
        if self.count == 1 or self.kind != "fsdp":
            return
        mesh = init_device_mesh(self.device.type, (self.count,))
        layers = _decoder_layers(task.model)
        for module in layers:
            fully_shard(module, mesh=mesh)
        if layers:
            # Ahead of the wrapper's own hook, which hangs the exchange of gradients on inputs that ask for one.
            layers[0].register_forward_pre_hook(task.enter, prepend=True)
        fully_shard(task, mesh=mesh)
        whole = [name for name, one in task.named_parameters() if not isinstance(one, DTensor)]
        groups = sum(isinstance(module, FSDPModule) for module in task.modules())
        if whole or groups < 2:
            raise ReelmError(f"{len(whole)} weights are not sharded, {groups} groups", where="fsdp",
                             remedy="This is a fault of reelm; please report it with the model")

    def wrap(self, task: Task) -> nn.Module:
        """The task ready for a stage, whose learning weights are open by now."""
        task.touched = frozenset()
        if self.count == 1:
            return task
        if self.kind == "fsdp":
            inside = {id(one) for layer in _decoder_layers(task.model) for one in layer.parameters()}
            task.touched = frozenset(name for name, one in task.named_parameters()
                                     if one.requires_grad and id(one) not in inside)
            return task
        # A stage may open weights that a batch does not use: a connector where no sample has a medium.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # the newer name of this setting is not in older releases
            return DistributedDataParallel(task, find_unused_parameters=True, broadcast_buffers=False)

    @contextmanager
    def accumulating(self, module: nn.Module, last: bool) -> Iterator[None]:
        """Around a pass; processes exchange gradients at the last of a step only, where they are whole anyway."""
        wait = not last and isinstance(module, DistributedDataParallel)
        with module.no_sync() if wait else nullcontext():  # type: ignore[operator]
            yield

    # --- numbers -----------------------------------------------------------------------------------------------

    def sums(self, numbers: Sequence[float]) -> list[float]:
        """Each number added up over all processes, in float64."""
        if self.count == 1:
            return list(numbers)
        total = torch.tensor(numbers, dtype=torch.float64, device=self.device)
        dist.all_reduce(total)
        return [float(one) for one in total.tolist()]

    def gathered(self, items: list[Any]) -> list[Any]:
        """The items of all processes, in the order of the processes."""
        if self.count == 1:
            return items
        found: list[list[Any]] = [[] for _ in range(self.count)]
        dist.all_gather_object(found, items)
        return [item for some in found for item in some]

    def told(self, value: Any) -> Any:
        """What the first process says, in all of them."""
        if self.count == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def close(self) -> None:
        """Leaves the group, where this object has joined it."""
        if self._mine:
            dist.destroy_process_group()
            self._mine = False


def _decoder_layers(model: nn.Module) -> list[nn.Module]:
    found: Any = model
    decoder = found.get_decoder() if hasattr(found, "get_decoder") else None
    return list(getattr(decoder, "layers", []))


def whole(tensor: Tensor) -> Tensor:
    """A tensor as one process holds it: gathered from all where it is divided among them (all must call)."""
    value = tensor.detach()
    return (value.full_tensor() if isinstance(value, DTensor) else value).to("cpu")


@torch.no_grad()
def fill(place: Tensor, value: Tensor) -> None:
    """Writes a whole tensor into `place`, or this process' part of it."""
    value = value.to(place.device, place.dtype)
    if isinstance(place, DTensor):
        value = distribute_tensor(value, place.device_mesh, place.placements)
    place.copy_(value)


def scale_gradients(parameters: Sequence[nn.Parameter], factor: float) -> None:
    """Multiplies the gradients that are there."""
    for parameter in parameters:
        if parameter.grad is not None:
            parameter.grad.mul_(factor)


def clip(parameters: Sequence[nn.Parameter], most: float) -> float:
    """The norm of all gradients together, which are shortened to `most` if it is longer."""
    norm = torch.nn.utils.clip_grad_norm_([one for one in parameters if one.grad is not None], most)
    return float(norm.full_tensor() if isinstance(norm, DTensor) else norm)
