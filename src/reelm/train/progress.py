"""What a run tells: one line of JSON per step and event, always; TensorBoard where it is installed; a picture of the
losses."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

Event = dict[str, Any]
#: Gets every event as it is logged.
Watch = Callable[[Event], None]
LOG = "log.jsonl"
PLOT = "loss.png"


class Log:
    """The log of a run in `folder`, and whoever else wants to know.

    Every line is an object with `event`: "start", "stage" (what learns), "step", "skipped", "bad" (a sample left out),
    "saved", "exported", "note", "interrupted", "end". A run that goes on appends; of a step that was made twice the
    later line counts.
    """

    def __init__(self, folder: Path, watch: Watch = lambda event: None, silent: bool = False) -> None:
        self.path, self._watch = folder / LOG, watch
        self._file: Any = None
        self._board: Any = None
        if silent:
            return
        folder.mkdir(parents=True, exist_ok=True)
        torn = self.path.is_file() and self.path.stat().st_size and not self.path.read_bytes().endswith(b"\n")
        self._file = self.path.open("a", encoding="utf-8")
        if torn:  # the last line of a process that was killed
            self._file.write("\n")
        self._board = _board(folder / "tensorboard")

    def __call__(self, event: str, **told: Any) -> None:
        """Writes one event."""
        if self._file is None:
            return
        line = {"event": event, **told}
        # JSON has no word for what is not finite, and not every reader takes Python's.
        self._file.write(json.dumps(_finite(line)) + "\n")
        self._file.flush()
        if self._board is not None and event == "step":
            for name in ("loss", "norm", "tokens_per_s", "samples_per_s"):
                self._board.add_scalar(f"{told['stage']}/{name}", told[name], told["step"])
        self._watch(line)

    def close(self) -> None:
        """Closes the files."""
        for one in (self._file, self._board):
            if one is not None:
                one.close()
        self._file = self._board = None


def _board(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder))


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return value


def events(folder: Path) -> Iterator[dict[str, Any]]:
    """The lines of a run's log; one that a killed process left unfinished is passed over."""
    path = folder / LOG
    if not path.is_file():
        return
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            continue


def curve(folder: Path) -> dict[tuple[str, int], float]:
    """The loss of every step of a run, by stage and step; exactly as computed."""
    return {(one["stage"], one["step"]): float(one["loss"]) for one in events(folder) if one["event"] == "step"}


def plot(folder: Path) -> Path | None:
    """Draws the losses of all stages into the run's folder; None where matplotlib is not installed."""
    try:
        import matplotlib
    except ImportError:
        return None
    matplotlib.use("agg")
    from matplotlib import pyplot

    stages: dict[str, list[tuple[int, float]]] = {}
    for (stage, step), loss in sorted(curve(folder).items(), key=lambda item: item[0][1]):
        if math.isfinite(loss):
            stages.setdefault(stage, []).append((step, loss))
    skipped = [(one["stage"], one["step"]) for one in events(folder) if one["event"] == "skipped"]
    figure, axes = pyplot.subplots(1, max(1, len(stages)), figsize=(1.5 + 4.5 * max(1, len(stages)), 3.6),
                                   squeeze=False, layout="constrained")
    for axis, (stage, points) in zip(axes[0], stages.items(), strict=False):
        _draw(axis, stage, points, [step for name, step in skipped if name == stage])
    path = folder / PLOT
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    return path


def _draw(axis: Any, stage: str, points: Sequence[tuple[int, float]], skipped: Sequence[int]) -> None:
    steps, losses = zip(*points, strict=True)
    axis.plot(steps, losses, color="#9db8d9", linewidth=0.8, marker="." if len(steps) < 40 else None)
    if len(steps) >= 40:  # before that it would lag behind visibly
        axis.plot(steps, _smooth(losses), color="#1f4e8c", linewidth=1.6, label="smoothed")
        axis.legend(frameon=False)
    for step in skipped:
        axis.axvline(step, color="#c0392b", linewidth=0.6)
    axis.set(title=stage, xlabel="step", ylabel="loss")
    axis.grid(alpha=0.25)


def _smooth(losses: Sequence[float]) -> list[float]:
    """A running mean that forgets within about a twentieth of the run."""
    keep = 1 - 1 / max(2.0, len(losses) / 20)
    out, mean = [], losses[0]
    for loss in losses:
        mean = keep * mean + (1 - keep) * loss
        out.append(mean)
    return out
