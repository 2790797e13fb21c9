"""Lexical search by BM25: which documents share a query's words, rare words counting most."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from litotes.extras import need
from litotes.search.cores import cores
from litotes.search.depths import depths
from litotes.search.mask import Mask

_METHODS = ("lucene", "robertson", "atire")
_TEXTS = 1 << 14  # queries whose words are held at a time


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
        postings: (starts int64 [words + 1], documents int32, weights float32): who holds each word, ascending.
        vocabulary: word -> its number in `postings`, in the order of code points.
        documents: how many the corpus has.
        stemmer, stopwords: as given to `build`.
    Source: Kamphuis et al., Which BM25 Do You Mean? (ECIR 2020); bm25s (arXiv:2407.03618).
    """

    postings: tuple[np.ndarray, np.ndarray, np.ndarray]
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
            nothing = np.zeros(1, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32)
            return cls(nothing, vocabulary, len(texts), stemmer, stopwords)
        index = bm25s.BM25(method=method, k1=k1, b=b)
        rows = [[vocabulary[word] for word in line] for line in tokens]
        index.index((rows, vocabulary), show_progress=False, create_empty_token=False)
        scores = index.scores
        parts = scores["data"], scores["indices"], scores["indptr"][: len(vocabulary) + 1]
        weights = sparse.csr_array(parts, shape=(len(vocabulary), len(texts)))
        weights.sort_indices()
        postings = weights.indptr.astype(np.int64), weights.indices.astype(np.int32), weights.data.astype(np.float32)
        return cls(postings, vocabulary, len(texts), stemmer, stopwords)

    def top_k(
        self, texts: Sequence[str], k: int | np.ndarray, mask: Mask | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The k best documents of each text that score above 0 and that the mask lets through, ties to the lowest row.

        In:   k: how many, >= 1; or integers [n] >= 0, one per text. mask: of these texts over all documents; asked
              while the best are gathered, so that what it hides takes nobody's place.
        Out:  ids int32 [n, largest k], -1 padded; scores float32 likewise, -inf padded. A text of unknown words finds
              nothing.
        Cost: O(postings of the words asked for); beside the result 1 MB a thread.
        Raises:
            ValueError: k is out of range, or the mask does not fit.
        """
        from litotes.search import postings

        many, width = depths("Bm25Index.top_k", k, len(texts))
        mask = Mask.fitting("Bm25Index", mask, len(texts), self.documents)
        ids, scores = np.full((len(texts), width), -1, np.int32), np.full((len(texts), width), -np.inf, np.float32)
        for rows in _slices(len(texts), _TEXTS):
            asked = self._counts(texts[rows])
            part = postings.conditions(mask.of_queries(np.arange(rows.start, rows.stop)))
            given = *self.postings, self.documents, *asked, many[rows], part, ids[rows], scores[rows]
            _spread(postings.best, rows.stop - rows.start, 32, given)
        return ids, scores

    def pairs(self, texts: Sequence[str], document_rows: np.ndarray) -> np.ndarray:
        """Scores of aligned pairs: text i against document `document_rows[i]`. [P], integer [P] -> float32 [P].

        Raises:
            ValueError: the two differ in length, or a row is out of range.
        """
        from litotes.search import postings

        document_rows = np.asarray(document_rows)
        if document_rows.shape != (len(texts),):
            raise ValueError(f"Bm25Index.pairs: {len(texts)} texts, but document rows {list(document_rows.shape)}")
        if len(document_rows) and not (document_rows.min() >= 0 and document_rows.max() < self.documents):
            span = f"{document_rows.min()} to {document_rows.max()}"
            raise ValueError(f"Bm25Index.pairs: document rows must be in [0, {self.documents}), got {span}")
        first: dict[str, int] = {}
        text_rows = np.fromiter((first.setdefault(text, len(first)) for text in texts), np.int64, len(texts))
        scores = np.zeros(len(texts), np.float32)
        asked = self._counts(list(first))
        given = *self.postings, *asked, text_rows, document_rows.astype(np.int64), scores
        _spread(postings.of_pairs, len(texts), 4096, given)
        return scores

    def _counts(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The known words of each text in order: (offsets int64 [n + 1], words int64, how often each stands there)."""
        lines = [[self.vocabulary[word] for word in line if word in self.vocabulary] for line in self._tokens(texts)]
        owner = np.repeat(np.arange(len(lines)), [len(line) for line in lines])
        words = np.fromiter((word for line in lines for word in line), np.int64, len(owner))
        known = max(len(self.vocabulary), 1)
        pairs, counts = np.unique(owner * known + words, return_counts=True)
        offsets = np.searchsorted(pairs, np.arange(len(lines) + 1) * known)
        return offsets.astype(np.int64), pairs % known, counts.astype(np.float64)

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


def _spread(loop: Callable[..., None], length: int, step: int, given: tuple[Any, ...]) -> None:
    """Run a compiled loop over [0, length), `step` rows at a time, on all cores."""
    spans = list(_slices(length, step))
    if len(spans) < 2 or cores() == 1:
        for span in spans:
            loop(span.start, span.stop, *given)
        return
    with ThreadPoolExecutor(cores()) as pool:
        list(pool.map(lambda span: loop(span.start, span.stop, *given), spans))


def _slices(length: int, step: int) -> Iterator[slice]:
    return (slice(low, min(low + step, length)) for low in range(0, length, step))


def _check(method: str, k1: float, b: float) -> None:
    if method not in _METHODS:
        raise ValueError(f"Bm25Index: method must be 'lucene', 'robertson' or 'atire', got {method!r}")
    if not 0 <= k1 < float("inf"):
        raise ValueError(f"Bm25Index: k1 must be >= 0 and finite, got {k1!r}")
    if not 0 <= b <= 1:
        raise ValueError(f"Bm25Index: b must be in [0, 1], got {b!r}")
