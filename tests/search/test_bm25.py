"""BM25 against its formula written out, and against bm25s where bm25s defines the answer."""

import math
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litotes.search.bm25 import Bm25Index
from litotes.search.mask import Mask

words = st.sampled_from(["wing", "lift", "drag", "flow", "mach", "zeal"])
lines = st.lists(words, max_size=6).map(" ".join)
options = st.fixed_dictionaries(
    {
        "method": st.sampled_from(["lucene", "robertson", "atire"]),
        "k1": st.sampled_from([0.0, 1.5]),
        "b": st.sampled_from([0.0, 0.75, 1.0]),
    }
)


def slowly(query, corpus, row, method, k1, b):
    """The formula, word by word, in float64."""
    documents = [text.split() for text in corpus]
    mean = sum(map(len, documents)) / len(documents)
    score = 0.0
    for word in query.split():
        holding = sum(word in document for document in documents)
        tf = documents[row].count(word)
        if not tf:
            continue
        odds = (len(documents) - holding + 0.5) / (holding + 0.5)
        idf = {
            "lucene": math.log(1 + odds),
            "robertson": max(0.0, math.log(odds)),
            "atire": math.log(len(documents) / holding),
        }[method]
        factor = k1 + 1 if method == "atire" else 1.0
        score += idf * factor * tf / (tf + k1 * (1 - b + b * len(documents[row]) / mean))
    return score


@given(st.lists(lines, min_size=1, max_size=6), st.lists(lines, min_size=1, max_size=3), options)
def test_pairs_are_the_formula_and_hits_are_the_pairs_in_order(corpus, queries, chosen):
    index = Bm25Index.build(corpus, **chosen)
    rows = np.arange(len(corpus))
    ids, best = index.top_k(queries, len(corpus))
    for i, query in enumerate(queries):
        scores = index.pairs([query] * len(corpus), rows)
        assert scores == pytest.approx([slowly(query, corpus, row, **chosen) for row in rows], rel=2e-6, abs=1e-7)
        hits = sorted((row for row in rows if scores[row] > 0), key=lambda row: (-scores[row], row))
        assert [row for row in ids[i].tolist() if row >= 0] == hits
        assert best[i, : len(hits)].tolist() == scores[hits].tolist() and (best[i, len(hits) :] == -np.inf).all()


def drawn_mask(rng, queries, documents):
    """A mask with every condition there or not, at random."""
    there = rng.random(5) < 0.5
    lists = [rng.integers(0, 2, (queries, documents)).astype(bool) for _ in range(2)]
    csr = [(np.concatenate([[0], np.cumsum(held.sum(1))]), np.nonzero(held)[1]) for held in lists]
    options = {
        "exclude": csr[0],
        "allow": csr[1],
        "allowed": rng.random(documents) < 0.7,
        "groups": (rng.integers(-1, 2, queries), rng.integers(-1, 2, documents)),
        "times": (rng.integers(0, 4, documents), rng.integers(0, 3, queries), rng.integers(1, 5, queries)),
    }
    return Mask.of(
        queries, documents, **{name: one for (name, one), on in zip(options.items(), there, strict=True) if on}
    )


@given(st.lists(lines, min_size=2, max_size=8), st.lists(lines, min_size=1, max_size=3), st.integers(0, 999))
def test_what_a_mask_hides_gives_way_to_the_next_and_each_query_has_its_own_k(corpus, queries, seed):
    rng = np.random.default_rng(seed)
    index, mask, k = (
        Bm25Index.build(corpus),
        drawn_mask(rng, len(queries), len(corpus)),
        rng.integers(0, 6, len(queries)),
    )
    whole, shape = index.top_k(queries, len(corpus))[0], (len(queries), len(corpus))
    kept = mask.keeps(*(part.ravel() for part in np.indices(shape))).reshape(shape)
    ids, scores = index.top_k(queries, k, mask)
    assert ids.shape == scores.shape == (len(queries), k.max())
    for query, row in enumerate(whole.tolist()):
        wanted = [document for document in row if document >= 0 and kept[query, document]][: k[query]]
        assert ids[query].tolist() == wanted + [-1] * (k.max() - len(wanted))
        assert scores[query, : len(wanted)].tolist() == index.pairs([queries[query]] * len(wanted), wanted).tolist()
        assert (scores[query, len(wanted) :] == -np.inf).all()


@pytest.mark.parametrize("share", [0.001, 0.5])
def test_rare_and_common_words_add_up_across_blocks_of_documents(share):
    rng, size = np.random.default_rng(3), 150_000  # more than two blocks
    held = [np.flatnonzero(rng.random(size) < share).astype(np.int32) for _ in range(3)]
    weights = [rng.integers(1, 4, len(rows)).astype(np.float32) / 8 for rows in held]  # many equal sums
    starts = np.cumsum([0] + [len(rows) for rows in held])
    index = Bm25Index(
        (starts, np.concatenate(held), np.concatenate(weights)), {"a0": 0, "b0": 1, "c0": 2}, size, None, None
    )
    total = np.zeros(size)
    for rows, values, count in zip(held, weights, (2, 1, 1), strict=True):
        total[rows] += count * values
    even = np.arange(size) % 2 == 0
    for allowed in (np.ones(size, bool), even):
        order = np.argsort(-np.where(allowed, total, 0), kind="stable")[:200]
        ids, scores = index.top_k(["a0 b0 a0 c0"] * 70, 200, Mask.of(70, size, allowed=allowed))
        for row in (0, 69):
            assert ids[row].tolist() == order.tolist() and scores[row].tolist() == total[order].tolist()


