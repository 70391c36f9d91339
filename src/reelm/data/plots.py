"""What a file of records holds, drawn: lengths, times, media, turns."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from reelm.data.check import Tally
from reelm.errors import MediaError, UsageError

ENDINGS = (".png", ".svg", ".pdf")
_FILL, _LINE = "#7fa3cc", "#c0392b"
_BINS = 30
#: From this ratio of the largest value to the median on, the axis is logarithmic: most would stand in one bar.
_LONG = 20


def ready(path: Path) -> None:
    """Nothing; to be called before the counting, which may take long.

    Raises: UsageError for another ending than .png, .svg, .pdf, or where matplotlib is not installed.
    """
    if path.suffix.lower() not in ENDINGS:
        raise UsageError(f"a plot is one of {', '.join(ENDINGS)}", where=str(path))
    if find_spec("matplotlib") is None:
        raise UsageError("matplotlib is not installed", remedy="pip install 'reelm[study]'")


def draw(tally: Tally, path: Path, title: str) -> Path:
    """A picture of the spreads of a tally; a quantity without a value is left out and said so in its place.

    Raises: as `ready`; MediaError if it cannot be written.
    """
    ready(path)
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 3, figsize=(13, 7), layout="constrained")
    figure.suptitle(title)
    seconds = tally.seconds
    panels: tuple[tuple[str, str, Sequence[float]], ...] = (
        ("Length", "tokens a record (with --model)", tally.tokens), ("Duration", "seconds a video or sound", seconds),
        ("Asked", "words a question", tally.asked_words), ("Answered", "words an answer", tally.answer_words))
    for axis, (name, unit, values) in zip((axes[0][0], axes[0][1], axes[1][0], axes[1][1]), panels, strict=True):
        _spread(axis, name, unit, values)
    _bars(axes[0][2], "Media", "media", tally.media)
    _bars(axes[1][2], "Turns", "records", Counter(str(turns) for turns in sorted(tally.turns)), "turns a record")
    try:
        figure.savefig(path, dpi=110)
    except OSError as error:
        raise MediaError(f"cannot be written: {error.strerror or error}", where=str(path)) from None
    finally:
        pyplot.close(figure)
    return path


def _spread(axis: Any, name: str, unit: str, values: Sequence[float]) -> None:
    """A histogram with the median and the value that 95 of 100 do not pass."""
    axis.set_title(name)
    if not values:
        _nothing(axis, unit)
        return
    low, high, middle = min(values), max(values), statistics.median(values)
    far = sorted(values)[math.ceil(0.95 * len(values)) - 1]
    bins: Any = _BINS
    whole = all(float(value).is_integer() for value in values)
    if low > 0 and high / middle > _LONG:
        axis.set_xscale("log")
        bins = [low * (high / low) ** (at / _BINS) for at in range(_BINS + 1)]
        if whole:  # edges between whole numbers, or some bars could hold nothing
            bins = sorted({math.floor(edge) - 0.5 for edge in bins} | {high + 0.5})
        unit += ", logarithmic"
    elif whole:
        step = math.ceil((high - low + 1) / _BINS)
        bins = [edge - 0.5 for edge in range(int(low), int(high) + step + 1, step)]
        axis.xaxis.get_major_locator().set_params(integer=True)
    axis.hist(values, bins=bins, color=_FILL, edgecolor="white", linewidth=0.4)
    axis.axvline(middle, color=_LINE, linewidth=1.2, label=f"median {middle:,.4g}")
    axis.axvline(far, color=_LINE, linewidth=1.2, linestyle=":", label=f"95 % at or below {far:,.4g}")
    axis.legend(frameon=False, fontsize="small")
    axis.set(xlabel=unit, ylabel=f"count (of {len(values):,})", ylim=(0, 1.3 * axis.get_ylim()[1]))
    axis.yaxis.get_major_locator().set_params(integer=True)


def _bars(axis: Any, name: str, unit: str, counts: Mapping[str, int], of: str = "") -> None:
    axis.set_title(name)
    if not counts:
        _nothing(axis, name.lower())
        return
    bars = axis.bar(list(counts), list(counts.values()), color=_FILL)
    if len(counts) <= 12:
        axis.bar_label(bars, labels=[f"{count:,}" for count in counts.values()])
    else:
        axis.tick_params(axis="x", labelrotation=90, labelsize="x-small")
    axis.set(xlabel=of, ylabel=unit)
    axis.margins(x=0.12, y=0.12)
    axis.yaxis.get_major_locator().set_params(integer=True)


def _nothing(axis: Any, of: str) -> None:
    axis.text(0.5, 0.5, f"none: {of}", ha="center", va="center", transform=axis.transAxes)
    axis.set(xticks=[], yticks=[])
