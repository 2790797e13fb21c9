"""assemble: from evidence to the signs and weights of one batch. Every pair that meets is looked up."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from litotes.evidence import check

Same = Mapping[str, Hashable] | tuple[Any, np.ndarray]


class Assembled(NamedTuple):
    """What evidence says about a batch: `sign` int8, `weight` float32 in [0, 1], `teacher` float32 (NaN = not scored).

    All are [B, C] numpy arrays.
    """

    sign: np.ndarray
    weight: np.ndarray
    teacher: np.ndarray


@dataclass(frozen=True, eq=False)
class Lookup:
    """Evidence as an index in memory: 25 bytes per pair, plus the ids.

    Ids become codes, and equal texts share a code, so that a duplicate of a positive is a positive, and one of a
    doubted candidate is doubted. What the rows of one (anchor code, candidate code) say together:

        sign      +1 if one row is positive, else 0 if one row is 0, else -1
        weight    of positives the highest; of judged negatives (a grade is there) 1; else the lowest
        teacher   the first score that is there, in the order of rows

    A text that is a positive on one row and a judged negative on another is a positive: people disagree with
    themselves there, and in a batch the pair falls silent unless it was drawn.

    `offsets` int64 [A + 1] cuts the pairs by anchor code; within an anchor `candidate` int64 [R] ascends.
    `anchors`, `candidates`: Arrow arrays of ids; `anchor_code`, `candidate_code`: the code of each.
    """

    anchors: pa.Array
    anchor_code: np.ndarray
    candidates: pa.Array
    candidate_code: np.ndarray
    offsets: np.ndarray
    candidate: np.ndarray
    sign: np.ndarray
    weight: np.ndarray
    score: np.ndarray

    @classmethod
    def of(
        cls, evidence: pa.Table | Iterable[pa.Table], *, same: Same | None = None, same_anchors: Same | None = None
    ) -> Lookup:
        """Index evidence. Memory and time are O(rows); a table at a time is read.

        Args:
            evidence: one table, or several (`Evidence.tables()`), with all their rows, doubted ones too.
            same: which candidates are exact duplicates: id -> group, or (ids, int array of groups). Ids that are not
                named stand alone. Ids that evidence does not know get a code too, so that duplicates are seen.
            same_anchors: likewise for anchors.
        Raises:
            ValueError: the rows are no evidence of schema version 1.
        """
        tables = [evidence] if isinstance(evidence, pa.Table) else evidence
        anchors, candidates, columns = _Ids(), _Ids(), []
        for table in tables:
            check(table)
            judged = ~np.isnan(table["grade"].to_numpy())
            columns.append(
                (anchors.rows(table["anchor"]), candidates.rows(table["candidate"]), table["sign"].to_numpy(), judged)
                + (table["weight"].to_numpy(), table["score"].to_numpy())
            )
        kinds = (np.int64, np.int64, np.int8, bool, np.float32, np.float32)
        empty = [np.empty(0, kind) for kind in kinds]
        joined = [np.concatenate(part) for part in zip(*columns, strict=True)] if columns else empty
        anchor_row, candidate_row, sign, judged, weight, score = joined
        anchor_ids, anchor_code = anchors.coded(same_anchors)
        candidate_ids, candidate_code = candidates.coded(same)

        width = int(candidate_code.max(initial=-1)) + 1
        key = anchor_code[anchor_row] * max(width, 1) + candidate_code[candidate_row]
        pair, first = np.unique(key, return_inverse=True)
        folded = _folded(first.reshape(-1), len(pair), sign, judged, weight, score)
        heights = int(anchor_code.max(initial=-1)) + 1
        offsets = np.searchsorted(pair // max(width, 1), np.arange(heights + 1)).astype(np.int64)
        return cls(anchor_ids, anchor_code, candidate_ids, candidate_code, offsets, pair % max(width, 1), *folded)

    def __len__(self) -> int:
        return len(self.candidate)

    def anchor_codes(self, ids: Any) -> np.ndarray:
        """int64 code per anchor id (a sequence of strings, or Arrow), -1 for an id that is not there."""
        return _find(ids, self.anchors, self.anchor_code)

    def candidate_codes(self, ids: Any) -> np.ndarray:
        """int64 code per candidate id (a sequence of strings, or Arrow), -1 for an id that is not there."""
        return _find(ids, self.candidates, self.candidate_code)

    def scores(self, anchor: np.ndarray, candidate: np.ndarray) -> np.ndarray:
        """Scores of aligned pairs of codes, int64 [P] each: float32 [P], NaN where evidence has none."""
        width = max(int(self.candidate.max(initial=-1)) + 1, 1)
        keys = np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets)) * width + self.candidate
        wanted = np.where((anchor >= 0) & (candidate >= 0) & (candidate < width), anchor * width + candidate, -1)
        place = np.minimum(np.searchsorted(keys, wanted), max(len(keys) - 1, 0))
        made = np.full(len(wanted), np.nan, np.float32)
        hit = keys[place] == wanted if len(keys) else np.zeros(len(wanted), bool)
        made[hit] = self.score[place[hit]]
        return made


def assemble(
    anchor_ids: Sequence[str] | np.ndarray,
    candidate_ids: Sequence[str] | np.ndarray,
    lookup: Lookup,
    *,
    drawn: np.ndarray | None = None,
    of: np.ndarray | None = None,
    in_batch: bool = True,
    others: Literal["silent", "pull"] = "silent",
) -> Assembled:
    """Sign, weight and teacher score of every pair that meets in a batch, in-batch negatives included.

        the drawn positive              +1, with its weight (1 if evidence does not know it)
        another known positive          0 ("silent") or +1 ("pull")
        a pair that evidence calls 0    0
        a known negative                -1 with its weight: a doubt on disk counts here too; judged ones have weight 1
        a pair nobody wrote about       -1 with weight 1, teacher NaN

    A candidate that stands in several columns is one negative, not several: the first column that a row sees as -1
    counts for it, the later ones are 0.

    In:   ids as strings, or as integer arrays of codes (`Lookup.anchor_codes`, `candidate_codes`; -1 = unknown, and
          two unknown candidates are taken for different).
    Out:  Assembled, arrays [B, C].
    Cost: O(C log C + P log C + B C) time, P = evidence rows of the anchors of this batch.
    Args:
        drawn: int [B], column of the positive that was drawn, -1 = none; None = row i drew column i.
        of: int [C], the row that brought a column; needed for in_batch=False.
        in_batch: False: columns that other rows brought are 0.
        others: what known positives that were not drawn are.
    Raises:
        ValueError: an argument is out of range.
    """
    if others not in ("silent", "pull"):
        raise ValueError(f"assemble: others must be 'silent' or 'pull', got {others!r}")
    if not in_batch and of is None:
        raise ValueError("assemble: in_batch=False needs `of`, the row that brought each column; got None")
    anchor = _codes(anchor_ids, lookup.anchor_codes)
    candidate = _codes(candidate_ids, lookup.candidate_codes)
    rows, columns = len(anchor), len(candidate)
    column = np.arange(rows) if drawn is None else np.asarray(drawn)
    if len(column) != rows or not ((column >= -1) & (column < columns)).all():
        raise ValueError(f"assemble: drawn must hold one column in [-1, {columns - 1}] for each of {rows} rows")
    if of is not None and len(of) != columns:
        raise ValueError(f"assemble: of must hold one row for each of {columns} columns, got {len(of)}")

    unknown = candidate < 0
    candidate = np.where(unknown, -1 - np.arange(columns), candidate)
    distinct, place = np.unique(candidate, return_inverse=True)
    place = place.reshape(-1)
    sign, weight, teacher = (values[:, place] for values in _known(anchor, distinct, lookup))

    here = np.flatnonzero(column >= 0)
    same = np.zeros((rows, columns), bool)
    same[here] = place[None, :] == place[column[here]][:, None]
    sign[same] = 1  # a text that equals the drawn positive is a known positive, whoever wrote it down
    if others == "silent":
        sign[sign > 0] = 0
    sign[here, column[here]] = 1
    if not in_batch:
        foreign = np.asarray(of)[None, :] != np.arange(rows)[:, None]
        foreign[here, column[here]] = False
        sign[foreign] = 0
    if len(distinct) < columns:
        _count_once(sign, place)
    return Assembled(sign, weight, teacher)


def _known(anchor: np.ndarray, distinct: np.ndarray, lookup: Lookup) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What the lookup says about anchors [B] and distinct candidates [U]: sign, weight and teacher [B, U]."""
    shape = (len(anchor), len(distinct))
    sign, weight = np.full(shape, -1, np.int8), np.ones(shape, np.float32)
    teacher = np.full(shape, np.nan, np.float32)
    if not len(lookup) or not len(distinct):
        return sign, weight, teacher
    # from the evidence of the anchors into the batch, not from the batch into all evidence: C is small, evidence is not
    known = anchor >= 0
    begin = np.where(known, lookup.offsets[anchor], 0)
    count = np.where(known, lookup.offsets[anchor + 1], 0) - begin
    row = np.repeat(np.arange(len(anchor)), count)
    pair = np.arange(len(row)) + np.repeat(begin - (np.cumsum(count) - count), count)
    wanted = lookup.candidate[pair]
    spot = np.minimum(np.searchsorted(distinct, wanted), len(distinct) - 1)
    hit = distinct[spot] == wanted
    row, spot, pair = row[hit], spot[hit], pair[hit]
    sign[row, spot] = lookup.sign[pair]
    weight[row, spot] = lookup.weight[pair]
    teacher[row, spot] = lookup.score[pair]
    return sign, weight, teacher


