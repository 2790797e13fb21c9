"""A mask against its definition, one pair at a time."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litotes.search.mask import Mask

times = st.sampled_from([-1.0, 0.0, 0.5, 2.0, math.nan, math.inf])


def below(size, most):
    """Lists of numbers in [0, size)."""
    return st.lists(st.integers(0, size - 1), max_size=most) if size else st.just([])


@st.composite
def worlds(draw):
    """(queries, documents, conditions): each condition is there or not."""
    n, size = draw(st.integers(0, 4)), draw(st.integers(0, 7))
    rows = st.lists(below(size, 6), min_size=n, max_size=n)
    group = lambda length: st.lists(st.integers(-2, 2), min_size=length, max_size=length)
    clock = lambda length: st.lists(times, min_size=length, max_size=length)
    given_ = {
        "exclude": draw(st.none() | rows),
        "allow": draw(st.none() | rows),
        "allowed": draw(st.none() | st.lists(st.booleans(), min_size=size, max_size=size)),
        "groups": draw(st.none() | st.tuples(group(n), group(size))),
        "times": draw(st.none() | st.tuples(clock(size), clock(n), clock(n))),
    }
    return n, size, given_


def csr(items):
    return np.cumsum([0] + [len(row) for row in items]), np.array([item for row in items for item in row], np.int16)


def mask_of(n, size, conditions):
    made = {name: value for name, value in conditions.items() if value is not None}
    for name in {"exclude", "allow"} & made.keys():
        made[name] = csr(made[name])
    if "allowed" in made:
        made["allowed"] = np.array(made["allowed"], bool)
    for name in {"groups", "times"} & made.keys():
        made[name] = tuple(np.array(part, int if name == "groups" else float) for part in made[name])
    return Mask.of(n, size, **made)


def slowly(conditions, query, document):
    """Whether the query may find the document: every condition in words."""
    kept = True
    if conditions["exclude"] is not None:
        kept = kept and document not in conditions["exclude"][query]
    if conditions["allow"] is not None:
        kept = kept and document in conditions["allow"][query]
    if conditions["allowed"] is not None:
        kept = kept and conditions["allowed"][document]
    if conditions["groups"] is not None:
        mine, theirs = conditions["groups"][0][query], conditions["groups"][1][document]
        kept = kept and not (mine >= 0 and mine == theirs)
    if conditions["times"] is not None:
        time, earliest, latest = (
            part[i] for part, i in zip(conditions["times"], (document, query, query), strict=True)
        )
        kept = kept and earliest <= time <= latest
    return kept


def matrix(conditions, queries, documents):
    return [[slowly(conditions, query, document) for document in documents] for query in queries]


def kept(mask):
    """The whole mask, asked pair by pair."""
    pairs = np.indices((mask.queries, mask.documents)).reshape(2, -1)
    return mask.keeps(*pairs).reshape(mask.queries, mask.documents).tolist()


@given(worlds(), st.data())
def test_it_is_its_definition_in_whole_in_blocks_and_in_parts(world, data):
    n, size, conditions = world
    mask = mask_of(n, size, conditions)
    assert mask.open == all(value is None for value in conditions.values())
    assert kept(mask) == matrix(conditions, range(n), range(size))

    low, high = sorted(data.draw(st.tuples(st.integers(0, size), st.integers(0, size))))
    first, last = sorted(data.draw(st.tuples(st.integers(0, n), st.integers(0, n))))
    block = matrix(conditions, range(first, last), range(low, high))
    assert kept(mask.of_queries(np.arange(first, last)).of_documents(low, high)) == block
    assert kept(mask.of_documents(low, high)) == matrix(conditions, range(n), range(low, high))
    taken = data.draw(below(n, 5))
    part = mask.of_queries(np.array(taken, np.int64))
    assert kept(part) == matrix(conditions, taken, range(size))
    assert kept(part.of_documents(low, high)) == matrix(conditions, taken, range(low, high))


@pytest.mark.parametrize("seed", range(12))
def test_every_block_of_a_full_world_is_what_its_pairs_are(seed):
    rng = np.random.default_rng(seed)
    n, size = 15, 25
    conditions = {
        "exclude": [rng.integers(0, size, 6).tolist() for _ in range(n)],
        "allow": [rng.integers(0, size, 60).tolist() for _ in range(n)] if seed % 2 else None,
        "allowed": (rng.random(size) < 0.9).tolist() if seed % 3 else None,
        "groups": (rng.integers(-1, 4, n).tolist(), rng.integers(-1, 4, size).tolist()) if seed % 5 else None,
        "times": (rng.integers(0, 9, size).tolist(), rng.integers(0, 3, n).tolist(), rng.integers(5, 9, n).tolist()),
    } | ({} if seed % 4 else {"times": None})
    mask, whole = mask_of(n, size, conditions), np.array(matrix(conditions, range(n), range(size)))
    assert (kept(mask) == whole).all() and 0 < whole.sum() < whole.size
    for low, high in ((0, 25), (0, 10), (10, 25), (7, 8)):
        for first, last in ((0, 15), (4, 9)):
            block = kept(mask.of_queries(np.arange(first, last)).of_documents(low, high))
            assert block == whole[first:last, low:high].tolist()


@given(worlds(), st.data())
def test_further_exclusions_add_up(world, data):
    n, size, conditions = world
    more = data.draw(st.lists(below(size, 4), min_size=n, max_size=n))
    both = [[*mine, *other] for mine, other in zip(conditions["exclude"] or [[]] * n, more, strict=True)]
    made = mask_of(n, size, conditions).without(csr(more))
    assert kept(made) == matrix(conditions | {"exclude": both}, range(n), range(size))
    offsets, items = made.exclude
    assert [items[lo:hi].tolist() for lo, hi in zip(offsets, offsets[1:], strict=False)] == [
        sorted(set(row)) for row in both
    ]


@given(worlds())
def test_the_bound_on_what_can_be_found_is_one(world):
    n, size, conditions = world
    mask = mask_of(n, size, conditions)
    bound, counts = mask.possible(), [sum(line) for line in matrix(conditions, range(n), range(size))]
    if conditions["allow"] is conditions["allowed"] is None:
        assert bound is None
    else:
        assert all(count <= limit for count, limit in zip(counts, bound.tolist(), strict=True))
    if {name for name, value in conditions.items() if value is not None} in ({"allow"}, {"allowed"}):
        assert bound.tolist() == counts


def test_the_limits_of_time_belong_to_the_window_and_no_time_is_in_none():
    clock = (np.array([1.0, 2.0, 3.0, math.nan]), np.array([1.0, -math.inf, math.nan]), np.array([2.0, math.inf, 9.0]))
    assert kept(Mask.of(3, 4, times=clock)) == [[True, True, False, False], [True, True, True, False], [False] * 4]


BAD = [
    (
        {"exclude": (np.array([0, 1]), np.array([0]))},
        r"exclude needs offsets \[3\] and items \[any\], got \[2\] and \[1\]",
    ),
    ({"allow": (np.array([0, 1, 1]), np.array([4]))}, r"items of allow must be document rows in \[0, 4\), got 4 to 4"),
    ({"exclude": (np.array([0, 1, 1]), np.array([-1]))}, r"items of exclude must be .* got -1 to -1"),
    ({"exclude": (np.array([0, 1, 2]), np.array([0]))}, "offsets of exclude must rise from 0 to 1"),
    ({"exclude": (np.array([0, 2, 1], np.uint64), np.array([0]))}, "offsets of exclude must rise from 0 to 1"),
    (
        {"exclude": (np.array([0, 1, 1]), np.array([0.5]))},
        "exclude needs integers, got int64 offsets and float64 items",
    ),
    ({"allowed": np.array([True])}, r"allowed must be bool \[4\], got bool \[1\]"),
    ({"allowed": np.zeros(4)}, r"allowed must be bool \[4\], got float64 \[4\]"),
    (
        {"groups": (np.zeros(2, int), np.zeros(3, int))},
        r"groups of documents must be whole numbers \[4\], got int64 \[3\]",
    ),
    ({"groups": (np.zeros(2), np.zeros(4, int))}, r"groups of queries must be whole numbers \[2\], got float64 \[2\]"),
    ({"times": (np.zeros(4), np.zeros(2), np.zeros(1))}, r"latest times must be numbers \[2\], got float64 \[1\]"),
    ({"times": (np.array(["a"] * 4), np.zeros(2), np.zeros(2))}, r"times of documents must be numbers \[4\], got <U1"),
]


@pytest.mark.parametrize(("bad", "message"), BAD)
def test_what_does_not_fit_is_named(bad, message):
    with pytest.raises(ValueError, match=f"Mask: .*{message}"):
        Mask.of(2, 4, **bad)


def test_sizes_are_checked():
    with pytest.raises(ValueError, match="Mask: documents must be a whole number >= 0, got -1"):
        Mask.of(1, -1)
    with pytest.raises(ValueError, match=r"Mask: queries must be a whole number >= 0, got 1.5"):
        Mask.of(1.5, 1)
