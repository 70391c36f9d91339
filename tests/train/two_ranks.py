"""Run under torchrun by test_parallel.py: the toy trained by all processes together, in several ways."""

from __future__ import annotations

import sys
from pathlib import Path

from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from reelm.train.parallel import Ranks
from train.toys import STAGES, Points, toy_loop, toy_recipe


def main(out: Path) -> None:
    """Under `out`: curves of whole runs by each kind, runs begun by two processes, runs begun by one that go on."""
    for kind in ("ddp", "fsdp"):
        told = toy_recipe(parallel=kind)
        loop = toy_loop(out / kind, told, ranks=Ranks(kind))
        if kind == "fsdp":
            inner = loop.task.model
            assert all(isinstance(one, DTensor) and one.to_local().numel() < one.numel() for one in inner.parameters()
                       if one.shape[0] > 1)
            assert sum(isinstance(module, FSDPModule) for module in loop.task.modules()) == 3  # two layers, the rest
        loop.run()
        toy_loop(out / f"{kind}-begun", told, ranks=Ranks(kind)).run(until="first")
        toy_loop(out / f"{kind}-goes-on", told, ranks=Ranks(kind)).run()
        single = {**STAGES[0], "micro_batch": 1}
        toy_loop(out / f"{kind}-bad", toy_recipe(single, parallel=kind), Points(bad=(3, 4, 5), poison=(7,)),
                 ranks=Ranks(kind)).run()
        toy_loop(out / f"{kind}-few", toy_recipe(single, parallel=kind), Points(6), ranks=Ranks(kind)).run()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
