"""Trees as soft targets: how far two annotated texts, or two places in a hierarchy, have nodes and paths in common."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn

from litotes.batch import Moment, SignedBatch
from litotes.evidence.table import empty, make
from litotes.spelling import spell

LEVELS = "DISV"
VIEWS = ("D", "I", "S", "V", "DI", "IS", "SV", "DIS", "ISV", "DISV")
PLACEHOLDERS = ("DEFAULT_DOMAIN", "DEFAULT_INTENT")

Frame = Mapping[str, Mapping[str, Mapping[str, Iterable[str]]]]
Elements = list[frozenset[tuple[str, ...]]]


class SetSimilarity(nn.Module):
    """Several views of a thing, each a set; two things are as alike in a view as |X & Y| / |X | Y| (Jaccard).

    A view in which both sets are empty is undefined: its score is 0 and does not count in the mean over views. As a
    source it writes that mean as the target of every pair; positives (the twin of two passes) have the target 1.
    A subclass says what the views of a thing are: `names`, `elements`.

    In:   SignedBatch with `rows["tree"]` int64 [B, V, M] and `columns["tree"]` [C, V, M], as `encode` makes them.
    Out:  the batch with `pairs["target"]` [B, C + M] in [0, 1]; 0 for own columns. Signs and weights stay.
    Cost: O(B C V M^2) comparisons, M the largest set.
    """

    stage = "source"
    needs = ("tree",)
    gives = ("target",)

    @property
    def names(self) -> tuple[str, ...]:
        """The views, in their order."""
        raise TypeError(f"{type(self).__name__} has no views")

    def elements(self, thing: Any) -> Elements:
        """One set per view."""
        raise TypeError(f"{type(self).__name__} does not say what its views hold")

    def encode(self, things: Sequence[Any]) -> Tensor:
        """Things as numbers: int64 [N, V, M], -1 padded. Equal elements of a view have equal numbers everywhere."""
        found = [[sorted(map(_number, view)) for view in self.elements(thing)] for thing in things]
        widest = max((len(view) for views in found for view in views), default=0)
        made = np.full((len(found), len(self.names), max(widest, 1)), -1, np.int64)
        for thing, views in zip(made, found, strict=True):
            for row, view in zip(thing, views, strict=True):
                row[: len(view)] = view
        return torch.from_numpy(made)

    def pair(self, a: Any, b: Any) -> tuple[np.ndarray, np.ndarray]:
        """Scores float32 [V] of two things, and which views are defined, bool [V]."""
        score, defined = overlaps(*self.encode([a, b])[:, None])
        return score[:, 0, 0].numpy(), defined[:, 0, 0].numpy()

    def combined(self, a: Any, b: Any) -> float:
        """Mean score over the defined views; 0 if there is none."""
        return mean_of_views(*overlaps(*self.encode([a, b])[:, None])).item()

    def matrix(self, things: Sequence[Any]) -> Tensor:
        """Scores of all pairs by view: float32 [V, N, N], symmetric, with 1 on the diagonal (also of empty things)."""
        tree = self.encode(things)
        score = overlaps(tree, tree)[0]
        score.diagonal(dim1=1, dim2=2).fill_(1)
        return score

    def to_evidence(self, things: Sequence[Any], ids: Sequence[str], threshold: float = 0.0) -> pa.Table:
        """Pairs of different things with a combined score above the threshold, as positives of that weight.

        Args:
            things, ids: of one length. threshold: in [0, 1).
        Raises:
            ValueError: lengths differ, or the threshold is out of range.
        """
        if len(things) != len(ids):
            raise ValueError(f"{type(self).__name__}: {len(things)} things, but {len(ids)} ids")
        if not 0 <= threshold < 1:
            raise ValueError(f"{type(self).__name__}: threshold must be in [0, 1), got {threshold!r}")
        tree, rows, columns, weights = self.encode(things), [], [], []
        for low in range(0, len(tree), 256):
            score = mean_of_views(*overlaps(tree[low : low + 256], tree))
            score[torch.arange(len(score)), torch.arange(low, low + len(score))] = 0
            row, column = torch.nonzero(score > threshold, as_tuple=True)
            rows.append(row + low)
            columns.append(column)
            weights.append(score[row, column])
        if not rows:
            return empty()
        one, other = (np.asarray(ids, object)[torch.cat(side).numpy()].tolist() for side in (rows, columns))
        return make(one, other, 1, prior=torch.cat(weights).numpy(), source="tree")

    @torch.no_grad()
    def forward(
        self, batch: SignedBatch, *, now: Moment | None = None, generator: torch.Generator | None = None
    ) -> SignedBatch:
        """The batch with the target."""
        target = mean_of_views(*overlaps(*self.trees(batch)))
        target = torch.cat([target, target.new_zeros(len(target), batch.private)], dim=1)
        return batch.replace(pairs={**batch.pairs, "target": target.masked_fill(batch.sign > 0, 1)})

    def trees(self, batch: SignedBatch) -> tuple[Tensor, Tensor]:
        """The encoded trees of rows and of shared columns.

        Raises:
            ValueError: the batch has none, or those of other views.
        """
        if "tree" not in batch.rows or "tree" not in batch.columns:
            raise ValueError(f'{type(self).__name__}: needs rows["tree"] and columns["tree"], made by encode')
        both = batch.rows["tree"], batch.columns["tree"][: batch.shared]
        for tree in both:
            if tree.ndim != 3 or tree.shape[1] != len(self.names):
                raise ValueError(
                    f"{type(self).__name__}: trees must be [n, {len(self.names)}, M], got {list(tree.shape)}"
                )
        return both

    def __str__(self) -> str:
        return spell(self)


class TreeSimilarity(SetSimilarity):
    """Dialogue annotations as trees, domain -> intent -> slot -> values, compared in views.

    A view is named by its levels: "S" holds the slots wherever they hang, "DIS" the downward paths from domain to
    slot. Texts are stripped and lower-cased; an element that contains a placeholder (of a missing level) is left out.
    The target of a pair is the mean over the views that are defined; see `SetSimilarity` for the rest, `Space2` for
    one subspace per view.

    Args:
        views: of `VIEWS`, each once.
        placeholders: names of missing levels.
    Raises:
        ValueError: an argument is out of range.
    Source: SPACE-2: Tree-Structured Semi-Supervised Contrastive Pre-training for Task-Oriented Dialog Understanding
        (arXiv:2209.06638), section 3, views and undefined scores as in its released code; whole nodes are compared with
        the placeholders, and paths are tuples.

    Example:
        >>> tree = TreeSimilarity()
        >>> north = {"hotel": {"inform": {"area": ["north"], "price": ["cheap"]}}}
        >>> south = {"hotel": {"inform": {"area": ["south"], "price": ["cheap"]}}}
        >>> round(tree.combined(north, south), 4)
        0.7333
    """

    def __init__(self, views: Sequence[str] = VIEWS, placeholders: Sequence[str] = PLACEHOLDERS):
        super().__init__()
        self.views, self.placeholders = tuple(views), tuple(placeholders)
        if not self.views or len(set(self.views)) < len(self.views) or not set(self.views) <= set(VIEWS):
            raise ValueError(f"TreeSimilarity: views must be different ones of {list(VIEWS)}, got {list(views)}")
        self._missing = frozenset(map(_clean, self.placeholders))

    @property
    def names(self) -> tuple[str, ...]:
        return self.views

    def elements(self, thing: Frame) -> Elements:
        """Nodes and paths of a frame; a branch may end at any level."""
        paths = list(_paths(thing))
        found = []
        for view in self.views:
            low = LEVELS.index(view[0])
            parts = (path[low : low + len(view)] for path in paths)
            full = {part for part in parts if len(part) == len(view)}
            found.append(frozenset(part for part in full if not self._missing & set(part)))
        return found


class PathTreeSimilarity(SetSimilarity):
    """Places in any hierarchy, compared by the path from its root, with one view per level: the path down to there.

    A thing is one path, a sequence of names from the root down, or several of them.

    Args:
        levels: lengths of the paths that are compared, ascending, >= 1.
    Raises:
        ValueError: levels are out of range.
    Source: ours, after SPACE-2 (arXiv:2209.06638).

    Example:
        >>> tree = PathTreeSimilarity(levels=[1, 2])
        >>> tree.combined(["animal", "dog"], ["animal", "cat"])
        0.5
    """

    def __init__(self, levels: Sequence[int] = (1, 2, 3)):
        super().__init__()
        self.levels = tuple(levels)
        whole = all(isinstance(level, int) and level >= 1 for level in self.levels)
        if not self.levels or not whole or list(self.levels) != sorted(set(self.levels)):
            raise ValueError(f"PathTreeSimilarity: levels must be whole numbers >= 1 that ascend, got {list(levels)}")

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(map(str, self.levels))

    def elements(self, thing: Sequence[str] | Sequence[Sequence[str]]) -> Elements:
        """The prefixes of a thing's paths."""
        single = len(thing) > 0 and isinstance(thing[0], str)
        several: Sequence[Any] = [thing] if single else thing
        paths = [tuple(map(_clean, path)) for path in several]
        return [frozenset(path[:level] for path in paths if len(path) >= level) for level in self.levels]


