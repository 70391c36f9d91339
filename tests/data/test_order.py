"""The order of samples: every epoch has each of them once; a stopped run goes on exactly, with any number of ranks."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from reelm.data.order import GlobalBatches, shuffled
from reelm.errors import UsageError

#: Lengths as of questions about clips: most are short, some have many turns.
LENGTHS = np.random.default_rng(0).lognormal(5.2, 0.6, 2000).astype(int) + 20


def stream(batches: GlobalBatches, steps: int) -> list[list[int]]:
    return [list(batch) for batch in islice(batches.whole(), steps)]


def one_epoch(batches: GlobalBatches, epoch: int = 0) -> list[list[int]]:
    return stream(batches, batches.steps(epoch + 1))[batches.steps(epoch):]


@settings(deadline=None)
@given(st.integers(0, 300), st.integers(0, 2**40), st.integers(0, 2**20))
def test_shuffled_is_a_permutation_and_depends_on_nothing_but_its_arguments(count: int, seed: int, epoch: int) -> None:
    order = shuffled(count, seed, epoch)
    assert sorted(order.tolist()) == list(range(count))
    assert order.tolist() == shuffled(count, seed, epoch).tolist()


def test_the_order_is_the_same_on_every_machine_and_with_every_release_of_numpy() -> None:
    """A run that was begun elsewhere goes on in its order; whoever changes these numbers breaks that."""
    assert shuffled(8, 0, 0).tolist() == [4, 7, 6, 1, 2, 0, 5, 3]
    assert shuffled(8, 1, 5).tolist() == [3, 1, 4, 6, 0, 5, 2, 7]
    assert stream(GlobalBatches([1] * 20, 6, 7, group=2), 4) == [
        [3, 15, 0, 1, 10], [12, 2, 5, 14, 18], [19, 9, 4, 16, 11], [6, 7, 13, 17, 8]]


def test_every_place_is_as_likely() -> None:
    first = np.array([np.flatnonzero(shuffled(6, 3, epoch) == 0)[0] for epoch in range(3000)])
    assert np.abs(np.bincount(first, minlength=6) - 500).max() < 100  # 4.9 standard deviations


def test_epochs_and_seeds_have_different_orders() -> None:
    orders = {tuple(shuffled(50, seed, epoch).tolist()) for seed in range(4) for epoch in range(4)}
    assert len(orders) == 16


@settings(deadline=None)
@given(st.lists(st.integers(1, 90), min_size=1, max_size=70), st.integers(1, 20), st.integers(0, 99), st.integers(1, 9))
def test_every_epoch_has_each_sample_once_in_batches_of_nearly_one_size(
    lengths: list[int], batch: int, seed: int, group: int
) -> None:
    batches = GlobalBatches(lengths, batch, seed, group=group)
    for epoch in range(3):
        cut = one_epoch(batches, epoch)
        assert sorted(sum(cut, [])) == list(range(len(lengths)))
        sizes = {len(one) for one in cut}
        assert len(cut) == -(-len(lengths) // batch) and max(sizes) <= batch and max(sizes) - min(sizes) <= 1


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_run_that_stops_and_goes_on_with_other_ranks_loses_and_repeats_nothing(data: st.DataObject) -> None:
    count, seed = data.draw(st.integers(8, 60), "count"), data.draw(st.integers(0, 99), "seed")
    batch, group = data.draw(st.integers(8, 20), "batch"), data.draw(st.integers(1, 5), "group")
    mix = data.draw(st.none() | st.just([(count - 3, 1.0), (3, 2.5)]), "mix")
    lengths = data.draw(st.lists(st.integers(1, 50), min_size=count, max_size=count), "lengths")
    wanted = stream(GlobalBatches(lengths, batch, seed, group=group, mix=mix), 12)
    seen: list[list[int]] = []
    consumed = 0
    while len(seen) < 12:
        ranks, steps = data.draw(st.integers(1, 3), "ranks"), data.draw(st.integers(1, 7), "steps")
        run = [GlobalBatches(lengths, batch, seed, group=group, mix=mix, consumed=consumed, rank=rank, ranks=ranks)
               for rank in range(ranks)]
        shares = [list(islice(one, steps)) for one in run]
        for step in range(steps):
            whole = sum((share[step] for share in shares), [])
            assert max(len(share[step]) for share in shares) - min(len(share[step]) for share in shares) <= 1
            assert run[0].after(consumed) == consumed + len(whole)
            consumed += len(whole)
            seen.append(whole)
    assert [sorted(batch) for batch in seen[:12]] == [sorted(batch) for batch in wanted]


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_a_loader_with_workers_gives_the_same_batches(workers: int) -> None:
    batches = GlobalBatches(LENGTHS[:64].tolist(), 8, 3, consumed=16)
    loader: DataLoader[int] = DataLoader(range(64), batch_sampler=batches, num_workers=workers, collate_fn=list)
    assert list(islice(loader, 9)) == stream(batches, 9)


def test_sources_come_as_often_as_the_mix_says_and_half_a_source_is_another_half_next_time() -> None:
    batches = GlobalBatches([1] * 30, 7, 0, mix=[(10, 0.5), (8, 2.5), (12, 1.0)])
    epochs = [Counter(sum(one_epoch(batches, epoch), [])) for epoch in range(4)]
    for epoch in epochs:
        assert [sum(epoch[at] for at in part) for part in (range(10), range(10, 18), range(18, 30))] == [5, 20, 12]
        assert all(epoch[at] in (2, 3) for at in range(10, 18)) and all(epoch[at] == 1 for at in range(18, 30))
    assert set(epochs[0]) & set(range(10)) | set(epochs[1]) & set(range(10)) == set(range(10))
    both = epochs[2] + epochs[3]
    assert all(both[at] == 5 for at in range(10, 18))
    assert batches.size(0) == 37 and batches.position(37) == (1, 0)


def padded_share(batches: list[list[int]], lengths: np.ndarray) -> float:
    """The share of a padded batch's positions that hold no token."""
    filled = sum(int(lengths[batch].sum()) for batch in batches)
    return 1 - filled / sum(len(batch) * int(lengths[batch].max()) for batch in batches)


