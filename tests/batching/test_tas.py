from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from litotes.batching import Batcher, TasBalanced
from litotes.batching.tas import gap_bins


def take(batcher, count):
    """The first batches of a stream, epoch after epoch."""
    out, number = [], 0
    while len(out) < count:
        batcher.set_epoch(number)
        out += list(batcher)
        number += 1
    return out[:count]


def of(labels, each=2, **given):
    """Rows of queries with `each` pairs, and the topics of the queries."""
    labels = np.asarray(labels)
    rows = np.repeat(np.arange(len(labels)), each)
    return {"rows": rows, "labels": labels, "gaps": np.arange(float(len(rows))), **given}


# ---- bins


def test_bins_are_of_equal_width_and_are_drawn_evenly():
    gaps = [0, 0.1, 0.2, 10]
    assert gap_bins(gaps, 10).tolist() == [0, 0, 0, 9]
    batcher = TasBalanced(topics=None).over(np.zeros(4, int), 1, gaps=gaps)
    drawn = Counter(batch[0] for batch in take(batcher, 10_000))
    assert chisquare([drawn[i] for i in range(4)], [10_000 / 6] * 3 + [5_000]).pvalue > 1e-4


def test_the_largest_gap_is_in_the_last_bin_and_equal_gaps_in_the_first():
    assert gap_bins(np.linspace(-3, 8, 111), 7).max() == 6 and gap_bins([5.0, 5.0, 5.0]).tolist() == [0, 0, 0]
    assert gap_bins([1.0]).tolist() == [0] and gap_bins([]).tolist() == [] and gap_bins([0, 1], 1).tolist() == [0, 0]


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30), st.integers(1, 12))
def test_bins_are_their_formula(gaps, bins):
    low, high = min(gaps), max(gaps)
    want = [min(bins - 1, int((g - low) / (high - low) * bins)) if high > low else 0 for g in gaps]
    assert gap_bins(gaps, bins).tolist() == want


@given(st.lists(st.tuples(st.integers(0, 4), st.floats(-5, 5)), min_size=1, max_size=40), st.integers(1, 6))
def test_a_pair_is_as_likely_as_its_bin_says(pairs, bins):
    """Bins of each query by itself: the draw goes query, bin, pair."""
    query = np.array([q for q, _ in pairs])
    gaps = np.array([g for _, g in pairs])
    batcher = TasBalanced(topics=None, bins=bins).over(query, 1, gaps=gaps)
    for place, number in enumerate(np.unique(query)):
        mine = np.flatnonzero(query == number)
        want = {}
        of_bin = gap_bins(gaps[mine], bins)
        for b in set(of_bin.tolist()):
            want[frozenset(mine[of_bin == b].tolist())] = 1
        begins = range(batcher._bins[place], batcher._bins[place + 1])
        found = {frozenset(batcher._row[batcher._first[b] : batcher._first[b + 1]].tolist()) for b in begins}
        assert found == set(want)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_gap_that_is_no_number_is_refused_with_its_query(bad):
    with pytest.raises(ValueError, match="gaps must be finite numbers, got .* of query 'q7'"):
        TasBalanced(topics=None).over([3, 3, 7], 1, gaps=[1, 2, bad], ids=[f"q{i}" for i in range(8)])
    with pytest.raises(ValueError, match="of query '7'"):
        TasBalanced(topics=None).over([3, 3, 7], 1, gaps=[1, 2, bad])
    with pytest.raises(ValueError, match="gaps must be finite numbers, got .* at 1"):
        gap_bins([0.0, bad])


# ---- topics


