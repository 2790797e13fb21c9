"""AttributeAwareNegatives: the wrong kind of document, and the right kind with the wrong content, drawn apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from litotes.data.anchors import Anchors, Csr
from litotes.data.collection import Collection
from litotes.search.space import Space
from litotes.sources.draws import numbers, streams
from litotes.sources.found import Found
from litotes.spelling import spell

_BLOCK = 1 << 22  # entries of a list that is searched deeper because of ties, at a time


@dataclass(frozen=True)
class AttributeAwareNegatives:
    """Draw hard negatives of two kinds: documents of the wrong attribute that outrank the answer, and deeper ones of
    the right attribute whose content is wrong.

    Where queries say which kind of document they want (an image, a German page, a patent), a retriever has two faults:
    it prefers a kind whatever was asked, and it confuses contents. Negatives of one mined list mix the two up. Here,
    in the list of the `top_k` best of the WHOLE pool, with ranks from 1 and r the best rank of a positive in it
    (infinity if there is none):

        wrong           rank < r,     attribute other than the wanted one
        unsatisfactory  rank > skip,  the wanted attribute

    Each of `per_anchor` draws takes from "wrong" with probability `p_wrong`, else from "unsatisfactory", evenly and
    without replacement; where that kind is used up, from the other; where both are, nothing. A document of the wrong
    kind may well have the right content: it is a negative of this query, because of its wish, and of no other.

    The wanted attribute is the query's own value in `column`; a query without one (null, or no such column) wants the
    values of its positives. Values are compared as they stand: "text+image" is neither "text" nor "image". A document
    without a value is of neither kind; an anchor that wants nothing finds nothing. Positives, and copies of their text,
    keep their rank in the list and are never found, so an image needs a text of its own (its path, say) beside its
    caption's. Equal scores rank by id. A draw depends on (seed, anchor id, rank) alone.

    Out:  Found of the sources "modality:wrong" and "modality:unsatisfactory" (the name of the column before the colon),
          `score` that of the space, `rank` counted without positives. `short`: under the name of the column, the
          anchors that got fewer than `per_anchor`. The finder's `notes` count the draws that had to take the other kind
          and the anchors with neither.
    Cost: one exact search of depth top_k + 1; deeper for anchors whose list ends in a tie.

    Args:
        column: a column of the corpus, and where it has one of the queries.
        top_k: depth of the list, >= 1; a smaller pool is the list.
        skip: ranks left out at the top for "unsatisfactory", in [0, top_k). What lies above is often an answer that
            nobody labelled.
        p_wrong: in [0, 1].
        per_anchor: documents per anchor, >= 1.
        seed: a whole number.
    Raises:
        ValueError: an argument is out of range; `prepare` gets no space, or the corpus lacks the column.
    Source: MM-Embed: Universal Multimodal Retrieval with Multimodal LLMs (arXiv:2411.02571), section 3.2: top_k 50,
        skip 45. That both kinds are drawn with equal probability is a reading.

    Example:
        >>> import numpy as np
        >>> import pyarrow as pa
        >>> from litotes.data.anchors import Anchors
        >>> from litotes.data.collection import Collection, judgements_table
        >>> from litotes.search.space import Space
        >>> from litotes.sources.mined.attribute import AttributeAwareNegatives
        >>> queries = pa.table({"id": ["q"], "text": ["an image of a hen"], "modality": ["image"]})
        >>> names = ["a hen", "hen.png", "cock.png"]
        >>> corpus = pa.table({"id": names, "text": names, "modality": ["text", "image", "image"]})
        >>> task = Collection("hens", queries, corpus, {"train": judgements_table(["q"], ["hen.png"], [1.0])})
        >>> space = Space(np.array([[1.0]], np.float32), np.array([[3.0], [2.0], [1.0]], np.float32), "dot")
        >>> find = AttributeAwareNegatives(top_k=3, skip=2, per_anchor=2).prepare(task, space)
        >>> found = find(Anchors.of(task, "train"))
        >>> [(names[d], found.sources[by]) for d, by in zip(found.document, found.finder)]
        [('a hen', 'modality:wrong'), ('cock.png', 'modality:unsatisfactory')]
    """

    name_in_recipes: ClassVar[str] = "attribute_aware"

    column: str = "modality"
    top_k: int = 50
    skip: int = 45
    p_wrong: float = 0.5
    per_anchor: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        owner = "AttributeAwareNegatives"
        if not (isinstance(self.column, str) and self.column):
            raise ValueError(f"{owner}: column must be the name of a column, got {self.column!r}")
        if not self.top_k >= 1:
            raise ValueError(f"{owner}: top_k must be >= 1, got {self.top_k!r}")
        if not 0 <= self.skip < self.top_k:
            raise ValueError(f"{owner}: skip must be in [0, top_k = {self.top_k}), got {self.skip!r}")
        if not 0 <= self.p_wrong <= 1:
            raise ValueError(f"{owner}: p_wrong must be in [0, 1], got {self.p_wrong!r}")
        if not self.per_anchor >= 1:
            raise ValueError(f"{owner}: per_anchor must be >= 1, got {self.per_anchor!r}")

    @property
    def depth(self) -> int:
        """Candidates behind `skip` that a search must hold."""
        return self.top_k - self.skip

    def prepare(self, collection: Collection, space: Space | None) -> Callable[[Anchors], Found]:
        """Read the column once; the callable searches `space`, and its `notes` count. Raises ValueError without one."""
        if space is None:
            raise ValueError("AttributeAwareNegatives: needs vectors, but there is no model and no space")
        if self.column not in collection.corpus.column_names:
            there = ", ".join(collection.corpus.column_names)
            name = f"{collection.name}/corpus"
            raise ValueError(
                f"AttributeAwareNegatives: column names {self.column!r}; the columns of {name} are {there}"
            )
        documents = _texts(collection.corpus[self.column])
        asked = pa.nulls(len(collection.queries), pa.string())
        if self.column in collection.queries.column_names:
            asked = _texts(collection.queries[self.column])
        codes = pa.concat_arrays([asked, documents]).dictionary_encode().indices.fill_null(-1)
        wanted, kind = np.split(codes.to_numpy(zero_copy_only=False).astype(np.int64), [len(collection.queries)])
        place = np.empty(len(documents), np.int64)
        place[pc.sort_indices(collection.corpus["id"]).to_numpy()] = np.arange(len(documents))
        return _Finder(self, space, place, wanted, kind)

    def __str__(self) -> str:
        return spell(self)


ModalityAwareNegatives = AttributeAwareNegatives


@dataclass(frozen=True, eq=False)
class _Finder:
    """Finds for slices of anchors. `place` int64 [N]: of each document by id; `wanted` [Q], `kind` [N]: -1 = none."""

    part: AttributeAwareNegatives
    space: Space
    place: np.ndarray
    wanted: np.ndarray
    kind: np.ndarray
    notes: dict[str, Any] = field(default_factory=dict)

    def __call__(self, anchors: Anchors) -> Found:
        part, anchor = self.part, np.arange(len(anchors))[:, None]
        ids, scores = ranked_by_id(self.space, anchors.query, min(part.top_k, len(self.kind)), self.place)
        positive = _among(anchor * len(self.kind) + ids, anchors.excluded, len(self.kind))
        first = np.where(positive.any(axis=1), positive.argmax(axis=1), ids.shape[1])[:, None]
        rank = np.broadcast_to(np.arange(ids.shape[1]), ids.shape)
        right, wants = self._right(anchors, ids)
        other = (self.kind[ids] >= 0) & ~right & wants[:, None] & ~positive
        wrong, unsatisfactory = other & (rank < first), right & ~positive & (rank >= part.skip)

        take = self._takes(anchors, wrong.sum(axis=1), unsatisfactory.sum(axis=1))
        key = numbers(streams(anchors, part.seed, "attribute")[:, None], rank)
        chosen = [_first_by(key, kind, count) for kind, count in zip((wrong, unsatisfactory), take, strict=True)]
        row, at = np.nonzero(chosen[0] | chosen[1])
        sources = f"{part.column}:wrong", f"{part.column}:unsatisfactory"
        short = int((take.sum(axis=0) < part.per_anchor).sum())
        return Found(
            sources,
            row.astype(np.int32),
            ids[row, at].astype(np.int32),
            (at - np.cumsum(positive, axis=1)[row, at]).astype(np.int32),
            scores[row, at],
            np.where(chosen[0][row, at], 0, 1).astype(np.int32),
            of_space=sources,
            short={part.column: short} if short else {},
        )

    def _right(self, anchors: Anchors, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which listed documents are of a wanted kind, bool [A, K], and which anchors want any, bool [A]."""
        kinds = int(self.kind.max(initial=0)) + 1
        said = self.wanted[anchors.query]
        row, value = anchors.positives.rows(), self.kind[anchors.positives.items]
        of_positive = (said[row] < 0) & (value >= 0)
        own = np.flatnonzero((said >= 0) & (said < kinds))  # a value that no document has makes all others wrong
        pairs = np.concatenate(
            [own * kinds + said[own], row[of_positive].astype(np.int64) * kinds + value[of_positive]]
        )
        wants = said >= 0
        wants[row[of_positive]] = True
        kind = self.kind[ids]
        return np.isin(np.arange(len(anchors))[:, None] * kinds + kind, pairs) & (kind >= 0), wants

    def _takes(self, anchors: Anchors, wrong: np.ndarray, unsatisfactory: np.ndarray) -> np.ndarray:
        """How many of each kind an anchor gets: int64 [2, A]; counts into `notes`."""
        part = self.part
        coin = numbers(streams(anchors, part.seed, "attribute:kind")[:, None], np.arange(part.per_anchor))
        wished = ((coin >> np.uint64(11)) / 2.0**53 < part.p_wrong).sum(axis=1)
        of_wrong, of_other = np.minimum(wished, wrong), np.minimum(part.per_anchor - wished, unsatisfactory)
        left = part.per_anchor - of_wrong - of_other
        more_wrong = np.minimum(left, wrong - of_wrong)
        more_other = np.minimum(left - more_wrong, unsatisfactory - of_other)
        counted = {
            f"draws that took {part.column}:wrong instead": more_wrong.sum(),
            f"draws that took {part.column}:unsatisfactory instead": more_other.sum(),
            "anchors with neither": (wrong + unsatisfactory == 0).sum(),
        }
        for name, count in counted.items():
            self.notes[name] = self.notes.get(name, 0) + int(count)
        return np.stack([of_wrong + more_wrong, of_other + more_other])


