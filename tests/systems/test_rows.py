"""The table of systems says what tests showed, and nothing that somebody typed."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from house.command import environment
from house.tree import ROOT, named, python_files
from reelm.errors import UsageError
from reelm.registry import FAMILIES
from reelm.systems.recipes import recipes
from reelm.systems.rows import KINDS, SHOWN, Row, markdown, rows


def marked() -> dict[str, dict[str, list[str]]]:
    """Every test that carries a mark `system`, read from the sources: {system: {kind: [file::test]}}."""
    found: dict[str, dict[str, list[str]]] = {}
    for path in python_files():
        if not path.name.startswith("test_"):
            continue
        for node in ast.parse(path.read_text("utf-8")).body:
            for call in getattr(node, "decorator_list", []):
                if isinstance(call, ast.Call) and ast.unparse(call.func) == "pytest.mark.system":
                    system, kind = (ast.literal_eval(argument) for argument in call.args)
                    found.setdefault(system, {}).setdefault(kind, []).append(f"{named(path)}::{node.name}")
    return {system: {kind: sorted(tests) for kind, tests in kinds.items()} for system, kinds in found.items()}


def test_the_record_names_the_marked_tests_and_no_others() -> None:
    assert json.loads(SHOWN.read_text("utf-8")) == marked(), "run `make systems`"


def test_the_page_is_what_the_generator_gives() -> None:
    assert (ROOT / "docs" / "systems.md").read_text("utf-8") == markdown(rows()), "run `make systems`"


def test_the_74_systems_stand_in_the_table_each_once() -> None:
    made = rows()
    assert [row.number for row in made] == list(range(1, 75))
    assert len({row.name for row in made}) == len({row.title for row in made}) == 74
    for row in made:
        assert set(row.parts) <= {*FAMILIES, "task"} and row.parts, row.name
        assert row.weights in ("none", "some", "own") and row.evidence in "CNRKA" and row.about, row.name


def test_every_recipe_belongs_to_a_row_and_is_named_after_it() -> None:
    assert set(recipes()) <= {row.name for row in rows()}


def made_of(*kinds: str, **more: object) -> Row:
    facts = {"weights": "none", "evidence": "C", "about": "does it", **more}
    return Row(1, "one", "One", ("compressor",), shown=dict.fromkeys(kinds, ("t.py::test",)), **facts)


def test_a_row_needs_numbers_and_a_run() -> None:
    assert (made_of().label, made_of().complete) == ("not yet", False)
    assert made_of("parity").label == "in part: parity (no run)"
    assert made_of("cli").label == "in part: a run (no parity or identity)"
    assert not made_of("reduces", "cli").complete
    assert made_of("identity", "cli").complete and made_of("parity", "cli", "reduces").label == "parity, reduces"


def test_a_trained_system_without_a_claim_says_so_and_so_does_doubtful_evidence() -> None:
    assert made_of("parity", "cli", weights="own").label == "parity; claim not shown"
    assert made_of("parity", "cli", "claim", weights="own").label == "parity, claim"
    assert made_of("identity", "cli", evidence="A").label == "identity; after the abstract"
    assert made_of("identity", "cli", evidence="K", core=True).label == (
        "identity; small core; from general knowledge, unchecked")
    assert made_of(evidence="A").label == "not yet"


def test_a_record_of_an_unknown_system_or_kind_is_refused(tmp_path: Path) -> None:
    for text in ('{"no_such": {"parity": ["a"]}}', '{"pllava": {"nice": ["a"]}}'):
        (tmp_path / "shown.json").write_text(text)
        with pytest.raises(UsageError):
            rows(shown=tmp_path / "shown.json")


def test_only_what_passed_is_recorded_and_what_was_not_run_stays(tmp_path: Path) -> None:
    (tmp_path / "test_some.py").write_text("""
import pytest

@pytest.mark.system("one", "parity")
@pytest.mark.parametrize("ok", [True, True])
def test_good(ok):
    assert ok

@pytest.mark.system("one", "identity")
@pytest.mark.parametrize("ok", [True, False])
def test_half(ok):
    assert ok

@pytest.mark.system("one", "cli")
def test_skipped():
    pytest.skip("not here")
""")
    (tmp_path / "test_other.py").touch()
    (tmp_path / "shown.json").write_text(json.dumps({
        "one": {"cli": ["test_some.py::test_gone"]}, "two": {"cli": ["test_other.py::test_kept", "gone.py::test"]}}))
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = system\n")
    subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "conftest", "--record-systems", "shown.json",
                    "test_some.py"], cwd=tmp_path, env=environment(PYTHONPATH=str(ROOT / "tests")), check=False,
                   capture_output=True, timeout=300)
    assert json.loads((tmp_path / "shown.json").read_text()) == {
        "one": {"parity": ["test_some.py::test_good"]}, "two": {"cli": ["test_other.py::test_kept"]}}


def test_the_kinds_are_explained_on_the_page() -> None:
    text = markdown([made_of("parity", "cli")])
    assert all(f"**{kind}**" in text for kind in KINDS if kind != "cli")
    assert "1 systems: 1 shown" in text and "`t.py::test`" in text
