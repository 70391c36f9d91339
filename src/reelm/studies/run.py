"""Runs a study: every arm with every seed on the same samples, one JSON line for each run that is finished.

Started again it does what is missing. Any number of processes may work on one folder: a run belongs to the process that
holds its lock, and a lock dies with its process.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from reelm.errors import UsageError
from reelm.studies.films import Films
from reelm.studies.pupil import Batch, Ears, Pupil, Vocabulary, batch_of, loss_of, right
from reelm.studies.seen import Say


@dataclass(frozen=True)
class Arm:
    """What is compared: a connector (None: no pictures), how sound gets in, and settings of the films for this arm.

    `then` are other settings of the films for the last third of the training.
    """

    name: str
    connector: dict[str, Any] | None
    ears: Ears = "none"
    films: dict[str, Any] = field(default_factory=dict)
    then: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Study:
    """A question, its arms, and what is equal for all of them.

    `pairs` are the differences to report. `width` and `layers` are those of the language part, from scratch.
    """

    name: str
    asks: str
    arms: tuple[Arm, ...]
    pairs: tuple[tuple[str, str], ...]
    steps: int
    batch: int = 32
    rate: float = 4e-3
    width: int = 48
    layers: int = 2
    tests: int = 1000
    #: Shares of the training after which the arm is examined.
    examined: tuple[float, ...] = (0.25, 0.5, 0.75, 1.0)

    def digest(self, arm: Arm) -> str:
        """Changes with any setting of a run, so that a line is never taken for that of another experiment."""
        mine = {k: v for k, v in asdict(self).items() if k not in ("arms", "pairs", "asks")} | {"arm": asdict(arm)}
        return hashlib.sha256(json.dumps(mine, sort_keys=True).encode()).hexdigest()[:12]


Make = Callable[[Mapping[str, Any]], Films]


def rate_share(step: int, steps: int) -> float:
    """Share of the peak rate: a short warm-up, then a cosine down to a twentieth."""
    warm = max(1, steps // 12)
    return min(1.0, (step + 1) / warm) * (0.05 + 0.475 * (1 + math.cos(math.pi * step / steps)))


def examine(pupil: Pupil, films: Films, tests: Sequence[Batch], count: int) -> dict[str, str]:
    """Right (1) and wrong (0) answers to the test samples, a string of digits per type."""
    marks: dict[str, str] = {}
    number = 0
    for batch in tests:
        for row in right(pupil, batch).int().tolist():
            for question, mark in zip(films.test(number).asked, row, strict=False):
                marks[question.type] = marks.get(question.type, "") + str(mark)
            number += 1
    assert number == count
    return dict(sorted(marks.items()))


def chances(films: Films, count: int) -> dict[str, float]:
    """The mean chance of guessing, per type."""
    kept: dict[str, list[float]] = {}
    for number in range(count):
        for question in films.test(number).asked:
            kept.setdefault(question.type, []).append(question.chance)
    return {type: sum(values) / len(values) for type, values in kept.items()}


def flops_of(pupil: Pupil, batch: Batch) -> int:
    """Operations of one training step, forward and backward."""
    with FlopCounterMode(display=False) as counter:
        loss_of(pupil, batch).backward()
    pupil.zero_grad(set_to_none=True)
    return counter.get_total_flops()


def step_of(pupil: Pupil, optimizer: torch.optim.Optimizer, batch: Batch, rate: float) -> Tensor:
    """One step of training."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    loss = loss_of(pupil, batch)
    loss.backward()
    nn.utils.clip_grad_norm_(pupil.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss.detach()


def once(study: Study, arm: Arm, seed: int, make: Make, say: Say) -> dict[str, Any]:
    """One run: the line it leaves."""
    films, began = make(arm.films), time.monotonic()
    later = make({**arm.films, **arm.then}) if arm.then else films
    vocabulary = Vocabulary.of(films.words())
    numbers = range(study.tests)
    tests = [batch_of(films, vocabulary, [films.test(n) for n in numbers[i:i + 50]])
             for i in range(0, study.tests, 50)]
    sound = tests[0].sound
    torch.manual_seed(seed)
    pupil = Pupil(arm.connector, vocabulary, study.width, study.layers,
                  0 if sound is None else sound.shape[-1], arm.ears)
    optimizer = torch.optim.AdamW(pupil.parameters(), betas=(0.9, 0.98), weight_decay=0.01)
    checks = {max(1, round(share * study.steps)) for share in study.examined}
    curve, flops, losses = [], 0, []
    marks: dict[str, str] = {}
    for step in range(study.steps):
        source = films if 3 * step < 2 * study.steps else later
        batch = batch_of(source, vocabulary, [source.train(seed, step * study.batch + i) for i in range(study.batch)])
        flops = flops or flops_of(pupil, batch)
        losses.append(step_of(pupil, optimizer, batch, study.rate * rate_share(step, study.steps)))
        if step + 1 in checks:
            marks = examine(pupil, films, tests, study.tests)
            shares = {type: round(m.count("1") / len(m), 4) for type, m in marks.items()}
            loss = float(torch.stack(losses[-20:]).mean())
            curve.append({"samples": (step + 1) * study.batch, "flops": flops * (step + 1), "loss": round(loss, 4),
                          "right": shares})
            say(f"{study.name} {arm.name} seed {seed} step {step + 1} of {study.steps}: loss {loss:.3f} {shares}")
    weights = 0 if pupil.connector is None else sum(p.numel() for p in pupil.connector.parameters())
    return {"study": study.name, "arm": arm.name, "seed": seed, "digest": study.digest(arm),
            "place": study.arms.index(arm), "tokens": pupil.tokens(tests[0]).shape[1], "weights": weights,
            "seconds": round(time.monotonic() - began, 1), "chance": chances(films, study.tests), "curve": curve,
            "right": marks}


def lines_of(path: Path, study: Study) -> list[dict[str, Any]]:
    """The finished runs of this very study; lines of other settings and a line that a kill tore apart do not count."""
    if not path.exists():
        return []
    digests = {arm.name: study.digest(arm) for arm in study.arms}
    found = []
    for text in path.read_text("utf-8").splitlines():
        try:
            line = json.loads(text)
        except json.JSONDecodeError:
            continue
        if digests.get(line["arm"]) == line["digest"]:
            found.append(line)
    return found


def append(path: Path, line: Mapping[str, Any]) -> None:
    """Adds a line, whole; begins a new one where a kill has left half of one."""
    with path.open("ab+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        end = file.seek(0, os.SEEK_END)
        if end:
            file.seek(end - 1)
            torn = file.read(1) != b"\n"
            file.seek(0, os.SEEK_END)
            file.write(b"\n" if torn else b"")
        file.write(json.dumps(line).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def claimed(path: Path) -> Iterator[bool]:
    """Whether this process may do the run whose lock is `path`; no other one may until the block ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def run(study: Study, seeds: int, out: Path, make: Make, say: Say) -> list[dict[str, Any]]:
    """All finished runs of a study, after doing those that are missing and that no other process is at.

    Seeds come first: after a third of the time every arm has run once. Raises: UsageError for fewer than one seed.
    """
    if seeds < 1:
        raise UsageError(f"{seeds} seeds", remedy="At least one; three for an interval that means something")
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{study.name}.jsonl"
    for seed in range(seeds):
        for arm in study.arms:
            with claimed(out / "locks" / f"{study.name}-{study.digest(arm)}-{seed}") as mine:
                done = {(x["arm"], x["seed"]) for x in lines_of(path, study)}
                if mine and (arm.name, seed) not in done:
                    append(path, once(study, arm, seed, make, say))
    return [x for x in lines_of(path, study) if x["seed"] < seeds]
