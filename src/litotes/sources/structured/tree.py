"""Tree: which labels share a parent, and which lie above or below each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from litotes.errors import BadInput


@dataclass(frozen=True, eq=False)
class Tree:
    """Labels 0..L-1 with their parents; a label may have several (a DAG).

    `parents`, `children`: lists of nodes for every node; the first L nodes are the labels, further ones are parents
    that are no labels themselves.
    """

    labels: int
    parents: list[list[int]]
    children: list[list[int]]

    @classmethod
    def of(cls, ids: list[str], parents: Iterable[Iterable[str]]) -> Tree:
        """From the ids of the labels and the names of each one's parents; a name that is no id is a node of its own.

        Raises:
            BadInput: a label lies above itself.
        """
        node = {name: row for row, name in enumerate(ids)}
        above: list[list[int]] = [sorted({node.setdefault(p, len(node)) for p in names}) for names in parents]
        above += [[] for _ in range(len(node) - len(above))]
        below: list[list[int]] = [[] for _ in above]
        for child, row in enumerate(above):
            for parent in row:
                below[parent].append(child)
        made = cls(len(ids), above, below)
        for label in range(len(ids)):
            if label in made._reach([label], made.parents):
                raise BadInput(f"{ids[label]!r} above itself", "parents without a circle")
        return made

    def siblings(self, label: int) -> np.ndarray:
        """Labels that share a parent with this one, without it: int64, ascending. Its own lineage may be among them."""
        found = {child for parent in self.parents[label] for child in self.children[parent] if child < self.labels}
        return np.array(sorted(found - {label}), np.int64)

    def lineage(self, label: int) -> np.ndarray:
        """Labels above and below this one, without it: int64, ascending."""
        both = self._reach([label], self.parents) | self._reach([label], self.children)
        return np.array(sorted(row for row in both if row < self.labels), np.int64)

    def _reach(self, start: list[int], step: list[list[int]]) -> set[int]:
        seen: set[int] = set()
        todo = list(start)
        while todo:
            for node in step[todo.pop()]:
                if node not in seen:
                    seen.add(node)
                    todo.append(node)
        return seen


def parents_of(column: pa.ChunkedArray) -> list[list[str]]:
    """The names in a column of parents: a list of strings, or one string with `|` between names; null = none."""
    kind = column.type
    values: list[Any] = column.to_pylist()
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return [[str(name) for name in row or []] for row in values]
    return [[name.strip() for name in str(row).split("|") if name.strip()] if row is not None else [] for row in values]


def as_rows(lists: Mapping[int, np.ndarray] | list[np.ndarray], count: int) -> tuple[np.ndarray, np.ndarray]:
    """Lists by row as (offsets int64 [count + 1], items int64)."""
    each = [lists[row] for row in range(count)]
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in each])]).astype(np.int64)
    return offsets, np.concatenate([*each, np.empty(0, np.int64)]).astype(np.int64)