def overlaps(rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    """Jaccard scores of encoded trees by view: float32 [V, B, C], and where one is defined, bool [V, B, C].

    In:   int64 [B, V, M], [C, V, M'], -1 padded, no number twice in a set.
    """
    scores, defined = [], []
    for view in range(rows.shape[1]):
        ours, theirs = rows[:, view], columns[:, view]
        common = torch.zeros(len(ours), len(theirs), device=rows.device)
        for element in ours.unbind(dim=1):
            common += ((element[:, None, None] == theirs[None]) & (element >= 0)[:, None, None]).any(dim=2)
        union = (ours >= 0).sum(dim=1)[:, None] + (theirs >= 0).sum(dim=1)[None, :] - common
        defined.append(union > 0)
        scores.append(common / union.clamp(min=1))
    return torch.stack(scores), torch.stack(defined)


def mean_of_views(score: Tensor, defined: Tensor) -> Tensor:
    """[V, B, C] -> [B, C]: mean over the defined views, 0 where there is none."""
    return score.sum(dim=0) / defined.sum(dim=0).clamp(min=1)


def _paths(frame: Frame) -> Iterable[tuple[str, ...]]:
    """Paths from domain to the end of each branch."""
    for domain, intents in frame.items():
        if not intents:
            yield (_clean(domain),)
        for intent, slots in intents.items():
            if not slots:
                yield _clean(domain), _clean(intent)
            for slot, values in slots.items():
                listed = [values] if isinstance(values, str) else list(values)
                if not listed:
                    yield _clean(domain), _clean(intent), _clean(slot)
                for value in listed:
                    yield _clean(domain), _clean(intent), _clean(slot), _clean(value)


def _clean(text: str) -> str:
    return text.strip().lower()


@lru_cache(maxsize=1_000_000)
def _number(element: tuple[str, ...]) -> int:
    """The same number for an element in every process, >= 0; two elements share one with a chance of 2^-63."""
    text = "".join(f"{len(part)}:{part}" for part in element)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1
