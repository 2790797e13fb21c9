"""Exact dense search on a changed collection: stored lists are extended, and only what must be is searched anew."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from litotes.atomic import atomic_path
from litotes.data.anchors import Anchors, Csr
from litotes.data.collection import Collection
from litotes.evidence import Evidence, found_entries
from litotes.mining.changed import Changed
from litotes.mining.some import anchors_at, rows_at
from litotes.search.mask import Mask
from litotes.search.report import Reports, SearchReport
from litotes.search.space import Space
from litotes.sources.found import Found, Source, from_matrix
from litotes.sources.mined.dense import Mined
from litotes.sources.mined.window import window


def can_extend(source: Source, space: Space | None, changed: Changed) -> bool:
    """Whether the lists that `source` left in evidence say enough to be extended.

    They do for exact dense search from rank 0 that keeps all it finds, as long as the documents that stayed are in
    their old order (ties go to the lowest row). BM25 weighs words by the whole corpus, random draws and mixtures
    depend on all documents, a window with `skip` does not say what it left out: those are run again.
    """
    return isinstance(source, Mined) and source == Mined(source.depth) and space is not None and changed.in_order


class Refound:
    """What `Mined(depth)` finds on the new collection, from what it found on the old one; equal row for row.

    Let L be an anchor's old list, X the documents that are gone or changed, D those that are new or changed.
    The best of the new corpus are the best of (old without X) and of D. If L holds nothing of X, or was shorter than
    `depth` (it then held every document that the anchor may find), the best of (old without X) are L without X, and a
    search among D alone completes it. Otherwise the anchor is searched anew, as are anchors that are new or changed.
    A merged list of two exact lists is exact: scores depend on two vectors only.

    Both searches run where the space's run, so also on a cluster's workers.

    `counts`: anchors "searched anew" and anchors "extended". `searches`: how they were proved.

    Args:
        old: the evidence of the old collection, as mining left it.
        work: folder for the vectors of D, where they do not stand together.
    Cost: O(anchors x |D|) for the kept ones, and one pass over the old parts.
    """

    def __init__(
        self, source: Mined, collection: Collection, space: Space, old: Evidence, changed: Changed, work: Path
    ):
        self.source, self.collection, self.space, self.old, self.changed = source, collection, space, old, changed
        self.counts = {"anchors searched anew": 0, "anchors extended": 0}
        self._anew = source.prepare(collection, space)
        self._delta = np.flatnonzero(~changed.same).astype(np.int32)
        self._beside: Space | None = None
        self._seen = Reports()
        if len(self._delta):
            vectors = _taken(space.corpus, self._delta, work / "new-documents.npy")
            self._beside = space.over(vectors)

    def __call__(self, anchors: Anchors) -> Found:
        kept, listed = self._listed(anchors)
        anew, stay = np.flatnonzero(~kept), np.flatnonzero(kept)
        self.counts["anchors searched anew"] += len(anew)
        self.counts["anchors extended"] += len(stay)
        parts = [listed]
        if len(anew):
            searched = self._anew(anchors_at(anchors, anew))
            parts.append((anew[searched.anchor], searched.document, searched.score))
        if len(stay) and self._beside is not None:
            parts.append(self._among_new(anchors, stay))
        anchor, document, score = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        order = np.lexsort([document, -score, anchor])
        anchor = anchor[order]
        starts = np.searchsorted(anchor, np.arange(len(anchors)))
        rank = np.arange(len(anchor)) - starts[anchor]
        best = rank < self.source.depth
        merged = Found(
            self.source.name,
            anchor[best].astype(np.int32),
            document[order][best].astype(np.int32),
            rank[best].astype(np.int32),
            score[order][best].astype(np.float32),
            of_space=(self.source.name,),
        )
        return window(merged, anchors, self.source)

    @property
    def searches(self) -> dict[str, SearchReport]:
        """How the searches so far were proved, by the spelling of the source."""
        made, spelled = Reports(), str(self.source)
        for part in (getattr(self._anew, "searches", {}).get(spelled), self._seen.joined):
            if part is not None:
                made(part)
        return {} if made.joined is None else {spelled: made.joined}

    def close(self) -> None:
        """Let the workers of a cluster forget the new documents."""
        close = getattr(self._beside, "close", None)
        if close is not None:
            close()

    def _listed(self, anchors: Anchors) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Which anchors keep their old list, and what is left of those lists: (anchor, document, score)."""
        kept = self.changed.kept[anchors.query]
        ids = self.collection.queries["id"].take(pa.array(anchors.query)).combine_chunks()
        table = self.old.of_anchors(ids.filter(pa.array(kept)))
        of_row = pc.index_in(table["anchor"], value_set=ids).to_numpy()
        there = np.zeros(len(anchors), bool)  # a run that was stopped has no rows of the anchors it did not come to
        there[of_row] = True

        found = found_entries(table)
        found = found.filter(pc.equal(found["source"], self.source.name))
        row = found["row"].to_numpy()
        anchor = of_row[row].astype(np.int64)
        place = pc.index_in(table["candidate"], value_set=self.collection.corpus["id"].combine_chunks())
        document = pc.fill_null(place, -1).to_numpy()[row]
        stays = document >= 0
        stays[stays] = self.changed.same[document[stays]]
        full = np.bincount(anchor, minlength=len(anchors)) >= self.source.depth
        broken = np.bincount(anchor[~stays], minlength=len(anchors)) > 0
        kept = kept & there & ~(full & broken)
        stays &= kept[anchor]
        return kept, (anchor[stays], document[stays], found["score"].to_numpy()[stays])

    def _among_new(self, anchors: Anchors, stay: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The best new documents of these anchors."""
        assert self._beside is not None
        excluded = rows_at(anchors.excluded, stay)
        row, place = excluded.rows(), np.searchsorted(self._delta, excluded.items)
        place = np.minimum(place, len(self._delta) - 1)
        new = self._delta[place] == excluded.items
        exclude = Csr.of(row[new], place[new], len(stay))
        mask = Mask.of(len(stay), len(self._delta), exclude=(exclude.offsets, exclude.items))
        depth = min(self.source.depth, len(self._delta))
        ids, scores = self._beside.top_k(anchors.query[stay], depth, mask, report=self._seen)
        found = from_matrix(self.source.name, ids, scores, 0)
        return stay[found.anchor], self._delta[found.document], found.score


def _taken(vectors: np.ndarray, rows: np.ndarray, out: Path) -> np.ndarray:
    """Those rows, mapped: a slice where they stand together in one array, else a copy in a file."""
    if isinstance(vectors, np.ndarray) and int(rows[-1]) - int(rows[0]) == len(rows) - 1:
        return vectors[int(rows[0]) : int(rows[-1]) + 1]
    with atomic_path(out) as temporary:
        copy = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.float32, shape=(len(rows), vectors.shape[1]))
        for low in range(0, len(rows), 4096):
            copy[low : low + 4096] = vectors[rows[low : low + 4096]]
        copy.flush()
    return np.load(out, mmap_mode="r", allow_pickle=False)
