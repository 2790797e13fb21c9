"""TasBalanced: queries of one topic meet in a batch, and their pairs are drawn evenly over the teacher's gaps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from litotes.batching.base import Epochs, anchors_of, named, vectors_of
from litotes.search.clusters import kmeans
from litotes.spelling import spell


@dataclass(frozen=True)
class TasBalanced:
    """Fill each batch with queries of one topic, and draw for each query a pair from an even spread of gaps.

    Negatives of a random batch are about something else and teach little; in a batch of one topic they are near. The
    topics are found once, before training: k-means over the queries' vectors of a baseline encoder. And most pairs
    (positive, negative) of a query are easy; so its pairs are put in bins of equal width by the teacher's gap
    t_p - t_n (`gap_bins`), a bin is drawn, then a pair inside it:

        until the batch is full: draw a topic evenly, whatever its size; take min(its queries, batch_size /
        topics_per_batch) of them; a query is never twice in a batch
        for each query: draw one of its bins that are not empty, then one pair of the bin

    A topic comes back only when all others have been asked. An epoch is ceil(queries / batch_size) batches of a stream
    without end: queries of small topics come several times, others not at all, which `report` counts.

    In:   `over(rows, batch_size, gaps=, ...)`: rows are pairs (positive, negative) of queries.
    Out:  a `Batcher`: lists of rows, always batch_size of them, of different queries.
    Cost: k-means once; a batch takes O(batch_size + topics).

    Args:
        topics: number of clusters, >= 1; None = no topics (every query may meet every other). Topics that no query of
            a row belongs to are dropped.
        topics_per_batch: >= 1; each gives at most ceil(batch_size / topics_per_batch) queries at a time.
        bins: of gaps, >= 1.
        balance: "bins", or "random": a pair of the query, evenly.
        iters: rounds of k-means at most, >= 1.
    Raises:
        ValueError: an argument is out of range.
    Source: Efficiently Teaching an Effective Dense Retriever with Balanced Topic Aware Sampling (arXiv:2104.06967),
        section 3; 2,000 topics for 400,000 queries there.

    Example:
        >>> import numpy as np
        >>> queries = np.repeat(np.arange(4), 2)  # rows 0, 1 are pairs of query 0, and so on
        >>> part = TasBalanced(topics=2)
        >>> batcher = part.over(queries, 2, gaps=np.arange(8.0), labels=np.array([0, 0, 1, 1]))
        >>> [{row // 4 for row in batch} in ({0}, {1}) for batch in batcher]
        [True, True]
    """

    topics: int | None = 2000
    topics_per_batch: int = 1
    bins: int = 10
    balance: Literal["bins", "random"] = "bins"
    iters: int = 20

    stage = "batcher"

    def __post_init__(self) -> None:
        for name in ("topics", "topics_per_batch", "bins", "iters"):
            value = getattr(self, name)
            if not (isinstance(value, int) and value >= 1) and not (name == "topics" and value is None):
                raise ValueError(f"TasBalanced: {name} must be a whole number >= 1, got {value!r}")
        if self.balance not in ("bins", "random"):
            raise ValueError(f"TasBalanced: balance must be 'bins' or 'random', got {self.balance!r}")

    def __str__(self) -> str:
        return spell(self)

    def over(
        self,
        rows: Any,
        batch_size: int,
        *,
        seed: int = 0,
        drop_last: bool = False,
        ranks: int = 1,
        gaps: Any = None,
        embeddings: Any = None,
        labels: Any = None,
        ids: Sequence[str] | None = None,
    ) -> TasBatches:
        """The batches of these pairs.

        Args:
            rows: the number of its query for each pair, int [R], or an object with `anchor` (`TrainingRows`); a number
                means as many queries of one pair each.
            batch_size: queries of a batch, >= 1 and at most the queries that have a pair.
            seed: of topics and draws. drop_last: is not read: every batch is full.
            ranks: processes among which the batches are shared out; their number is a multiple of it.
            gaps: the teacher's score of the positive minus that of the negative, float [R]; needed for "bins".
            embeddings: of the baseline encoder, one per number of a query, float [A, D], A > every number; or give them
                later by `refresh`.
            labels: topics that are known, int [A], >= 0, in place of embeddings.
            ids: names of the queries, for messages.
        Raises:
            ValueError: an argument is out of range or missing, or a gap is no finite number; its query is named.
        """
        return TasBatches(
            self, anchors_of(rows, "TasBalanced"), batch_size, seed, drop_last, ranks, gaps, embeddings, labels, ids
        )


def gap_bins(gaps: Any, bins: int = 10) -> np.ndarray:
    """Bin of every pair of one query: `bins` of equal width from the smallest to the largest gap, int64.

        min(bins - 1, floor((gap - min) / (max - min) * bins))

    Equal gaps are all in bin 0.

    Raises:
        ValueError: `bins` is out of range, or a gap is NaN or infinite.
    """
    made = np.asarray(gaps, np.float64)
    return _binned(made, np.zeros(len(made), np.int64), bins, None)


def _binned(gaps: np.ndarray, query: np.ndarray, bins: int, ids: Sequence[str] | None) -> np.ndarray:
    """`gap_bins` of many queries at once; `query` ascends from 0 without holes."""
    if not bins >= 1:
        raise ValueError(f"gap_bins: bins must be >= 1, got {bins!r}")
    odd = np.flatnonzero(~np.isfinite(gaps))
    if len(odd):
        whose = f" of query {named(np.unique(query[odd]), ids)}" if ids is not None else f" at {named(odd, None)}"
        raise ValueError(f"gap_bins: gaps must be finite numbers, got {gaps[odd[0]]}{whose}")
    if not len(gaps):
        return np.empty(0, np.int64)
    starts = np.searchsorted(query, np.arange(query[-1] + 1))
    low, high = np.minimum.reduceat(gaps, starts)[query], np.maximum.reduceat(gaps, starts)[query]
    width = np.where(high > low, high - low, 1)
    return np.minimum(bins - 1, (gaps - low) / width * bins).astype(np.int64)


class TasBatches(Epochs):
    """The `Batcher` of `TasBalanced`."""

    per: Literal["row", "anchor"] = "anchor"

    def __init__(
        self,
        settings: TasBalanced,
        anchor: np.ndarray,
        batch_size: int,
        seed: int,
        drop_last: bool,
        ranks: int,
        gaps: Any,
        embeddings: Any,
        labels: Any,
        ids: Sequence[str] | None,
    ):
        super().__init__("TasBalanced", batch_size, seed, drop_last, ranks)
        self.settings = settings
        self._queries, self._query = np.unique(anchor, return_inverse=True)  # queries without a pair have no number
        if batch_size > len(self._queries):
            raise ValueError(
                f"TasBalanced: batch_size must be at most the {len(self._queries)} queries that have a pair, "
                f"got {batch_size}"
            )
        if settings.topics_per_batch > batch_size:
            raise ValueError(
                f"TasBalanced: topics_per_batch must be at most batch_size {batch_size}, "
                f"got {settings.topics_per_batch}"
            )
        self._row, self._first, self._bins = self._in_bins(gaps, ids)
        self._labels: np.ndarray | None = None  # topic of each query, int32 [Q]
        self._waiting: np.ndarray | None = None
        self._topics: list[np.ndarray] = []
        self._times = np.zeros(len(self._queries), np.int64)  # how often each query came in this epoch
        if settings.topics is None:
            if embeddings is not None or labels is not None:
                raise ValueError("TasBalanced: topics=None has no topics; leave embeddings and labels out")
            self._waiting = np.zeros(len(self._queries), np.int32)
        elif labels is not None:
            if embeddings is not None:
                raise ValueError("TasBalanced: embeddings and labels say one thing twice")
            self._waiting = self._of_queries(labels)
        elif embeddings is not None:
            self.refresh(embeddings)

    def __len__(self) -> int:
        return -(-len(self._queries) // (self.batch_size * self.ranks)) * self.ranks

    def __iter__(self) -> Iterator[list[int]]:
        self._begin()
        epoch = self.epoch
        for place in range(len(self)):
            yield self._batch(np.random.default_rng([self.seed, epoch, place]))

    def renews(self, epoch: int) -> bool:
        """Whether topics are missing still; they are made once."""
        return epoch != self._begun and self._labels is None and self._waiting is None

    def refresh(self, embeddings: Any) -> None:
        """New topics from vectors of all queries, [A, D]: they count from the next epoch.

        Raises:
            ValueError: there are topics=None, too few vectors or queries. BadInput: they hold NaN or infinity.
        """
        if self.settings.topics is None:
            raise ValueError("TasBalanced: topics=None has no topics to renew")
        made = vectors_of(embeddings, max(len(embeddings), int(self._queries[-1]) + 1), "TasBalanced")
        topics = self.settings.topics
        if topics > len(self._queries):
            raise ValueError(
                f"TasBalanced: topics must be at most the {len(self._queries)} queries with a pair, got {topics}"
            )
        self._waiting = kmeans(made[self._queries], topics, iters=self.settings.iters, seed=self.seed)[0]

    def state_dict(self) -> dict[str, Any]:
        """Epoch, and the topics of queries in force and waiting."""
        return {
            "settings": {
                "part": str(self.settings),
                "rows": len(self._row),
                "queries": len(self._queries),
                "seed": self.seed,
                "batch_size": self.batch_size,
                "ranks": self.ranks,
            },
            "epoch": self.epoch,
            "begun": self._begun,
            "labels": self._labels,
            "waiting": self._waiting,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict()`.

        Raises:
            ValueError: it is the state of other rows or settings.
        """
        self._checked_state(state)
        self._labels, self._waiting = state["labels"], state["waiting"]
        self._topics = [] if self._labels is None else _members(self._labels)

    def report(self) -> dict[str, float]:
        """Queries, rows, topics and their sizes; how often queries came in this epoch, most and on average."""
        sizes = [len(members) for members in self._topics] or [0]
        pairs = np.bincount(self._query)
        return {
            "epoch": self.epoch,
            "rows": len(self._row),
            "queries": len(self._queries),
            "queries_of_one_pair": int((pairs == 1).sum()),
            "batches": len(self),
            "topics": len(self._topics),
            "smallest_topic": min(sizes),
            "largest_topic": max(sizes),
            "times_most": int(self._times.max()),
            "times_mean": float(self._times.mean()),
            "queries_left_out": int((self._times == 0).sum()),
        }

    def _begin(self) -> None:
        """Topics that wait come into force; the counts of the epoch start anew."""
        if self._waiting is not None and self._begun != self.epoch:
            self._labels, self._waiting = self._waiting, None
            self._topics = _members(self._labels)
        if self._labels is None:
            raise ValueError("TasBalanced: there are no topics: give over(embeddings=) or over(labels=), or refresh()")
        self._begun = self.epoch
        self._times[:] = 0

    def _batch(self, random: np.random.Generator) -> list[int]:
        queries = self._drawn_queries(random)
        np.add.at(self._times, queries, 1)
        filled = self._bins[queries + 1] - self._bins[queries]
        bin_ = self._bins[queries] + (random.random(len(queries)) * filled).astype(np.int64)
        inside = self._first[bin_ + 1] - self._first[bin_]
        return self._row[self._first[bin_] + (random.random(len(queries)) * inside).astype(np.int64)].tolist()

    def _drawn_queries(self, random: np.random.Generator) -> np.ndarray:
        most = -(-self.batch_size // self.settings.topics_per_batch)
        taken: list[np.ndarray] = []
        missing = self.batch_size
        while missing:  # every pass over the topics takes a query at least: there are enough of them
            for topic in random.permutation(len(self._topics)):
                members = self._topics[topic]
                if taken:
                    members = members[~np.isin(members, np.concatenate(taken))]
                count = min(len(members), most, missing)
                taken.append(random.choice(members, count, replace=False))
                missing -= count
                if not missing:
                    break
        return np.concatenate(taken)

    def _of_queries(self, labels: Any) -> np.ndarray:
        given = np.asarray(labels)
        if given.ndim != 1 or len(given) <= self._queries[-1] or given.dtype.kind not in "iu" or given.min() < 0:
            raise ValueError(
                f"TasBalanced: labels must be whole numbers >= 0, one for each of {int(self._queries[-1]) + 1} queries"
            )
        return given[self._queries].astype(np.int32)

    def _in_bins(self, gaps: Any, ids: Sequence[str] | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows by query and bin; where each bin that is not empty begins; the first bin of each query."""
        rows = len(self._query)
        order = np.argsort(self._query, kind="stable")
        query = self._query[order]
        bins = np.zeros(rows, np.int64)
        if self.settings.balance == "bins":
            if gaps is None:
                raise ValueError("TasBalanced: balance='bins' needs gaps, got None")
            given = np.asarray(gaps, np.float64)
            if given.shape != (rows,):
                raise ValueError(f"TasBalanced: gaps must be [{rows}], one per row, got {list(given.shape)}")
            names = [str(number) if ids is None else ids[number] for number in self._queries.tolist()]
            bins = _binned(given[order], query, self.settings.bins, names)
        again = np.lexsort((bins, query))
        key = query[again] * self.settings.bins + bins[again]
        begins = np.flatnonzero(np.diff(key, prepend=-1))
        first_bin = np.searchsorted(query[again][begins], np.arange(len(self._queries) + 1))
        return order[again], np.append(begins, rows), first_bin


def _members(labels: np.ndarray) -> list[np.ndarray]:
    """Queries of each topic that has any."""
    order = np.argsort(labels, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)
