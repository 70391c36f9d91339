"""Tiny real pictures for miniatures: 32 px of one colour."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image


def content(shade: int = 0, form: str = "JPEG") -> bytes:
    """A picture file's bytes; another `shade` gives another picture."""
    file = io.BytesIO()
    Image.new("RGB", (32, 32), (40 * shade % 256, 120, 200 - 30 * shade % 200)).save(file, form)
    return file.getvalue()


def picture(path: Path, shade: int = 0) -> Path:
    """A real picture at `path`, JPEG or PNG by its suffix, folders made as needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content(shade, "PNG" if path.suffix == ".png" else "JPEG"))
    return path
