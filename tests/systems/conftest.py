"""One folder with real media for all tests here."""

from __future__ import annotations

from pathlib import Path

import pytest

from house.clips import write_media


@pytest.fixture(scope="session")
def media_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_media(tmp_path_factory.mktemp("media"))
