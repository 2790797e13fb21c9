"""Approximate search: FAISS proposes documents, the definition scores them, and the recall is measured."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from litotes.atomic import atomic_path
from litotes.extras import need
from litotes.memory import parse_bytes, spell_bytes
from litotes.search.cores import cores
from litotes.search.definition import check_similarity, check_vectors, score_pairs
from litotes.search.depths import depths
from litotes.search.exact import top_k
from litotes.search.mask import Mask
from litotes.search.norms import norms

KINDS = ("flat", "hnsw", "ivf", "ivfpq")
FEW = 100_000  # documents that are scanned exactly in less time than an index of them takes to build
_LINKS = 32  # neighbours of a node of HNSW
_ROUNDS = 3  # how often FAISS is asked for more before a query is searched exactly
_BLOCK = 1 << 14
_CELLS = 1 << 20  # queries x candidates at a time
_CELL = 112  # bytes that each of them takes while it is masked, scored and sorted


class Answer(NamedTuple):
    """`ids` int32 [n, k] and `scores` float32 [n, k] as of `top_k`; `exact`: queries that went to the exact engine."""

    ids: np.ndarray
    scores: np.ndarray
    exact: int


@dataclass(frozen=True)
class Recall:
    """Share of the exact k best that were found: mean over `queries`, and its 95 % interval [low, high] (Wilson).

    A query's share lies in [0, 1], so its variance is at most that of a coin, and the interval of `queries` coins is on
    the safe side. A document found instead of another with the same score counts as found.
    """

    mean: float
    low: float
    high: float
    queries: int
    k: int

    def __str__(self) -> str:
        return f"{self.mean:.4f} [{self.low:.3f}, {self.high:.3f}] at {self.k} over {self.queries} queries"


def choose(documents: int, dimensions: int, memory: int | str | None = None) -> str:
    """The kind of index for a corpus: what is exact if that is cheap, else the best that fits.

        flat    up to 100,000 documents                       no index: every search is exact
        hnsw    2 D + 290 bytes a document fit into `memory`  highest recall per second
        ivf     1.5 (D + 8) bytes a document fit              half of that
        ivfpq   1.5 (D / 4 + 8) bytes a document fit          a sixth; more candidates are scored anew

    Args:
        memory: bytes, or a text such as "2GB"; None = half of the machine's memory.
    Raises:
        ValueError: not even `ivfpq` fits (it is said how much it takes), or the memory is no size.
    """
    if documents <= FEW:
        return "flat"
    if memory is None:
        import psutil

        memory = psutil.virtual_memory().total // 2
    memory = parse_bytes(memory)
    for kind in ("hnsw", "ivf", "ivfpq"):
        if index_bytes(kind, documents, dimensions) <= memory:
            return kind
    least = spell_bytes(index_bytes("ivfpq", documents, dimensions))
    raise ValueError(
        f"choose: memory must be >= {least} for an index of {documents} documents, got {spell_bytes(memory)}"
    )


def index_bytes(kind: str, documents: int, dimensions: int) -> int:
    """About how much memory an index takes while it is built, the vectors not counted but their norms."""
    kept = 8 * documents
    if kind == "flat":
        return kept
    if kind == "hnsw":
        return kept + documents * (2 * dimensions + 8 * _LINKS + 26)
    lists, code = _lists(documents), dimensions if kind == "ivf" else -(-dimensions // 4)
    training = 4 * dimensions * _sample(documents, lists)
    return kept + training + 4 * lists * dimensions + int(1.5 * documents * (code + 8))


def scratch_bytes(queries: int, documents: int, dimensions: int) -> int:
    """At most so much memory does one search of an index take beside the index and what the exact engine takes."""
    cells = _CELL * min(_CELLS, queries * documents)
    return max(cells + cores() * documents, 16 * min(_BLOCK, documents) * dimensions)  # a mark per document visited


@dataclass(frozen=True, eq=False)
class ApproximateIndex:
    """Nearest documents without looking at all of them. Built by `ApproximateIndex.build`.

    FAISS proposes more than k documents from vectors of low precision; they get their score by the definition over the
    stored float32 vectors (`score_pairs`) and are ranked by it, ties to the lowest row. So every score is a fact, and
    only who was proposed is approximate. cosine searches normalised vectors by inner product, l2 by distance, dot by
    the distance after Bachrach et al.'s step: a coordinate sqrt(max |x|^2 - |x|^2) makes all documents equally long.

    A mask holds as in the exact search. `allowed` is applied by FAISS, lists of `allow` that are short are scored one
    by one; for all else a query asks for more and more until k documents that it may find are there, and after three
    rounds it is searched exactly. No query gets fewer documents than exist; `Answer.exact` says how many it took.

    Answers of one index do not depend on threads or on the other queries. Two builds of `ivf` and `ivfpq` with one seed
    are alike; HNSW depends on which thread comes first, and is only alike when built with `threads=1`, or kept in a
    file.

    Args:
        corpus: float32 [N, D]; may be memory-mapped.
        similarity: "cosine", "dot" or "l2".
        kind: "flat" (no index, the exact search), "hnsw", "ivf" or "ivfpq".
        effort: >= 0; each step doubles how much of the index is searched. `tuned` finds it.
        index: that of FAISS, None for "flat".
    Source: Malkov and Yashunin (arXiv:1603.09320) for HNSW; Jegou et al., Product Quantization for Nearest Neighbor
        Search (doi:10.1109/TPAMI.2010.57) for ivfpq; Bachrach et al., Speeding up the Xbox recommender system
        (doi:10.1145/2645710.2645741) for dot; The Faiss library (arXiv:2401.08281).
    """

    corpus: np.ndarray
    similarity: str
    kind: str
    effort: int = 0
    index: Any = None

    @classmethod
    def build(
        cls,
        corpus: np.ndarray,
        similarity: str = "cosine",
        *,
        kind: str = "auto",
        memory: int | str | None = None,
        seed: int = 0,
        threads: int | None = None,
        folder: str | Path | None = None,
        corpus_norms: np.ndarray | None = None,
    ) -> ApproximateIndex:
        """Index a corpus, in blocks: a memory-mapped one is never in memory as a whole.

        Args:
            kind: "auto" (`choose` by size and memory), "flat", "hnsw", "ivf" or "ivfpq".
            memory: for "auto": bytes, or a text such as "2GB"; None = half of the machine's memory.
            seed: of the training sample and of k-means, >= 0.
            threads: None = as OpenMP says.
            folder: keep the index there as `<kind>-<SHA-256 of vectors and settings>.faiss`, and take it from there if
                it is there. So a folder may hold the indices of many corpora, and each file may be deleted at any time.
            corpus_norms: by the definition, where they are at hand.
        Raises:
            ValueError: an argument is out of range, `ivfpq` of fewer than 256 documents, or `choose` finds none.
            BadInput: the corpus is no float32 matrix, or holds NaN or infinity.
            ImportError: the extra `approximate` is not installed.
        """
        check_similarity("ApproximateIndex", similarity)
        if kind not in ("auto", *KINDS):
            raise ValueError(f"ApproximateIndex: kind must be 'auto', {', '.join(map(repr, KINDS))}, got {kind!r}")
        if not (isinstance(seed, (int, np.integer)) and seed >= 0):
            raise ValueError(f"ApproximateIndex: seed must be a whole number >= 0, got {seed!r}")
        if threads is not None and not (isinstance(threads, (int, np.integer)) and threads >= 1):
            raise ValueError(f"ApproximateIndex: threads must be a whole number >= 1, got {threads!r}")
        check_vectors(corpus, "corpus")
        kind = choose(corpus.shape[0], corpus.shape[1], memory) if kind == "auto" else kind
        if kind == "ivfpq" and len(corpus) < 256:
            raise ValueError(f"ApproximateIndex: ivfpq needs at least 256 documents, got {len(corpus)}; search exactly")
        empty = cls(corpus, similarity, kind)
        if kind == "flat" or not len(corpus):
            return replace(empty, kind="flat")
        if corpus_norms is not None:
            empty.__dict__["corpus_norms"] = corpus_norms
        if folder is None:
            return empty._with(index=empty._built(seed, threads))
        return empty._with(index=empty._kept(Path(folder), seed, threads))

    def search(self, queries: np.ndarray, k: int | np.ndarray, mask: Mask | None = None) -> Answer:
        """The k best documents that are found, as `top_k`, and how many queries had to be searched exactly."""
        check_vectors(queries, "queries")
        if queries.shape[1] != self.corpus.shape[1]:
            widths = queries.shape[1], self.corpus.shape[1]
            raise ValueError(f"ApproximateIndex: queries have {widths[0]} dimensions, the corpus has {widths[1]}")
        many, width = depths("ApproximateIndex", k, len(queries))
        mask = Mask.fitting("ApproximateIndex", mask, len(queries), len(self.corpus))
        out = np.full((len(queries), width), -1, np.int32), np.full((len(queries), width), -np.inf, np.float32)
        asking = _Asking(self, queries, norms(queries), many, mask, out)
        left = np.flatnonzero(many)
        if self.kind != "flat":
            left = asking.listed(left)
            for round_ in range(_ROUNDS):
                left = asking.asked(left, round_)
        if len(left):
            part = mask.of_queries(left)
            ids, scores = top_k(
                queries[left],
                self.corpus,
                many[left],
                similarity=self.similarity,
                mask=part,
                query_norms=asking.lengths[left],
                corpus_norms=self.corpus_norms,
            )
            out[0][left, : ids.shape[1]], out[1][left, : ids.shape[1]] = ids, scores
        return Answer(*out, len(left))

    def top_k(
        self, queries: np.ndarray, k: int | np.ndarray, mask: Mask | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The k best documents of each query among those that the index proposes, ties to the lowest row.

        In:   queries float32 [n, D]; k >= 1, or integers [n] >= 0; mask: of these queries over the corpus.
        Out:  ids int32 [n, largest k], -1 padded; scores float32 likewise, -inf padded: those of the definition.
        Raises:
            ValueError: k is out of range, or queries or mask do not fit.
            BadInput: the queries are no float32 matrix, or hold NaN or infinity.
        """
        return self.search(queries, k, mask)[:2]

    def recall(
        self, queries: np.ndarray, k: int, mask: Mask | None = None, *, sample: int = 256, seed: int = 0
    ) -> Recall:
        """Recall at k against the exact engine, over a drawn sample of the queries.

        Args:
            sample: queries at most, >= 1. seed: of the draw.
        Raises:
            ValueError: there are no queries, an argument is out of range, or the mask does not fit.
        """
        if not (len(queries) and sample >= 1):
            raise ValueError(f"ApproximateIndex.recall: needs queries and sample >= 1, got {len(queries)}, {sample!r}")
        rows = np.sort(np.random.default_rng(seed).permutation(len(queries))[:sample])
        part = Mask.fitting("ApproximateIndex", mask, len(queries), len(self.corpus)).of_queries(rows)
        return self._recall(queries[rows], k, part)

    def tuned(
        self,
        queries: np.ndarray,
        k: int,
        mask: Mask | None = None,
        *,
        target: float = 0.95,
        sample: int = 128,
        seed: int = 1,
    ) -> ApproximateIndex:
        """The same index with the least effort whose recall at k reaches `target` on a drawn sample of the queries.

        What it reaches on other queries is for `recall` to say; its draw is another. Where no effort reaches the target
        the last one that still changed something is taken.

        Raises:
            ValueError: target is not in (0, 1], or as `recall`.
        """
        if not 0 < target <= 1:
            raise ValueError(f"ApproximateIndex.tuned: target must be in (0, 1], got {target!r}")
        effort, most = 0, max(1, math.ceil(math.log2(max(len(self.corpus), 2))) - 3)
        while effort < most and self.kind != "flat":
            made = self._with(effort=effort)
            if made.recall(queries, k, mask, sample=sample, seed=seed).mean >= target:
                return made
            effort += 1
        return self._with(effort=effort)

    @cached_property
    def corpus_norms(self) -> np.ndarray:
        """Norms of the documents by the definition, float64 [N]."""
        return norms(self.corpus)

    def _recall(self, queries: np.ndarray, k: int, mask: Mask) -> Recall:
        _, exact = top_k(queries, self.corpus, k, similarity=self.similarity, mask=mask, corpus_norms=self.corpus_norms)
        scores = self.search(queries, k, mask).scores
        there = (exact > -np.inf).sum(axis=1)
        counted = there > 0
        least = exact[counted, there[counted] - 1]
        shares = (scores[counted] >= least[:, None]).sum(axis=1) / there[counted]
        return Recall(*_wilson(np.minimum(shares, 1.0)), int(counted.sum()), k)

    def _with(self, **changes: Any) -> ApproximateIndex:
        """The same index with other fields than its corpus: what was worked out about that goes along."""
        made = replace(self, **changes)
        made.__dict__.update(
            {name: self.__dict__[name] for name in ("corpus_norms", "_power") if name in self.__dict__}
        )
        return made

    # -- what FAISS sees

    @cached_property
    def _power(self) -> int:
        """The power of two by which all are scaled, so that squares neither overflow nor vanish."""
        return 0 if self.similarity == "cosine" else int(np.frexp(self.corpus_norms.max(initial=0.0))[1])

    def _seen(self, vectors: np.ndarray, lengths: np.ndarray, query: bool) -> np.ndarray:
        """Vectors as the index takes them: float32 [n, dimensions of the index]."""
        if self.similarity == "cosine":
            seen = (vectors / np.where(lengths > 0, lengths, 1.0)[:, None]).astype(np.float32)
        else:
            with np.errstate(over="ignore", under="ignore"):
                seen = np.ldexp(vectors, -self._power)
            if query:  # a query far longer than all documents would overflow; for dot its length changes no order
                seen = np.clip(seen, -1e15, 1e15) if self.similarity == "l2" else _unit(vectors, lengths)
        if self.similarity == "dot":
            short = np.ldexp(lengths, -self._power)
            longest = np.ldexp(self.corpus_norms.max(initial=0.0), -self._power)
            rest = np.zeros(len(seen)) if query else np.sqrt(np.maximum(longest**2 - short**2, 0.0))
            seen = np.concatenate([seen, rest[:, None].astype(np.float32)], axis=1)
        missing = _wide(self.kind, self.similarity, self.corpus.shape[1]) - seen.shape[1]
        return np.ascontiguousarray(np.pad(seen, ((0, 0), (0, missing))) if missing else seen, dtype=np.float32)

    def _built(self, seed: int, threads: int | None) -> Any:
        from litotes.progress import progress

        faiss = need("faiss", extra="approximate", why=f"search={self.kind}")
        wide, count = _wide(self.kind, self.similarity, self.corpus.shape[1]), len(self.corpus)
        metric = faiss.METRIC_INNER_PRODUCT if self.similarity == "cosine" else faiss.METRIC_L2
        lists = _lists(count)
        if self.kind == "hnsw":
            index = faiss.IndexHNSWSQ(wide, faiss.ScalarQuantizer.QT_bf16, _LINKS, metric)
            index.hnsw.efConstruction = 80
            index.hnsw.rng = faiss.RandomGenerator(seed)
        else:
            code = "SQ8" if self.kind == "ivf" else f"PQ{wide // 4}x8"
            index = faiss.index_factory(wide, f"IVF{lists},{code}", metric)
            for part in (index.cp, index.pq.cp) if self.kind == "ivfpq" else (index.cp,):
                part.seed, part.min_points_per_centroid, part.max_points_per_centroid = seed + 1, 1, 64
            if self.kind == "ivfpq":
                index.do_polysemous_training = False  # orders codes for a filter that is not used; takes minutes
        with _threads(faiss, threads):
            drawn = np.sort(np.random.default_rng(seed).permutation(count)[: _sample(count, lists)])
            index.train(self._seen(self.corpus[drawn], self.corpus_norms[drawn], False))
            with progress(total=count, what="indexing", unit="vectors") as bar:
                for low in range(0, count, _BLOCK):
                    rows = slice(low, min(low + _BLOCK, count))
                    index.add(self._seen(self.corpus[rows], self.corpus_norms[rows], False))
                    bar.update(rows.stop - low)
        return index

    def _kept(self, folder: Path, seed: int, threads: int | None) -> Any:
        faiss = need("faiss", extra="approximate", why=f"search={self.kind}")
        about = f"version=1 kind={self.kind} similarity={self.similarity} seed={seed} vectors={checksum(self.corpus)}"
        file = folder / f"{self.kind}-{hashlib.sha256(about.encode()).hexdigest()}.faiss"
        if file.exists():
            return faiss.read_index(str(file))
        index = self._built(seed, threads)
        with atomic_path(file) as path:
            faiss.write_index(index, str(path))
        return index

    def propose(self, queries: np.ndarray, many: int, effort: int, allowed: np.ndarray | None) -> np.ndarray:
        """Documents that FAISS finds: int64 [n, many], -1 padded. Queries as `_seen` gives them."""
        faiss = need("faiss", extra="approximate", why=f"search={self.kind}")
        selector = None
        if allowed is not None:
            selector = faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little"))
        if self.kind == "hnsw":
            parameters = faiss.SearchParametersHNSW(
                efSearch=min(max(64, many) << min(effort, 20), max(len(self.corpus), 64)), sel=selector
            )
        else:
            probes = min(8 << min(effort, 20), self.index.nlist)
            parameters = faiss.SearchParametersIVF(nprobe=probes, sel=selector)
        return self.index.search(queries, many, params=parameters)[1]


