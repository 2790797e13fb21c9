from collections import Counter

import numpy as np
import pytest
import torch
from accelerate.data_loader import BatchSamplerShard
from hypothesis import given
from hypothesis import strategies as st

from litotes.batching import Batcher, Ngame
from litotes.batching.base import spread
from litotes.errors import BadInput
from litotes.search.clusters import balanced_clusters


def noise(n, d=6, seed=0):
    return np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)


def epoch(batcher, number):
    batcher.set_epoch(number)
    return list(batcher)


@given(st.integers(1, 60), st.integers(1, 70), st.integers(0, 6), st.booleans(), st.integers(0, 3))
def test_every_row_comes_exactly_once_an_epoch(n, size, doublings, drop_last, number):
    batcher = Ngame(double_at=[]).over(n, size, drop_last=drop_last) if not doublings else None
    batcher = batcher or Ngame(double_at=[1], init_size=2**doublings).over(n, size, drop_last=drop_last)
    if doublings:
        batcher.refresh(noise(n))
    batches = epoch(batcher, number)
    rows = [row for batch in batches for row in batch]
    assert len(batches) == len(batcher) and max(map(len, batches), default=0) <= size
    assert len(rows) == len(set(rows)) and set(rows) <= set(range(n))
    assert len(rows) == (n // size * size if drop_last else n)
    assert all(len(batch) == size for batch in batches[:-1]) and isinstance(batcher, Batcher)
    assert all(isinstance(row, int) for row in rows)


def test_a_batch_of_clusters_of_one_is_a_uniform_permutation():
    batcher = Ngame(double_at=[]).over(4, 4, seed=3)
    orders = Counter(tuple(epoch(batcher, number)[0]) for number in range(4800))
    assert len(orders) == 24 and max(orders.values()) < 265 and min(orders.values()) > 140


def test_a_seed_and_an_epoch_say_the_order_and_no_two_epochs_share_it():
    one, other = (Ngame().over(100, 10, seed=seed) for seed in (1, 2))
    again = Ngame().over(100, 10, seed=1)
    assert epoch(one, 0) == epoch(again, 0) and epoch(one, 3) == epoch(again, 3)
    assert epoch(one, 0) != epoch(one, 1) and epoch(one, 0) != epoch(other, 0)
    clustered = Ngame(double_at=[1]).over(100, 10)
    clustered.refresh(noise(100))
    assert epoch(clustered, 1) != epoch(clustered, 2) and epoch(clustered, 1) == epoch(clustered, 1)


def test_sizes_double_at_the_start_of_their_epochs():
    part = Ngame(double_at=[2, 4], init_size=1)
    assert [part.size_at(e) for e in range(6)] == [1, 1, 2, 2, 4, 4]
    assert Ngame().size_at(300) == 512 and Ngame(double_at=[1], init_size=3).size_at(1) == 6


def test_clusters_stay_whole_and_it_is_their_order_that_changes():
    x, n, size = noise(64), 64, 4
    batcher = Ngame(double_at=[1, 2]).over(n, 16)
    batcher.refresh(x)
    labels = balanced_clusters(x, size, seed=0)
    meetings = []
    for number in (2, 3, 4):
        for batch in epoch(batcher, number):
            assert len(set(labels[batch])) == 4  # four whole clusters of four
        meetings.append({frozenset(labels[batch].tolist()) for batch in epoch(batcher, number)})
    assert meetings[0] != meetings[1] != meetings[2]


@pytest.mark.parametrize("every", [2, 5])
def test_clusters_are_renewed_when_the_schedule_says(every):
    batcher = Ngame(double_at=[11, 13], refresh_every=every).over(20, 5)
    batcher.refresh(noise(20))
    assert [number for number in range(12) if batcher.renews(number)] == [11]
    epoch(batcher, 11)  # so that clusters are there
    want = [number for number in range(12, 40) if number % every == 0 or number == 13]
    assert [number for number in range(40) if batcher.renews(number)] == want


def test_new_embeddings_count_from_the_next_epoch_that_renews():
    a, b = noise(32, seed=1), noise(32, seed=2)
    batcher = Ngame(double_at=[1], refresh_every=3).over(32, 2)
    batcher.refresh(a)
    pairs = lambda number: {frozenset(batch) for batch in epoch(batcher, number)}
    first = pairs(1)
    batcher.refresh(b)
    assert pairs(1) == pairs(2) == first
    of_b = {frozenset(np.flatnonzero(balanced_clusters(b, 2) == c).tolist()) for c in range(16)}
    assert pairs(3) == of_b == pairs(4) != first


def test_a_refresh_before_an_epoch_begins_counts_for_it():
    batcher = Ngame(double_at=[1], refresh_every=1).over(32, 2)
    batcher.refresh(noise(32, seed=1))
    epoch(batcher, 1)
    batcher.set_epoch(2)
    assert batcher.renews(2)
    batcher.refresh(noise(32, seed=2))
    labels = balanced_clusters(noise(32, seed=2), 2)
    assert all(labels[a] == labels[b] for a, b in batcher) and not batcher.renews(2)


def test_without_embeddings_an_epoch_of_clusters_is_refused():
    batcher = Ngame(double_at=[2]).over(9, 3)
    assert len(epoch(batcher, 1)) == 3 and batcher.renews(2)
    with pytest.raises(ValueError, match="Ngame: epoch 2 asks for clusters of 2: give embeddings first"):
        epoch(batcher, 2)


def test_neighbours_meet_more_than_strangers_and_single_rows_do_not():
    x = np.repeat(noise(64, 16), 8, axis=0) + 0.3 * noise(512, 16, 1)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    alike = lambda batches: np.mean([(unit[b] @ unit[b].T).sum() / len(b) ** 2 for b in batches])
    part = Ngame(double_at=[1, 2, 3, 4])
    batcher = part.over(512, 32)
    batcher.refresh(x)
    means = [alike(epoch(batcher, number)) for number in range(5)]
    assert means[0] + 0.05 < means[2] < means[3] < means[4]
    alone = Ngame(double_at=[]).over(512, 32, seed=0)
    assert np.array_equal(alike(epoch(alone, 0)), means[0])  # size 1: the same permutation


@pytest.mark.parametrize("stop", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("middle", [True, False])
def test_a_state_gives_the_batches_of_a_run_that_never_stopped(stop, middle):
    part = Ngame(double_at=[2, 4], refresh_every=2)
    x = {number: noise(50, seed=number) for number in range(8)}

    def run(save):
        batcher, seen, saved = part.over(50, 8, seed=9), [], None
        for number in range(8):
            batcher.set_epoch(number)
            if batcher.renews(number):
                batcher.refresh(x[number])
            batches = []
            for batch in batcher:
                batches.append(batch)
                if save and middle and number == stop and len(batches) == 3:
                    saved = batcher.state_dict()
            seen.append(batches)
            if save and not middle and number == stop:
                saved = batcher.state_dict()
        return seen, saved

    (want, _), (seen, saved) = run(False), run(True)
    assert seen == want  # saving changes nothing
    again = part.over(50, 8, seed=9)
    again.load_state_dict(saved)
    for number in range(stop if middle else stop + 1, 8):
        again.set_epoch(number)
        if again.renews(number):
            again.refresh(x[number])
        assert list(again) == want[number]


def test_saving_does_not_change_how_clusters_are_cut():
    one, other = (Ngame(double_at=[1, 2, 3, 4], refresh_every=4).over(60, 7) for _ in range(2))
    for batcher in (one, other):
        batcher.refresh(noise(60))
    one.state_dict()  # makes clusters of 2, of which those of 16 are cut
    assert epoch(one, 4) == epoch(other, 4)


def test_embeddings_that_wait_are_kept_as_clusters_and_not_as_embeddings():
    batcher = Ngame(double_at=[2, 3]).over(50, 8)
    batcher.refresh(noise(50, 300))
    state = batcher.state_dict()
    assert sum(v.nbytes for v in state.values() if isinstance(v, np.ndarray)) <= 8 * 50
    again = Ngame(double_at=[2, 3]).over(50, 8)
    again.load_state_dict(state)
    assert [epoch(again, e) for e in (2, 3)] == [epoch(batcher, e) for e in (2, 3)]
    with pytest.raises(ValueError, match=r"state is one of other rows or settings \(part, seed differ\)"):
        Ngame(double_at=[2]).over(50, 8, seed=1).load_state_dict(state)


@given(st.integers(1, 40), st.integers(1, 9), st.integers(1, 4), st.booleans())
def test_processes_get_the_same_number_of_batches_and_all_rows(n, size, ranks, drop_last):
    batcher = Ngame(double_at=[]).over(n, size, ranks=ranks, drop_last=drop_last)
    for even in (True, False):  # sentence-transformers switches it off for training
        shards = [BatchSamplerShard(batcher, ranks, rank, even_batches=even) for rank in range(ranks)]
        seen = [list(shard) for shard in shards]
        if ranks > 1:
            assert {len(batches) for batches in seen} == {len(batcher) // ranks} == {len(shard) for shard in shards}
            assert all(len(batch) == size for batches in seen for batch in batches)
        rows = Counter(row for batches in seen for batch in batches for row in batch)
        if not drop_last and (ranks > 1 or not even):
            assert set(rows) == set(range(n)) and sum(rows.values()) - n == batcher.report()["repeated"]
        if drop_last:
            assert max(rows.values(), default=1) == 1 and n - len(rows) == batcher.report()["left_out"]
    assert len(batcher) % ranks == 0


def test_what_is_repeated_begins_the_epoch():
    order = np.array([4, 2, 0, 1, 3])
    assert spread(order, 2, 2, False).tolist() == [4, 2, 0, 1, 3, 4, 2, 0]
    assert spread(order, 2, 2, True).tolist() == [4, 2, 0, 1] and spread(order, 2, 1, False) is order
    assert spread(order, 8, 2, False).tolist() == [4, 2, 0, 1, 3] * 3 + [4]


def test_a_loader_of_torch_takes_it():
    batcher = Ngame(double_at=[1]).over(10, 4)
    data = torch.utils.data.TensorDataset(torch.arange(10))
    loader = torch.utils.data.DataLoader(data, batch_sampler=batcher)
    batcher.refresh(noise(10))
    for number in range(3):
        batcher.set_epoch(number)
        seen = [batch.tolist() for (batch,) in loader]
        assert seen == list(batcher) and len(seen) == len(loader) == 3
    with_workers = torch.utils.data.DataLoader(data, batch_sampler=batcher, num_workers=1)
    assert [batch.tolist() for (batch,) in with_workers] == seen


def test_rows_without_a_positive_are_named():
    with pytest.raises(ValueError, match="every row needs a positive; there is none for 'b', 'd'"):
        Ngame().over(4, 2, positives=[1, 0, 2, 0], ids=["a", "b", "c", "d"])
    with pytest.raises(ValueError, match="none for 0, 1, 2, 3, 4 and 2 more"):
        Ngame().over(7, 2, positives=np.zeros(7))


def test_embeddings_are_checked_when_they_come():
    batcher = Ngame().over(3, 2)
    with pytest.raises(ValueError, match=r"Ngame: embeddings must be \[3, D\], got \[2, 6\]"):
        batcher.refresh(noise(2))
    bad = noise(3)
    bad[1, 0] = np.nan
    with pytest.raises(BadInput, match="NaN or infinity in row 1"):
        batcher.refresh(bad)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Ngame(double_at=[2, 2]), "Ngame: double_at must ascend"),
        (lambda: Ngame(double_at=[4, 2]), "Ngame: double_at must ascend"),
        (lambda: Ngame(double_at=[0]), "Ngame: double_at must be a list of epochs >= 1"),
        (lambda: Ngame(double_at=[1.5]), "Ngame: double_at must be a list of epochs >= 1"),
        (lambda: Ngame(init_size=0), "Ngame: init_size must be a whole number >= 1, got 0"),
        (lambda: Ngame(refresh_every=0), "Ngame: refresh_every must be a whole number >= 1, got 0"),
        (lambda: Ngame().over(0, 2), "Ngame: rows must be a number >= 1"),
        (lambda: Ngame().over(3, 0), "Ngame: batch_size must be a whole number >= 1, got 0"),
        (lambda: Ngame().over(3, 1, ranks=0), "Ngame: ranks must be a whole number >= 1, got 0"),
        (lambda: Ngame().over(3, 1, seed=-1), "Ngame: seed must be a whole number >= 0, got -1"),
        (lambda: Ngame().over(3, 1).set_epoch(-1), "Ngame: epoch must be >= 0, got -1"),
    ],
)
def test_bad_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
