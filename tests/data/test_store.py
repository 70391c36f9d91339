"""The store: whole entries or none, whoever writes, dies or damages; never above its limit; found again bit for bit."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch
from torch import Tensor

from reelm.data.store import Store
from reelm.errors import UsageError


def key(name: object) -> str:
    return hashlib.sha256(str(name).encode()).hexdigest()


def tensors(number: int, size: int = 1000) -> dict[str, Tensor]:
    """What belongs to a number, and to no other: a torn or mixed entry cannot equal it."""
    return {"x": torch.full((size,), number, dtype=torch.float32), "n": torch.tensor([number])}


def same(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> bool:
    return found.keys() == wanted.keys() and all(
        found[name].dtype == one.dtype and torch.equal(found[name], one) for name, one in wanted.items())


def entries(store: Store) -> list[Path]:
    return sorted(store.folder.glob("??/*"))


def lie(size: int = 1000) -> int:
    """The bytes of one entry on disk."""
    return size * 4 + 8 + 320


def child(action: Callable[..., None], *args: object) -> BaseProcess:
    """Another process that does `action`; forked, because importing torch takes longer than all of these tests."""
    process = get_context("fork").Process(target=_alone, args=(action, *args))
    process.start()
    return process


def _alone(action: Callable[..., None], *args: object) -> None:
    torch.set_num_threads(1)  # the threads of the process that was forked do not exist in this one
    action(*args)


def test_what_is_made_once_is_found_again_bit_for_bit(tmp_path: Path) -> None:
    made = {"half": torch.randn(3, 5).bfloat16(), "bytes": torch.arange(256, dtype=torch.uint8).reshape(2, 128),
            "one": torch.tensor(7), "none": torch.empty(0, 4), "turned": torch.randn(4, 6).T}
    asked = []
    for _ in range(3):
        store = Store(tmp_path / "kept")
        found = store.get(key("a"), lambda: asked.append(1) or made)
        assert same(found, made)
    assert len(asked) == 1 and store.counts == {"found": 1}
    assert Store(tmp_path / "kept").totals() == {"bytes": entries(store)[0].stat().st_size, "kept": 1}


def test_an_entry_is_plain_safetensors(tmp_path: Path) -> None:
    from safetensors import safe_open

    store = Store(tmp_path)
    store.put(key("a"), tensors(3))
    with safe_open(entries(store)[0], "pt") as file:
        assert same({name: file.get_tensor(name) for name in file.keys()}, tensors(3))  # noqa: SIM118
        assert file.metadata()["key"] == key("a")


@pytest.mark.parametrize("harm", ["a bit of the data", "a bit of the header", "cut", "empty", "another's"])
def test_a_damaged_entry_is_found_counted_and_made_again(harm: str, tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put(key("a"), tensors(1))
    path = entries(store)[0]
    data = bytearray(path.read_bytes())
    if harm.startswith("a bit"):
        data[-2000 if "data" in harm else 40] ^= 4
    elif harm == "another's":
        other = Store(tmp_path / "other")
        other.put(key("b"), tensors(2))
        data = bytearray(entries(other)[0].read_bytes())
    path.write_bytes(data[:{"cut": len(data) // 2, "empty": 0}.get(harm, len(data))])
    assert same(store.get(key("a"), lambda: tensors(1)), tensors(1))
    assert store.counts == {"damaged": 1, "made": 1} and store.totals()["damaged"] == 1
    assert same(store.get(key("a"), lambda: pytest.fail("it was mended")), tensors(1))


def test_a_flipped_bit_anywhere_is_seen(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put(key("a"), {"x": torch.arange(4.0)})
    path = entries(store)[0]
    whole = path.read_bytes()
    blank = {at for at in range(8, len(whole) - 16) if whole[at] in b" "}  # the padding between header and data
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1:])
        found = store.find(key("a"))
        assert found is None or (at in blank and same(found, {"x": torch.arange(4.0)})), at


def test_the_entry_unused_for_longest_goes_first_and_the_limit_is_never_exceeded(tmp_path: Path) -> None:
    store = Store(tmp_path, 10 * lie())
    for number in range(9):
        store.put(key(number), tensors(number))
        time.sleep(0.002)
    assert store.find(key(0)) is not None  # used again
    for number in range(9, 14):
        time.sleep(0.002)
        store.put(key(number), tensors(number))
        assert sum(path.stat().st_size for path in entries(store)) <= store.limit_bytes
    kept = [number for number in range(14) if store.find(key(number)) is not None]
    assert 0 in kept and 13 in kept and not {1, 2, 3} & set(kept) and len(kept) >= 8
    assert store.totals()["removed"] == 14 - len(kept)
    assert store.totals()["bytes"] == sum(path.stat().st_size for path in entries(store))


def test_what_is_larger_than_the_limit_is_given_but_not_kept(tmp_path: Path) -> None:
    store = Store(tmp_path, lie())
    store.put(key(1), tensors(1))
    assert same(store.get(key(2), lambda: tensors(2, 2000)), tensors(2, 2000))
    assert store.counts == {"made": 1, "large": 1} and store.find(key(1)) is not None


def share(folder: Path, limit: int, seed: int) -> None:
    store = Store(folder, limit)
    for turn in range(60):
        number = (turn * 7 + seed) % 30
        wanted = tensors(number, 1000 + number)
        assert same(store.get(key(number), lambda wanted=wanted: wanted), wanted), number
        on_disk = 0
        for path in folder.glob("??/*.safetensors"):
            with suppress(FileNotFoundError):
                on_disk += path.stat().st_size
        assert on_disk <= limit
    assert not store.counts["damaged"] and not store.counts["unwritten"]
    (folder / f"made{seed}").write_text(str(store.counts["made"]))


def test_many_processes_share_a_folder_without_a_torn_entry_and_within_its_limit(tmp_path: Path) -> None:
    limit = 20 * lie(1030)
    children = [child(share, tmp_path, limit, seed) for seed in range(4)]
    for one in children:
        one.join()
    assert [one.exitcode for one in children] == [0] * 4
    made = [int((tmp_path / f"made{seed}").read_text()) for seed in range(4)]
    totals = Store(tmp_path, limit).totals()
    assert totals["kept"] == sum(made) and totals["removed"] > 0
    assert totals["bytes"] == sum(path.stat().st_size for path in tmp_path.glob("??/*"))


def test_without_a_race_nothing_is_made_twice(tmp_path: Path) -> None:
    store = Store(tmp_path)
    one = child(lambda: [Store(tmp_path).put(key(number), tensors(number)) for number in range(20)])
    one.join()
    for number in range(20):
        store.get(key(number), lambda: pytest.fail("the other process made it"))
    assert store.totals()["kept"] == store.counts["found"] == 20


def write_on(folder: Path, limit: int) -> None:
    store, number = Store(folder, limit), 0
    while True:
        number = (number + 1) % 40
        store.put(key(number), tensors(number, 200_000))


def newest(folder: Path) -> int:
    """When the latest entry was written, in nanoseconds; other processes may remove some meanwhile."""
    times = [0]
    for path in folder.glob("??/*.safetensors"):
        with suppress(FileNotFoundError):
            times.append(path.stat().st_mtime_ns)
    return max(times)


def test_a_process_killed_at_any_moment_leaves_nothing_half(tmp_path: Path) -> None:
    size, limit = 200_000, 30 * lie(200_000)
    for attempt in range(10):
        before = newest(tmp_path)
        victim = child(write_on, tmp_path, limit)
        while newest(tmp_path) <= before:
            time.sleep(0.001)
        time.sleep(0.0037 * attempt)
        os.kill(victim.pid or 0, signal.SIGKILL)
        victim.join()
        store = Store(tmp_path, limit)
        found = {number: store.find(key(number)) for number in range(40)}
        assert all(one is None or same(one, tensors(number, size)) for number, one in found.items())
        assert store.counts["found"] >= 1 and not store.counts["damaged"]
        assert store.totals()["bytes"] == sum(path.stat().st_size for path in tmp_path.glob("??/*.safetensors"))


def die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def half(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data[:len(data) // 2])
    die()


@pytest.mark.parametrize(("owner", "name", "deed"), [(Path, "write_bytes", half), (os, "replace", die)],
                         ids=["in the middle of the data", "before the name"])
def test_killed_inside_a_write_it_leaves_the_key_free_and_the_count_right(owner: object, name: str, deed: object,
                                                                          tmp_path: Path) -> None:
    def write_and_die() -> None:
        setattr(owner, name, deed)
        Store(tmp_path).put(key(2), tensors(2))

    store = Store(tmp_path)
    store.put(key(1), tensors(1))
    victim = child(write_and_die)
    victim.join()
    assert victim.exitcode == -signal.SIGKILL and len(list(tmp_path.glob("??/*.part"))) == 1
    assert store.find(key(2)) is None and store.find(key(1)) is not None
    assert store.totals()["bytes"] == sum(path.stat().st_size for path in tmp_path.glob("??/*.safetensors"))
    assert same(store.get(key(2), lambda: tensors(2)), tensors(2)) and store.find(key(2)) is not None


def test_what_dead_processes_left_behind_is_removed_once_it_is_old(tmp_path: Path) -> None:
    store = Store(tmp_path, 3 * lie())
    store.put(key(1), tensors(1))
    fresh, old = (entries(store)[0].with_name(f"{key(9)}.{name}.part") for name in "ab")
    for path in (fresh, old):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    for number in range(2, 6):
        store.put(key(number), tensors(number))
    assert fresh.exists() and not old.exists()


def test_a_lost_or_damaged_count_is_made_anew(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put(key(1), tensors(1))
    for harm in (lambda path: path.unlink(), lambda path: path.write_text("{"), lambda path: path.write_text("")):
        harm(tmp_path / "count.json")
        assert store.totals()["bytes"] == entries(store)[0].stat().st_size
    assert json.loads((tmp_path / "count.json").read_text())["bytes"] > 0


def test_a_disk_that_refuses_costs_the_entry_not_the_run(tmp_path: Path) -> None:
    store = Store(tmp_path)
    (tmp_path / key(1)[:2]).write_text("a file where a folder should be")
    assert same(store.get(key(1), lambda: tensors(1)), tensors(1))
    assert store.counts == {"unread": 1, "made": 1, "unwritten": 1} and key(1) in store.trouble
    store.counts.clear()
    other = next(n for n in range(2, 99) if key(n)[:2] != key(1)[:2])
    (tmp_path / "count.json").mkdir()
    assert same(store.get(key(other), lambda: tensors(other)), tensors(other))
    assert store.counts == {"made": 1, "unwritten": 1} and "Is a directory" in store.trouble
    assert not entries(store)


def test_a_write_that_breaks_off_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    def fill_the_disk() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))  # the system refuses the rest of a larger file
        store = Store(tmp_path)
        assert same(store.get(key(1), lambda: tensors(1)), tensors(1))
        assert store.counts == {"made": 1, "unwritten": 1} and "too large" in store.trouble

    one = child(fill_the_disk)
    one.join()
    assert one.exitcode == 0
    assert not entries(Store(tmp_path)) and Store(tmp_path).totals()["bytes"] == 0


def test_wrong_uses_are_refused(tmp_path: Path) -> None:
    for name in ("", "../../etc/passwd", key(1)[:-1], key(1) + "/", key(1).upper()):
        with pytest.raises(UsageError):
            Store(tmp_path).find(name)
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError):
        Store(tmp_path / "file")
    with pytest.raises(UsageError):
        Store(tmp_path, 0)
