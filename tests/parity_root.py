"""Where the reference vectors are: $REELM_PARITY_DIR when set, else the copies in tests/fixtures/parity."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

FIXTURES = Path(__file__).parent / "fixtures" / "parity"


def parity_dir(name: str) -> Path:
    """The folder `name` (video, audio_video, …); a missing one fails the test, it is never skipped."""
    root = Path(os.environ.get("REELM_PARITY_DIR") or FIXTURES)
    folder = root / name
    if not folder.is_dir():
        pytest.fail(f"no reference vectors in {folder}; REELM_PARITY_DIR must hold video/, audio_video/ and so on")
    return folder


def at_hand(file: str) -> bool:
    """False for a recording that is left out of this repository for its size; all of `$REELM_PARITY_DIR` is at hand."""
    return bool(os.environ.get("REELM_PARITY_DIR")) or (FIXTURES / file).is_file()