def test_grouping_leaves_little_padding_and_does_not_sort_the_epoch() -> None:
    alone, grouped, more = (one_epoch(GlobalBatches(LENGTHS, 16, 0, group=group)) for group in (1, 8, 32))
    shares = [padded_share(batches, LENGTHS) for batches in (alone, grouped, more)]
    print(f"\npadding of batches of 16: {shares[0]:.1%} in random order, {shares[1]:.1%} grouped in windows of 8 "
          f"batches, {shares[2]:.1%} of 32")
    assert shares[0] > 0.5 and shares[1] < 0.25 and shares[2] < 0.12
    means = [float(LENGTHS[batch].mean()) for batch in grouped]
    assert abs(float(np.corrcoef(means, np.arange(len(means)))[0, 1])) < 0.3


def test_lengths_are_read_when_their_window_begins_and_not_at_all_without_grouping() -> None:
    class Watched(list[int]):
        asked = 0

        def __getitem__(self, at):  # type: ignore[no-untyped-def]
            Watched.asked += 1
            return super().__getitem__(at)

    stream(GlobalBatches(Watched([5] * 640), 8, 0, group=1), 9)
    assert Watched.asked == 0
    stream(GlobalBatches(Watched([5] * 640), 8, 0, group=4), 3)
    assert Watched.asked == 32


def test_a_place_inside_a_global_batch_is_refused() -> None:
    with pytest.raises(UsageError, match="13 consumed samples end inside global batch"):
        GlobalBatches([1] * 64, 8, 0, consumed=13)
    with pytest.raises(UsageError, match="end inside"):  # another batch size than the run was begun with
        GlobalBatches([1] * 64, 10, 0, consumed=8)


@pytest.mark.parametrize(("count", "batch", "ranks"), [(3, 8, 4), (9, 8, 5), (64, 2, 3), (0, 8, 1)])
def test_a_rank_without_a_sample_is_refused_before_the_run(count: int, batch: int, ranks: int) -> None:
    with pytest.raises(UsageError, match="leaves one of"):
        GlobalBatches([1] * count, batch, 0, ranks=ranks)


def test_a_mix_of_another_size_than_the_data_is_refused() -> None:
    with pytest.raises(UsageError, match="the mix has 5 samples, there are 6"):
        GlobalBatches([1] * 6, 2, 0, mix=[(5, 1.0)])