def _count_once(sign: np.ndarray, place: np.ndarray) -> None:
    """Silence every -1 of a row behind the first one of the same candidate, in place."""
    order = np.argsort(place, kind="stable")
    negative = sign[:, order] < 0
    total = np.cumsum(negative, axis=1, dtype=np.int32)
    start = np.searchsorted(place[order], place[order])
    before = (total - negative)[:, start]
    row, column = np.nonzero(negative & (total - before > 1))
    sign[row, order[column]] = 0


def _folded(
    group: np.ndarray, groups: int, sign: np.ndarray, judged: np.ndarray, weight: np.ndarray, score: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sign, weight and score of groups of rows that are one pair."""
    rank = np.array([-1, 0, 1], np.int8)[np.array([1, 2, 0])[sign]]  # indexed by 0, 1, -1
    best = np.full(groups, -1, np.int8)
    np.maximum.at(best, group, rank)

    lowest, highest = np.ones(groups, np.float32), np.zeros(groups, np.float32)
    negative, positive = sign < 0, sign > 0
    np.minimum.at(lowest, group[negative], weight[negative])
    np.maximum.at(highest, group[positive], weight[positive])
    certain = np.zeros(groups, bool)
    certain[group[negative & judged]] = True
    believed = np.where(best > 0, highest, np.where(certain | (best == 0), 1, lowest)).astype(np.float32)

    scored = np.flatnonzero(~np.isnan(score))[::-1]
    teacher = np.full(groups, np.nan, np.float32)
    teacher[group[scored]] = score[scored]
    return best, believed, teacher


class _Ids:
    """Ids in order of first appearance over several columns, and then their codes."""

    def __init__(self) -> None:
        self.place: dict[str, int] = {}

    def rows(self, column: pa.ChunkedArray) -> np.ndarray:
        """Place of every id: int64."""
        encoded = column.combine_chunks().dictionary_encode()
        places = [self.place.setdefault(name, len(self.place)) for name in encoded.dictionary.to_pylist()]
        return np.array(places, np.int64)[encoded.indices.to_numpy(zero_copy_only=False)]

    def coded(self, same: Same | None) -> tuple[pa.Array, np.ndarray]:
        """All ids, and a code for each: its place, or for one that has duplicates the place of the first of them."""
        if same is None:
            return pa.array(list(self.place), pa.string()), np.arange(len(self.place))
        if isinstance(same, Mapping):
            ids, groups = list(same), list(same.values())
        else:
            ids, groups = _listed(same[0]), same[1].tolist()
        for name in ids:
            self.place.setdefault(name, len(self.place))
        code = np.arange(len(self.place))
        first: dict[Hashable, int] = {}
        for name, group in zip(ids, groups, strict=True):
            code[self.place[name]] = first.setdefault(group, self.place[name])
        return pa.array(list(self.place), pa.string()), code


def _find(ids: Any, known: pa.Array, code: np.ndarray) -> np.ndarray:
    wanted = ids if isinstance(ids, (pa.Array, pa.ChunkedArray)) else pa.array(list(ids), pa.string())
    place = pc.fill_null(pc.index_in(wanted, value_set=known), -1).to_numpy(zero_copy_only=False)
    return np.where(place >= 0, code[place] if len(code) else -1, -1).astype(np.int64)


def _codes(ids: Any, find: Any) -> np.ndarray:
    given = np.asarray(ids) if isinstance(ids, np.ndarray) else ids
    if isinstance(given, np.ndarray) and given.dtype.kind in "iu":
        return given.astype(np.int64, copy=False)
    return find([str(name) for name in given])


def _listed(ids: Any) -> list[str]:
    return ids.to_pylist() if isinstance(ids, (pa.Array, pa.ChunkedArray)) else list(ids)
