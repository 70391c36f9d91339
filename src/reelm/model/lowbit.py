"""Weights of 8 or 4 bits in the language part and the connectors, through bitsandbytes (`pip install reelm[bits]`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from reelm.errors import UsageError
from reelm.model.modeling import ReelmModel

BITS = (8, 4)
PARTS = ("language_model", "connector", "audio_connector")


def quantise(model: ReelmModel, bits: int, device: torch.device | str = "cpu",
             parts: Sequence[str] = PARTS) -> dict[str, int]:
    """Replaces the linear layers of `parts` (language model and connectors) in place, on `device`; counts and bytes.

    Kept as they are: towers, word table and vocabulary head, convolutions, norms, and experts that the library stores
    as one stack (Mixtral). 8 bits: LLM.int8(), rows and outliers apart; 4 bits: NF4 with doubly quantised scales, as
    the official `load_8bit` and `load_4bit`. The result is for asking, not for saving; on 4 bits
    an adapter can be trained (`reelm.train.adapters`).

    Gives {"layers", "before_bytes", "after_bytes"}: how many layers, and their weights before and after.
    Raises: UsageError when bitsandbytes is not installed, for other bits, or a model without such layers.
    """
    if bits not in BITS:
        raise UsageError(f"bits is {bits}", remedy="8 or 4")
    try:
        import bitsandbytes
    except ImportError:
        raise UsageError(f"{bits} bits need the package bitsandbytes", remedy="pip install 'reelm[bits]'") from None
    head = model.get_output_embeddings()
    chosen = [(parent, name, child) for part in (getattr(model, name) for name in parts)
              if part is not None for parent in part.modules() for name, child in parent.named_children()
              if isinstance(child, nn.Linear) and child is not head]
    if not chosen:
        raise UsageError("no linear layer to store in fewer bits", where=", ".join(parts))
    before = after = 0
    for parent, name, child in chosen:
        low: Any = _low(bitsandbytes.nn, child, bits).to(device)
        before += child.weight.nbytes
        after += low.weight.nbytes
        setattr(parent, name, low)
    model.to(device)  # type: ignore[arg-type]  # transformers' wrapper of `to` hides its arguments
    return {"layers": len(chosen), "before_bytes": before, "after_bytes": after}


def _low(kinds: Any, layer: nn.Linear, bits: int) -> nn.Module:
    weight = layer.weight.data
    bias = layer.bias is not None
    low: Any
    if bits == 8:
        low = kinds.Linear8bitLt(layer.in_features, layer.out_features, bias, has_fp16_weights=False, device="meta")
        low.weight = kinds.Int8Params(weight, requires_grad=False, has_fp16_weights=False)
        # Its CPU kernel takes rows only, while connectors work on grids.
        rows = low.forward
        low.forward = lambda x: rows(x.flatten(0, -2)).unflatten(0, x.shape[:-1])
    else:
        low = kinds.Linear4bit(layer.in_features, layer.out_features, bias, compute_dtype=weight.dtype,
                               compress_statistics=True, quant_type="nf4", device="meta")
        low.weight = kinds.Params4bit(weight, requires_grad=False, compress_statistics=True, quant_type="nf4")
    if bias:
        low.bias = nn.Parameter(layer.bias.data, requires_grad=False)
    return low.eval()
