"""Lexical search by BM25: which documents share a query's words, rare words counting most."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from litotes.extras import need
from litotes.search.exclusion import Exclusion, Rows

_METHODS = ("lucene", "robertson", "atire")
_CELLS = 1 << 25  # queries x documents looked at together, which bounds the memory of one step


@dataclass(frozen=True, eq=False)
class Bm25Index:
    """BM25 scores of texts against a corpus; built by `Bm25Index.build`, on the weights and tokenizer of bm25s.

        score(q, d) = fl32( sum over words w of q, in the order of their code points, of count(w in q) * weight(w, d) )
        weight(w, d) = fl32( idf(w) * tf / (tf + k1 * (1 - b + b * |d| / mean |d|)) )     tf = count(w in d)

    for "lucene" (idf = ln(1 + (N - n + 0.5) / (n + 0.5)), n documents hold w); "robertson" has the older idf (0 for a
    word in more than half of the documents), "atire" idf = ln(N / n) and a factor k1 + 1. Sums are in float64. In all
    three a document without a word of the query scores 0, and one that scores 0 is no hit. Scores depend on the query,
    the document and the corpus only: not on the other queries, nor on the process (bm25s orders words by hash).

    Args:
        weights: scipy CSR float64 [words, documents].
        vocabulary: word -> row of `weights`, in the order of code points.
        documents: how many the corpus has.
        stemmer, stopwords: as given to `build`.
    Source: Kamphuis et al., Which BM25 Do You Mean? (ECIR 2020); bm25s (arXiv:2407.03618).
    """

    weights: Any
    vocabulary: dict[str, int]
    documents: int
    stemmer: str | None
    stopwords: str | None

    @classmethod
    def build(
        cls,
        texts: Sequence[str],
        *,
        method: str = "lucene",
        k1: float = 1.5,
        b: float = 0.75,
        stemmer: str | None = None,
        stopwords: str | None = "english",
    ) -> Bm25Index:
        """Index a corpus. Cost: one pass, memory O(distinct words of each document).

        Args:
            method: "lucene", "robertson" or "atire".
            k1: how slowly repetitions saturate, >= 0 and finite; 0 = a word is there or not.
            b: how far long documents are marked down, in [0, 1].
            stemmer: a language of PyStemmer ("english"), or None = words as they stand.
            stopwords: a language of bm25s whose commonest words are left out ("english"), or None.
        Raises:
            ValueError: an argument is out of range.
            ImportError: the extra `bm25` is not installed.
        """
        _check(method, k1, b)
        from scipy import sparse

        bm25s = need("bm25s", extra="bm25", why="BM25")
        tokens = _tokens(texts, stemmer, stopwords)
        vocabulary = {word: row for row, word in enumerate(sorted({word for line in tokens for word in line}))}
        if not vocabulary:
            return cls(sparse.csr_array((0, len(texts))), vocabulary, len(texts), stemmer, stopwords)
        index = bm25s.BM25(method=method, k1=k1, b=b)
        rows = [[vocabulary[word] for word in line] for line in tokens]
        index.index((rows, vocabulary), show_progress=False, create_empty_token=False)
        scores = index.scores
        parts = scores["data"].astype(np.float64), scores["indices"], scores["indptr"][: len(vocabulary) + 1]
        weights = sparse.csr_array(parts, shape=(len(vocabulary), len(texts)))
        weights.sort_indices()
        return cls(weights, vocabulary, len(texts), stemmer, stopwords)

    def top_k(self, texts: Sequence[str], k: int, exclude: Rows | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The k best documents of each text that score above 0, ties to the lowest row.

        In:   exclude: (offsets int64 [n + 1], items): documents that a text may not find.
        Out:  ids int32 [n, k], -1 padded; scores float32 [n, k], -inf padded. A text of unknown words finds nothing.
        Raises:
            ValueError: k < 1, or `exclude` does not fit.
        """
        if not (isinstance(k, (int, np.integer)) and k >= 1):
            raise ValueError(f"Bm25Index.top_k: k must be a whole number >= 1, got {k!r}")
        excluded = Exclusion.of(exclude, len(texts), self.documents)
        ids, best = np.full((len(texts), k), -1, np.int32), np.full((len(texts), k), -np.inf, np.float32)
        for rows, found, keys in self._blocks(texts):
            rows_out, items_out = excluded.within(rows, slice(0, self.documents))
            hit = (found.data > 0) & ~np.isin(keys, rows_out * self.documents + items_out)
            bounds = np.concatenate([[0], np.cumsum(hit)])[found.indptr]
            columns, scores = found.indices[hit], found.data[hit]
            for row, (lo, hi) in enumerate(zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True), rows.start):
                order = _first(-scores[lo:hi], k)
                ids[row, : len(order)], best[row, : len(order)] = columns[lo:hi][order], scores[lo:hi][order]
        return ids, best

    def pairs(self, texts: Sequence[str], document_rows: np.ndarray) -> np.ndarray:
        """Scores of aligned pairs: text i against document `document_rows[i]`. [P], integer [P] -> float32 [P].

        Raises:
            ValueError: the two differ in length, or a row is out of range.
        """
        document_rows = np.asarray(document_rows)
        if document_rows.shape != (len(texts),):
            raise ValueError(f"Bm25Index.pairs: {len(texts)} texts, but document rows {list(document_rows.shape)}")
        if len(document_rows) and not (document_rows.min() >= 0 and document_rows.max() < self.documents):
            span = f"{document_rows.min()} to {document_rows.max()}"
            raise ValueError(f"Bm25Index.pairs: document rows must be in [0, {self.documents}), got {span}")
        first: dict[str, int] = {}
        text_rows = np.fromiter((first.setdefault(text, len(first)) for text in texts), np.int64, len(texts))
        order = np.argsort(text_rows, kind="stable")
        scores = np.zeros(len(texts), np.float32)
        for rows, found, keys in self._blocks(list(first)):
            lo, hi = np.searchsorted(text_rows[order], [rows.start, rows.stop])
            places = order[lo:hi]
            asked = (text_rows[places] - rows.start) * self.documents + document_rows[places]
            where = np.searchsorted(keys, asked)
            there = where < len(keys)
            there[there] = keys[where[there]] == asked[there]
            scores[places[there]] = found.data[where[there]]
        return scores

    def _blocks(self, texts: Sequence[str]) -> Iterator[tuple[slice, Any, np.ndarray]]:
        """Blocks of texts: (rows, scores as CSR float32 with sorted columns, row * documents + column of each)."""
        from scipy import sparse

        step = max(1, _CELLS // max(1, self.documents))
        for lo in range(0, len(texts), step):
            rows = slice(lo, min(lo + step, len(texts)))
            counts = self._counts(texts[rows], sparse)
            found = counts @ self.weights
            found.sort_indices()
            found.data = found.data.astype(np.float32)
            row = np.repeat(np.arange(found.shape[0], dtype=np.int64), np.diff(found.indptr))
            yield rows, found, row * self.documents + found.indices

    def _counts(self, texts: Sequence[str], sparse: Any) -> Any:
        """How often each known word stands in each text: CSR float64 [texts, words], words in order."""
        lines = [[self.vocabulary[word] for word in line if word in self.vocabulary] for line in self._tokens(texts)]
        offsets = np.cumsum([0] + [len(line) for line in lines])
        words = np.fromiter((word for line in lines for word in line), np.int64, offsets[-1])
        counts = sparse.csr_array((np.ones(len(words)), words, offsets), shape=(len(lines), len(self.vocabulary)))
        counts.sum_duplicates()
        return counts

    def _tokens(self, texts: Sequence[str]) -> list[list[str]]:
        return _tokens(texts, self.stemmer, self.stopwords)


def _tokens(texts: Sequence[str], stemmer: str | None, stopwords: str | None) -> list[list[str]]:
    bm25s = need("bm25s", extra="bm25", why="BM25")
    stem = None
    if stemmer is not None:
        snowball = need("Stemmer", extra="bm25", why="stemming")
        if stemmer not in snowball.algorithms():
            known = ", ".join(snowball.algorithms())
            raise ValueError(f"Bm25Index: stemmer must be None or one of {known}; got {stemmer!r}")
        stem = snowball.Stemmer(stemmer)
    return bm25s.tokenize(list(texts), stopwords=stopwords or [], stemmer=stem, return_ids=False, show_progress=False)


def _first(costs: np.ndarray, k: int) -> np.ndarray:
    """Places of the k lowest costs, in order, ties to the first place."""
    if len(costs) > 4 * k:
        near = np.flatnonzero(costs <= np.partition(costs, k - 1)[k - 1])
        return near[np.argsort(costs[near], kind="stable")[:k]]
    return np.argsort(costs, kind="stable")[:k]


def _check(method: str, k1: float, b: float) -> None:
    if method not in _METHODS:
        raise ValueError(f"Bm25Index: method must be 'lucene', 'robertson' or 'atire', got {method!r}")
    if not 0 <= k1 < float("inf"):
        raise ValueError(f"Bm25Index: k1 must be >= 0 and finite, got {k1!r}")
    if not 0 <= b <= 1:
        raise ValueError(f"Bm25Index: b must be in [0, 1], got {b!r}")