@dataclass(frozen=True, eq=False)
class _Asking:
    """One search: what was asked, and where the answers go."""

    owner: ApproximateIndex
    queries: np.ndarray
    lengths: np.ndarray
    many: np.ndarray
    mask: Mask
    out: tuple[np.ndarray, np.ndarray]

    def listed(self, rows: np.ndarray) -> np.ndarray:
        """Answer those that may find a short list only, document by document; the others are given back."""
        if self.mask.allow is None or not len(rows):
            return rows
        offsets, items = self.mask.allow
        lengths = np.diff(offsets)[rows]
        short = lengths <= 16 * self.many[rows] + 1024
        for part in _parts(rows[short], int(lengths[short].max(initial=1))):
            sizes = np.diff(offsets)[part]
            found = np.full((len(part), max(int(sizes.max(initial=0)), 1)), -1, np.int64)
            place = np.arange(found.shape[1]) < sizes[:, None]
            found[place] = np.concatenate([items[offsets[row] : offsets[row + 1]] for row in part])
            self._write(part, *self._ranked(part, found))
        return rows[~short]

    def asked(self, rows: np.ndarray, round_: int) -> np.ndarray:
        """Ask FAISS for the queries `rows`; those that have not enough yet are given back."""
        owner, size = self.owner, len(self.owner.corpus)
        hidden = 0 if self.mask.exclude is None else np.diff(self.mask.exclude[0])[rows]
        ask = self.many[rows] + hidden + 16
        if owner.kind == "ivfpq":  # short codes rank roughly: the right ones stand further down
            ask = ask * (2 << min(owner.effort, 10))
        ask = np.minimum(ask << (2 * round_), size)
        wide = np.minimum(1 << np.ceil(np.log2(np.maximum(ask, 1))).astype(np.int64), size)
        possible = self.mask.possible()
        left = [rows[wide > max(4096, size // 16)]]  # so many are scanned exactly in less time
        for many in np.unique(wide[wide <= max(4096, size // 16)]):
            for part in _parts(rows[wide == many], int(many)):
                seen = owner._seen(self.queries[part], self.lengths[part], True)
                found = owner.propose(seen, int(many), owner.effort + 2 * round_, self.mask.allowed)
                proposed = (found >= 0).sum(axis=1)
                ids, scores = self._ranked(part, found)
                kept = (ids >= 0).sum(axis=1)
                done = (kept >= self.many[part]) | (proposed >= size)
                if possible is not None:
                    done |= kept >= possible[part]
                self._write(part[done], ids[done], scores[done])
                left.append(part[~done])
        return np.sort(np.concatenate(left))

    def _ranked(self, rows: np.ndarray, found: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Proposals int64 [n, any] (-1 = none) that the mask lets through, by score and row: all of them, padded."""
        owner = self.owner
        if not self.mask.open:
            near, where = np.nonzero(found >= 0)
            kept = self.mask.keeps(rows[near], found[near, where])
            found[near[~kept], where[~kept]] = -1
        found = np.sort(np.where(found < 0, np.iinfo(np.int64).max, found), axis=1)  # rows in order: ties to the lowest
        near, where = np.nonzero(found < np.iinfo(np.int64).max)
        scores = np.full(found.shape, -np.inf, np.float32)
        lengths = self.lengths, owner.corpus_norms
        scores[near, where] = score_pairs(
            self.queries, owner.corpus, rows[near], found[near, where], owner.similarity, *lengths, cores()
        )
        order = np.argsort(-scores, axis=1, kind="stable")
        found = np.where(found == np.iinfo(np.int64).max, -1, found)
        return np.take_along_axis(found, order, 1), np.take_along_axis(scores, order, 1)

    def _write(self, rows: np.ndarray, ids: np.ndarray, scores: np.ndarray) -> None:
        width = min(ids.shape[1], self.out[0].shape[1])
        inside = np.arange(width) < self.many[rows, None]
        self.out[0][rows, :width] = np.where(inside, ids[:, :width], -1)
        self.out[1][rows, :width] = np.where(inside, scores[:, :width], -np.inf)


def _parts(rows: np.ndarray, wide: int) -> Iterator[np.ndarray]:
    step = max(1, _CELLS // max(wide, 1))
    return (rows[low : low + step] for low in range(0, len(rows), step))


def _lists(documents: int) -> int:
    """How many lists an inverted file has: 4 sqrt(N), and 39 documents in each at least."""
    return max(1, min(int(4 * math.sqrt(documents)), documents // 39))


def _sample(documents: int, lists: int) -> int:
    return min(documents, max(64 * lists, 1 << 16))


def _wide(kind: str, similarity: str, dimensions: int) -> int:
    """Dimensions of the index: one more for dot, and a multiple of 4 for product codes."""
    wide = dimensions + (similarity == "dot")
    return -(-wide // 4) * 4 if kind == "ivfpq" else wide


def _unit(vectors: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    return (vectors / np.where(lengths > 0, lengths, 1.0)[:, None]).astype(np.float32)


def _wilson(shares: np.ndarray) -> tuple[float, float, float]:
    """Mean and Wilson's 95 % interval of shares in [0, 1]; of none at all (1, 0, 1)."""
    count, z = len(shares), 1.959963984540054
    if not count:
        return 1.0, 0.0, 1.0
    mean = float(shares.mean())
    middle = (mean + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(mean * (1 - mean) / count + z * z / (4 * count * count))
    return mean, max(0.0, middle - half), min(1.0, middle + half)


def checksum(vectors: np.ndarray) -> str:
    """SHA-256 of a matrix, read in blocks: hexadecimal."""
    digest = hashlib.sha256(str(vectors.shape).encode())
    for low in range(0, len(vectors), _BLOCK):
        digest.update(np.ascontiguousarray(vectors[low : low + _BLOCK]).data)
    return digest.hexdigest()


@contextmanager
def _threads(faiss: Any, threads: int | None) -> Iterator[None]:
    before = faiss.omp_get_max_threads()
    if threads is not None:
        faiss.omp_set_num_threads(threads)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
