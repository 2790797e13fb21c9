"""Exact top-k: low-precision products propose, bounds of their error prove, and the definition decides."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

from litotes.search.bounds import Bounds, Precision
from litotes.search.definition import check_similarity, check_vectors, score_pairs
from litotes.search.depths import depths
from litotes.search.mask import Mask
from litotes.search.norms import norms
from litotes.search.problem import Problem
from litotes.search.report import SearchReport

WORTH_COMPILING = 1e10  # products; below, loading the compiled loops (0.6 s) costs more than they save
_FEW_ALLOWED = 512  # where a query may find one document in so many, scoring those beats a scan
_PAIRS = 1 << 20  # such pairs at a time
_MOST_ROWS = 2**31  # ids are int32


def top_k(
    queries: np.ndarray,
    corpus: np.ndarray,
    k: int | np.ndarray,
    *,
    similarity: str = "cosine",
    mask: Mask | None = None,
    skip: int = 0,
    query_norms: np.ndarray | None = None,
    corpus_norms: np.ndarray | None = None,
    query_block: int = 8192,
    corpus_block: int = 16384,
    precision: str = "auto",
    engine: str = "auto",
    device: str = "cpu",
    threads: int | None = None,
    report: Callable[[SearchReport], None] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The k best documents of each query by the definition of `score_pairs`, ties to the lowest row; certified.

    1. Multiply: blocks of the corpus are rounded to low precision and multiplied with the queries; every product comes
       with a bound of its error (`Bounds`).
    2. Scan: per query a line is kept, the k-th largest lower bound so far. A document whose upper bound lies below the
       line is beaten by k others, by more than the definition's own rounding: it is dropped. The others survive.
    3. Decide: survivors are scored by the definition. Where near-ties would make them too many, this happens early and
       only the k best of them stay, so in the worst case every document is scored by the definition.

    Nothing is dropped without that proof, so ids and scores depend on the vectors only: not on precision, block sizes,
    threads, device or the other queries.

    In:   queries float32 [Q, D], corpus float32 [N, D]; finite; either may be memory-mapped.
    Out:  ids int32 [Q, max k], best first, -1 where fewer than k documents remain; scores float32, -inf there.
    Cost: O(Q N D) products in low precision, O(Q survivors D) in float64; memory: see `scratch_bytes`. The corpus is
        read once per `query_block` queries, and once more for norms that are not given.

    Args:
        k: how many: one number >= 1, or integers >= 0 [Q]; may exceed the corpus.
        similarity: "cosine", "dot" or "l2" (larger = more alike in all three).
        mask: what each query may find; applied inside the scan.
        skip: leave out so many at the top, >= 0: the window of ranks [skip, skip + k).
        query_norms, corpus_norms: as `norms` gives them, where they are at hand; rows are then taken as checked.
        query_block, corpus_block: rows at a time, >= 1. They set memory and speed.
        precision: of the products, "bfloat16", "float32", or "auto": bfloat16 where the processor multiplies it.
        engine: "compiled" (CPU only), "torch", or "auto": compiled loops where they are worth loading.
        device: where products are formed, as torch spells it: a CPU or CUDA device. The definition runs on the CPU.
        threads: how many, >= 1; None = as many as torch uses. The products of the torch engine use torch's own number.
        report: called with the `SearchReport`.
    Raises:
        ValueError: an argument is out of range, or the mask does not fit.
        BadInput: vectors are no float32 matrices, or hold NaN or infinity (the message names input and row).
    """
    import torch

    _check(query_block, corpus_block, skip, precision, engine, device, threads)
    check_similarity("top_k", similarity)
    check_vectors(queries, "queries", finite=False)
    check_vectors(corpus, "corpus", finite=False)
    if queries.shape[1] != corpus.shape[1]:
        raise ValueError(f"top_k: queries have {queries.shape[1]} dimensions, the corpus has {corpus.shape[1]}")
    check_rows("top_k", len(corpus))
    mask = None if mask is None else Mask.fitting("top_k", mask, len(queries), len(corpus))
    wanted, width = depths("top_k", k, len(queries))
    threads = torch.get_num_threads() if threads is None else threads

    documents = None
    if mask is not None and mask.allowed is not None:
        documents, mask = np.flatnonzero(mask.allowed), replace(mask, allowed=None)
    findable = len(corpus) if documents is None else len(documents)
    if engine == "auto":
        large = len(queries) * findable * corpus.shape[1] >= WORTH_COMPILING
        engine = "compiled" if large and device == "cpu" else "torch"
    quickly = engine == "compiled"
    if query_norms is None:
        query_norms = _norms(queries, "queries", quickly, threads)
        corpus_norms = query_norms if corpus is queries and corpus_norms is None else corpus_norms
    corpus_norms = _norms(corpus, "corpus", quickly, threads) if corpus_norms is None else corpus_norms
    if quickly:
        from litotes.search.compiled import rows_of

        queries, corpus = rows_of(queries), rows_of(corpus)
    problem = Problem(
        queries,
        corpus,
        similarity,
        np.ascontiguousarray(query_norms, np.float64),
        np.ascontiguousarray(corpus_norms, np.float64),
        np.where(wanted > 0, np.minimum(wanted + skip, findable), 0),
        documents,
        None if mask is None or mask.open else mask,
    )
    ids, scores = np.full((len(queries), width), -1, np.int32), np.full((len(queries), width), -np.inf, np.float32)
    if not (len(queries) and findable):
        found, seen, engine, precision = (ids, scores), np.zeros((len(queries), 3)), "definition", "float64"
    elif mask is not None and mask.allow is not None and len(mask.allow[1]) * _FEW_ALLOWED <= len(queries) * findable:
        found, engine, precision = _score_allowed(problem, threads), "definition", "float64"
        counted, nothing = np.diff(mask.allow[0]), np.zeros(len(queries))
        seen = np.stack([counted, nothing, nothing], axis=1)
    else:
        free = precision == "auto"
        if free:
            precision = _fastest(device, engine)
        longest = float(problem.corpus_norms.max())
        which: tuple[Precision, ...] = ("bfloat16", "float32") if precision == "bfloat16" else ("float32",)
        bounds, *finer = (
            Bounds.of(similarity, corpus.shape[1], one, device, problem.query_norms, longest) for one in which
        )
        with _full_products(device):
            *hits, seen = _search(
                problem,
                bounds,
                finer[0] if finer and free else None,
                engine,
                device,
                threads,
                query_block,
                corpus_block,
            )
        found = hits[0], hits[1]
    ranks = found[0].shape[1] - skip
    if ranks > 0:
        ids[:, :ranks], scores[:, :ranks] = found[0][:, skip:], found[1][:, skip:]
    if report is not None:
        at_once, many = int((seen[:, 1] == 0).sum()), seen[:, 0]
        mean, most = (float(many.mean()), int(many.max())) if len(many) else (0.0, 0)
        report(SearchReport(len(queries), at_once, int(seen[:, 2].sum()), mean, most, engine, precision))
    return ids, scores


