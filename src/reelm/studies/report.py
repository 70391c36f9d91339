"""What a study found: intervals over seeds and items, a table, a plot."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from reelm.errors import UsageError
from reelm.eval.score import wilson
from reelm.studies.run import Study

Line = Mapping[str, Any]


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{100 * self.value:.1f} ({100 * self.low:.1f}–{100 * self.high:.1f})"


def student(freedom: float, share: float = 0.975) -> float:
    """The quantile of Student's t distribution, by integrating its density; within 1e-3 for 1 degree and more.

    Source: Student 1908; checked against the printed table in tests/studies/test_report.py.
    """
    scale = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(freedom * math.pi)
    low, high = 0.0, 700.0
    for _ in range(60):
        middle = (low + high) / 2
        # Integrated over the angle, in which the heavy tail is flat.
        angles = np.linspace(0, math.atan(middle / math.sqrt(freedom)), 2001)
        mass = float(np.trapezoid(np.cos(angles) ** (freedom - 1), angles)) * scale * math.sqrt(freedom)
        low, high = (middle, high) if 0.5 + mass < share else (low, middle)
    return (low + high) / 2


def estimate(right: np.ndarray, lowest: float = 0.0) -> Estimate:
    """Mean of `right` [seeds, items] with an interval for other seeds and other items alike.

    The variances of the seeds' means and of the items' means are added, and the degrees of freedom follow Welch and
    Satterthwaite: with three seeds that differ, the interval is as wide as three seeds deserve. Works for
    differences of two arms too (values -1, 0, 1), whose seeds and items are the same.
    """
    seeds, items = right.shape
    means, each = right.mean(1), right.mean(0)
    parts = [(float(x.var(ddof=1)) / n, n - 1) for x, n in ((means, seeds), (each, items)) if n > 1]
    variance, value = sum(v for v, _ in parts), float(right.mean())
    if variance == 0:
        # All alike: what Wilson's interval leaves open after so many items without an exception.
        half = wilson(0, items)[1]
    else:
        freedom = variance**2 / sum(v * v / f for v, f in parts if v)
        half = student(freedom) * math.sqrt(variance)
    return Estimate(value, max(value - half, lowest), min(value + half, 1.0))


def marks(line: Line, type: str) -> np.ndarray:
    """Which items of a type a run got right, float [items]."""
    return np.array([int(c) for c in line["right"][type]], float)


def of_arm(lines: Sequence[Line], arm: str, type: str) -> np.ndarray:
    """[seeds, items] of an arm, seeds rising. Raises: UsageError where there is no such run."""
    found = sorted((x for x in lines if x["arm"] == arm), key=lambda x: x["seed"])
    if not found:
        raise UsageError(f"no run of arm {arm!r}", remedy="Run the study")
    return np.stack([marks(x, type) for x in found])


def difference(lines: Sequence[Line], arm: str, other: str, type: str) -> Estimate:
    """Arm minus other, on the seeds that both have, item by item."""
    seeds = [{x["seed"] for x in lines if x["arm"] == a} for a in (arm, other)]
    shared = [x for x in lines if x["seed"] in seeds[0] & seeds[1]]
    return estimate(of_arm(shared, arm, type) - of_arm(shared, other, type), lowest=-1.0)


def arms_of(lines: Sequence[Line]) -> list[str]:
    """The arms that have run, in the order of the study's table."""
    order = {x["arm"]: x["place"] for x in lines}
    return sorted(order, key=lambda arm: order[arm])


def types_of(lines: Sequence[Line]) -> list[str]:
    """The types of question."""
    return list(lines[0]["right"])


def table(lines: Sequence[Line]) -> str:
    """Markdown: one row an arm, accuracy in per cent with its interval per type, tokens, weights, training FLOPs."""
    types = types_of(lines)
    rows = [["arm", "seeds", *types, "media tokens", "connector weights", "training TFLOP"]]
    for arm in arms_of(lines):
        mine = [x for x in lines if x["arm"] == arm]
        rows.append([arm, str(len(mine)), *(str(estimate(of_arm(lines, arm, t))) for t in types),
                     str(mine[0]["tokens"]), f"{mine[0]['weights']:,}", f"{mine[0]['curve'][-1]['flops'] / 1e12:.1f}"])
    chance = [f"{100 * lines[0]['chance'][t]:.1f}" for t in types]
    rows.append(["chance", "", *chance, "", "", ""])
    text = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([text[0], "|---" * len(rows[0]) + "|", *text[1:]]) + "\n"


def contrasts(lines: Sequence[Line], pairs: Sequence[tuple[str, str]]) -> str:
    """Markdown: differences of pairs of arms in points, with intervals, per type."""
    types = types_of(lines)
    known = set(arms_of(lines))
    text = ["| difference | " + " | ".join(types) + " |", "|---" * (len(types) + 1) + "|"]
    for arm, other in pairs:
        if {arm, other} <= known:
            cells = [str(difference(lines, arm, other, t)) for t in types]
            text.append(f"| {arm} − {other} | " + " | ".join(cells) + " |")
    return "\n".join(text) + "\n"


def plot(lines: Sequence[Line], title: str, path: Path) -> Path:
    """Accuracy against samples seen (above) and training FLOPs (below), a column a type; bands are 95 % over seeds.

    Raises: UsageError where matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError:
        raise UsageError("matplotlib is not installed", remedy="pip install 'reelm[study]'") from None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    types, arms = types_of(lines), arms_of(lines)
    figure, axes = pyplot.subplots(2, len(types), figsize=(3.1 * len(types), 6.4), sharey=True, squeeze=False)
    for row, against in enumerate(("samples", "flops")):
        for column, type in enumerate(types):
            ax = axes[row][column]
            for number, arm in enumerate(arms):
                curves = [x["curve"] for x in lines if x["arm"] == arm]
                at = [point[against] for point in curves[0]]
                values = np.array([[point["right"][type] for point in curve] for curve in curves])
                middle, colour = values.mean(0), f"C{number % 10}"
                style = ("-", "--")[number >= 10]
                ax.plot(at, middle, style, marker="o", markersize=3, color=colour, label=arm)
                if len(values) > 1:
                    half = student(len(values) - 1) * values.std(0, ddof=1) / math.sqrt(len(values))
                    ax.fill_between(at, middle - half, middle + half, color=colour, alpha=0.12, linewidth=0)
            ax.axhline(lines[0]["chance"][type], color="grey", linestyle=":", linewidth=1)
            ax.set_ylim(0, 1)
            ax.grid(alpha=0.25)
            ax.set_xlabel("samples seen" if row == 0 else "training FLOPs")
            if row == 0:
                ax.set_title(type)
            if against == "flops":
                ax.set_xscale("log")
        axes[row][0].set_ylabel("accuracy")
    figure.suptitle(title)
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=min(len(arms), 5), frameon=False)
    figure.tight_layout(rect=(0, 0.04 + 0.035 * math.ceil(len(arms) / 5), 1, 1))
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    return path


def written(study: Study, lines: Sequence[Line], out: Path) -> str:
    """The report of a study as Markdown; also written to NAME.md, with the plot NAME.png beside it.

    Raises: UsageError where no run is finished.
    """
    if not lines:
        raise UsageError(f"no run of {study.name!r} is finished yet", where=str(out),
                         remedy="Another process is at them; ask again when it is done")
    plot(lines, study.asks, out / f"{study.name}.png")
    text = f"### {study.asks}\n\n{table(lines)}\n{contrasts(lines, study.pairs)}"
    (out / f"{study.name}.md").write_text(text, encoding="utf-8")
    return text
