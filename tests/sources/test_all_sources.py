"""What every source at disk scale promises, asked of all of them on drawn collections."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litotes.data.anchors import Anchors, normalise
from litotes.data.collection import Collection, judgements_table
from litotes.search.space import Space
from litotes.sources.mined.bm25 import Bm25
from litotes.sources.mined.dense import Mined
from litotes.sources.mixture import Mixture
from litotes.sources.random import Random

SOURCES = [
    Random(3, seed=7),
    Random(50),
    Mined(3, skip=1),
    Mined(4, per_anchor=2, seed=3),
    Mined(50),
    Bm25(3, skip=1),
    Bm25(50),
    Mixture([Mined(4), Bm25(4), Random(4)], [0.5, 0.25, 0.25], depth=4),
    Mixture([Random(50, seed=1), Mined(1)], [0.1, 0.9], depth=50),
]
words = st.sampled_from(["red", "green", "blue", "Red", "GREEN", "sea", "sky"])
texts = st.lists(words, min_size=1, max_size=3).map(" ".join)


@st.composite
def worlds(draw):
    """A small collection with repeated texts, several positives, judged negatives and vectors with ties."""
    queries, documents = draw(st.lists(texts, min_size=1, max_size=5)), draw(st.lists(texts, min_size=3, max_size=12))
    names = draw(st.permutations([f"d{i}" for i in range(len(documents))]))
    pairs = st.tuples(st.integers(0, len(queries) - 1), st.integers(0, len(documents) - 1))
    judged = draw(st.dictionaries(pairs, st.sampled_from([0.0, 1.0, 2.0, -1.0]), min_size=1, max_size=10))
    ids = [f"q{i}" for i in range(len(queries))]
    qrels = judgements_table([ids[q] for q, _ in judged], [names[d] for _, d in judged], list(judged.values()))
    tables = pa.table({"id": ids, "text": queries}), pa.table({"id": names, "text": documents})
    collection = Collection("drawn", *tables, {"train": qrels})
    numbers = np.random.default_rng(draw(st.integers(0, 99)))
    vectors = [numbers.integers(-1, 2, (len(each), 3)).astype(np.float32) for each in (queries, documents)]
    return collection, Space(*vectors, "dot")


def found_as_rows(found, anchors):
    """(anchor id, source, document id) -> (rank, score), and no key twice."""
    queries, corpus = anchors.collection.queries["id"].to_pylist(), anchors.collection.corpus["id"].to_pylist()
    columns = zip(found.anchor, found.finder, found.document, found.rank, found.score, strict=True)
    rows = [(queries[anchors.query[a]], found.sources[by], corpus[d], int(r), float(s)) for a, by, d, r, s in columns]
    made = {row[:3]: (row[3], str(row[4])) for row in rows}
    assert len(made) == len(rows)
    return made


@pytest.mark.parametrize("source", SOURCES, ids=str)
@given(world=worlds(), cut=st.integers(0, 5))
def test_nothing_excluded_is_found_what_is_short_is_counted_and_slices_find_the_same(source, world, cut):
    collection, space = world
    anchors = Anchors.of(collection, "train")
    find = source.prepare(collection, space)
    found = find(anchors)

    document_texts = [normalise(text) for text in collection.document_texts()]
    for anchor, document in zip(found.anchor, found.document, strict=True):
        positives = anchors.positives.row(anchor)
        assert document not in positives
        assert document_texts[document] not in {document_texts[p] for p in positives}

    asked = getattr(source, "per_anchor", None) or source.depth
    counts = [len(set(found.document[found.anchor == a])) for a in range(len(anchors))]
    assert max(counts, default=0) <= asked
    assert found.short.get(getattr(source, "name", "mixture"), 0) == sum(count < asked for count in counts)
    if not isinstance(source, Bm25 | Mixture):
        left = len(collection.corpus) - np.diff(anchors.excluded.offsets) - getattr(source, "skip", 0)
        assert counts == [max(min(asked, n), 0) for n in left]

    parts = [anchors[:cut], anchors[cut:]]
    apart = {key: value for part in parts for key, value in found_as_rows(find(part), part).items()}
    assert apart == found_as_rows(found, anchors)
    shorts = {name: sum(find(part).short.get(name, 0) for part in parts) for name in found.short}
    assert shorts == dict(found.short)


@pytest.mark.parametrize("source", [s for s in SOURCES if not isinstance(s, Bm25 | Random)], ids=str)
def test_a_source_of_vectors_says_so_when_there_are_none(source):
    texts = pa.table({"id": ["a"], "text": ["a"]})
    with pytest.raises(ValueError, match="Mined: needs vectors"):
        source.prepare(Collection("one", texts, texts), None)
