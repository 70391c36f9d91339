"""What `make package` builds can be installed elsewhere and works there. Slow: it builds and installs packages."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from house.tree import ROOT, named, tracked

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "hatchling", "build", "-d", str(folder), cwd=ROOT)
    return folder


def run(*command: str, cwd: Path) -> str:
    # PYTHONPATH would let the installed command find this source tree instead of what was installed.
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(command, cwd=cwd, env=env, text=True, capture_output=True, timeout=1800, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_wheel_holds_the_package_and_nothing_else(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    own = {named(path).removeprefix("src/") for path in tracked() if named(path).startswith("src/reelm/")}
    assert inside == own | {f"reelm/{named(path)}" for path in tracked() if named(path).startswith("recipes/systems/")}
    whole = zipfile.ZipFile(wheel).namelist()
    assert any(name.endswith("licenses/NOTICE") for name in whole)


def test_the_source_archive_holds_what_the_tests_need(built: Path) -> None:
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        inside = {name.partition("/")[2] for name in tar.getnames()}
    assert inside >= {named(path) for path in tracked() if named(path) != ".gitignore"}


@pytest.mark.parametrize("pattern", ["*.whl", "*.tar.gz"])
def test_it_installs_into_an_empty_environment_and_answers_from_another_folder(
        pattern: str, built: Path, media_folder: Path, tmp_path: Path) -> None:
    (package,) = built.glob(pattern)
    home = tmp_path / "env"
    venv.create(home, with_pip=True)
    pip = (str(home / "bin" / "python"), "-m", "pip", "install", "--quiet")
    pins = tmp_path / "constraints.txt"
    torch = run(sys.executable, "-c", "import importlib.metadata as m; print(m.version('torch'))", cwd=tmp_path).strip()
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pins.write_text("\n".join([line for line in lines if not line.startswith("torch==")] + [f"torch=={torch}"]))
    run(*pip, str(package), "-c", str(pins), cwd=tmp_path)
    reelm = str(home / "bin" / "reelm")
    said = run(reelm, "ask", str(media_folder / "clip.mp4"), "What is it?", "-m", "random:av", "--json", cwd=tmp_path)
    assert '"audio_used": true' in said
    assert "uniform" in run(reelm, "parts", cwd=tmp_path)
    assert "pllava" in run(reelm, "systems", cwd=tmp_path)
