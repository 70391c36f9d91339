"""What may lie in the tree: size, origin of every picture, sound and weight, and nothing about one machine."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path

from house.tree import ROOT, named, tracked

MIB = 1 << 20
#: Files that somebody made or trained and that therefore have an author and a licence.
WORKS = {
    ".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".gguf", ".onnx", ".npz", ".npy", ".pkl",
    ".png", ".jpg", ".jpeg", ".gif", ".webp", ".svg", ".bmp", ".ico", ".tif", ".tiff",
    ".wav", ".mp3", ".flac", ".ogg", ".opus", ".m4a", ".mp4", ".mkv", ".webm", ".mov", ".avi",
    ".ttf", ".otf", ".woff", ".woff2",
}


def notice_lines() -> list[list[str]]:
    """The lines of NOTICE's table: [path or pattern, what it is, origin, licence]."""
    rows = [line.split("|") for line in (ROOT / "NOTICE").read_text("utf-8").splitlines() if line.count("|") == 3]
    return [[cell.strip() for cell in row] for row in rows if row[0].strip() != "path"]


def test_every_work_has_a_line_in_the_notice() -> None:
    patterns = [row[0] for row in notice_lines()]
    works = [named(path) for path in tracked() if path.suffix.lower() in WORKS]
    assert [name for name in works if not any(fnmatch(name, pattern) for pattern in patterns)] == []


def test_every_line_of_the_notice_is_filled_in_and_needed() -> None:
    names = [named(path) for path in tracked()]
    for pattern, what, origin, licence in notice_lines():
        assert what and origin and licence, pattern
        fetched = pattern.startswith("(fetched)")
        assert fetched or any(fnmatch(name, pattern) for name in names), f"nothing matches {pattern}"


def test_sources_that_are_fetched_stand_in_the_notice() -> None:
    from reelm.model import sources

    text = (ROOT / "NOTICE").read_text("utf-8")
    for file in (sources.LANGUAGE, sources.VISION):
        assert file.requirement in text and file.licence in text


def test_the_tree_is_small() -> None:
    sizes = {named(path): path.stat().st_size for path in tracked()}
    assert sum(sizes.values()) <= 40 * MIB
    assert sum(size for name, size in sizes.items() if name.startswith("tests/fixtures/")) <= 8 * MIB
    assert sum(size for name, size in sizes.items() if name.startswith("src/reelm/weights/")) <= 24 * MIB


def texts() -> list[tuple[str, str]]:
    found = []
    for path in tracked():
        if path.suffix.lower() not in WORKS:
            found.append((named(path), path.read_text("utf-8", errors="replace")))
    return found


def test_no_file_names_a_place_of_one_machine() -> None:
    place = re.compile(r"(?<![\w./*}])/(?:work|root|home|Users|opt|tmp)/\w+")
    hits = [f"{name}: {hit.group()}" for name, text in texts() for hit in place.finditer(text)]
    assert hits == []


def test_no_file_names_an_installed_package_index() -> None:
    # Where packages come from is the user's own setting of pip; a host written here would override or leak it.
    index = re.compile(r"--(?:extra-)?index-url[ =]https?:|index_url\s*=|find-links[ =]\S*:")
    assert [name for name, text in texts() if index.search(text)] == []


def test_the_weights_are_not_ignored_by_git() -> None:
    ignored = (ROOT / ".gitignore").read_text("utf-8").splitlines()
    weight = Path("src/reelm/weights/reelm-tiny/connector.safetensors")
    assert not any(fnmatch(weight.name, rule) or rule.strip("/") in weight.parts for rule in ignored)
