"""Which frames, regions and tokens to keep: scores against a question, budgets, boxes, evenly spaced samples.

What is chosen comes as indices in rising order, so that time and raster order survive.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from reelm.errors import UsageError

Side = tuple[int, int]
Box = tuple[int, int, int, int]


def cosine(x: Tensor, asked: Tensor) -> Tensor:
    """How alike each row of x [B,...,C] is to its question asked [B,C]: cosines [B,...]."""
    shape = (len(asked),) + (1,) * (x.ndim - 2) + (-1,)
    return (F.normalize(x, dim=-1) * F.normalize(asked, dim=-1).view(shape)).sum(-1)


def best(scores: Tensor, count: int) -> Tensor:
    """Where the `count` highest scores of each row [...,N] stand, rising: int64 [...,min(count, N)].

    Of equal scores the earlier wins.

    Raises: UsageError for a negative count.
    """
    if count < 0:
        raise UsageError(f"cannot choose {count} of {scores.shape[-1]}", where="scoring", remedy="Give 0 or more")
    order = scores.argsort(dim=-1, descending=True, stable=True)
    return order[..., :count].sort(dim=-1).values


def most_changed(x: Tensor, count: int) -> Tensor:
    """The first frame of x [T,...,C] and the `count` - 1 least like the one before: int64, rising.

    Frames are compared by the cosine of their means over all but time and width.

    Source: Free Video-LLM (Han et al. 2024), its `top_change`; the same frames, tests/kernels/test_scoring.py.
    """
    means = F.normalize(x.flatten(1, -2).mean(1), dim=-1)
    change = 1 - (means[1:] * means[:-1]).sum(-1)
    first = torch.zeros(min(count, 1), dtype=torch.long, device=x.device)
    return torch.cat((first, best(change, max(count - 1, 0)) + 1))


def spread(count: int, picks: int, *, as_released: bool = False) -> Tensor:
    """`picks` of `count` places, evenly from the first to the last: int64 [picks], rounded half to even.

    `as_released` takes the places from a float32 line, as TS-LLaVA does: among tens of thousands a few are off by one.

    Raises: UsageError for more picks than places, or a negative number.
    Source: TS-LLaVA (Qu et al. 2024) 3.2; the same indices, tests/kernels/test_scoring.py.
    """
    if not 0 <= picks <= count:
        raise UsageError(f"cannot pick {picks} of {count}", where="scoring",
                         remedy="Ask for at most as many as there are")
    if as_released:
        return torch.linspace(0, count - 1, picks).round().long()
    return torch.linspace(0, count - 1, picks, dtype=torch.float64).round().long()


def segment_starts(count: int, picks: int) -> Tensor:
    """The first of each of `picks` equal segments of `count` frames, fractions cut: int64 [picks].

    Raises: UsageError for more picks than frames, or a negative number.
    Source: Free Video-LLM's middle frames; the same, tests/kernels/test_scoring.py.
    """
    if not 0 <= picks <= count:
        raise UsageError(f"cannot pick {picks} of {count}", where="scoring",
                         remedy="Ask for at most as many as there are")
    return torch.arange(picks) * count // max(picks, 1)


def stepped(count: int, picks: int) -> Tensor:
    """Every int(count / picks)-th of `count` frames from the first on: int64 [picks]. The end may never be seen.

    Raises: UsageError for more picks than frames, or none.
    Source: IG-VLM (Kim et al. 2024); the same frames, tests/kernels/test_scoring.py.
    """
    if not 1 <= picks <= count:
        raise UsageError(f"cannot pick {picks} of {count}", where="scoring",
                         remedy="Ask for at least one and at most as many as there are")
    return torch.arange(picks) * (count // picks)


def box_side(grid: Side, ratio: float) -> Side:
    """Rows and columns of a box of `ratio` of a grid's area, in the grid's proportions; halves go to the even number.

    Raises: UsageError for a ratio that is not above 0 and at most 1.
    """
    if not 0 < ratio <= 1:
        raise UsageError(f"a region of {ratio} of a frame does not exist", where="scoring",
                         remedy="Give a share above 0 and at most 1")
    rows, columns = (max(1, round(side * math.sqrt(ratio))) for side in grid)
    return rows, columns


def boxes(points: Tensor, grid: Side, ratio: float) -> Tensor:
    """The box of `ratio` of the grid around the middle of some cells, pushed inside: int64 [...,4].

    Shapes: points [...,k], numbers of cells in raster order, to left, right, top, bottom; right and bottom are open.
    Raises: as `box_side`.
    Source: Free Video-LLM 3.3, its `roi_box`; the same boxes, tests/kernels/test_scoring.py.
    """
    rows, columns = box_side(grid, ratio)

    def span(places: Tensor, size: int, limit: int) -> tuple[Tensor, Tensor]:
        middle = places.sum(-1) // places.shape[-1]
        low = (middle - size // 2).clamp(0, limit - size)
        return low, low + size

    return torch.stack((*span(points % grid[1], columns, grid[1]), *span(points // grid[1], rows, grid[0])), -1)


def region(x: Tensor, scores: Tensor, ratio: float, *, as_released: bool = False) -> tuple[Tensor, Tensor]:
    """The part of every frame where its best cells are: x [T,h,w,C] cut to boxes [T,h',w',C], and the boxes [T,4].

    The box is around the middle of the int(h·w·ratio) cells with the highest scores [T,h,w]; a ratio of 1 keeps all.
    `as_released` reads the cells as a grid with at most as many rows as columns, as Free Video-LLM does even after
    pooling pairs of neighbours in a row: a box is then a scrambled region.

    Raises: as `box_side`.
    Source: Free Video-LLM 3.3; equal to its recorded aggregation, tests/kernels/test_scoring.py.
    """
    rows, columns = x.shape[1], x.shape[2]
    if as_released:
        rows, columns = sorted((rows, columns))
    cells, size = x.reshape(len(x), rows, columns, -1), box_side((rows, columns), ratio)
    if ratio == 1:
        return x, torch.tensor((0, columns, 0, rows), device=x.device).expand(len(x), 4)
    found = boxes(best(scores.flatten(1), max(1, int(rows * columns * ratio))), (rows, columns), ratio)
    at_row = found[:, 2, None] + torch.arange(size[0], device=x.device)
    at_column = found[:, 0, None] + torch.arange(size[1], device=x.device)
    which = torch.arange(len(x), device=x.device)[:, None, None]
    return cells[which, at_row[:, :, None], at_column[:, None, :]], found


def shares(total: int, weights: list[int], most: int, *, as_released: bool = False) -> list[int]:
    """`total` tokens in proportion to whole weights, none above `most`, and nothing left over while there is room.

    What the fractions leave goes to the largest fractions first; without any weight all count the same. `as_released`
    drops the fractions and whatever is above `most`, and gives nothing where all weights are 0, as HiRED does.

    Raises: UsageError for a negative total.
    """
    if total < 0:
        raise UsageError(f"cannot split {total} tokens", where="scoring", remedy="Give 0 or more")
    whole = sum(weights)
    if as_released:
        exact = (torch.tensor(weights, dtype=torch.float32) / max(whole, 1) * total).int().tolist()
        return [min(most, share) for share in exact]
    given, left = [0] * len(weights), min(total, most * len(weights))
    while left:
        room = [i for i, share in enumerate(given) if share < most]
        mass = sum(weights[i] for i in room)
        parts = {i: divmod(left * weights[i], mass) if mass else divmod(left, len(room)) for i in room}
        full = [i for i in room if parts[i] > (most - given[i], 0)]
        if full:  # what they cannot hold goes to the others, in a round of their own
            left -= sum(most - given[i] for i in full)
            given = [most if i in full else share for i, share in enumerate(given)]
            continue
        left -= sum(parts[i][0] for i in room)
        by_fraction = sorted(room, key=lambda i: (-parts[i][1], i))
        for i in room:
            given[i] += parts[i][0] + (i in by_fraction[:left])
        left = 0
    return given


def partition_budgets(early: Tensor, grid: Side, rho: float, alpha: float, *, as_released: bool = False) -> list[int]:
    """How many tokens to keep of a picture and of each of its tiles, given attention to the picture's tokens.

    Of `rho` of all tokens the whole picture gets the share `alpha`. The rest is split over the tiles by how many of
    its int(N·(1 - alpha)) most attended tokens lie in them. `as_released` takes equal runs of the raster list for the
    tiles, which are bands of rows and not the tiles of a 2 × 2 grid, and drops fractions, so some budget stays unused.

    Shapes: early [h,w] to a list of 1 + rows·columns counts for grid (rows, columns), tiles in raster order.
    Raises: UsageError for a share outside 0 to 1.
    Source: HiRED (Arif et al. 2024) 3.2, early = layer 0, summed over heads; the same budgets,
    tests/kernels/test_scoring.py.
    """
    if not (0 <= rho <= 1 and 0 <= alpha <= 1):
        raise UsageError(f"rho {rho} and alpha {alpha} are shares", where="scoring", remedy="Give each 0 to 1")
    count, tiles = early.numel(), grid[0] * grid[1]
    total = int(count * (tiles + 1) * rho)
    whole = min(int(total * alpha), count)
    if not as_released:  # what the tiles cannot hold stays with the picture
        whole = max(whole, total - count * tiles)
    top = best(early.flatten(), int(count * (1 - alpha)))
    if as_released:
        tile = top // (count // tiles)
    else:
        row, column = top // early.shape[1], top % early.shape[1]
        tile = row * grid[0] // early.shape[0] * grid[1] + column * grid[1] // early.shape[1]
    weights = torch.bincount(tile, minlength=tiles)[:tiles].tolist()
    return [whole, *shares(total - whole, weights, count, as_released=as_released)]


def stitched(grid: Side, tile: Side) -> Tensor:
    """The raster order of a picture made of tiles: numbers of tokens counted tile after tile, int64 [rows·columns·h·w].

    For grid (rows, columns) of tiles of (h, w) tokens.
    """
    numbers = torch.arange(grid[0] * grid[1] * tile[0] * tile[1]).view(*grid, *tile)
    return numbers.transpose(1, 2).flatten()


def soft_choice(asked: Tensor, frames: Tensor, *, temperature: float = 0.5, noise: Tensor | None = None) -> Tensor:
    """How much of each frame every query takes: softmax((asked · frame / sqrt(C) + noise) / temperature).

    Without noise the same question gives the same answer; `gumbel(shape)` makes the noise that training needs.

    Shapes: asked [...,k,C], frames [...,T,C], noise [...,k,T] to [...,k,T], rows that sum to 1.
    Source: B-VLLM (Lu et al. 2024) 3.2; equal to its recorded choice to 5e-5, tests/kernels/test_scoring.py.
    Differs: B-VLLM draws the noise when answering too.
    """
    logits = asked @ frames.mT / math.sqrt(frames.shape[-1])
    return ((logits if noise is None else logits + noise) / temperature).softmax(-1)


def gumbel(shape: tuple[int, ...], generator: torch.Generator | None = None) -> Tensor:
    """Noise that makes the highest of noisy scores a draw from their softmax."""
    return -torch.empty(shape).exponential_(generator=generator).log()


def importance(logits: Tensor, *, temperature: float = 0.1, rounds: int = 5, damping: float = 0.0) -> Tensor:
    """How much attention reaches each token, directly or through others: PageRank on softmax(logits / temperature).

    Per head `rounds` steps from equal shares, then the root of the mean square over heads. Masked logits are the most
    negative number of their type.

    Shapes: logits [B,heads,S,S] to [B,S].
    Source: AIM (Zhong et al. 2024) 3.3; equal to its recorded scores to 5e-5, tests/kernels/test_scoring.py.
    """
    moves = (logits / temperature).softmax(-1)
    count = logits.shape[-1]
    share = moves.new_full((*moves.shape[:-2], 1, count), 1 / count)
    for _ in range(rounds):
        share = share @ moves * (1 - damping) + damping / count
    return share[..., 0, :].square().mean(1).sqrt()


def falling_rates(layers: int, first: int | None = None, last: int | None = None) -> list[float]:
    """The share of pictures' tokens kept after every layer: all before `first`, none from `last` on, evenly between.

    Without bounds they fall from the half of the layers to three quarters: 14 and 21 of 28.

    Raises: UsageError when last is not above first.
    Source: AIM 4.1, whose table is of 28 layers; the same rates, tests/kernels/test_scoring.py.
    """
    first = layers // 2 if first is None else first
    last = layers * 3 // 4 if last is None else last
    if last <= first:
        raise UsageError(f"tokens cannot go between layer {first} and layer {last}", where="scoring",
                         remedy="Let the last layer stand after the first")
    step = 1 / (last - first + 1)
    return [min(1.0, max(0.0, 1 - step * (layer - first + 1))) for layer in range(layers)]