def ranked_by_id(space: Space, rows: np.ndarray, k: int, place: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The k best documents of each query, ties by `place` (int64 [N], of each document): ids, scores [n, k].

    `Space.top_k` gives ties to the lowest row, which moves when documents do. Here a tie across the end of the list is
    searched until it ends, so the list is one of the documents and not of their order. k in [0, N].
    """
    documents = len(place)
    ids, scores = np.zeros((len(rows), k), np.int64), np.zeros((len(rows), k), np.float32)
    todo, depth = np.arange(len(rows)), min(k + 1, documents)
    while len(todo) and k:
        step, tied = max(1, _BLOCK // depth), []
        for low in range(0, len(todo), step):
            at = todo[low : low + step]
            found, score = space.top_k(rows[at], depth)
            open_end = (score[:, -1] == score[:, k - 1]) & (depth < documents)
            turn = np.lexsort((place[found], -score), axis=1)[:, :k]
            ids[at], scores[at] = np.take_along_axis(found, turn, 1), np.take_along_axis(score, turn, 1)
            tied.append(at[open_end])
        todo, depth = np.concatenate(tied), min(4 * depth, documents)
    return ids, scores


def _among(code: np.ndarray, rows: Csr, documents: int) -> np.ndarray:
    return np.isin(code, rows.rows().astype(np.int64) * documents + rows.items)


def _first_by(key: np.ndarray, eligible: np.ndarray, count: np.ndarray) -> np.ndarray:
    """The `count` eligible entries of each row with the lowest keys: bool like `key`."""
    order = np.lexsort((key, ~eligible), axis=1)
    place = np.empty_like(order)
    np.put_along_axis(place, order, np.broadcast_to(np.arange(key.shape[1]), key.shape), 1)
    return eligible & (place < count[:, None])


def _texts(column: Any) -> pa.Array:
    made = column.cast(pa.string()).combine_chunks()
    return pa.concat_arrays(made.chunks) if isinstance(made, pa.ChunkedArray) else made
