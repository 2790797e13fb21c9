"""literal_match: distant supervision. A text that names a label is a positive of it."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from litotes.data.anchors import normalise
from litotes.evidence.table import make

_TOKEN = re.compile(r"\w+|[^\w\s]")


def literal_match(
    texts: pa.Table,
    labels: pa.Table,
    *,
    longest_only: bool = True,
    min_length: int = 1,
    block: Sequence[str] = (),
) -> pa.Table:
    """Positives without annotators: every (label, text) where the text holds the label's name, or an alias, literally.

    Names and texts are compared as `normalise` writes them (NFKC, case folded), word by word; a sign that is neither
    letter, digit nor space is a word of its own. So "r" is not in "for", and "c" is in "c++" unless "c++" is a name.

    In:   texts with `id` and `text`; labels with `id`, `text` (the name) and optionally `aliases` (list of strings).
          `Collection.corpus` and `Collection.queries` are such tables.
    Out:  evidence: anchor = label, candidate = text, sign +1, source "literal", without scores; by label, then text, in
          the order of the tables. A pair stands once however often it matches; labels never matched have no row.
    Cost: O(letters of texts and names) plus the matches, by an Aho-Corasick automaton over words.

    Args:
        longest_only: a match that lies inside a longer one does not count there ("learning" inside "machine learning").
            Two labels with one name both match.
        min_length: names of fewer letters are left out, >= 1: short words ("go", "c") match what they do not mean.
        block: names that are left out.
    Raises:
        ValueError: min_length is out of range, or a table lacks `id` or `text`.
    Source: the distant supervision of Design of Negative Sampling Strategies for Distantly Supervised Skill Extraction
        (arXiv:2209.05987), section 3.1; Efficient string matching (doi:10.1145/360825.360855).

    Example:
        >>> import pyarrow as pa
        >>> from litotes.sources.structured.literal_match import literal_match
        >>> labels = pa.table({"id": ["ml", "l"], "text": ["machine learning", "learning"], "aliases": [["ML"], []]})
        >>> texts = pa.table({"id": ["1", "2"], "text": ["Machine learning engineer", "ML, and a love of learning"]})
        >>> found = literal_match(texts, labels)
        >>> list(zip(found["anchor"].to_pylist(), found["candidate"].to_pylist()))
        [('ml', '1'), ('ml', '2'), ('l', '2')]
    """
    if not min_length >= 1:
        raise ValueError(f"literal_match: min_length must be >= 1, got {min_length!r}")
    for what, table in (("texts", texts), ("labels", labels)):
        for column in ("id", "text"):
            if column not in table.column_names:
                raise ValueError(f"literal_match: {what} must have a column {column!r}, got {table.column_names}")
    blocked = {normalise(name) for name in block}
    words = _Automaton()
    for row, names in enumerate(_names(labels)):
        for name in names:
            if len(name) >= min_length and name not in blocked:
                words.add(_TOKEN.findall(name), row)
    words.finish()

    pairs: set[tuple[int, int]] = set()
    for row, text in enumerate(texts["text"].to_pylist()):
        for label in words.matches(_TOKEN.findall(normalise(text)), longest_only):
            pairs.add((label, row))
    found = np.array(sorted(pairs), np.int64).reshape(-1, 2)
    anchor, candidate = (
        table["id"].take(pa.array(found[:, i])).combine_chunks() for i, table in enumerate((labels, texts))
    )
    return make(anchor, candidate, sign=1, source="literal")


def _names(labels: pa.Table) -> Iterator[set[str]]:
    """All names of each label, normalised; without words, without doubles."""
    aliases: Iterable[Any] = [None] * len(labels)
    if "aliases" in labels.column_names:
        aliases = labels["aliases"].to_pylist()
    for name, others in zip(labels["text"].to_pylist(), aliases, strict=True):
        yield {normalise(one) for one in [name, *(others or [])] if one} - {""}


class _Automaton:
    """Aho-Corasick over words: one pass finds every name, however they overlap."""

    def __init__(self) -> None:
        self.next: list[dict[str, int]] = [{}]
        self.depth = [0]
        self.labels: list[list[int]] = [[]]
        self.fall = [0]  # the longest end of this node's words that begins a name
        self.shorter = [0]  # the longest end of this node's words that is a name, itself not included; 0 = none

    def add(self, words: list[str], label: int) -> None:
        node = 0
        for word in words:
            if word not in self.next[node]:
                self.next[node][word] = len(self.next)
                self.next.append({})
                self.depth.append(self.depth[node] + 1)
                self.labels.append([])
                self.fall.append(0)
                self.shorter.append(0)
            node = self.next[node][word]
        if node:
            self.labels[node].append(label)

    def finish(self) -> None:
        """Draw the falls, nearest nodes first."""
        todo = deque(self.next[0].values())
        while todo:
            node = todo.popleft()
            for word, child in self.next[node].items():
                self.fall[child] = self._step(self.fall[node], word)
                todo.append(child)
            fall = self.fall[node]
            self.shorter[node] = fall if self.labels[fall] else self.shorter[fall]

    def _step(self, node: int, word: str) -> int:
        while node and word not in self.next[node]:
            node = self.fall[node]
        return self.next[node].get(word, 0)

    def matches(self, words: list[str], longest_only: bool) -> Iterator[int]:
        """Labels named in these words; a label may come several times."""
        node, ends = 0, []
        for place, word in enumerate(words, 1):
            node = self._step(node, word)
            name = node if self.labels[node] else self.shorter[node]
            if name:
                ends.append((place, name))
        first = len(words)
        for place, name in reversed(ends):
            if longest_only:
                begin = place - self.depth[name]
                if begin < first:  # else it lies inside one that ends later
                    first = begin
                    yield from self.labels[name]
                continue
            while name:
                yield from self.labels[name]
                name = self.shorter[name]
