"""Direct preference optimisation: the preferred reply becomes likelier than the other, measured from a reference.

Ours and not TRL's: its trainer builds prompts by `processor(images=…, text=…)`, so it knows pictures but no video and
no sound, it wants Arrow tables, and it brings a loop of its own without our order, states and counts. The loss is the
same; tests/train/test_preference.py compares them where trl is installed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reelm.data.collate import BESIDE, MEDIA, REPLIES, ROWS
from reelm.errors import UsageError
from reelm.model.fuse import answer_logits
from reelm.train.objectives import Batch, Loss, Objective, objective

#: Log-probabilities of the preferred and the other reply under the reference, by the id of the sample.
Reference = Mapping[str, tuple[float, float]]


def dpo_loss(policy: Tensor, reference: Tensor, beta: float, smoothing: float = 0.0) -> Tensor:
    """The loss of each pair: `-(1-s)·log σ(β·m) - s·log σ(-β·m)`, m how much further the replies lie apart than in the
    reference.

    Shapes: `policy`, `reference` [2,P], log-probabilities of whole replies, the preferred ones first; gives [P].
    Source: Rafailov et al., arXiv:2305.18290, equation 7; label smoothing after Mitchell's note on conservative DPO.
    Equal to the formula in float64, tests/train/test_preference.py.
    """
    margin = beta * margins(policy, reference)
    return -(1 - smoothing) * F.logsigmoid(margin) - smoothing * F.logsigmoid(-margin)


def margins(policy: Tensor, reference: Tensor) -> Tensor:
    """How much further the preferred reply lies above the other than in the reference: [2,P], [2,P] to [P]."""
    moved = policy - reference
    return moved[0] - moved[1]


def reply_logps(model: nn.Module, batch: Batch) -> Tensor:
    """Log-probability of every reply: the sum over its labelled tokens.

    Both replies of a pair go through the model in one call, each with its media.

    Shapes: `batch` as `data.collate` makes it of P preferences; gives [2,P], preferred replies first, float32 or wider.
    Raises: UsageError for a batch that is packed, or no preferences.
    """
    inputs = _both(batch)
    keep, following = answer_logits(inputs.pop("labels"))
    logits = model(**inputs, use_cache=False, logits_to_keep=keep).logits
    wide = torch.promote_types(logits.dtype, torch.float32)
    said = -F.cross_entropy(logits.flatten(0, -2).to(wide), following, reduction="none")
    return said.new_zeros(len(keep)).index_add(0, keep.nonzero()[:, 0], said).reshape(2, -1)


def _both(batch: Batch) -> dict[str, Any]:
    """The rows of the preferred replies over those of the others, and the media once for each."""
    if missing := [reply for reply in REPLIES if reply not in batch]:
        raise UsageError(f"the batch has no {' and no '.join(missing)}", where="dpo",
                         remedy="Give the stage records with prompt, chosen and rejected")
    chosen, rejected = (batch[reply] for reply in REPLIES)
    if chosen.get("packed"):
        raise UsageError("preferences cannot be packed", where="dpo", remedy="Leave `pack` out of this stage")
    length = max(chosen["input_ids"].shape[1], rejected["input_ids"].shape[1])
    # Padding is masked, so any id does as its filler.
    fill = {**{name: value or 0 for name, value in ROWS.items()}, "attention_mask": 0}
    inputs: dict[str, Any] = {name: torch.cat([F.pad(one[name], (0, length - one[name].shape[1]), value=value)
                                               for one in (chosen, rejected)]) for name, value in fill.items()}
    for tensor, counts in MEDIA.items():
        if tensor in batch:
            inputs |= {tensor: torch.cat([batch[tensor]] * 2), counts: [*batch[counts]] * 2}
    if rest := set(batch) - {*inputs, *REPLIES, *BESIDE}:
        raise UsageError(f"{', '.join(sorted(rest))} in the batch would be ignored", where="dpo")
    return inputs


@objective("dpo")
def dpo(beta: float = 0.1, label_smoothing: float = 0.0, reference: str | Reference | None = None) -> Objective:
    """Direct preference optimisation, summed over pairs.

    `reference`: log-probabilities computed before, or the file in which `write_reference` has put them. Without it the
    reference is the base under the adapter, connectors of the base included: only adapters and what is trained beside
    them may learn then. A fine-tuning before must be merged into the base, to be what replies are measured from.

    Raises: UsageError for a beta not above 0 or a smoothing outside 0 to below 0.5.
    """
    if not 0 < beta < float("inf") or not 0 <= label_smoothing < 0.5:
        raise UsageError(f"beta {beta}, label_smoothing {label_smoothing}", where="objective dpo",
                         remedy="beta is above 0 (0.1 is usual), label_smoothing from 0 to below 0.5")
    known = read_reference(reference) if isinstance(reference, str) else reference

    def loss(model: nn.Module, batch: Batch) -> Loss:
        batch = _towered(model, batch)
        # First: PEFT's switch turns the gradients of weights off and on, which must not happen amid the policy's.
        fixed = _without_adapter(model, batch) if known is None else _looked_up(known, batch["ids"])
        policy = reply_logps(model, batch)
        fixed = fixed.to(policy)
        each = dpo_loss(policy, fixed, beta, label_smoothing)
        with torch.no_grad():
            margin = beta * margins(policy, fixed)
            moved = beta * (policy - fixed).sum(1)
        return Loss(each.sum(), len(each), {
            "margin": float(margin.sum()), "preferred": float((margin > 0).sum()),
            "reward_chosen": float(moved[0]), "reward_rejected": float(moved[1])})

    return loss


def _towered(model: Any, batch: Batch) -> Batch:
    """The batch with what frozen towers make of its media, so that they run once and not for both replies, twice.

    A tower that learns, or is trained whole beside an adapter, is another one in the reference; then media stay.
    """
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    made = dict(batch)

    def still(tower: Any) -> bool:
        return not hasattr(tower, "modules_to_save") and not any(one.requires_grad for one in tower.parameters())

    with torch.no_grad():
        if "pixel_values_videos" in made and still(base.vision_tower):
            made["vision_features"] = base.see(made.pop("pixel_values_videos"))
        if "input_features" in made and still(base.audio_tower):
            made["audio_features"] = torch.cat(base.hear(made.pop("input_features"), made["audio_frames"]))
    return made


def _without_adapter(model: nn.Module, batch: Batch) -> Tensor:
    from reelm.train.adapters import without_adapter

    if not hasattr(model, "disable_adapter"):
        raise UsageError("no adapter and no reference: replies cannot be measured from anything", where="objective dpo",
                         remedy="Train an adapter, or give `reference`, made by reelm.train.preference.write_reference")
    learning = [name for name, one in model.named_parameters() if one.requires_grad]
    if loose := [name for name in learning if "lora_" not in name and ".modules_to_save." not in name]:
        raise UsageError(f"{loose[0]} learns, so the base under the adapter does not stay what it was",
                         where="objective dpo", remedy="Let only adapters and connectors learn, or give `reference`")
    with torch.no_grad(), without_adapter(model):
        return reply_logps(model, batch)


# --- computed before -------------------------------------------------------------------------------------------


def write_reference(model: nn.Module, batches: Iterable[Batch], path: str | Path) -> dict[str, tuple[float, float]]:
    """Log-probabilities of all replies under `model` as it is now, by id; written to a JSON file.

    Raises: UsageError when two samples have one id.
    """
    found: dict[str, tuple[float, float]] = {}
    model.eval()
    for batch in batches:
        if not batch["ids"]:
            continue
        with torch.no_grad():
            pairs = reply_logps(model, batch).T.tolist()
        for name, (chosen, rejected) in zip(batch["ids"], pairs, strict=True):
            if name in found:
                raise UsageError(f"two samples have the id {name!r}", where=str(path), remedy="Give each its own")
            found[name] = chosen, rejected
    Path(path).write_text(json.dumps(found, indent=0) + "\n", encoding="utf-8")
    return found


def read_reference(path: str | Path) -> dict[str, tuple[float, float]]:
    """What `write_reference` wrote. Raises: UsageError when the file is missing or something else."""
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
        return {name: (float(chosen), float(rejected)) for name, (chosen, rejected) in found.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise UsageError(f"no log-probabilities of a reference: {error}", where=str(path),
                         remedy="Write them with reelm.train.preference.write_reference") from None


def _looked_up(known: Reference, ids: Iterable[str]) -> Tensor:
    try:
        return torch.tensor([known[name] for name in ids]).T
    except KeyError as error:
        raise UsageError(f"the reference holds nothing on sample {error.args[0]!r} ({len(known)} others)",
                         where="objective dpo", remedy="Write it again from the same records") from None
