"""What tests show of a system: `@pytest.mark.system("pllava", "parity")`, and the record of those that passed.

`make systems` runs the marked tests with `--record-systems FILE`. The record holds names of tests, nothing else; what a
row of docs/systems.md says is computed from it.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--record-systems", metavar="FILE", help="write down which tests marked `system` passed")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--record-systems"):
        config.pluginmanager.register(Record(Path(config.getoption("--record-systems"))))


class Record:
    """Collects what marked tests showed. What stands in the file of tests in other files, not run now, is kept."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.files: set[str] = set()
        self.marks: dict[str, set[tuple[str, str]]] = {}
        self.passed: set[str] = set()
        self.failed: set[str] = set()

    @pytest.hookimpl(tryfirst=True)  # before tests are deselected: a file whose last mark went must lose its entries
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for item in items:
            self.files.add(item.nodeid.partition("::")[0])
            for mark in item.iter_markers("system"):
                system, kind = mark.args
                self.marks.setdefault(_test(item.nodeid), set()).add((system, kind))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if not report.passed:  # a test with parameters counts when all of them passed
            self.failed.add(_test(report.nodeid))
        elif report.when == "call":
            self.passed.add(_test(report.nodeid))

    def pytest_sessionfinish(self) -> None:
        shown = {(system, kind, test) for test in self.passed - self.failed
                 for system, kind in self.marks.get(test, ())}
        old = json.loads(self.path.read_text("utf-8")) if self.path.is_file() else {}
        shown |= {(system, kind, test) for system, kinds in old.items() for kind, tests in kinds.items()
                  for test in tests if (file := test.partition("::")[0]) not in self.files and Path(file).is_file()}
        found: dict[str, dict[str, list[str]]] = {}
        for system, kind, test in sorted(shown):
            found.setdefault(system, {}).setdefault(kind, []).append(test)
        self.path.write_text(json.dumps(found, indent=1) + "\n", "utf-8")


def _test(nodeid: str) -> str:
    return nodeid.partition("[")[0]
