"""Stretched places equal PPLLaVA's."""

from __future__ import annotations

import pytest
import torch

from kernels.recorded import apart, recorded, worst
from reelm.errors import UsageError
from reelm.kernels.positions import stretched_table


def test_stretched_places_equal_ppllava(record_property):
    file = recorded("ppllava", "position_stretch")
    meta, found = file.settings, {}
    (table,) = (t for name, t in file.named("position_").items() if name == str(len(t)) != str(meta["new_length"]))
    ours = stretched_table(table, meta["keep"], meta["factor"])
    for name, y in file.named(f"position_{meta['new_length']}").items():
        found[name or "fixed"] = apart(ours, y)
    words = file.weights["token_embedding"][file["ids"]] if "token_embedding" in file.weights else None
    if words is not None:
        found["embeddings"] = apart(words + ours[:words.shape[1]], file["embeddings"])
    worst(found, record_property, 1e-6)


def test_kept_rows_stay_and_a_line_stays_a_line():
    table = torch.arange(6.0)[:, None]
    assert torch.equal(stretched_table(table, 2, 1), table)
    assert stretched_table(table, 2, 2)[:, 0].tolist() == [0, 1, 2, 2.5, 3, 3.5, 4, 4.5, 5, 5.5]
    with pytest.raises(UsageError, match="6 places after 5 by 2"):
        stretched_table(table, 5, 2)
