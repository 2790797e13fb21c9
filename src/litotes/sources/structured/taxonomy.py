"""TaxonomyNegatives: texts of related labels, so that a classifier tells close concepts apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from litotes.data.anchors import Anchors
from litotes.data.collection import Collection
from litotes.search.neighbours import neighbours
from litotes.search.space import Space
from litotes.sources.draws import streams
from litotes.sources.found import Found, places
from litotes.sources.structured.drawing import draw_texts, slots
from litotes.sources.structured.edit_distance import nearest_names
from litotes.sources.structured.tree import Tree, as_rows, parents_of
from litotes.spelling import spell

STRATEGIES = ("siblings", "levenshtein", "cosine", "random")


@dataclass(frozen=True)
class TaxonomyNegatives:
    """Negatives of a label from the texts of labels that are close to it in a taxonomy, in spelling or in meaning.

    Here anchors are labels (the queries: their text is the label's name) and candidates are texts. With random
    negatives a classifier of a label learns to spot its name; against texts of its siblings it must learn what sets the
    label apart. For every positive of label l there are `per_positive` negatives, a share `hard_fraction` of them split
    over the strategies, the rest random. A draw takes a label m evenly from the related ones, then a text evenly from
    P_m without P_l (P_m: the positives of m in the split):

        siblings      labels that share a parent with l
        levenshtein   the `neighbours` labels of the nearest names, by edit distance / longer name
        cosine        the `neighbours` labels whose names have the nearest vectors
        random        any other label

    With `exclude_lineage` nothing comes from labels above or below l, under any strategy. A text is given to a label
    once: where the related labels have no more texts, random ones take their place, and say so in their source. The
    share of a positive's negatives that cannot be split evenly goes round from positive to positive.
    Parents are read from a column of the queries: a list of names, or one string with `|` between them. A name is the
    id of another label, or any other node. Related texts may truly bear the label: compose a vetter.

    Out:  Found of the sources "taxonomy:siblings", "taxonomy:levenshtein", "taxonomy:cosine", "taxonomy:random" and,
          for replacements, "taxonomy:random: short of siblings" (or of another strategy); `rank` = place in the draw,
          `score` NaN. Draws depend on (seed, label id) and the ids of labels and texts, not on their order. `short`
          counts, under "taxonomy", the labels that got fewer than per_positive * |P_l|; the finder's `notes` count
          the labels without related ones and the replaced draws.
    Cost: neighbours once per split (edit distances of 14,000 names: 19 s of processor time), then O(draws).

    Args:
        strategies: one or more of "siblings", "levenshtein", "cosine", "random", each once. "combined" is the first
            three.
        shares: one per strategy, each > 0, of what is hard; they are scaled to add up to 1. None = equal.
        hard_fraction: in [0, 1]. 0 is the random baseline, draw for draw.
        per_positive: negatives per positive, >= 1.
        neighbours: of levenshtein and cosine, >= 1, among the labels that have texts.
        exclude_lineage: leave out labels above and below; needs the column.
        column: of parents.
        seed: a whole number.
    Raises:
        ValueError: an argument is out of range; `prepare` misses the column, or vectors for "cosine".
        BadInput: a label lies above itself.
    Source: Design of Negative Sampling Strategies for Distantly Supervised Skill Extraction (arXiv:2209.05987),
        section 3. 10 negatives, a fraction of 0.5 and 20 neighbours are readings; there, texts may repeat.

    Example:
        >>> import pyarrow as pa
        >>> from litotes.data.anchors import Anchors
        >>> from litotes.data.collection import Collection, judgements_table
        >>> from litotes.sources.structured.taxonomy import TaxonomyNegatives
        >>> names = ["python", "java", "cooking"]
        >>> labels = pa.table({"id": names, "text": names, "taxonomy": ["coding", "coding", "kitchen"]})
        >>> documents = ["t1", "t2", "t3"]
        >>> texts = pa.table({"id": documents, "text": ["writes Python", "knows Java", "cooks"]})
        >>> skills = Collection("skills", labels, texts, {"train": judgements_table(names, documents, [1.0] * 3)})
        >>> find = TaxonomyNegatives(per_positive=1, hard_fraction=1.0).prepare(skills)
        >>> found = find(Anchors.of(skills, "train"))
        >>> [texts["text"][d].as_py() for d, by in zip(found.document, found.finder) if by == 0]
        ['writes Python', 'knows Java']
    """

    name_in_recipes: ClassVar[str] = "taxonomy"

    strategies: Sequence[str] = ("siblings",)
    shares: Sequence[float] | None = None
    hard_fraction: float = 0.5
    per_positive: int = 10
    neighbours: int = 20
    exclude_lineage: bool = True
    column: str = "taxonomy"
    seed: int = 0

    def __post_init__(self) -> None:
        owner = "TaxonomyNegatives"
        given = (self.strategies,) if isinstance(self.strategies, str) else tuple(self.strategies)
        object.__setattr__(self, "strategies", given)
        if not given or len(set(given)) < len(given) or not set(given) <= set(STRATEGIES):
            raise ValueError(f"{owner}: strategies must be different ones of {list(STRATEGIES)}, got {list(given)}")
        if self.shares is not None:
            object.__setattr__(self, "shares", tuple(self.shares))
            if len(self.shares) != len(given) or not all(0 < share < np.inf for share in self.shares):
                raise ValueError(
                    f"{owner}: shares must be {len(given)} finite numbers > 0, or None, got {list(self.shares)}"
                )
        if not 0 <= self.hard_fraction <= 1:
            raise ValueError(f"{owner}: hard_fraction must be in [0, 1], got {self.hard_fraction!r}")
        for name in ("per_positive", "neighbours"):
            if not getattr(self, name) >= 1:
                raise ValueError(f"{owner}: {name} must be >= 1, got {getattr(self, name)!r}")
        if not (isinstance(self.column, str) and self.column):
            raise ValueError(f"{owner}: column must be the name of a column, got {self.column!r}")

    @property
    def split_shares(self) -> dict[str, float]:
        """Strategy -> its share of all negatives, in the order in which they draw: random last; they add up to 1."""
        weights = self.shares or (1.0,) * len(self.strategies)
        hard = {name: self.hard_fraction * w / sum(weights) for name, w in zip(self.strategies, weights, strict=True)}
        random = hard.pop("random", 0.0) + 1 - self.hard_fraction
        return {name: hard[name] for name in STRATEGIES if hard.get(name, 0) > 0} | {"random": random}

    def prepare(self, collection: Collection, space: Space | None = None) -> Callable[[Anchors], Found]:
        """Read the tree once; the callable draws, and its `notes` count. `space` is read by "cosine" only."""
        if "cosine" in self.split_shares and space is None:
            raise ValueError("TaxonomyNegatives: cosine needs vectors of the names, but there is no model and no space")
        tree = None
        if self.exclude_lineage or "siblings" in self.split_shares:
            if self.column not in collection.queries.column_names:
                there = ", ".join(collection.queries.column_names)
                name = f"{collection.name}/queries"
                raise ValueError(
                    f"TaxonomyNegatives: column names {self.column!r}; the columns of {name} are {there}; "
                    "siblings and exclude_lineage need the parents of labels"
                )
            tree = Tree.of(collection.queries["id"].to_pylist(), parents_of(collection.queries[self.column]))
        return _Finder(self, collection, space, tree)

    def __str__(self) -> str:
        return spell(self)


@dataclass(frozen=True, eq=False)
class _Labels:
    """The labels of a split that have texts, in the order of their ids, and what is related to each.

    `place`: label row of the collection -> place here, -1 = no texts. `offsets`, `items`: texts of a place, by the
    order of their ids; `order`: that order -> row of the corpus, `rank` the way back. `related`: strategy -> places,
    per place; `lineage` likewise, itself included.
    """

    place: np.ndarray
    offsets: np.ndarray
    items: np.ndarray
    order: np.ndarray
    rank: np.ndarray
    lineage: list[np.ndarray]
    related: dict[str, list[np.ndarray]]


@dataclass(frozen=True, eq=False)
class _Finder:
    """Finds for slices of anchors. `kept`: what has been made for each split."""

    part: TaxonomyNegatives
    collection: Collection
    space: Space | None
    tree: Tree | None
    notes: dict[str, Any] = field(default_factory=dict)
    kept: dict[str, _Labels] = field(default_factory=dict)

    def __call__(self, anchors: Anchors) -> Found:
        if anchors.split not in self.kept:
            self.kept[anchors.split] = self._labels(Anchors.of(self.collection, anchors.split))
        labels, shares = self.kept[anchors.split], self.part.split_shares
        seed = self.part.seed
        stream = {name: streams(anchors, seed, f"taxonomy:{name}") for name in shares}
        phase = streams(anchors, seed, "taxonomy:slots") / 2.0**64
        taken = np.zeros(len(labels.order), bool)
        names = [*(f"taxonomy:{name}" for name in shares)]
        names += [f"taxonomy:random: short of {name}" for name in shares if name != "random"]
        rows: list[tuple[int, int, np.ndarray]] = []
        short = 0
        for anchor in range(len(anchors)):
            own = int(labels.place[anchors.query[anchor]])
            positives = len(anchors.positives.row(anchor))
            if own < 0:
                continue
            counts = slots(positives, self.part.per_positive, list(shares.values()), float(phase[anchor])).sum(axis=0)
            banned = labels.rank[anchors.excluded.row(anchor)]
            taken[banned] = True
            missing: list[int] = []
            for by, name in enumerate(shares):
                wanted = int(counts[by]) + (sum(missing) if name == "random" else 0)
                out = np.empty(wanted, np.int64)
                pool = self._pool(labels, name, own)
                made = draw_texts(stream[name][anchor], pool, labels.offsets, labels.items, taken, out)
                drawn = labels.order[out[:made]]
                if name != "random":
                    rows.append((anchor, by, drawn))
                    missing.append(wanted - made)
                    self._note(f"labels without {name}", len(pool) == 0)
                    continue
                cuts = np.cumsum([counts[by], *missing])[:-1]
                kinds = [by, *range(len(shares), len(names))]
                rows += [(anchor, kind, some) for kind, some in zip(kinds, np.split(drawn, cuts), strict=True)]
                short += made < wanted
                self._note("draws replaced by random ones", made - min(made, int(counts[by])))
            taken[banned] = False
            for _, _, some in rows[-len(names) :]:
                taken[labels.rank[some]] = False
        sizes = [len(some) for _, _, some in rows]
        anchor_of, by_of = (np.repeat([row[i] for row in rows], sizes).astype(np.int32) for i in (0, 1))
        return Found(
            tuple(names),
            anchor_of,
            np.concatenate([*(some for _, _, some in rows), np.empty(0, np.int64)]).astype(np.int32),
            places(np.repeat(np.arange(len(sizes)), sizes)).astype(np.int32),
            np.full(sum(sizes), np.nan, np.float32),
            by_of,
            short={"taxonomy": short} if short else {},
        )

    def _note(self, name: str, count: int) -> None:
        self.notes[name] = self.notes.get(name, 0) + int(count)

    def _pool(self, labels: _Labels, strategy: str, own: int) -> np.ndarray:
        """Places that a label's negatives of this strategy may come from: int64, ascending."""
        if strategy != "random":
            return labels.related[strategy][own]
        return np.delete(np.arange(len(labels.lineage)), labels.lineage[own])

    def _labels(self, whole: Anchors) -> _Labels:
        """All labels of a split that have texts, with their neighbours under every strategy that has a share."""
        has = np.diff(whole.positives.offsets) > 0
        rows = whole.query[has].astype(np.int64)
        place = np.full(len(self.collection.queries), -1, np.int64)
        place[rows] = np.arange(len(rows))
        order = pc.sort_indices(self.collection.corpus["id"]).to_numpy().astype(np.int64)
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order))
        texts = [np.sort(rank[whole.positives.row(anchor)]) for anchor in np.flatnonzero(has).tolist()]
        offsets, items = as_rows(texts, len(rows))

        own = [np.array([i], np.int64) for i in range(len(rows))]
        lineage = own
        if self.tree is not None and self.part.exclude_lineage:
            lineage = [
                np.unique(np.r_[i, _there(place, self.tree.lineage(row))]) for i, row in enumerate(rows.tolist())
            ]
        related: dict[str, list[np.ndarray]] = {}
        exclude = as_rows(lineage, len(rows))
        shares = self.part.split_shares
        if "siblings" in shares and self.tree is not None:
            near = [np.sort(_there(place, self.tree.siblings(row))) for row in rows.tolist()]
            related["siblings"] = [np.setdiff1d(some, not_these) for some, not_these in zip(near, lineage, strict=True)]
        if "levenshtein" in shares:
            names = self.collection.queries["text"].take(pa.array(rows)).to_pylist()
            related["levenshtein"] = _listed(nearest_names(names, self.part.neighbours, exclude)[0])
        if "cosine" in shares and self.space is not None:
            vectors = np.asarray(self.space.queries[rows])
            related["cosine"] = _listed(neighbours(vectors, k=self.part.neighbours, exclude=exclude)[0])
        return _Labels(place, offsets, items, order, rank, lineage, related)


def _there(place: np.ndarray, rows: np.ndarray) -> np.ndarray:
    found = place[rows]
    return found[found >= 0]


def _listed(ids: np.ndarray) -> list[np.ndarray]:
    return [np.sort(row[row >= 0]).astype(np.int64) for row in ids]
