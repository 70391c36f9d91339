"""The whole round of a run on another machine: packed, taken, trained without PyAV, stopped, gone on with, joined."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from house.tree import ROOT
from reelm.data.features import write_shard
from reelm.train import away, launch, parcels, tiny, world
from reelm.train.progress import curve, events
from reelm.train.recipe import recipe
from train.test_world import PARTS, RECIPE, start

#: What runs there: `reelm.train.tiny` on random bases. `stop` asks it, once, to stop behind the first step.
TRAINING = """
import os, signal, sys
from reelm.train import launch, tiny
from train.test_world import start
launch.fresh_tiny, say = start, tiny.say
def say_then_stop(event):
    if event["event"] == "step" and event["step"] == 1:
        os.kill(os.getpid(), signal.SIGTERM)
if sys.argv.pop() == "stop":
    tiny.say = say_then_stop
try:
    tiny.main()
finally:
    assert "av" not in sys.modules
"""
#: A program that never ends; it counts on from where it was.
COUNTING = """
import os, time
from pathlib import Path
count, new = Path("out/count.txt"), Path("out/count.new")
while True:
    new.write_text(str(int(count.read_text()) + 1 if count.exists() else 1))
    os.replace(new, count)
    time.sleep(0.02)
"""


@pytest.fixture
def without_av(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """New processes find this source tree, and a PyAV that cannot be imported."""
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "av.py").write_text("raise ImportError('PyAV is not installed')")
    paths = os.pathsep.join(str(path) for path in (tmp_path / "broken", ROOT / "src", ROOT / "tests"))
    monkeypatch.setenv("PYTHONPATH", paths)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture
def one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The same number of threads in every process: with another, sums are rounded differently."""
    usual = torch.get_num_threads()
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(usual)


def test_a_run_stopped_there_and_gone_on_with_elsewhere_is_the_run_made_here(
        tmp_path: Path, without_av: None, one_thread: None, monkeypatch: pytest.MonkeyPatch,
        capfd: pytest.CaptureFixture[str]) -> None:
    model, processor = start(PARTS, 0)
    told = RECIPE.model_dump(mode="json")
    first = {**told, "stages": told["stages"][:1], "features": str(tmp_path / "features"),
             "sources": {name: told["sources"][name] for name in ("gallery", "pictures")}}
    write_shard(model.vision_tower.eval(), processor, world.clips(recipe(first), "gallery"), 0)
    for name, text in (("recipe.yaml", json.dumps(first)), ("learn.py", TRAINING)):
        (tmp_path / name).write_text(text)
    code = away.main(["pack", str(tmp_path / "recipe.yaml"), "--features", str(tmp_path / "features"), "--out",
                      str(tmp_path / "parcel"), "--piece-mb", "0.1", "--no-bases", "--add",
                      f"learn.py={tmp_path / 'learn.py'}"])
    pieces = list((tmp_path / "parcel").glob("piece-*"))
    assert code == 0 and len(pieces) > 3 and max(path.stat().st_size for path in pieces) <= 100_000

    back = tmp_path / "back"
    for number, (word, ends) in enumerate((("stop", 130), ("end", 0))):  # each time on a bare machine
        there = tmp_path / f"machine-{number}"
        if back.exists():
            shutil.copytree(back, there / "results")
        command = [sys.executable, "learn.py", "--recipe", away.RECIPE, "--features", away.FEATURES, "--out", away.OUT,
                   word]
        work = ["--work", str(there / "work"), "--results", str(there / "results"), "--piece-mb", "0.02"]
        (tmp_path / "some").mkdir(exist_ok=True)
        shutil.copy(tmp_path / "parcel" / parcels.LIST, tmp_path / "some")
        shutil.copy(pieces[0], tmp_path / "some")
        assert away.main(["take", str(tmp_path / "some"), *work[:2]]) == 0
        assert away.main(["run", *work, "--", *command]) == 2  # most of the pieces are missing
        assert away.main(["take", str(tmp_path / "parcel"), *work[:2]]) == 0
        assert away.main(["run", *work, "--", *command]) == ends
        shutil.rmtree(back, ignore_errors=True)
        shutil.copytree(there / "results", back)
    assert max(path.stat().st_size for path in back.glob("piece-*")) <= 20_000
    assert away.main(["join", str(back), "--out", str(tmp_path / "joined")]) == 0

    steps = [event["step"] for event in events(tmp_path / "joined") if event["event"] in ("stage", "step")]
    assert steps == [0, 1, 1, 2] and "pieces are missing" in capfd.readouterr().err
    monkeypatch.setattr(launch, "fresh_tiny", start)
    folder = tiny.build(tmp_path / "recipe.yaml", tmp_path / "here", features=tmp_path / "features")
    assert curve(tmp_path / "here") == curve(tmp_path / "joined")
    here, joined = (load_file(at / "words" / "connector.safetensors") for at in (folder.parent, tmp_path / "joined"))
    assert all(torch.equal(joined[name], here[name]) for name in here) and folder.name == "words"


