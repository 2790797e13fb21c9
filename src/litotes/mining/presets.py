"""Presets: the negatives that three other miners would choose, made of our sources and vetters and a selection step.

They are for people who come from there and want to see what changes, and for honest comparisons. What each miner does
that we would not do is kept, and named in docs/guide/presets.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from litotes.data.anchors import Anchors, Csr
from litotes.data.collection import Collection
from litotes.evidence import add, order
from litotes.mining.blocks import Blocks, SpaceScorer, joined
from litotes.mining.selection import Chosen, Pairs, Selection
from litotes.mining.some import anchors_at
from litotes.search.mask import Mask
from litotes.search.space import Space
from litotes.sources.draws import numbers, streams
from litotes.sources.found import Found, from_matrix, places
from litotes.sources.mined.dense import Mined
from litotes.sources.random import Random
from litotes.spelling import spell
from litotes.vetting.absolute_margin import AbsoluteMargin
from litotes.vetting.peer_line import PeerLine
from litotes.vetting.relative_margin import RelativeMargin
from litotes.vetting.same_text import SameText
from litotes.vetting.score_window import ScoreWindow

Vetter = Callable[..., pa.Table]


def like(name: str, options: Mapping[str, Any] | None = None) -> SentenceTransformers | FlagEmbedding | Nemo:
    """The preset of another miner: "sentence-transformers", "flagembedding" or "nemo".

    Args:
        options: its own options by its own names; the rest keeps that miner's defaults.
    Raises:
        ValueError: no such preset, an option it does not have, or one out of range.
    """
    presets = {"sentence-transformers": SentenceTransformers, "flagembedding": FlagEmbedding, "nemo": Nemo}
    if name not in presets:
        raise ValueError(f"like: name must be one of {', '.join(presets)}, got {name!r}")
    known = [field.name for field in fields(presets[name])]
    unknown = sorted(set(options or {}) - set(known))
    if unknown:
        raise ValueError(f"like: {name} has no option {unknown[0]!r}; it has {', '.join(known)}")
    return presets[name](**(options or {}))


@dataclass(frozen=True)
class SentenceTransformers:
    """The choice of `sentence_transformers.util.mine_hard_negatives`, release 6.2, exact search, without cross-encoder.

    Search to depth range_max + (most positives of any anchor), positives included; take the positives out; drop what
    breaks a margin under the lowest positive or a bound; of what is left, in order of score, drop the first `range_min`
    and keep up to `range_max`; from these take the first `num_negatives`, or draw them.

    `range_max` None means range_min + num_negatives + most positives, with ten times num_negatives where a margin or
    max_score is set (but not for min_score alone).

    Out of `mine`: a Selection; its `rows` are that function's rows.
    Source: none; reproduces behaviour, which the tests compare with the installed release.
    """

    range_min: int = 0
    range_max: int | None = None
    max_score: float | None = None
    min_score: float | None = None
    absolute_margin: float | None = None
    relative_margin: float | None = None
    num_negatives: int = 3
    sampling_strategy: Literal["top", "random"] = "top"
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.num_negatives >= 1:
            raise ValueError(f"SentenceTransformers: num_negatives must be >= 1, got {self.num_negatives!r}")
        if not self.range_min >= 0:
            raise ValueError(f"SentenceTransformers: range_min must be >= 0, got {self.range_min!r}")
        if self.range_max is not None and not self.range_max - self.range_min >= self.num_negatives:
            raise ValueError(
                f"SentenceTransformers: range_max must be >= range_min + num_negatives = "
                f"{self.range_min + self.num_negatives}, got {self.range_max!r}"
            )
        if self.sampling_strategy not in ("top", "random"):
            raise ValueError(
                f"SentenceTransformers: sampling_strategy must be 'top' or 'random', got {self.sampling_strategy!r}"
            )

    def deepest(self, most_positives: int) -> int:
        """`range_max`, or what it means where it is None."""
        if self.range_max is not None:
            return self.range_max
        strict = (self.absolute_margin, self.relative_margin, self.max_score) != (None, None, None)
        return self.range_min + self.num_negatives * (10 if strict else 1) + most_positives

    @property
    def vetters(self) -> list[Vetter]:
        """What doubts the candidates."""
        made: list[Vetter] = []
        if self.absolute_margin is not None:
            made.append(PeerLine("sum", self.absolute_margin))
        if self.relative_margin is not None:
            made.append(RelativeMargin(self.relative_margin, "min"))
        if self.max_score is not None or self.min_score is not None:
            low, high = self.min_score, self.max_score
            crossed = low is not None and high is not None and low > high  # there, nothing passes; here, no such window
            made += [ScoreWindow(low, None), ScoreWindow(None, high)] if crossed else [ScoreWindow(low, high)]
        return made

    def mine(self, collection: Collection, split: str, space: Space) -> Selection:
        """Choose negatives for the anchors of a split. Texts that are equal to the letter count as one."""
        pairs = Pairs.of(collection, split, by_text=True)
        most = max(map(len, pairs.positives), default=0)
        deepest = self.deepest(most)
        table = _vetted(pairs.anchors, _search(pairs, collection, space, deepest + most), space, self.vetters)
        anchor, document, score = _believed(table, pairs)
        rank = places(anchor)
        window = np.flatnonzero((rank >= self.range_min) & (rank < deepest))
        chosen = _taken(window, anchor, rank, self.num_negatives, pairs.anchors, self)
        return _selection(self.num_negatives, pairs, table, anchor[chosen], document[chosen], score[chosen], space)

    def __str__(self) -> str:
        return spell(self)


@dataclass(frozen=True)
class FlagEmbedding:
    """The choice of FlagEmbedding's `hn_mine.py` 1.4: an even draw from a window of ranks, no false-negative control.

    Search to the end of `range_for_sampling`, positives included; keep the ranks of the window (counted before anything
    is taken out); take out texts that are equal to the letter to a positive or to the query; draw `negative_number` of
    them; where there are fewer, fill up with random documents of the corpus.

    The filling stands in the evidence with the source "random-fill", and in `filled` of the Selection. It never repeats
    a chosen negative or the query (there it may), and a corpus that is too small gives fewer (there it fails).

    Args:
        range_for_sampling: "first-end", 0-based, end exclusive.
        negative_number: negatives per anchor, >= 1.
    Source: none; reproduces behaviour.
    """

    range_for_sampling: str = "10-210"
    negative_number: int = 15
    seed: int = 0

    def __post_init__(self) -> None:
        first, _, end = self.range_for_sampling.partition("-")
        if not (first.isdigit() and end.isdigit() and int(first) < int(end)):
            raise ValueError(
                "FlagEmbedding: range_for_sampling must be 'first-end' with first < end, "
                f"got {self.range_for_sampling!r}"
            )
        if not self.negative_number >= 1:
            raise ValueError(f"FlagEmbedding: negative_number must be >= 1, got {self.negative_number!r}")

    @property
    def window(self) -> tuple[int, int]:
        """First rank and end."""
        first, _, end = self.range_for_sampling.partition("-")
        return int(first), int(end)

    def mine(self, collection: Collection, split: str, space: Space) -> Selection:
        """Choose negatives for the anchors of a split."""
        once = Pairs.of(collection, split, by_text=True).documents
        pairs = replace(Pairs.of(collection, split, by_text=False), documents=once)
        first, end = self.window
        found = _search(pairs, collection, space, end)
        found = found.take(np.flatnonzero(found.rank >= first))
        copies = SameText(exact=True)
        table = _vetted(pairs.anchors, found, space, [copies])
        anchor, document, score = _believed(table, pairs)
        every = np.arange(len(anchor))
        rows = _taken(every, anchor, places(anchor), self.negative_number, pairs.anchors, self, drawn=True)
        anchor, document, score = anchor[rows], document[rows], score[rows]

        fill = self._fill(pairs, collection, anchor, document)
        if len(fill):
            more = _vetted(pairs.anchors, fill, space, [copies])
            table = add(table, more)
            query, documents = pairs.anchors.query[fill.anchor], fill.document
            anchor, document = np.concatenate([anchor, fill.anchor]), np.concatenate([document, documents])
            score = np.concatenate([score, space.pairs(query, documents)])
        filled = np.arange(len(anchor)) >= len(rows)
        turn = np.argsort(anchor, kind="stable")
        made = _selection(self.negative_number, pairs, table, anchor[turn], document[turn], score[turn], space)
        return replace(made, filled=filled[turn])

    def _fill(self, pairs: Pairs, collection: Collection, anchor: np.ndarray, document: np.ndarray) -> Found:
        """Random documents for the anchors that the window leaves short."""
        anchors = len(pairs.positives)
        missing = self.negative_number - np.bincount(anchor, minlength=anchors)
        repeated = np.setdiff1d(np.arange(len(collection.corpus)), pairs.documents)
        by_text: dict[str, list[int]] = {}
        texts, queries = collection.document_texts(), collection.query_texts()
        for row, text in enumerate(texts):
            by_text.setdefault(text, []).append(row)
        banned: list[tuple[int, int]] = []
        for i in np.flatnonzero(missing > 0).tolist():
            same = [row for positive in pairs.positives[i] for row in by_text[texts[positive]]]
            same += by_text.get(queries[pairs.anchors.query[i]], [])
            banned += [(i, row) for row in (*same, *repeated.tolist(), *document[anchor == i].tolist())]
        closed = np.array(banned, np.int64).reshape(-1, 2)
        open_to_draw = replace(pairs.anchors, excluded=Csr.of(closed[:, 0], closed[:, 1], anchors))
        drawn = Random(self.negative_number, self.seed).prepare(collection)(open_to_draw)
        drawn = drawn.take(np.flatnonzero(drawn.rank < missing[drawn.anchor]), {})
        return replace(drawn, source=("random-fill",))

    def rows(self, chosen: Selection) -> list[dict[str, Any]]:
        """Rows `{"query", "pos", "neg"}`, as that miner writes them."""
        return [
            {"query": query, "pos": [text for text, _ in positives], "neg": negatives}
            for query, positives, negatives, _ in chosen._anchors()
        ]

    def __str__(self) -> str:
        return spell(self)


@dataclass(frozen=True)
class Nemo:
    """The choice of NeMo Automodel's mining recipe: the best documents under a line, from the whole corpus.

    Positives are taken out, documents above the line of the lowest positive are taken out, and the best
    `hard_negatives_to_mine` of the rest are kept. The line is min_pos * margin for "perc", min_pos - margin for "abs".
    For a negative min_pos, "perc" lies above it. Here we search deeper until enough documents lie under the line,
    which finds the same ones without a matrix over the corpus.

    Args:
        hard_negatives_to_mine: negatives per anchor, >= 1.
        hard_neg_margin: finite, or None for no line.
        hard_neg_margin_type: "perc" or "abs".
    Source: none; reproduces behaviour.
    """

    hard_negatives_to_mine: int = 20
    hard_neg_margin: float | None = 0.95
    hard_neg_margin_type: Literal["perc", "abs"] = "perc"

    def __post_init__(self) -> None:
        if not self.hard_negatives_to_mine >= 1:
            raise ValueError(f"Nemo: hard_negatives_to_mine must be >= 1, got {self.hard_negatives_to_mine!r}")
        if self.hard_neg_margin_type not in ("perc", "abs"):
            raise ValueError(f"Nemo: hard_neg_margin_type must be 'perc' or 'abs', got {self.hard_neg_margin_type!r}")

    @property
    def vetters(self) -> list[Vetter]:
        """What doubts the candidates."""
        if self.hard_neg_margin is None:
            return []
        if self.hard_neg_margin_type == "perc":
            return [PeerLine("factor", self.hard_neg_margin)]
        return [AbsoluteMargin(self.hard_neg_margin, "min")]

    def mine(self, collection: Collection, split: str, space: Space) -> Selection:
        """Choose negatives for the anchors of a split."""
        pairs = Pairs.of(collection, split, by_text=False)
        n, corpus = self.hard_negatives_to_mine, len(collection.corpus)
        rows, depth = np.arange(len(pairs.positives)), 2 * n
        tables: list[pa.Table] = []
        while len(rows):
            part = anchors_at(replace(pairs.anchors, excluded=pairs.anchors.positives), rows)
            found = Mined(depth).prepare(collection, space)(part)
            table = _vetted(part, found, space, self.vetters)
            anchor, _, _ = _believed(table, replace(pairs, anchors=part))
            enough = (np.bincount(anchor, minlength=len(rows)) >= n) | (depth >= corpus)
            ids = collection.queries["id"].take(pa.array(part.query[enough]))
            tables.append(table.filter(pa.compute.is_in(table["anchor"], value_set=ids.combine_chunks())))
            rows, depth = rows[~enough], 4 * depth
        table = order(joined(tables, _scorer(space).about))
        anchor, document, score = _believed(table, pairs)
        kept = places(anchor) < n
        return _selection(n, pairs, table, anchor[kept], document[kept], score[kept], space)

    def rows(self, chosen: Selection, corpus_id: str = "corpus") -> list[dict[str, Any]]:
        """The `data` rows of that miner's JSON: ids with scores."""
        queries = chosen.collection.queries["id"].to_pylist()
        documents = chosen.collection.corpus["id"].to_pylist()
        texts = chosen.collection.query_texts()

        def scored(side: Chosen, i: int) -> list[dict[str, Any]]:
            return [{"id": documents[row], "score": score} for row, score in zip(*side.row(i), strict=True)]

        return [
            {
                "question_id": queries[query],
                "question": texts[query],
                "corpus_id": corpus_id,
                "pos_doc": scored(chosen.positives, i),
                "neg_doc": scored(chosen.negatives, i),
            }
            for i, query in enumerate(chosen.query)
        ]

    def __str__(self) -> str:
        return spell(self)


