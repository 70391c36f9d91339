"""Stored features by a random tower, made once for all tests here."""

from __future__ import annotations

import pytest

from reelm.studies.tables import Stock
from studies.small import stock


@pytest.fixture(scope="session")
def small_stock(tmp_path_factory: pytest.TempPathFactory) -> Stock:
    return stock(tmp_path_factory.mktemp("features"))