def test_when_the_time_is_up_what_is_there_is_packed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "count.py").write_text(COUNTING)
    (tmp_path / "features").mkdir()
    (tmp_path / "recipe.yaml").write_text("{}")
    away.pack(tmp_path / "recipe.yaml", tmp_path / "features", tmp_path / "work" / "pieces", bases=False,
              more=[f"count.py={tmp_path / 'count.py'}"])
    counts = []
    for _ in range(2):
        code = away.run(tmp_path / "work", tmp_path / "results", [sys.executable, "count.py"], minutes=0.05)
        parcels.unpack(tmp_path / "results", tmp_path / "joined")
        counts.append(int((tmp_path / "joined" / "count.txt").read_text()))
        assert code == 0 and "goes on from its last state" in capfd.readouterr().err
        shutil.rmtree(tmp_path / "work" / "inputs")
    assert 0 < counts[0] < counts[1]
    away.run(tmp_path / "work", tmp_path / "kept", [sys.executable, "-c", "open('out/b', 'w').write('b')"], keep=["b"])
    assert [one.path for one in parcels.read(tmp_path / "kept").files] == ["b"]


def test_the_bases_travel_into_the_cache_that_the_run_uses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = {}
    for file in (away.LANGUAGE, away.VISION):
        place = tmp_path / "cache" / "sources" / file.sha256 / file.name
        place.parent.mkdir(parents=True)
        place.write_bytes(b"weights")
        places[file] = place
    monkeypatch.setenv("REELM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(away, "fetch", places.__getitem__)
    (tmp_path / "features").mkdir()
    (tmp_path / "recipe.yaml").write_text("{}")
    tell = "import json, os, pathlib; cache = pathlib.Path(os.environ['REELM_CACHE'])\n" \
           "found = [str(path.relative_to(cache)) for path in cache.rglob('*')]\n" \
           "pathlib.Path('out/found.json').write_text(json.dumps(found))"
    (tmp_path / "tell.py").write_text(tell)
    parcel = away.pack(tmp_path / "recipe.yaml", tmp_path / "features", tmp_path / "work" / "pieces",
                       more=[f"tell.py={tmp_path / 'tell.py'}"])
    assert sum(one.path.startswith("cache/sources/") for one in parcel.files) == 2
    assert away.run(tmp_path / "work", tmp_path / "results", [sys.executable, "tell.py"]) == 0
    parcels.unpack(tmp_path / "results", tmp_path / "joined")
    found = set(json.loads((tmp_path / "joined" / "found.json").read_text()))
    assert {str(place.relative_to(tmp_path / "cache")) for place in places.values()} <= found


def test_mistakes_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["--features", str(tmp_path), "--out", str(tmp_path / "p"), "--no-bases"]
    for words, said in ((["pack", "absent.yaml", *common], "is not there"),
                        (["pack", __file__, *common, "--add", "x"], "NAME=PATH"),
                        (["pack", __file__, *common, "--add", f"out/x={__file__}"], "NAME=PATH"),
                        (["join", str(tmp_path), "--out", str(tmp_path / "j")], "no readable parcel.json")):
        assert away.main(words) in (2, 4)
        assert said in capsys.readouterr().err
