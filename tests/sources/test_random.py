import numpy as np
import pyarrow as pa
import pytest

from litotes.data.anchors import Anchors
from litotes.data.collection import Collection, judgements_table
from litotes.sources.random import Random


def world(queries, documents, order=None):
    """Query i has document i as its positive; documents may stand in another order."""
    names = [f"d{i:04d}" for i in (order if order is not None else range(documents))]
    ids = [f"q{i:04d}" for i in range(queries)]
    qrels = judgements_table(ids, [f"d{i:04d}" for i in range(queries)], [1.0] * queries)
    tables = pa.table({"id": ids, "text": ids}), pa.table({"id": names, "text": names})
    return Collection("drawn", *tables, {"train": qrels})


def drawn(source, collection):
    anchors = Anchors.of(collection, "train")
    found = source.prepare(collection)(anchors)
    names = collection.corpus["id"].to_pylist()
    out = [[] for _ in range(len(anchors))]
    for anchor, document in zip(found.anchor, found.document, strict=True):
        out[anchor].append(names[document])
    return out


@pytest.mark.parametrize("documents", [400, 40])  # drawn by trial, and by order
def test_the_draw_is_even(documents):
    depth, seeds = 20, 200
    counts = np.zeros(documents)
    for seed in range(seeds):
        for row in drawn(Random(depth, seed), world(10, documents)):
            counts[[int(name[1:]) for name in row]] += 1
    others = counts[10:]  # the first ten are positives: excluded once each
    p = depth / (documents - 1)
    deviations = (others - 10 * seeds * p) / np.sqrt(10 * seeds * p * (1 - p))
    assert abs(deviations).max() < 5 and 0.7 < deviations.std() < 1.3


@pytest.mark.parametrize("depth", [3, 15, 39])
def test_the_order_of_the_documents_does_not_matter_and_no_document_comes_twice(depth):
    shuffled = np.random.default_rng(0).permutation(40)
    one, other = drawn(Random(depth), world(9, 40)), drawn(Random(depth), world(9, 40, shuffled))
    assert one == other
    assert all(len(set(row)) == len(row) == depth for row in one)


def test_seeds_and_anchors_draw_apart():
    one, other = drawn(Random(10), world(20, 400)), drawn(Random(10, seed=1), world(20, 400))
    assert len({tuple(row) for row in [*one, *other]}) == 40


def test_a_small_corpus_gives_all_it_has():
    collection = world(2, 3)
    found = Random(10).prepare(collection)(Anchors.of(collection, "train"))
    assert sorted(found.document[found.anchor == 0]) == [1, 2] and found.short == {"random": 2}
    assert np.isnan(found.score).all() and found.source == "random"


@pytest.mark.parametrize("depth", [0, -1, float("nan")])
def test_a_bad_depth_is_refused(depth):
    with pytest.raises(ValueError, match=f"Random: depth must be >= 1, got {depth}"):
        Random(depth)