def _scorer(space: Space) -> SpaceScorer:
    about = {"name": space.name or "vectors", "checksum": space.checksum, "similarity": space.similarity}
    return SpaceScorer(space, about)


def _search(pairs: Pairs, collection: Collection, space: Space, depth: int) -> Found:
    """The best documents of each anchor, its positives among them, over one document per text."""
    if len(pairs.documents) == len(space.corpus):
        return Mined(depth).prepare(collection, space)(pairs.anchors)
    one_each = np.zeros(len(space.corpus), bool)
    one_each[pairs.documents] = True
    excluded = pairs.anchors.excluded.offsets, pairs.anchors.excluded.items
    mask = Mask.of(len(pairs.anchors), len(space.corpus), exclude=excluded, allowed=one_each)
    ids, scores = space.top_k(pairs.anchors.query, min(depth, len(pairs.documents)), mask)
    return from_matrix(Mined.name, ids, scores, 0, of_space=True)


def _vetted(anchors: Anchors, found: Found, space: Space, vetters: Sequence[Vetter]) -> pa.Table:
    table = Blocks(anchors.collection, anchors.split, _scorer(space)).table(anchors, found)
    for vetter in vetters:
        table = vetter(table, anchors.collection)
    return order(table)


def _believed(table: pa.Table, pairs: Pairs) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Believed negatives by anchor (as numbered in `pairs`) and descending score: anchor, document, score."""
    collection = pairs.anchors.collection
    rows = np.flatnonzero((table["sign"].to_numpy() < 0) & (table["weight"].to_numpy() > 0))
    place = np.full(len(collection.queries), -1, np.int64)
    place[pairs.anchors.query] = np.arange(len(pairs.anchors.query))
    kept = table.take(pa.array(rows))
    anchor = place[collection.query_rows(kept["anchor"])]
    document, score = collection.document_rows(kept["candidate"]), kept["score"].to_numpy()
    turn = np.lexsort([document, -score, anchor])
    return anchor[turn], document[turn], score[turn]


def _taken(
    rows: np.ndarray,
    anchor: np.ndarray,
    rank: np.ndarray,
    n: int,
    anchors: Anchors,
    part: SentenceTransformers | FlagEmbedding,
    drawn: bool | None = None,
) -> np.ndarray:
    """The first n of `rows` per anchor, or n drawn evenly, in their order."""
    if drawn is None:
        drawn = isinstance(part, SentenceTransformers) and part.sampling_strategy == "random"
    if not drawn:
        return rows[places(anchor[rows]) < n]
    draw = numbers(streams(anchors, part.seed, "preset")[anchor[rows]], rank[rows])
    turn = rows[np.lexsort([draw, anchor[rows]])]
    return np.sort(turn[places(anchor[turn]) < n])


def _selection(
    n: int,
    pairs: Pairs,
    table: pa.Table,
    anchor: np.ndarray,
    document: np.ndarray,
    score: np.ndarray,
    space: Space,
) -> Selection:
    query = pairs.anchors.query
    sizes = np.array([len(each) for each in pairs.positives], np.int64)
    positives = np.array([row for each in pairs.positives for row in each], np.int32)
    scores = space.pairs(np.repeat(query, sizes), positives)
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    negatives = Chosen(np.searchsorted(anchor, np.arange(len(query) + 1)), document.astype(np.int32), score)
    made = Chosen(offsets, positives, scores)
    return Selection(pairs.anchors.collection, table, query, made, negatives, np.zeros(len(document), bool), n)