def test_a_batch_is_of_one_topic_if_that_is_large_enough():
    given = of(np.repeat([0, 1, 2], 40))
    batcher = TasBalanced(topics=3).over(given.pop("rows"), 32, **given)
    for batch in take(batcher, 60):
        queries = np.array(batch) // 2
        assert len(set((queries // 40).tolist())) == 1 and len(set(queries.tolist())) == 32


@pytest.mark.parametrize(("per_batch", "size", "topics"), [(1, 10, 4), (2, 40, 2), (4, 40, 4), (1, 31, 2), (3, 40, 3)])
def test_as_many_topics_meet_as_it_takes(per_batch, size, topics):
    given = of(np.repeat(np.arange(8), size))
    batcher = TasBalanced(topics=8, topics_per_batch=per_batch).over(given.pop("rows"), 32, **given)
    for batch in take(batcher, 40):
        queries = np.array(batch) // 2
        assert len(batch) == 32 == len(set(queries.tolist())) and len(set((queries // size).tolist())) == topics


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30), st.data())
def test_batches_are_always_full_of_different_queries(labels, data):
    size = data.draw(st.integers(1, len(labels)))
    part = TasBalanced(topics=6, topics_per_batch=data.draw(st.integers(1, size)))
    ranks = data.draw(st.integers(1, 3))
    given = of(labels)
    batcher = part.over(given.pop("rows"), size, seed=data.draw(st.integers(0, 9)), ranks=ranks, **given)
    batches = list(batcher)
    assert len(batches) == len(batcher) and len(batcher) % ranks == 0 and isinstance(batcher, Batcher)
    assert ranks > 1 or len(batcher) == -(-len(labels) // size)
    assert all(len({row // 2 for row in batch}) == size == len(batch) for batch in batches)


def test_a_large_topic_begins_a_batch_no_more_often_than_a_small_one():
    labels = np.concatenate([np.zeros(100, int), np.repeat([1, 2, 3, 4], 10)])
    given = of(labels, each=1)
    batcher = TasBalanced(topics=5).over(given.pop("rows"), 10, **given)
    first = Counter(int(labels[batch[0]]) for batch in take(batcher, 5000))
    assert chisquare([first[i] for i in range(5)]).pvalue > 1e-4


def test_queries_without_a_pair_and_topics_without_a_query_are_not_there():
    given = of([0, 0, 9, 1, 1])
    rows = np.array([0, 0, 1, 3, 3, 4])  # query 2, alone in topic 9, has no pair
    batcher = TasBalanced(topics=10).over(rows, 2, gaps=np.arange(6.0), labels=given["labels"])
    seen = {row for batch in take(batcher, 50) for row in batch}
    assert seen == set(range(6)) and batcher.report()["topics"] == 2 and batcher.report()["queries"] == 4


def test_topics_are_those_of_k_means():
    x = 10 * np.repeat(np.eye(3), 20, axis=0) + np.random.default_rng(0).normal(size=(60, 3))
    batcher = TasBalanced(topics=3, balance="random").over(60, 8, embeddings=torch.from_numpy(x))
    assert all(len({row // 20 for row in batch}) == 1 for batch in take(batcher, 30))
    later = TasBalanced(topics=3, balance="random").over(60, 8)
    assert later.renews(0)
    with pytest.raises(ValueError, match="TasBalanced: there are no topics: give over"):
        list(later)
    later.refresh(x)
    assert not later.renews(0) and take(later, 30) == take(batcher, 30) and not later.renews(5)


def test_new_topics_count_from_the_next_epoch():
    x = np.repeat(np.eye(2), 10, axis=0)
    batcher = TasBalanced(topics=2, balance="random").over(20, 5, embeddings=x)
    want = list(batcher)
    batcher.refresh(np.tile(np.eye(2), (10, 1)))
    assert list(batcher) == want and all(len({row // 10 for row in batch}) == 1 for batch in want)
    batcher.set_epoch(1)
    assert all(len({row % 2 for row in batch}) == 1 for batch in batcher)


def test_a_seed_says_the_stream_and_a_state_goes_on_with_it():
    given = of(np.repeat(np.arange(4), 12))
    rows = given.pop("rows")
    part = TasBalanced(topics=4)
    one = part.over(rows, 8, seed=3, **given)
    want = take(one, 18)
    assert want == take(part.over(rows, 8, seed=3, **given), 18) != take(part.over(rows, 8, seed=4, **given), 18)
    assert want[:6] != want[6:12]
    stopped = part.over(rows, 8, seed=3, **given)
    stopped.set_epoch(1)
    begun = iter(stopped)
    done = [next(begun) for _ in range(4)]
    again = part.over(rows, 8, seed=3, gaps=given["gaps"])  # without topics: they are in the state
    again.load_state_dict(stopped.state_dict())
    assert [*done, *list(again)[4:]] == want[6:12] and take(again, 18) == want
    with pytest.raises(ValueError, match=r"state is one of other rows or settings \(part, seed, batch_size differ\)"):
        TasBalanced(topics=3).over(rows, 9, **given).load_state_dict(stopped.state_dict())


def test_how_often_queries_come_is_reported():
    given = of([0] * 90 + [1] * 10)
    batcher = TasBalanced(topics=2).over(given.pop("rows"), 10, **given)
    batches = list(batcher)
    told = batcher.report()
    times = Counter(row // 2 for batch in batches for row in batch)
    assert told["times_most"] == max(times.values()) and told["times_mean"] == 1.0
    assert told["queries_left_out"] == 100 - len(times) and told["smallest_topic"] == 10
    list(batcher)
    assert batcher.report() == told  # of one epoch, whoever iterates it again


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TasBalanced(topics=0), "topics must be a whole number >= 1, got 0"),
        (lambda: TasBalanced(topics_per_batch=0), "topics_per_batch must be a whole number >= 1, got 0"),
        (lambda: TasBalanced(bins=0), "bins must be a whole number >= 1, got 0"),
        (lambda: TasBalanced(balance="even"), "balance must be 'bins' or 'random', got 'even'"),
        (lambda: TasBalanced().over([0, 0, 1], 3, gaps=[1, 2, 3]), "at most the 2 queries that have a pair, got 3"),
        (lambda: TasBalanced().over([0, 1], 2), "balance='bins' needs gaps, got None"),
        (lambda: TasBalanced().over([0, 1], 2, gaps=[1.0]), r"gaps must be \[2\], one per row, got \[1\]"),
        (lambda: TasBalanced(topics_per_batch=3).over(4, 2, gaps=np.ones(4)), "at most batch_size 2, got 3"),
        (lambda: TasBalanced().over(4, 2, gaps=np.ones(4), labels=[0, 1]), "labels must be .* one for each of 4"),
        (lambda: TasBalanced().over(4, 2, gaps=np.ones(4), labels=[0, 1, -1, 0]), "labels must be whole numbers >= 0"),
        (lambda: TasBalanced(topics=9).over(4, 2, gaps=np.ones(4), embeddings=np.ones((4, 2))), "at most the 4 quer"),
        (
            lambda: TasBalanced().over(4, 2, gaps=np.ones(4), embeddings=np.ones((3, 2))),
            r"must be \[4, D\], got \[3, 2",
        ),
        (lambda: TasBalanced(topics=None).over(4, 2, gaps=np.ones(4), labels=[0] * 4), "topics=None has no topics"),
        (lambda: TasBalanced(topics=None).over(4, 2, gaps=np.ones(4)).refresh(np.ones((4, 2))), "no topics to renew"),
        (lambda: TasBalanced().over([-1, 0], 1, gaps=[0, 1]), "rows must be a number >= 1, or the number of an anchor"),
    ],
)
def test_bad_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
