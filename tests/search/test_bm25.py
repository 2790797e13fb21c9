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


@given(st.lists(lines, min_size=2, max_size=6), st.lists(st.integers(0, 1), max_size=3), st.integers(1, 3))
def test_excluded_documents_give_way_to_the_next(corpus, banned, k):
    index, query = Bm25Index.build(corpus), "wing lift drag"
    whole = [row for row in index.top_k([query], len(corpus))[0][0].tolist() if row >= 0 and row not in banned]
    ids, _ = index.top_k([query], k, (np.array([0, len(banned)]), np.array(banned, np.int64)))
    assert [row for row in ids[0].tolist() if row >= 0] == whole[:k]


def test_many_equal_scores_go_to_the_lowest_rows():
    index = Bm25Index.build(["mach flow"] * 200 + ["wing"] * 300)
    assert index.top_k(["flow"], 7)[0].tolist() == [list(range(7))]
    assert index.top_k(["wing"], 3, (np.array([0, 1]), np.array([201])))[0].tolist() == [[200, 202, 203]]


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
    with pytest.raises(ValueError, match="items must be document rows"):
        index.top_k(["wing"], 1, (np.array([0, 1]), np.array([2])))
