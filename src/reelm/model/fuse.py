"""Pure tensor functions between parts and language model: where features go, positions, which logits are wanted."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from reelm.errors import UsageError
from reelm.types import AUDIO, TEXT, VISION

_NAMES = {VISION: "vision", AUDIO: "audio"}


def check_cells(mm_token_type_ids: Tensor, counts: Sequence[int], kind: int) -> None:
    """Compares the cells of one kind with the tokens that each medium brings, before anything is scattered.

    Shapes: `mm_token_type_ids` [B,S]; `counts` one number per medium, in order of the media.

    Raises: UsageError with both numbers when they differ in sum, or when text or a border of samples stands between the
    cells of a medium (cells of its other kind may: a layout can interleave pictures and sound).
    """
    name = _NAMES[kind]
    flat = mm_token_type_ids.flatten()
    where = (flat == kind).nonzero().flatten().tolist()
    if len(where) != sum(counts):
        raise UsageError(f"the prompt has {len(where)} {name} cells, but {len(counts)} media give {list(counts)} = "
                         f"{sum(counts)} tokens", where="mm_token_type_ids",
                         remedy="Build prompt and media with the same processor settings")
    length, start = mm_token_type_ids.shape[1], 0
    for index, count in enumerate(counts):
        cells = where[start : start + count]
        if cells and (cells[0] // length != cells[-1] // length or bool((flat[cells[0] : cells[-1]] == TEXT).any())):
            raise UsageError(f"{name} medium {index} gives {count} tokens, but its cells are not one run of {count}",
                             where=f"mm_token_type_ids, sample {cells[0] // length}",
                             remedy="Give media in the order of the prompt")
        start += count


def scatter(inputs_embeds: Tensor, mm_token_type_ids: Tensor, features: Sequence[Tensor], kind: int) -> Tensor:
    """The embeddings with the features of all media laid into the cells of their kind; differentiable.

    Shapes: `inputs_embeds` [B,S,D], `mm_token_type_ids` [B,S], `features` one [N_i,D] per medium; gives [B,S,D].

    Raises: UsageError as `check_cells`.
    """
    check_cells(mm_token_type_ids, [len(f) for f in features], kind)
    if not features:
        return inputs_embeds
    cells = (mm_token_type_ids == kind)[..., None].expand_as(inputs_embeds)
    source = torch.cat([f.to(inputs_embeds) for f in features])
    return inputs_embeds.masked_scatter(cells, source)


def positions_of(attention_mask: Tensor, length: int) -> Tensor:
    """Positions of the last `length` columns: real tokens count 0, 1, 2 … however the row is padded.

    Shapes: `attention_mask` [B, past + S], `length` S; gives int64 [B,S]. Padding before the first token stands at 0.
    """
    return (attention_mask.long().cumsum(-1) - 1).clamp(min=0)[:, -length:]


def answer_logits(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Which positions predict a labelled token, and what they should say: `logits_to_keep` and `shift_labels`.

    A model called with both computes the vocabulary product for answer positions only; the loss is the same as with
    all positions.

    Shapes: `labels` [B,S], -100 where nothing is learnt; gives bool [B,S] and int64 [n].
    """
    shifted = torch.nn.functional.pad(labels, (0, 1), value=-100)[:, 1:]
    keep = shifted != -100
    return keep, shifted[keep]