def scratch_bytes(
    queries: int,
    k: int,
    dimensions: int,
    query_block: int = 8192,
    corpus_block: int = 16384,
    *,
    documents: int = 0,
    threads: int = 2,
) -> int:
    """At most so much memory does `top_k` take on a CPU beside its vectors: answers, candidates, blocks and tiles.

    Args:
        queries, k, dimensions, query_block, corpus_block, threads: as `top_k` will have them (k with its `skip`).
        documents: rows of the corpus if their norms are not at hand, else 0.
    """
    from litotes.search.compiled import COLUMNS, ROWS
    from litotes.search.problem import capacity

    largest = max(ROWS.values()) + 32
    group, depth = min(queries, query_block) + largest, dimensions + 64
    answers = queries * k * 8 * 2  # twice: with and without `skip`
    candidates = group * (capacity(k) * 12 + depth * 6 + 256)  # 6: where float32 takes over, both are there for a while
    block = (corpus_block + COLUMNS) * (depth * 6 + 64)
    tiles = threads * (COLUMNS * largest * 6 + capacity(k) * 12)
    return answers + candidates + block + tiles + 8 * documents + 16 * queries + 2**22


def _search(
    problem: Problem,
    bounds: Bounds,
    finer: Bounds | None,
    engine: str,
    device: str,
    threads: int,
    query_block: int,
    corpus_block: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if engine == "compiled":
        from litotes.search import compiled

        return compiled.search(problem, bounds, finer, threads, query_block, corpus_block)
    from litotes.search import scan

    return scan.search(problem, bounds, device, threads, query_block, corpus_block)


def check_rows(owner: str, rows: int) -> None:
    """Refuse a corpus whose rows int32 cannot number. Raises ValueError naming `owner`."""
    if rows >= _MOST_ROWS:
        raise ValueError(f"{owner}: the corpus must have fewer than 2^31 rows, which ids can number, got {rows:,}")


def _score_allowed(problem: Problem, threads: int) -> tuple[np.ndarray, np.ndarray]:
    """Every pair that `allow` names scored by the definition: exact without a proof."""
    assert problem.mask is not None and problem.mask.allow is not None
    offsets, items = problem.mask.allow
    width = int(problem.k.max())
    ids = np.full((len(problem.queries), width), -1, np.int32)
    scores = np.full((len(problem.queries), width), -np.inf, np.float32)
    low = 0
    while low < len(ids):
        high = max(low + 1, int(np.searchsorted(offsets, offsets[low] + _PAIRS, side="right")) - 1)
        owner = np.repeat(np.arange(low, high), np.diff(offsets[low : high + 1]))
        found = items[offsets[low] : offsets[high]]
        kept = problem.mask.keeps(owner, found)
        if problem.documents is not None:
            kept &= np.isin(found, problem.documents)
        owner, found = owner[kept], found[kept]
        lengths = problem.query_norms, problem.corpus_norms
        score = score_pairs(problem.queries, problem.corpus, owner, found, problem.similarity, *lengths, threads)
        order = np.lexsort((found, -score, owner))
        rank = np.arange(len(owner)) - np.searchsorted(owner, owner)  # `owner` ascends before and after the sort
        best = rank < problem.k[owner]
        ids[owner[best], rank[best]] = found[order][best]
        scores[owner[best], rank[best]] = score[order][best]
        low = high
    return ids, scores


def _norms(vectors: np.ndarray, name: str, quickly: bool, threads: int) -> np.ndarray:
    """Norms by the definition; NaN and infinity show in them, and are refused."""
    if quickly:
        from litotes.search import compiled

        made = compiled.norms(vectors, threads)
    else:
        made = norms(vectors, threads)
    if not np.isfinite(made).all():
        check_vectors(vectors, name)
    return made


def _fastest(device: str, engine: str) -> Precision:
    """bfloat16 where the processor has units for it; a small problem on a CPU is not worth asking."""
    import torch

    if device != "cpu":
        return "bfloat16" if torch.cuda.get_device_capability(device)[0] >= 8 else "float32"
    if engine == "torch":
        return "float32"
    from llvmlite.binding import get_host_cpu_features  # type: ignore[import-untyped]

    features = get_host_cpu_features()
    return "bfloat16" if any(features.get(name) for name in ("avx512bf16", "amx-bf16", "bf16")) else "float32"


@contextmanager
def _full_products(device: str) -> Iterator[None]:
    """Products as the bounds know them while it lasts: no TF32, no autocast, no sums in reduced precision."""
    import torch

    before, cuda = torch.get_float32_matmul_precision(), torch.backends.cuda.matmul
    reduced = cuda.allow_bf16_reduced_precision_reduction
    torch.set_float32_matmul_precision("highest")
    cuda.allow_bf16_reduced_precision_reduction = False
    try:
        with torch.no_grad(), torch.autocast(torch.device(device).type, enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)
        cuda.allow_bf16_reduced_precision_reduction = reduced


def _check(
    query_block: int, corpus_block: int, skip: int, precision: str, engine: str, device: str, threads: int | None
) -> None:
    numbers = {"query_block": (query_block, 1), "corpus_block": (corpus_block, 1), "skip": (skip, 0)}
    if threads is not None:
        numbers["threads"] = threads, 1
    for name, (value, least) in numbers.items():
        if not (isinstance(value, (int, np.integer)) and value >= least):
            raise ValueError(f"top_k: {name} must be a whole number >= {least}, got {value!r}")
    if precision not in ("auto", "bfloat16", "float32"):
        raise ValueError(f"top_k: precision must be 'auto', 'bfloat16' or 'float32', got {precision!r}")
    if engine not in ("auto", "compiled", "torch"):
        raise ValueError(f"top_k: engine must be 'auto', 'compiled' or 'torch', got {engine!r}")
    if engine == "compiled" and device != "cpu":
        raise ValueError(f"top_k: the compiled engine runs on the device 'cpu', got {device!r}")
