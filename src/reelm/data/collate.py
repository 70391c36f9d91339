"""Samples of unequal length as one batch for `ReelmModel.forward`: padded rows, or one packed row without padding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from reelm.errors import UsageError
from reelm.parts.layouts.chat import IGNORED

#: What of a batch is about its samples and no input of the model.
BESIDE = ("ids", "bad", "notes")
#: What a sample has one of per token, and what fills up a short row; None stands for the id of the padding token.
ROWS: dict[str, int | None] = {"input_ids": None, "labels": IGNORED, "mm_token_type_ids": 0}
#: Media of all samples in a row: the tensor (as decoded, or as frozen towers gave it), and what counts each medium.
MEDIA = {"pixel_values_videos": "video_frames", "vision_features": "video_frames", "input_features": "audio_frames",
         "audio_features": "audio_frames"}
#: What stands beside each medium with pictures, for compressors that look at the question.
QUESTIONS = "questions"
REPLIES = ("chosen", "rejected")


@dataclass(frozen=True)
class Bad:
    """Stands in the place of a sample that cannot be learnt from: which, where it comes from and why.

    `index`: its number in the source it was asked from, -1 where it never got one. `id`: that of its record. `where`:
    the file and line, or the shard and member. `kind`: the name of the error.
    """

    index: int
    id: str
    where: str
    why: str
    kind: str


def collate(samples: Sequence[dict[str, Any] | Bad], pad_id: int, *, packed: bool = False) -> dict[str, Any]:
    """Inputs of `ReelmModel.forward`, and beside them (see `apart`) what the batch is made of.

    Padded: input_ids, labels, mm_token_type_ids, attention_mask [B,S], padded on the right. Packed: the first three and
    position_ids [1, sum of lengths] with `packed` True, each sample seeing itself alone; the loss is that of the padded
    batch to 1e-5, in tests/data/test_collate.py. Where there are media, pixel_values_videos with video_frames and
    input_features with audio_frames, in the order of the samples.

    Preferences give `chosen` and `rejected`, each such inputs without media, and the media they share.

    Beside: `ids` of the samples, `bad` the `Bad` among them, which are left out, `notes` as (id, sentence). Without a
    good sample there is nothing but that.
    """
    good = [sample for sample in samples if not isinstance(sample, Bad)]
    batch: dict[str, Any] = {
        "ids": [sample["id"] for sample in good], "bad": [sample for sample in samples if isinstance(sample, Bad)],
        "notes": [(sample["id"], note) for sample in good for note in sample.get("notes", ())]}
    if not good:
        return batch
    join = _packed if packed else _padded
    pairs = [REPLIES[0] in sample for sample in good]
    if any(pairs) != all(pairs):
        raise UsageError(f"{sum(pairs)} preferences among {len(pairs)} samples of a batch", where=good[0]["id"],
                         remedy="Give a stage either conversations or preferences")
    if pairs[0]:
        batch |= {reply: join([sample[reply] for sample in good], pad_id) for reply in REPLIES}
    else:
        batch |= join(good, pad_id)
    for tensor, counts in MEDIA.items():
        given = [sample for sample in good if tensor in sample]
        if given:
            batch |= {tensor: torch.cat([sample[tensor] for sample in given]),
                      counts: [count for sample in given for count in sample[counts]]}
    if any(QUESTIONS in sample for sample in good):
        batch[QUESTIONS] = [words for sample in good for words in sample.get(QUESTIONS, ())]
    return batch


def apart(batch: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(what the model takes, what is about the samples): the batch in two."""
    return ({name: value for name, value in batch.items() if name not in BESIDE},
            {name: batch[name] for name in BESIDE})


def _padded(rows: Sequence[dict[str, Tensor]], pad_id: int) -> dict[str, Any]:
    lengths = torch.tensor([len(row["input_ids"]) for row in rows])
    longest = int(lengths.max())

    def filled(name: str, fill: int) -> Tensor:
        return torch.stack([pad(row[name], (0, longest - len(row[name])), value=fill) for row in rows])

    return {name: filled(name, pad_id if fill is None else fill) for name, fill in ROWS.items()} | {
        "attention_mask": (torch.arange(longest) < lengths[:, None]).long()}


def _packed(rows: Sequence[dict[str, Tensor]], pad_id: int) -> dict[str, Any]:
    joined = {name: torch.cat([row[name] for row in rows])[None] for name in ROWS}
    positions = torch.cat([torch.arange(len(row["input_ids"])) for row in rows])[None]
    # The first token of a sample follows nothing; here it would follow the sample before.
    joined["labels"] = joined["labels"].masked_fill(positions == 0, IGNORED)
    return joined | {"position_ids": positions, "packed": True}
