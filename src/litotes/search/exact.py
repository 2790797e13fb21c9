"""Exact top-k: a fast scan proposes, the definition decides, and a certificate says that nothing was missed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from litotes.search.definition import check_similarity, check_vectors, norms, score_pairs
from litotes.search.exclusion import Exclusion, Rows
from litotes.search.scan import Float32Scan


def top_k(
    queries: np.ndarray,
    corpus: np.ndarray,
    k: int,
    *,
    similarity: str = "cosine",
    exclude: Rows | None = None,
    query_norms: np.ndarray | None = None,
    corpus_norms: np.ndarray | None = None,
    query_block: int = 1024,
    corpus_block: int = 16384,
    slack: int | None = None,
    device: str = "cpu",
) -> tuple[np.ndarray, np.ndarray]:
    """The k best documents of each query by the definition of `score_pairs`, ties to the lowest row; certified.

    1. Scan: scores in float32, block by block, each within a known error (`Float32Scan`); k + slack survivors a query.
    2. Rescore: survivors get their score by the definition; t is the k-th best of them.
    3. Certify: a document outside the survivors scans no better than the worst survivor, c. If c < floor(t), none of
       them can reach t, and the answer is exact.
    4. Otherwise the query is scanned again and every document at or above floor(t) is scored by the definition: with
       more ties or less precision this set grows, up to the whole corpus, and the answer stays exact.

    So ids and scores depend on the vectors only: not on block sizes, slack, threads, device or the other queries.

    In:   queries float32 [Q, D], corpus float32 [N, D]; finite; either may be memory-mapped.
    Out:  ids int32 [Q, k], best first, -1 where fewer than k documents remain; scores float32 [Q, k], -inf there.
    Cost: O(Q N D) products in float32, O(Q (k + slack) D) in float64; memory O(Q (k + slack) + both blocks' product).

    Args:
        k: how many, >= 1; may exceed the corpus.
        similarity: "cosine", "dot" or "l2" (larger = more alike in all three).
        exclude: (offsets int64 [Q + 1], items [any]): documents that a query may not find, left out inside the scan.
        query_norms, corpus_norms: as `norms` gives them, where they are at hand; rows are then taken as checked.
        query_block, corpus_block: rows at a time, >= 1. They set memory and speed.
        slack: survivors kept beyond k, >= 0; None = max(8, k / 16).
        device: where the scan runs, as torch spells it; the definition runs on the CPU.
    Raises:
        ValueError: an argument is out of range, or `exclude` does not fit.
        BadInput: vectors are no float32 matrices, or hold NaN or infinity (the message names input and row).
    """
    _check(k, query_block, corpus_block, slack)
    check_similarity("top_k", similarity)
    check_vectors(queries, "queries", finite=query_norms is None)
    check_vectors(corpus, "corpus", finite=corpus_norms is None)
    if queries.shape[1] != corpus.shape[1]:
        raise ValueError(f"top_k: queries have {queries.shape[1]} dimensions, the corpus has {corpus.shape[1]}")
    excluded = Exclusion.of(exclude, len(queries), len(corpus))
    query_norms = norms(queries) if query_norms is None else query_norms
    corpus_norms = norms(corpus) if corpus_norms is None else corpus_norms
    scan = Float32Scan(queries, corpus, similarity, query_norms, corpus_norms, device)
    kept = k + (max(8, k // 16) if slack is None else slack)

    with _full_products():
        cut, survivors = _scan(scan, excluded, kept, query_block, corpus_block)
        rows = np.repeat(np.arange(len(queries)), survivors.shape[1])
        scores = _score(scan, queries, similarity, query_norms, rows, survivors.ravel()).reshape(survivors.shape)
        ids, scores = _best(survivors, scores, k)
        certified = (cut == -np.inf) | (cut < scan.floor(scores[:, k - 1], np.arange(len(queries))))
        failed = np.flatnonzero(~certified)
        step = max(1, query_block // 8)  # where everything ties, all of the block is scored at once
        for lo in range(0, len(failed), step):
            part = failed[lo : lo + step]
            again = _search_above(scan, queries, query_norms, excluded, part, ids[part], scores[part], corpus_block)
            ids[part], scores[part] = again
    return ids, scores


def _scan(
    scan: Float32Scan, excluded: Exclusion, kept: int, query_block: int, corpus_block: int
) -> tuple[np.ndarray, np.ndarray]:
    """The `kept` best by scan score: (the worst of them [Q], -inf if all fit; documents [Q, kept or N], -1 padded)."""
    import torch

    count, documents = len(scan.queries), len(scan.corpus)
    kept = min(kept, documents)
    values = torch.full((count, kept), -torch.inf, device=scan.device)
    items = torch.full((count, kept), -1, dtype=torch.int64, device=scan.device)
    for columns in _slices(documents, corpus_block):
        block = scan.block(columns)
        for rows in _slices(count, query_block):
            scores = _masked(scan, rows, block, excluded.within(rows, columns))
            best, where = scores.topk(min(kept, scores.shape[1]), dim=1, sorted=False)
            if columns.start:
                best = torch.cat([values[rows], best], dim=1)
                where = torch.cat([items[rows], where + columns.start], dim=1)
                best, order = best.topk(kept, dim=1, sorted=False)
                where = where.gather(1, order)
            values[rows, : best.shape[1]], items[rows, : best.shape[1]] = best, where
    items[values == -torch.inf] = -1
    cut = values.amin(dim=1) if 0 < kept < documents else torch.full((count,), -torch.inf)
    return cut.cpu().numpy(), items.cpu().numpy()


def _search_above(
    scan: Float32Scan,
    queries: np.ndarray,
    query_norms: np.ndarray,
    excluded: Exclusion,
    rows: np.ndarray,
    ids: np.ndarray,
    scores: np.ndarray,
    corpus_block: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Exact answers for the queries `rows`, given k documents each whose definition scores are known."""
    import torch

    k = ids.shape[1]
    floor = torch.from_numpy(scan.floor(scores[:, -1], rows)).to(scan.device)[:, None]
    index, excluded = torch.from_numpy(rows).to(scan.device), excluded.of_rows(rows)
    ids, scores = np.full_like(ids, -1), np.full_like(scores, -np.inf)
    for columns in _slices(len(scan.corpus), corpus_block):
        block = scan.block(columns)
        inside = excluded.within(slice(0, len(rows)), columns)
        approximate = _masked(scan, index, block, inside)
        above = (approximate >= floor) & (approximate > -torch.inf)  # the floor itself may be -inf
        near, found = above.nonzero().cpu().numpy().T
        defined = _score(scan, queries, scan.similarity, query_norms, rows[near], found + columns.start)
        # `nonzero` gives rows in order, so each query's finds are one run; ragged runs become a padded matrix
        lengths = np.bincount(near, minlength=len(rows))
        place = np.arange(len(near)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        wide = k + int(lengths.max(initial=0))
        all_ids, all_scores = np.full((len(rows), wide), -1), np.full((len(rows), wide), -np.inf, np.float32)
        all_ids[:, :k], all_scores[:, :k] = ids, scores
        all_ids[near, k + place], all_scores[near, k + place] = found + columns.start, defined
        ids, scores = _best(all_ids, all_scores, k)
    return ids, scores


def _masked(scan: Float32Scan, rows: object, block: object, inside: tuple[np.ndarray, np.ndarray]):  # type: ignore[no-untyped-def]
    import torch

    scores = scan.scores(rows, block)
    if len(inside[0]):
        scores[tuple(torch.from_numpy(part).to(scan.device) for part in inside)] = -torch.inf
    return scores


def _score(
    scan: Float32Scan,
    queries: np.ndarray,
    similarity: str,
    query_norms: np.ndarray,
    rows: np.ndarray,
    documents: np.ndarray,
) -> np.ndarray:
    """Definition scores of pairs; -inf where the document is -1."""
    import torch

    exists = documents >= 0
    scores = np.full(len(documents), -np.inf, np.float32)
    scores[exists] = score_pairs(
        queries,
        scan.corpus,
        rows[exists],
        documents[exists],
        similarity,
        query_norms,
        scan.corpus_norms,
        torch.get_num_threads(),
    )
    return scores


def _best(ids: np.ndarray, scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k best columns of each row, ties to the lowest id, padded with -1 and -inf. Absent ones are (-1, -inf)."""
    key = np.where(ids < 0, np.iinfo(np.int64).max, ids)  # what is absent comes after a real score of -inf
    order = np.argsort(key, axis=1, kind="stable")
    ids, scores = np.take_along_axis(ids, order, 1), np.take_along_axis(scores, order, 1)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    best = np.full((len(ids), k), -1, np.int32), np.full((len(ids), k), -np.inf, np.float32)
    best[0][:, : order.shape[1]] = np.take_along_axis(ids, order, 1)
    best[1][:, : order.shape[1]] = np.take_along_axis(scores, order, 1)
    return best


def _slices(length: int, step: int) -> Iterator[slice]:
    return (slice(lo, min(lo + step, length)) for lo in range(0, length, step))


@contextmanager
def _full_products() -> Iterator[None]:
    """Float32 products at full precision while it lasts: TF32 or bfloat16 shortcuts would break the bound."""
    import torch

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _check(k: int, query_block: int, corpus_block: int, slack: int | None) -> None:
    for name, value, least in (("k", k, 1), ("query_block", query_block, 1), ("corpus_block", corpus_block, 1)):
        if not (isinstance(value, (int, np.integer)) and value >= least):
            raise ValueError(f"top_k: {name} must be a whole number >= {least}, got {value!r}")
    if slack is not None and not (isinstance(slack, (int, np.integer)) and slack >= 0):
        raise ValueError(f"top_k: slack must be a whole number >= 0, got {slack!r}")
