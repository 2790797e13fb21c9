"""An approximate search gives facts about what it found, honours masks as the exact one does, and measures itself."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litotes.errors import BadInput
from litotes.search.approximate import KINDS, ApproximateIndex, choose, index_bytes
from litotes.search.definition import SIMILARITIES, defined, norms
from litotes.search.exact import top_k
from litotes.search.mask import Mask

pytest.importorskip("faiss")

RNG = np.random.default_rng(0)
SIZE, WIDE = 2000, 12
CENTRES = RNG.standard_normal((20, WIDE))


def vectors(count):
    noise = 0.5 * RNG.standard_normal((count, WIDE))
    made = (CENTRES[RNG.integers(0, 20, count)] + noise) * RNG.uniform(0.2, 3.0, (count, 1))
    return made.astype(np.float32)


CORPUS, QUERIES = vectors(SIZE), vectors(40)
CORPUS[700:760] = CORPUS[100:160]  # exact copies, so that ties occur
BUILT = {
    (kind, similarity): ApproximateIndex.build(CORPUS, similarity, kind=kind, threads=1)
    for kind in KINDS
    for similarity in SIMILARITIES
}
indexes = pytest.mark.parametrize("index", BUILT.values(), ids=["-".join(key) for key in BUILT])


def masks(seed, queries):
    """Masks under which much, little or nothing can be found."""
    rng = np.random.default_rng(seed)
    there = rng.random(5) < 0.4
    some = [rng.integers(0, SIZE, (queries, n)) for n in (rng.choice([3, 60]), rng.choice([2, 1900]))]
    csr = [(np.arange(queries + 1) * each.shape[1], each.ravel()) for each in some]
    options = {
        "exclude": csr[0],
        "allow": csr[1],
        "allowed": rng.random(SIZE) < rng.choice([0.001, 0.1, 0.9]),
        "groups": (rng.integers(-1, 3, queries), rng.integers(-1, 3, SIZE)),
        "times": (rng.random(SIZE), np.zeros(queries), rng.choice([-1.0, 0.002, 0.9], queries)),
    }
    return Mask.of(queries, SIZE, **{name: one for (name, one), on in zip(options.items(), there, strict=True) if on})


@indexes
@given(st.integers(0, 9999))
def test_what_is_found_is_scored_by_the_definition_in_order_and_allowed_and_never_fewer_than_there_are(index, seed):
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, len(QUERIES), rng.integers(1, 4))
    mask, k = masks(seed, len(rows)), rng.choice([1, 7, 200], len(rows))
    ids, scores, exact = index.search(QUERIES[rows], k, mask)
    kept = mask.keeps(*(part.ravel() for part in np.indices((len(rows), SIZE)))).reshape(-1, SIZE)
    assert ids.shape == scores.shape == (len(rows), k.max()) and 0 <= exact <= len(rows)
    for i, row in enumerate(rows):
        found = ids[i][ids[i] >= 0]
        assert len(found) == min(k[i], kept[i].sum()) == len(set(found.tolist()))
        assert (ids[i, len(found) :] == -1).all() and (scores[i, len(found) :] == -np.inf).all()
        assert kept[i, found].all()
        wanted = defined(np.broadcast_to(QUERIES[row], (len(found), WIDE)), CORPUS[found], index.similarity)
        assert scores[i, : len(found)].tobytes() == wanted.tobytes()
        order = np.lexsort([found, -wanted])
        assert found.tolist() == found[order].tolist()


@indexes
def test_asked_for_all_it_gives_what_the_exact_search_gives(index):
    wanted = top_k(QUERIES, CORPUS, SIZE, similarity=index.similarity)
    for one, other in zip(index.top_k(QUERIES, SIZE), wanted, strict=True):
        assert one.tobytes() == other.tobytes()


@indexes
def test_the_measured_recall_is_the_recall_and_effort_reaches_the_target(index):
    _, exact = top_k(QUERIES, CORPUS, 20, similarity=index.similarity)
    index = index.tuned(QUERIES, 20, target=0.97)
    shares = [
        min(1.0, (found >= all_[-1]).sum() / 20) for found, all_ in zip(index.top_k(QUERIES, 20)[1], exact, strict=True)
    ]
    recall = index.recall(QUERIES, 20, sample=999)
    assert recall.mean == pytest.approx(np.mean(shares)) and recall.queries == 40 and recall.k == 20
    assert recall.mean >= 0.97 and 0 <= recall.low < recall.mean <= recall.high <= 1
    if index.kind == "flat":
        assert recall.mean == 1.0


@pytest.mark.parametrize("kind", ["hnsw", "ivfpq"])
@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_what_the_index_sees_is_ordered_as_the_similarity_orders(kind, similarity):
    index = BUILT[kind, similarity]
    documents = index._seen(CORPUS, index.corpus_norms, False).astype(np.float64)
    for query, seen in zip(QUERIES, index._seen(QUERIES, norms(QUERIES), True).astype(np.float64), strict=True):
        near = documents @ seen if similarity == "cosine" else -((documents - seen) ** 2).sum(axis=1)
        wanted = defined(np.broadcast_to(query, CORPUS.shape), CORPUS, similarity).astype(np.float64)
        assert np.corrcoef(near, wanted)[0, 1] == pytest.approx(1.0, abs=1e-6)  # one is a line of the other


def test_the_interval_is_wilsons():
    recall = BUILT["flat", "cosine"].recall(QUERIES, 5, sample=40)
    assert recall.low == pytest.approx(40 / (40 + 1.959963984540054**2)) and recall.high == pytest.approx(1.0)
    assert str(recall) == "1.0000 [0.912, 1.000] at 5 over 40 queries"


def test_more_effort_finds_no_less():
    for kind in ("hnsw", "ivf", "ivfpq"):
        index = BUILT[kind, "cosine"]
        lowest = [
            ApproximateIndex(CORPUS, "cosine", kind, effort, index.index).recall(QUERIES, 50).mean
            for effort in (0, 3, 6)
        ]
        assert lowest[0] <= lowest[1] + 1e-9 <= lowest[2] + 2e-9, (kind, lowest)
    assert lowest[0] < lowest[2]  # short codes need it


def test_a_kept_index_is_taken_again_only_for_the_same_vectors(tmp_path, monkeypatch):
    first = ApproximateIndex.build(CORPUS, kind="hnsw", folder=tmp_path)
    built = []
    monkeypatch.setattr(ApproximateIndex, "_built", lambda self, *rest: built.append(rest) or first.index)
    again = ApproximateIndex.build(CORPUS, kind="hnsw", folder=tmp_path)
    assert not built and again.top_k(QUERIES, 10)[0].tobytes() == first.top_k(QUERIES, 10)[0].tobytes()
    other = CORPUS.copy()
    other[5, 0] += 1
    ApproximateIndex.build(other, kind="hnsw", folder=tmp_path)
    ApproximateIndex.build(CORPUS, kind="hnsw", folder=tmp_path)
    ApproximateIndex.build(CORPUS, kind="hnsw", folder=tmp_path, seed=1)
    ApproximateIndex.build(CORPUS, "dot", kind="hnsw", folder=tmp_path)
    assert len(built) == 3 and len(list(tmp_path.iterdir())) == 4  # side by side: none takes the place of another
    ApproximateIndex.build(other, kind="hnsw", folder=tmp_path)
    assert len(built) == 3
    for file in tmp_path.iterdir():
        file.unlink()
    ApproximateIndex.build(CORPUS, kind="hnsw", folder=tmp_path)
    assert len(built) == 4


@pytest.mark.parametrize("kind", ["hnsw", "ivf", "ivfpq"])
def test_two_builds_with_one_thread_and_a_mapped_corpus_are_alike(kind, tmp_path):
    np.save(tmp_path / "corpus.npy", CORPUS)
    mapped = ApproximateIndex.build(np.load(tmp_path / "corpus.npy", mmap_mode="r"), kind=kind, threads=1)
    for one, other in zip(mapped.search(QUERIES, 30), BUILT[kind, "cosine"].search(QUERIES, 30), strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("kind", ["hnsw", "ivf", "ivfpq"])
def test_extreme_lengths_zero_vectors_and_few_documents(kind, similarity):
    rng = np.random.default_rng(1)
    corpus = (rng.standard_normal((300, 3)) * 10.0 ** rng.integers(-25, 18, (300, 1))).astype(np.float32)
    corpus[7] = 0
    index = ApproximateIndex.build(corpus, similarity, kind=kind, threads=1)
    queries = np.float32([[0, 0, 0], [1e-30, 0, 0], [1e30, 1e30, -1e30], [1, 2, 3]])
    ids, scores = index.top_k(queries, 300)
    wanted = top_k(queries, corpus, 300, similarity=similarity)
    assert ids.tobytes() == wanted[0].tobytes() and scores.tobytes() == wanted[1].tobytes()
    if kind != "ivfpq":
        one = ApproximateIndex.build(corpus[:1], similarity, kind=kind)
        assert one.top_k(queries, 2)[0].tolist() == [[0, -1]] * 4
    none = ApproximateIndex.build(corpus[:0], similarity, kind="hnsw" if kind == "ivfpq" else kind)
    assert none.top_k(queries, 1)[0].tolist() == [[-1]] * 4 and index.top_k(queries[:0], 2)[0].shape == (0, 2)


def test_the_kind_is_chosen_by_size_and_memory():
    assert choose(100_000, 384, 1) == "flat"
    sizes = {kind: index_bytes(kind, 10**6, 384) for kind in KINDS}
    assert sizes["flat"] < sizes["ivfpq"] < sizes["ivf"] < sizes["hnsw"]
    for kind in ("hnsw", "ivf", "ivfpq"):
        assert choose(10**6, 384, sizes[kind]) == kind
    assert choose(10**6, 384, "2GB") == "hnsw" and choose(10**6, 384) in ("hnsw", "ivf", "ivfpq")
    with pytest.raises(ValueError, match=r"choose: memory must be >= .* for an index of 1000000 documents, got 1 MB"):
        choose(10**6, 384, 1000)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["hnsw", "ivf", "ivfpq"])
def test_an_index_takes_about_the_memory_that_was_said(kind, tmp_path):
    corpus = np.random.default_rng(0).standard_normal((60_000, 64)).astype(np.float32)
    ApproximateIndex.build(corpus, kind=kind, folder=tmp_path)
    size = next(tmp_path.iterdir()).stat().st_size + 8 * len(corpus)
    training = 0 if kind == "hnsw" else corpus.nbytes  # of so few documents all are drawn
    assert size <= index_bytes(kind, *corpus.shape) <= 1.7 * size + training


BAD = [
    ({"kind": "annoy"}, "kind must be 'auto', 'flat', 'hnsw', 'ivf', 'ivfpq', got 'annoy'"),
    ({"similarity": "manhattan"}, "similarity must be 'cosine', 'dot' or 'l2', got 'manhattan'"),
    ({"seed": -1}, "seed must be a whole number >= 0, got -1"),
    ({"threads": 0}, "threads must be a whole number >= 1, got 0"),
    ({"kind": "ivfpq", "corpus": CORPUS[:255]}, "ivfpq needs at least 256 documents, got 255"),
    ({"corpus": np.full((2, 2), math.nan, np.float32)}, "NaN or infinity in row 0"),
]


@pytest.mark.parametrize(("bad", "message"), BAD)
def test_what_cannot_be_built_is_refused(bad, message):
    with pytest.raises((ValueError, BadInput), match=message):
        ApproximateIndex.build(**({"corpus": CORPUS} | bad))


def test_what_cannot_be_asked_is_refused():
    index = BUILT["ivf", "cosine"]
    with pytest.raises(ValueError, match="queries have 3 dimensions, the corpus has 12"):
        index.top_k(np.zeros((1, 3), np.float32), 1)
    with pytest.raises(ValueError, match="k must be a whole number >= 1, got 0"):
        index.top_k(QUERIES, 0)
    with pytest.raises(ValueError, match="expected a mask of 40 queries over 2000 documents"):
        index.top_k(QUERIES, 1, Mask(40, 9))
    with pytest.raises(ValueError, match=r"target must be in \(0, 1\], got 1.1"):
        index.tuned(QUERIES, 1, target=1.1)
    with pytest.raises(ValueError, match="needs queries and sample >= 1, got 0, 256"):
        index.recall(QUERIES[:0], 1)
