"""What happens to every kind of file that people have; `make zoo` prints the same as a table."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from media.zoo import ANIMALS, Animal, met


@pytest.mark.parametrize("animal", ANIMALS, ids=lambda animal: animal.name)
def test_it_opens_or_says_clearly_why_not(animal: Animal, tmp_path: Path) -> None:
    happened = met(animal.make(tmp_path))
    assert re.search(animal.expect, happened), happened
    assert "WRONG" not in happened