def test_many_equal_scores_go_to_the_lowest_rows():
    index = Bm25Index.build(["mach flow"] * 200 + ["wing"] * 300)
    assert index.top_k(["flow"], 7)[0].tolist() == [list(range(7))]
    assert index.top_k(["wing"], 3, Mask.of(1, 500, exclude=(np.array([0, 1]), np.array([201]))))[0].tolist() == [
        [200, 202, 203]
    ]


def test_it_agrees_with_bm25s():
    import bm25s

    rng = np.random.default_rng(0)
    vocabulary = [f"word{i}" for i in range(60)]
    corpus = [" ".join(rng.choice(vocabulary, rng.integers(3, 30))) for _ in range(150)]
    queries = [" ".join(rng.choice(vocabulary, 4)) for _ in range(20)]
    peer = bm25s.BM25(method="lucene")
    peer.index(bm25s.tokenize(corpus, show_progress=False), show_progress=False)
    index = Bm25Index.build(corpus)
    for query in queries:
        wanted = peer.get_scores(bm25s.tokenize(query, return_ids=False, show_progress=False)[0])
        assert index.pairs([query] * 150, np.arange(150)) == pytest.approx(wanted, rel=1e-5, abs=1e-6)


def test_a_text_without_known_words_finds_nothing():
    index = Bm25Index.build(["the wing", "a flow"])
    for query in ("", "the", "zeal", "!?"):
        ids, scores = index.top_k([query], 2)
        assert ids.tolist() == [[-1, -1]] and (scores == -np.inf).all() and index.pairs([query], np.array([1])) == [0.0]
    assert Bm25Index.build(["the", ""]).top_k(["wing"], 1)[0].tolist() == [[-1]]
    assert Bm25Index.build([]).top_k(["wing"], 1)[0].tolist() == [[-1]] and index.top_k([], 3)[0].shape == (0, 3)


def test_stemming_and_stopwords_are_what_was_asked():
    corpus = ["the wings lifted", "drag"]
    assert Bm25Index.build(corpus).top_k(["lifting wing"], 1)[0].tolist() == [[-1]]
    assert Bm25Index.build(corpus, stemmer="english").top_k(["lifting wing"], 1)[0].tolist() == [[0]]
    assert Bm25Index.build(corpus).top_k(["the"], 1)[0].tolist() == [[-1]]
    assert Bm25Index.build(corpus, stopwords=None).top_k(["the"], 1)[0].tolist() == [[0]]


@pytest.mark.slow
def test_scores_do_not_depend_on_the_hash_seed_of_the_process():
    code = (
        "import numpy as np, hashlib; from litotes.search.bm25 import Bm25Index; r = np.random.default_rng(0);"
        "words = [f'word{chr(97 + i // 26)}{chr(97 + i % 26)}' for i in range(200)];"
        "corpus = [' '.join(r.choice(words, 30)) for _ in range(100)];"
        "queries = [' '.join(r.choice(words, 25)) for _ in range(30)];"
        "found = Bm25Index.build(corpus, stemmer='english').top_k(queries, 50);"
        "print(hashlib.sha256(found[0].tobytes() + found[1].tobytes()).hexdigest())"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | {"PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(seen) == 1


@pytest.mark.parametrize(
    "bad, message",
    [
        ({"k1": -0.1}, r"k1 must be >= 0 and finite, got -0.1"),
        ({"k1": float("nan")}, r"k1 must be >= 0 and finite, got nan"),
        ({"b": 1.01}, r"b must be in \[0, 1\], got 1.01"),
        ({"b": float("nan")}, r"b must be in \[0, 1\], got nan"),
        ({"method": "nope"}, "method must be 'lucene', 'robertson' or 'atire', got 'nope'"),
        ({"stemmer": "klingon"}, "stemmer must be None or one of .*; got 'klingon'"),
    ],
)
def test_bad_options_are_named_with_their_range(bad, message):
    with pytest.raises(ValueError, match=message):
        Bm25Index.build(["wing"], **bad)


def test_bad_questions_are_named():
    index = Bm25Index.build(["wing", "lift"])
    with pytest.raises(ValueError, match="k must be a whole number >= 1, got 0"):
        index.top_k(["wing"], 0)
    with pytest.raises(ValueError, match=r"document rows must be in \[0, 2\), got 2 to 2"):
        index.pairs(["wing"], np.array([2]))
    with pytest.raises(ValueError, match="2 texts, but document rows"):
        index.pairs(["wing", "lift"], np.array([1]))
    with pytest.raises(ValueError, match="expected a mask of 1 queries over 2 documents, got one of 1 over 3"):
        index.top_k(["wing"], 1, Mask(1, 3))
    with pytest.raises(ValueError, match=r"k must be whole numbers >= 0, one per query \[1\]"):
        index.top_k(["wing"], np.array([1, 2]))
