"""Batches of neighbours: each row once, the nearest first, lists from the next epoch on, conflicts apart."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from litotes.batching import Batcher, NeighbourBatches
from litotes.errors import BadInput


def ring(n, r):
    return (np.arange(n)[:, None] + np.arange(1, r + 1)) % n


def random_lists(n, r, seed):
    random = np.random.default_rng(seed)
    rows = np.stack([random.permutation(np.delete(np.arange(n), i))[:r] for i in range(n)])
    return np.where(random.random(rows.shape) < 0.1, -1, rows)


def epoch(batcher, number):
    batcher.set_epoch(number)
    return list(batcher)


def rows_of(batches):
    return [row for batch in batches for row in batch]


@given(st.integers(3, 60), st.integers(2, 20), st.integers(0, 4), st.integers(0, 9), st.booleans())
def test_every_row_comes_at_most_once_and_all_batches_are_full(n, size, half, seed, listed):
    depth = min(max(2 * half, 1) + 1, n - 1)
    half = min(half, depth // 2)
    lists = random_lists(n, depth, seed) if listed else None
    batcher = NeighbourBatches(2 * half, depth).over(n, size, seed=seed, lists=lists)
    for number in range(3):
        batches = epoch(batcher, number)
        rows = rows_of(batches)
        assert isinstance(batcher, Batcher) and all(len(batch) == size for batch in batches)
        assert len(set(rows)) == len(rows) and len(batches) == len(batcher) == n // size
        assert batcher.report()["left_out"] == n - len(rows) == n % size
    kept = NeighbourBatches(2 * half, depth).over(n, size, seed=seed, lists=lists, drop_last=False)
    assert sorted(rows_of(epoch(kept, 1))) == list(range(n)) and len(kept) == -(-n // size)


def test_the_nearest_comes_second_wherever_it_is_unused():
    batcher = NeighbourBatches(select=2, depth=2).over(8, 4, lists=ring(8, 2))
    for number in range(40):
        used = set()
        for batch in epoch(batcher, number):
            head = (batch[0] + 1) % 8
            after = (batch[0] + 2) % 8
            if head not in used:
                assert batch[1] == head and (after in used or batch[2] == after)
            used |= set(batch)


def test_half_of_the_neighbours_is_nearest_and_half_is_drawn_further_down():
    n, select, depth = 200, 8, 20
    batcher = NeighbourBatches(select, depth).over(n, 9, lists=ring(n, depth))
    drawn = set()
    for number in range(300):
        first = epoch(batcher, number)[0]
        places = [(row - first[0]) % n for row in first[1:]]
        assert places[:4] == [1, 2, 3, 4] and all(5 <= place <= 20 for place in places[4:])
        drawn |= set(places[4:])
    assert drawn == set(range(5, 21))
    plain = NeighbourBatches(0).over(n, 9, lists=None)
    assert rows_of(epoch(plain, 5)) == np.random.default_rng([0, 5]).permutation(n)[: n // 9 * 9].tolist()


def test_row_0_is_a_neighbour_like_any_other():
    lists = np.zeros((6, 1), int)
    lists[0] = 3
    batcher = NeighbourBatches(select=2, depth=2).over(6, 2, lists=lists)
    assert all({0, 3} in map(set, epoch(batcher, e)) or epoch(batcher, e)[0][1] == 0 for e in range(20))
    assert any(batch[1] == 0 for e in range(20) for batch in epoch(batcher, e))


def test_seed_epoch_and_lists_say_the_order_in_any_process():
    make = lambda seed: NeighbourBatches(4, 6).over(50, 8, seed=seed, lists=ring(50, 6))
    assert epoch(make(3), 2) == epoch(make(3), 2) != epoch(make(3), 3) and epoch(make(3), 2) != epoch(make(4), 2)
    code = (
        "import json, numpy as np; from litotes.batching import NeighbourBatches as N\n"
        "b = N(4, 6).over(50, 8, seed=3, lists=(np.arange(50)[:, None] + np.arange(1, 7)) % 50)\n"
        "b.set_epoch(2); print(json.dumps(list(b)))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert json.loads(said) == epoch(make(3), 2)


def test_new_lists_wait_for_the_next_epoch():
    make = lambda lists: NeighbourBatches(4, 6).over(40, 8, seed=1, lists=lists)
    a, b = ring(40, 6), random_lists(40, 6, 0)
    batcher, wanted = make(a), (epoch(make(a), 1), epoch(make(b), 2))
    batcher.set_epoch(1)
    running = iter(batcher)
    first = [next(running)]
    batcher.refresh(b)
    assert len(batcher) == 5 and first + list(running) == wanted[0] == list(batcher)
    assert epoch(batcher, 2) == wanted[1]
    before = make(None)
    before.refresh(b)
    assert epoch(before, 2) == wanted[1]


def test_vectors_make_lists_of_rows_or_of_their_candidates():
    x = np.random.default_rng(0).standard_normal((30, 5)).astype(np.float32)
    y = np.random.default_rng(1).standard_normal((30, 5)).astype(np.float32)
    unit = lambda v: v / np.linalg.norm(v, axis=1, keepdims=True)
    order = lambda s: np.argsort(-np.where(np.eye(30), -9, s), axis=1)[:, :4]
    for given_, lists in ((x, order(unit(x) @ unit(x).T)), ((x, y), order(unit(x) @ unit(y).T))):
        one, other = (NeighbourBatches(4, 4).over(30, 5) for _ in range(2))
        one.refresh(torch.from_numpy(given_) if given_ is x else given_)
        other.refresh(torch.from_numpy(lists))
        assert epoch(one, 3) == epoch(other, 3)


def test_lists_are_wanted_every_few_epochs_and_never_in_the_first():
    batcher = NeighbourBatches(4, 6, refresh_every=3).over(40, 8)
    assert [e for e in range(10) if batcher.renews(e)] == [3, 6, 9]
    epoch(batcher, 3)
    assert not batcher.renews(3)
    assert not any(NeighbourBatches(4, 6, None).over(40, 8).renews(e) for e in range(9))


@pytest.mark.parametrize("stop", [1, 2, 3])
def test_a_state_gives_the_batches_of_a_run_that_never_stopped(stop):
    def run(save):
        batcher, seen, saved = NeighbourBatches(4, 6, 2).over(50, 8, seed=9, lists=ring(50, 6)), [], None
        for number in range(6):
            batcher.set_epoch(number)
            if batcher.renews(number):
                batcher.refresh(random_lists(50, 6, number))
            if save and number == stop:
                next(iter(batcher))
                saved = batcher.state_dict()
            seen.append(list(batcher))
        return seen, saved

    (wanted, _), (seen, saved) = run(False), run(True)
    assert seen == wanted
    again = NeighbourBatches(4, 6, 2).over(50, 8, seed=9)
    again.load_state_dict(saved)
    for number in range(stop, 6):
        again.set_epoch(number)
        if again.renews(number):
            again.refresh(random_lists(50, 6, number))
        assert list(again) == wanted[number]
    with pytest.raises(ValueError, match=r"other rows or settings \(seed differ\)"):
        NeighbourBatches(4, 6, 2).over(50, 8).load_state_dict(saved)


def csr(n, pairs):
    rows = [sorted(b for a, b in pairs if a == i) for i in range(n)]
    return np.cumsum([0, *map(len, rows)]), np.array([b for row in rows for b in row], int)


@given(st.integers(4, 40), st.integers(2, 8), st.integers(0, 99), st.booleans())
def test_rows_that_exclude_each_other_never_meet(n, size, seed, drop_last):
    random = np.random.default_rng(seed)
    pairs = {(int(a), int(b)) for a, b in random.integers(0, n, (2 * n, 2)) if a != b}
    depth = min(6, n - 1)
    part = NeighbourBatches(2, depth)
    lists = random_lists(n, depth, seed)
    batcher = part.over(n, size, seed=seed, lists=lists, exclude=csr(n, pairs), drop_last=drop_last)
    for number in range(3):
        batches = epoch(batcher, number)
        for batch in batches:
            assert not any((a, b) in pairs for a in batch for b in batch)
        rows = rows_of(batches)
        assert len(rows) == len(set(rows)) and len(batches) == len(batcher)
        assert sorted(rows) == list(range(n)) if not drop_last else all(len(batch) == size for batch in batches)
        assert batcher.report()["left_out"] == n - len(rows)


def test_a_row_in_conflict_waits_and_comes_first_in_the_next_batch():
    n, pairs = 12, {(a, b) for a in range(12) for b in range(12) if a != b and (a < 6 > b or a % 3 == b % 3)}
    batcher = NeighbourBatches(0).over(n, 3, exclude=csr(n, pairs), drop_last=False)
    for number in range(40):
        queue = np.random.default_rng([0, number]).permutation(n).tolist()
        batches = epoch(batcher, number)
        for batch in batches:
            want = []
            for row in queue:
                if len(want) < 3 and not any((row, other) in pairs for other in want):
                    want.append(row)
            assert batch == want
            queue = [row for row in queue if row not in want]
        assert not queue and batcher.report()["excluded"] > 0
    nothing = NeighbourBatches(0).over(n, 3, exclude=csr(n, set()))
    assert epoch(nothing, 1) == epoch(NeighbourBatches(0).over(n, 3), 1)


def test_processes_share_whole_batches():
    make = lambda **more: NeighbourBatches(4, 6).over(50, 8, ranks=4, lists=ring(50, 6), **more)
    assert len(make()) == 4 and epoch(make(), 1) == epoch(NeighbourBatches(4, 6).over(50, 8, lists=ring(50, 6)), 1)[:4]
    assert len(make(drop_last=False)) == 8 and set(rows_of(epoch(make(drop_last=False), 1))) == set(range(50))
    assert make(drop_last=False).report()["repeated"] == 14


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NeighbourBatches(3), "select must be even"),
        (lambda: NeighbourBatches(8, 6), "at most depth = 6, got 8"),
        (lambda: NeighbourBatches(-2), "select must be a whole number >= 0"),
        (lambda: NeighbourBatches(refresh_every=0), "refresh_every must be a whole number >= 1"),
        (lambda: NeighbourBatches(4, 9).over(9, 2), "depth must be at most n - 1, got depth=9 of n=9"),
        (lambda: NeighbourBatches(2, 2).over(9, 1), "batch_size must be >= 2, got 1"),
        (lambda: NeighbourBatches(2, 2).over(3, 2, lists=[[1], [2]]), r"lists must be int \[3, r\]"),
        (lambda: NeighbourBatches(2, 2).over(3, 2, lists=[[1], [3], [0]]), r"lists must hold rows in \[0, 3\)"),
        (lambda: NeighbourBatches(2, 2).over(3, 2, lists=[[1, 2], [2, 2], [0, 1]]), "list of row 1 holds a row twice"),
        (lambda: NeighbourBatches(2, 2).over(3, 2).refresh(np.zeros((2, 4))), r"embeddings must be \[3, D\]"),
        (
            lambda: NeighbourBatches(2, 2).over(3, 2, ranks=2, drop_last=False, exclude=csr(3, {(0, 1)})),
            "needs drop_last=True",
        ),
    ],
)
def test_bad_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_vectors_are_checked_when_they_come():
    with pytest.raises(BadInput, match="NaN or infinity in row 1"):
        NeighbourBatches(2, 2).over(3, 2).refresh(np.array([[1.0], [np.nan], [0.0]]))
