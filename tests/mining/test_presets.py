"""Presets against the miners they repeat: one installed, two as slow twins written from their documented behaviour."""

import random

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import assume, given, reject
from hypothesis import strategies as st

from litotes.data.collection import Collection, judgements_table
from litotes.evidence import check, check_keys, doubt_entries, found_entries, source
from litotes.mining import like
from litotes.search.space import Space


class Vectors:
    """What the peer needs of a model: vectors by text, and dot products, which here are exact in float32."""

    device = torch.device("cpu")

    def __init__(self, of):
        self.of = of

    def encode_query(self, texts, **_):
        return np.stack([self.of[text] for text in texts])

    encode_document = encode_query

    def similarity(self, a, b):
        return torch.as_tensor(a) @ torch.as_tensor(b).T

    def similarity_pairwise(self, a, b):
        return (torch.as_tensor(a) * torch.as_tensor(b)).sum(dim=1)


@st.composite
def worlds(draw):
    """Pairs with repeated anchors, and vectors whose scores are exact and as a rule differ."""
    n, anchors = draw(st.integers(4, 30)), draw(st.integers(1, 5))
    documents = [f"document {i}" for i in range(n)]
    queries = [f"query {i}" for i in range(anchors)]
    positives = st.lists(st.integers(0, n - 1), min_size=1, max_size=3, unique=True)
    pairs = [(q, d) for q in range(anchors) for d in draw(positives)]
    numbers = np.random.default_rng(draw(st.integers(0, 10**6)))
    width = 4
    vectors = {text: numbers.integers(-8, 9, width).astype(np.float32) / 16 for text in [*queries, *documents]}
    # the last coordinate is a different small number for each document, so that few scores of a query are equal
    for place, text in enumerate(numbers.permutation(documents)):
        vectors[text][-1] = (place - n // 2) / 4096
    for text in queries:
        vectors[text][-1] = 1.0
    return queries, documents, [pairs[i] for i in draw(st.permutations(range(len(pairs))))], vectors


def collected(world):
    queries, documents, pairs, vectors = world
    ids = [f"q{i}" for i in range(len(queries))], [f"d{i}" for i in range(len(documents))]
    qrels = judgements_table([f"q{q}" for q, _ in pairs], [f"d{d}" for _, d in pairs], [1.0] * len(pairs))
    tables = pa.table({"id": ids[0], "text": queries}), pa.table({"id": ids[1], "text": documents})
    space = Space(*(np.stack([vectors[text] for text in texts]) for texts in (queries, documents)), "dot", "exact", "0")
    return Collection("drawn", *tables, {"train": qrels}), space


def distinct(world):
    """No query sees two documents equally: then there is one answer."""
    queries, documents, _, vectors = world
    scores = np.stack([vectors[q] for q in queries]) @ np.stack([vectors[d] for d in documents]).T
    return all(len(np.unique(row)) == len(row) for row in scores)


bounds = st.none() | st.sampled_from([-0.5, 0.0, 0.125, 0.5])
settings = st.fixed_dictionaries(
    {"num_negatives": st.integers(1, 3), "range_min": st.integers(0, 3)},
    optional={
        "range_max": st.integers(6, 9),
        "max_score": bounds,
        "min_score": bounds,
        "absolute_margin": st.sampled_from([0.0, 0.1, 0.25]),
        "relative_margin": st.sampled_from([0.0, 0.05, 0.3]),
    },
)
layouts = st.sampled_from(["triplet", "n-tuple", "labeled-pair", "labeled-list"])


def peer(world, **options):
    datasets = pytest.importorskip("datasets")
    from sentence_transformers.util import mine_hard_negatives

    queries, documents, pairs, vectors = world
    data = datasets.Dataset.from_dict(
        {"asked": [queries[q] for q, _ in pairs], "told": [documents[d] for _, d in pairs]}
    )
    try:
        return mine_hard_negatives(data, Vectors(vectors), corpus=documents, verbose=False, **options)
    except ZeroDivisionError:  # its statistics divide by the candidates left after an earlier filter, which may be none
        reject()


@given(worlds(), settings, layouts, st.booleans())
def test_the_rows_are_those_of_sentence_transformers(world, options, layout, scores):
    assume(distinct(world))
    expected = peer(world, output_format=layout, output_scores=scores, **options)
    collection, space = collected(world)
    made = like("sentence-transformers", options).mine(collection, "train", space)
    rows = made.rows(layout, scores, "asked", "told")
    assert rows.table.column_names == expected.column_names
    assert rows.table.to_pylist() == expected.to_list()
    check(made.evidence)
    check_keys(made.evidence)


@given(worlds(), settings)
def test_random_rows_of_sentence_transformers_come_from_one_set(world, options):
    assume(distinct(world))
    collection, space = collected(world)

    def pools(rows):
        out = {}
        for row in rows:
            out.setdefault((row["asked"], row["told"]), set()).add(row["negative"])
        return out

    theirs, ours, sizes = {}, {}, set()
    for seed in range(4):
        random.seed(seed)
        drawn = [
            peer(world, sampling_strategy="random", **options).to_list(),
            like("sentence-transformers", options | {"sampling_strategy": "random", "seed": seed})
            .mine(collection, "train", space).rows("triplet", False, "asked", "told").table.to_pylist(),
        ]  # fmt: skip
        counts = [{key: len(value) for key, value in pools(rows).items()} for rows in drawn]
        assert counts[0] == counts[1]
        sizes.add(len(drawn[0]))
        for pool, rows in zip((theirs, ours), drawn, strict=True):
            for key, value in pools(rows).items():
                pool.setdefault(key, set()).update(value)
    # what top with every allowed negative gives is the pool that both draw from
    deepest = like("sentence-transformers", options).deepest(
        max(len([1 for q, _ in world[2] if q == i]) for i in range(5))
    )
    everything = options | {"num_negatives": deepest - options["range_min"], "range_max": deepest}
    whole = pools(peer(world, **everything).to_list())
    for pool in (theirs, ours):
        assert pool.keys() == whole.keys() and all(pool[key] <= whole[key] for key in whole)
    assert len(sizes) == 1


@pytest.mark.parametrize("given_", ["max_score", "min_score", "absolute_margin", "relative_margin"])
def test_how_deep_it_searches_where_range_max_is_left_open(given_):
    """40 documents in descending order; a filter refuses the first few, which may be all that was looked at."""
    documents = [f"d{i}" for i in range(41)]
    for refused in (0, 3, 4, 5, 9, 10, 11, 12, 13):
        vectors = {text: np.array([1.0 - i / 64], np.float32) for i, text in enumerate(documents)}
        lowest = float(vectors[documents[refused]][0])
        vectors |= {"d40": np.array([lowest + 1 / 256], np.float32), "q": np.ones(1, np.float32)}
        value = {"max_score": lowest, "min_score": lowest}.get(given_, 0.0)
        options = {"num_negatives": 1, given_: value}
        expected = peer((["q"], documents, [(0, 40)], vectors), **options)
        collection, space = collected((["q"], documents, [(0, 40)], vectors))
        made = like("sentence-transformers", options).mine(collection, "train", space)
        assert made.rows(anchor="asked", positive="told").table.to_pylist() == expected.to_list()


def test_equal_texts_are_one_document_and_one_query():
    queries, documents = ["a", "b", "a"], ["x", "y", "x", "z"]
    qrels = judgements_table(["q0", "q2", "q1"], ["d0", "d1", "d2"], [1.0, 1.0, 1.0])
    tables = [
        pa.table({"id": [f"{k}{i}" for i in range(len(t))], "text": t}) for k, t in (("q", queries), ("d", documents))
    ]
    vectors = {"a": [1, 0], "b": [0, 1], "x": [3, 1], "y": [2, 2], "z": [1, 4]}
    vectors = {text: np.array(vector, np.float32) for text, vector in vectors.items()}
    space = Space(*(np.stack([vectors[t] for t in texts]) for texts in (queries, documents)), "dot")
    made = like("sentence-transformers", {"num_negatives": 1}).mine(
        Collection("c", *tables, {"train": qrels}), "train", space
    )
    expected = peer((["a", "b"], ["x", "y", "x", "z"], [(0, 0), (0, 1), (1, 0)], vectors), num_negatives=1)
    assert made.rows(anchor="asked", positive="told").table.to_pylist() == expected.to_list()


def test_what_is_left_out_is_counted_and_doubts_are_named():
    world = (
        ["q"],
        ["p", "near", "far"],
        [(0, 0)],
        {t: np.array([v], np.float32) for t, v in zip(["q", "p", "near", "far"], [1, 1, 0.99, 0.5], strict=True)},
    )
    collection, space = collected((world[0], world[1], world[2], world[3]))
    made = like("sentence-transformers", {"num_negatives": 2, "relative_margin": 0.05}).mine(collection, "train", space)
    assert made.rows("n-tuple") == (made.rows("n-tuple").table, 1) and made.short == 1
    assert made.rows("triplet").table["negative"].to_pylist() == ["far"] and made.rows("triplet").dropped == 0
    assert doubt_entries(made.evidence)["part"].to_pylist() == ["relative_margin(margin=0.05, reference=min)"]


@given(worlds(), st.integers(0, 4), st.integers(1, 12), st.integers(1, 6))
def test_flagembedding_draws_from_its_window_and_fills_visibly(world, first, width, n):
    assume(distinct(world))
    queries, documents, pairs, vectors = world
    queries[0] = documents[0]  # a query that is itself a document
    vectors = vectors | {queries[0]: vectors[documents[0]]}
    world = (queries, documents, pairs, vectors)
    assume(distinct(world))
    collection, space = collected(world)
    preset = like("flagembedding", {"range_for_sampling": f"{first}-{first + width}", "negative_number": n})
    made = preset.mine(collection, "train", space)
    rows = preset.rows(made)
    known = {q: [documents[d] for p, d in pairs if p == q] for q in range(len(queries))}
    order = list(dict.fromkeys(q for q, _ in pairs))
    assert [(row["query"], row["pos"]) for row in rows] == [(queries[q], known[q]) for q in order]
    for i, (q, row) in enumerate(zip(order, rows, strict=True)):
        scores = {d: float(vectors[queries[q]] @ vectors[d]) for d in documents}
        ranked = sorted(documents, key=lambda d: -scores[d])[first : first + width]
        pool = [d for d in ranked if d not in known[q] and d != queries[q]]
        span = slice(made.negatives.offsets[i], made.negatives.offsets[i + 1])
        drawn = [text for text, fill in zip(row["neg"], made.filled[span], strict=True) if not fill]
        assert set(drawn) <= set(pool) and len(set(drawn)) == len(drawn) == min(n, len(pool))
        rest = [d for d in documents if d not in known[q] and d != queries[q] and d not in drawn]
        filled = [text for text in row["neg"] if text not in drawn]
        assert set(filled) <= set(rest) and len(filled) == min(n - len(drawn), len(rest))
        assert made.negatives.scores[span].tolist() == [scores[text] for text in row["neg"]]
    pairs_filled = set(source(made.evidence).to_pylist()) if made.filled.any() else set()
    assert ("random-fill" in found_entries(made.evidence)["source"].to_pylist()) == bool(made.filled.any())
    assert pairs_filled <= {"random-fill", "dense", "qrels"}


def test_flagembedding_draws_evenly():
    vectors = {"q": np.array([1], np.float32)} | {f"d{i}": np.array([50 - i], np.float32) for i in range(50)}
    collection, space = collected((["q"], [f"d{i}" for i in range(50)], [(0, 0)], vectors))
    counts = np.zeros(50)
    for seed in range(150):
        made = like("flagembedding", {"range_for_sampling": "10-40", "negative_number": 15, "seed": seed})
        counts[made.mine(collection, "train", space).negatives.items] += 1
    assert (counts[:10] == 0).all() and (counts[40:] == 0).all()
    assert abs(counts[10:40] - 75).max() < 4.5 * np.sqrt(150 / 4)


@given(worlds(), st.integers(1, 4), st.sampled_from(["perc", "abs"]), st.sampled_from([None, 0.0, 0.1, 0.5, 0.95, 1.0]))
def test_nemo_takes_the_best_under_the_line_of_the_whole_corpus(world, n, kind, margin):
    assume(distinct(world))
    queries, documents, pairs, vectors = world
    collection, space = collected(world)
    options = {"hard_negatives_to_mine": n, "hard_neg_margin": margin, "hard_neg_margin_type": kind}
    preset = like("nemo", options)
    rows = preset.rows(preset.mine(collection, "train", space))
    order = list(dict.fromkeys(q for q, _ in pairs))
    for q, row in zip(order, rows, strict=True):
        scores = np.array([vectors[queries[q]] @ vectors[d] for d in documents], np.float32)
        positives = [d for p, d in pairs if p == q]
        assert row["pos_doc"] == [{"id": f"d{d}", "score": float(scores[d])} for d in positives]
        lowest, left = scores[positives].min(), scores.copy()
        left[positives] = -np.inf
        if margin is not None:
            line = lowest * np.float32(margin) if kind == "perc" else lowest - np.float32(margin)
            left[left > line] = -np.inf
        best = [d for d in np.argsort(-left)[:n] if left[d] > -np.inf]
        assert row["neg_doc"] == [{"id": f"d{d}", "score": float(scores[d])} for d in best]
        assert row["question_id"] == f"q{q}" and row["question"] == queries[q]


@pytest.mark.parametrize(
    "name, options, message",
    [
        ("gist", {}, "like: name must be one of sentence-transformers, flagembedding, nemo, got 'gist'"),
        ("nemo", {"margin": 0.9}, "like: nemo has no option 'margin'; it has hard_negatives_to_mine"),
        ("nemo", {"hard_negatives_to_mine": 0}, "hard_negatives_to_mine must be >= 1, got 0"),
        ("nemo", {"hard_neg_margin_type": "x"}, "hard_neg_margin_type must be"),
        ("flagembedding", {"range_for_sampling": "10"}, "range_for_sampling must be"),
        ("flagembedding", {"range_for_sampling": "10-10"}, "range_for_sampling must be"),
        ("flagembedding", {"negative_number": 0}, "negative_number must be >= 1, got 0"),
        ("sentence-transformers", {"num_negatives": 0}, "num_negatives must be >= 1, got 0"),
        ("sentence-transformers", {"range_min": -1}, "range_min must be >= 0, got -1"),
        ("sentence-transformers", {"range_max": 2}, "range_max must be >= range_min"),
        ("sentence-transformers", {"sampling_strategy": "x"}, "sampling_strategy must be"),
    ],
)
def test_gates(name, options, message):
    with pytest.raises(ValueError, match=message):
        like(name, options)


def test_a_layout_that_is_none_is_refused():
    collection, space = collected((["q"], ["p", "n"], [(0, 0)], {t: np.ones(1, np.float32) for t in ("q", "p", "n")}))
    with pytest.raises(ValueError, match="layout must be one of triplet"):
        like("nemo").mine(collection, "train", space).rows("pairs")
