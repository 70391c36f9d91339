"""The rules of the house, checked on the syntax trees: who may import whom, how long a file may be."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from house.tree import SOURCE, named, python_files, tracked

#: From the ground up. A room may import from every level below its own; rooms of one level do not know each other.
LEVELS = (
    {"errors"}, {"view"}, {"types"}, {"registry", "config", "systems"}, {"kernels", "media"}, {"parts"}, {"model"},
    {"compat", "data", "programs"}, {"tasks"}, {"train", "eval", "serve"}, {"studies"}, {"cli"},
)
#: `import reelm`, the face of the package, gives `load` and so stands where the model stands.
FACE = "model"
FAMILIES = {"samplers", "encoders", "connectors", "compressors", "layouts", "policies", "caches", "adapters",
            "objectives", "programs"}
FORBIDDEN_NAMES = {"utils.py", "util.py", "misc.py", "common.py", "helpers.py", "helper.py", "tools.py"}


def modules() -> list[Path]:
    return [path for path in python_files() if SOURCE in path.parents]


def dotted(path: Path) -> str:
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def known() -> set[str]:
    return {dotted(path) for path in modules()}


def imports(path: Path, names: set[str]) -> Iterator[tuple[int, str]]:
    """Every module of ours that a file imports anywhere, lazily or for types too: (line, dotted name)."""
    package = dotted(path) if path.name == "__init__.py" else dotted(path).rpartition(".")[0]
    return imports_of(path.read_text(encoding="utf-8"), package, names)


def imports_of(text: str, package: str, names: set[str]) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "reelm":
                    yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base] if base else above)
            if base.split(".")[0] != "reelm":
                continue
            for alias in node.names:
                whole = f"{base}.{alias.name}"
                yield node.lineno, whole if whole in names else base


def room_of(name: str) -> str:
    """The room of a module: reelm.parts.samplers.fps lives in "parts"; "reelm" itself is the face."""
    return name.split(".")[1] if "." in name else FACE


def level_of(room: str) -> int:
    return next(i for i, rooms in enumerate(LEVELS) if room in rooms)


def wrong_arrows() -> list[str]:
    names = known()
    wrong = []
    for path in modules():
        if path == SOURCE / "__init__.py":
            continue
        home = room_of(dotted(path))
        for line, name in imports(path, names):
            room = room_of(name)
            if room != home and level_of(room) >= level_of(home):
                wrong.append(f"{named(path)}:{line} ({home}) imports {name} ({room})")
    return wrong


def test_every_module_lives_in_a_room_with_a_level() -> None:
    rooms = {room_of(dotted(path)) for path in modules()}
    assert rooms <= set().union(*LEVELS)


def test_imports_point_one_way() -> None:
    assert wrong_arrows() == []


def test_the_face_imports_nothing_heavy_when_it_is_imported() -> None:
    tree = ast.parse((SOURCE / "__init__.py").read_text(encoding="utf-8"))
    eager = [node.module for node in tree.body if isinstance(node, ast.ImportFrom)]
    assert {name for name in eager if name and name.startswith("reelm")} <= {"reelm", "reelm.errors", "reelm.types"}


def test_families_of_parts_never_import_each_other() -> None:
    names, wrong = known(), []
    for path in modules():
        here = dotted(path).split(".")
        if here[:2] != ["reelm", "parts"] or len(here) < 3 or here[2] not in FAMILIES:
            continue
        for line, name in imports(path, names):
            there = name.split(".")
            if there[:2] == ["reelm", "parts"] and len(there) > 2 and there[2] in FAMILIES - {here[2]}:
                wrong.append(f"{named(path)}:{line} imports {name}")
    assert wrong == []


@pytest.mark.parametrize("text", ["from reelm.model import front", "def f():\n    import reelm.model.front",
                                  "import reelm", "from reelm import load", "from ..model.front import VideoLM",
                                  "if TYPE_CHECKING:\n    from reelm.model.front import VideoLM"])
def test_the_check_itself_sees_a_wrong_arrow(text: str) -> None:
    (_, name), = imports_of(text, "reelm.media", known())
    assert level_of(room_of(name)) > level_of("media")


def test_files_are_at_most_400_lines() -> None:
    long = {named(path): count for path in python_files() if (count := path.read_text("utf-8").count("\n")) > 400}
    assert long == {}


def test_functions_are_at_most_50_lines() -> None:
    long = {}
    for path in python_files():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno:
                length = node.end_lineno - node.lineno + 1
                if length > 50:
                    long[f"{named(path)}:{node.lineno} {node.name}"] = length
    assert long == {}


def test_no_file_is_a_drawer_for_everything() -> None:
    assert [named(path) for path in tracked() if path.name in FORBIDDEN_NAMES] == []


@pytest.mark.parametrize("path", [path for path in modules() if path.stem != "__init__"], ids=named)
def test_every_module_says_what_it_is(path: Path) -> None:
    doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert doc and len(doc.splitlines()[0]) > 10
