"""Search on Ray: every worker searches shards of the documents, and the answers become one."""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from litotes.cluster import Call, Cluster
from litotes.errors import BadInput
from litotes.search.mask import Mask
from litotes.search.norms import norms
from litotes.search.sharded import Hits, Reported, ShardedSpace, cut, reported
from litotes.search.space import Space


class RaySpace(ShardedSpace):
    """A `Space` whose searches run on the workers of a cluster: the same bits as on one machine, with any number of
    workers, in any order of their answers, and when some of them are lost on the way.

    A worker keeps the shards it has searched open, and prefers them; it takes over any other when that one's worker is
    lost or busy. Memory-mapped vectors are opened by the workers under the same path (on several machines: on a shared
    file system; a worker compares what it finds there with ours). Vectors in memory go through Ray's object store,
    once. Scores of single pairs are formed here.

    Cost: per worker the file pages of its shards and 8 bytes of norm per document; on the network 4 Q D workers bytes
        of queries and 8 Q k shards bytes of answers (and, for conditions on documents, the condition per search).

    Args:
        space: what is searched.
        cluster: entered already.
        shards: cuts of the corpus, >= 1; None = one per worker. It changes what is lost with a worker, not the result.
    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(self, space: Space, cluster: Cluster, shards: int | None = None):
        if shards is not None and not shards >= 1:
            raise ValueError(f"RaySpace: shards must be >= 1 or None, got {shards!r}")
        super().__init__(
            space.queries,
            cut(space.corpus, shards or cluster.workers),
            space.similarity,
            space.name,
            space.checksum,
            checked=True,
        )
        self.folder = space.folder
        self._whole, self.corpus, self._cluster, self._cuts = space, space.corpus, cluster, shards
        bounds = zip(self.starts[:-1], self.starts[1:], strict=True)
        self._places = [_place(space.corpus, lo, hi) for lo, hi in bounds]
        self.crew = cluster.crew(partial(_Searcher, space.similarity))

    @property
    def query_norms(self) -> np.ndarray:
        """Norms of the queries by the definition, float64 [Q]."""
        return self._whole.query_norms

    @property
    def corpus_norms(self) -> np.ndarray:
        """Norms of the documents by the definition, float64 [N]."""
        return self._whole.corpus_norms

    def over(self, corpus: np.ndarray) -> RaySpace:
        """The same queries over other documents, searched where this one is; to be closed like this one.

        Raises:
            BadInput, ValueError: the documents do not fit.
        """
        return RaySpace(self._whole.over(corpus), self._cluster, self._cuts)

    def close(self) -> None:
        """Let the workers forget their shards."""
        self.crew.close()

    def __enter__(self) -> RaySpace:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _found(
        self, rows: np.ndarray, each: np.ndarray, mask: Mask | None, blocks: Sequence[np.ndarray]
    ) -> Iterator[Reported]:
        return self.crew.map(self._calls(rows, each, mask, blocks))

    def _calls(
        self, rows: np.ndarray, each: np.ndarray, mask: Mask | None, blocks: Sequence[np.ndarray]
    ) -> Iterator[Call]:
        import ray

        for block in blocks:
            asked = ray.put((np.ascontiguousarray(self.queries[rows[block]]), self.query_norms[rows[block]]))
            part = None if mask is None else mask.of_queries(block)
            for number, place in enumerate(self._places):
                lo, hi = self.starts[number : number + 2]
                seen = None if part is None else part.of_documents(lo, hi)
                yield Call("top_k", (number, place, asked, each[block], seen), near=number)


@dataclass(frozen=True)
class _Rows:
    """Rows of a `.npy` file, and how to tell that a path leads to the same ones elsewhere."""

    path: str
    offset: int
    rows: int
    width: int
    digest: str

    def open(self) -> np.ndarray:
        """The rows, memory-mapped.

        Raises:
            BadInput: there is no such file on this machine, or another one.
        """
        import socket

        here = f"on {socket.gethostname()}: the same file as where the run was started (a shared file system)"
        try:
            vectors = _mapped(Path(self.path), self.offset, self.rows, self.width)
        except (OSError, ValueError) as error:
            raise BadInput(f"no such vectors ({error})", here, file=self.path) from None
        if _ends(vectors) != self.digest:
            raise BadInput("other vectors", here, file=self.path)
        return vectors


class _Searcher:
    """What a worker of a `RaySpace` holds: its open shards."""

    def __init__(self, similarity: str):
        self._similarity = similarity
        self._open: dict[int, Hits] = {}  # shard -> vectors and norms

    def top_k(
        self, number: int, place: _Rows | np.ndarray, asked: Hits, each: np.ndarray, mask: Mask | None
    ) -> Reported:
        """The exact answer over one shard, ids counted from its first row, no wider than the shard has rows."""
        if number not in self._open:
            vectors = place.open() if isinstance(place, _Rows) else place
            self._open[number] = vectors, norms(vectors)
        corpus, lengths = self._open[number]
        return reported(
            asked[0],
            corpus,
            np.minimum(each, len(corpus)),
            similarity=self._similarity,
            mask=mask,
            query_norms=asked[1],
            corpus_norms=lengths,
        )


def _place(corpus: Any, lo: int, hi: int) -> Any:
    """Where workers find these rows: in a file, or in the object store."""
    rows = corpus[lo:hi]
    mapping = getattr(corpus, "_mmap", None)
    if mapping is not None and getattr(corpus, "filename", None) and rows.flags.c_contiguous and hi > lo:
        # a view of a memory map keeps the offset of the whole: what counts is where its numbers lie
        start = np.frombuffer(mapping, np.uint8).__array_interface__["data"][0]
        offset = (
            rows.__array_interface__["data"][0]
            - start
            + corpus.offset // mmap.ALLOCATIONGRANULARITY * mmap.ALLOCATIONGRANULARITY
        )
        return _Rows(str(Path(corpus.filename).resolve()), offset, hi - lo, corpus.shape[1], _ends(rows))
    import ray

    return ray.put(np.ascontiguousarray(rows))


def _mapped(path: Path, offset: int, rows: int, width: int) -> np.ndarray:
    return np.memmap(path, np.float32, mode="r", offset=offset, shape=(rows, width))


def _ends(vectors: np.ndarray) -> str:
    """A checksum of the first and the last rows."""
    ends = np.concatenate([vectors[:16], vectors[-16:]])
    return hashlib.sha256(ends.tobytes()).hexdigest()
