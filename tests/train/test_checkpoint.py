"""States are there as a whole or not at all, whichever operation of the disk fails."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from reelm.errors import CheckpointError
from reelm.train.checkpoint import MANIFEST, Checkpoints, wrong
from reelm.train.disk import Disk
from reelm.train.progress import curve, events
from train.toys import STAGES, toy_loop, toy_recipe

FILES = {"a.bin": b"first" * 100, "b.bin": b"second" * 100}


class Failing(Disk):
    """A disk whose operation number `at` fails: not at all done, or half done where that can be."""

    def __init__(self, at: int = -1, half: bool = False) -> None:
        self.at, self.half = at, half
        self.done: list[str] = []

    def _count(self, name: str) -> bool:
        self.done.append(name)
        return len(self.done) - 1 == self.at

    def make(self, folder: Path) -> None:
        if self._count("make"):
            raise OSError(28, "No space left on device")
        super().make(folder)

    def write(self, path: Path, content: bytes | Callable[[Path], object]) -> None:
        if self._count("write"):
            if self.half:
                super().write(path, content)
                path.write_bytes(path.read_bytes()[:-7])
            raise OSError(28, "No space left on device")
        super().write(path, content)

    def sync(self, path: Path) -> None:
        if self._count("sync"):
            raise OSError(5, "Input/output error")
        super().sync(path)

    def rename(self, old: Path, new: Path) -> None:
        if self._count("rename"):
            raise OSError(5, "Input/output error")
        super().rename(old, new)

    def remove(self, folder: Path) -> None:
        if self._count("remove"):
            if self.half:
                next(folder.iterdir()).unlink()
            raise OSError(5, "Input/output error")
        super().remove(folder)


def operations() -> list[str]:
    """What three saves do to the disk, the third of which removes the first state."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        disk = Failing()
        for name in ("1", "2", "3"):
            Checkpoints(Path(folder), 2, disk).save(name, FILES)
    return disk.done


OPERATIONS = operations()


def test_a_save_writes_syncs_and_renames_in_this_order() -> None:
    one = ["make", "write", "sync", "write", "sync", "write", "sync", "sync", "rename", "sync"]
    assert [*one, *one, *one, "rename", "remove"] == OPERATIONS


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("at", range(len(OPERATIONS)))
def test_whatever_fails_the_newest_complete_state_can_be_read_and_the_next_save_works(at: int, half: bool,
                                                                                      tmp_path: Path) -> None:
    disk = Failing(at, half)
    saved: list[str] = []
    for name in ("1", "2", "3"):
        try:
            Checkpoints(tmp_path, 2, disk).save(name, {**FILES, "name": name.encode()})
            saved.append(name)
        except CheckpointError as error:
            assert name not in saved and "could not be saved" in error.what
            newest = Checkpoints(tmp_path).newest()
            # A failure after the renaming leaves the new state behind, one before it the last.
            assert (newest.name if newest else None) in ([*saved, name][-1], saved[-1] if saved else None)
            if newest:
                assert (newest / "name").read_bytes() == newest.name.encode()
    assert len(saved) == 2
    Checkpoints(tmp_path, 2).save("4", {**FILES, "name": b"4"})
    states = Checkpoints(tmp_path, 2)
    newest = states.newest()
    assert newest is not None and newest.name == "4" and len(list(tmp_path.iterdir())) == 2


def test_a_run_whose_disk_fails_once_ends_with_a_reason_and_goes_on_to_the_same_losses(tmp_path: Path) -> None:
    recipe = toy_recipe(STAGES[1] | {"save_every": 1, "steps": 2}, keep=1)
    whole = toy_loop(tmp_path / "whole", recipe, disk=(counted := Failing()))
    whole.run()
    expected, wanted = curve(tmp_path / "whole"), whole.model.state_dict()
    for at in range(len(counted.done)):
        out = tmp_path / str(at)
        with pytest.raises(CheckpointError, match="could not be saved") as failed:
            toy_loop(out, recipe, disk=Failing(at, half=at % 2 == 0)).run()
        assert failed.value.exit_code == 4 and "goes on from there" in failed.value.remedy
        again = toy_loop(out, recipe)
        again.run()
        assert curve(out) == expected
        assert all((value == again.model.state_dict()[name]).all() for name, value in wanted.items())
    assert any(one["event"] == "saved" for one in events(tmp_path / "0"))


@pytest.mark.parametrize(("spoil", "said"), [
    (lambda place: (place / "a.bin").unlink(), "a.bin: No such file"),
    (lambda place: (place / "a.bin").write_bytes(b"short"), "a.bin has 5 bytes, the manifest says 500"),
    (lambda place: (place / "a.bin").write_bytes(b"wrong" * 100), "a.bin is not what was written"),
    (lambda place: (place / MANIFEST).unlink(), "manifest.json: No such file"),
    (lambda place: (place / MANIFEST).write_text("{"), "manifest.json cannot be read"),
    (lambda place: (place / MANIFEST).write_text('{"format": 9, "files": {}}'), "it has format 9"),
])
def test_a_damaged_state_is_told_and_the_one_before_it_taken(spoil: Callable[[Path], object], said: str,
                                                            tmp_path: Path) -> None:
    states = Checkpoints(tmp_path)
    first, second = states.save("1", FILES), states.save("2", FILES)
    assert wrong(second) is None
    spoil(second)
    assert said in str(wrong(second)) and states.newest() == first
    assert [place for place, _ in states.damaged()] == [second]
    assert states.save("2", FILES) == second and states.newest() == second  # made anew


def test_a_state_that_is_there_is_not_written_twice(tmp_path: Path) -> None:
    disk = Failing()
    states = Checkpoints(tmp_path, 2, disk)
    states.save("1", FILES)
    count = len(disk.done)
    states.save("1", FILES)
    assert len(disk.done) == count
