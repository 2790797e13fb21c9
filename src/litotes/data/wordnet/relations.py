"""The relations between WordNet's synsets: their symbols in its files, their names here, and which make suspects.

A pointer "a -> b" of kind `hypernym` reads: b is a hypernym of a. Where WordNet stores a relation in both directions,
the archive keeps one (`INVERSE` names the other); symmetric relations are kept once, from the later row to the earlier.
"""

from __future__ import annotations

import numpy as np

SYMBOLS: dict[str, str] = {
    "@": "hypernym",
    "@i": "instance_hypernym",
    "&": "similar_to",
    "+": "derivation",
    "$": "verb_group",
    "^": "also_see",
    "\\": "pertainym",
    "!": "antonym",
    "=": "attribute",
    "*": "entailment",
    ">": "cause",
    "<": "participle",
    "#m": "member_holonym",
    "#p": "part_holonym",
    "#s": "substance_holonym",
    ";c": "topic_domain",
    ";r": "region_domain",
    ";u": "usage_domain",
}
"""Pointer symbol of the data files -> name of the relation. The symbols below say the same from the other end."""

INVERSE_SYMBOLS = frozenset({"~", "~i", "%m", "%p", "%s", "-c", "-r", "-u"})

SHARED_LEMMA = "shared_lemma"
"""Not a pointer: two synsets have a word in common (after case folding)."""

KINDS: tuple[str, ...] = (*SYMBOLS.values(), SHARED_LEMMA)
"""The relation of number i in the archive."""

SYMMETRIC = frozenset({"similar_to", "derivation", "verb_group", "also_see", "antonym", "attribute", SHARED_LEMMA})

INVERSE: dict[str, str] = {
    "hypernym": "hyponym",
    "instance_hypernym": "instance_hyponym",
    "pertainym": "pertainym_of",
}
"""Names of the other direction of the suspicious relations that are not symmetric."""

SUSPICIOUS: tuple[str, ...] = (
    "similar_to",
    "hypernym",
    "instance_hypernym",
    "derivation",
    SHARED_LEMMA,
    "verb_group",
    "also_see",
    "pertainym",
)
"""The relations under which a synset may be a false negative for the other's definition."""


def both_ways(source: np.ndarray, target: np.ndarray, kind: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The suspicious relations read from either end.

    In:   source, target int32 [R] (rows of synsets) and kind int8 [R] (into `KINDS`), as the archive keeps them.
    Out:  query, document int32 and relation int8 (into `relation_names()`): twice the suspicious rows of the input.
    """
    names = relation_names()
    forward = np.array([names.index(k) if k in SUSPICIOUS else -1 for k in KINDS], np.int8)
    backward = np.array([names.index(INVERSE.get(k, k)) if k in SUSPICIOUS else -1 for k in KINDS], np.int8)
    suspicious = forward[kind] >= 0
    source, target, kind = source[suspicious], target[suspicious], kind[suspicious]
    return (
        np.concatenate([source, target]),
        np.concatenate([target, source]),
        np.concatenate([forward[kind], backward[kind]]),
    )


def relation_names() -> tuple[str, ...]:
    """Every name that stands in the `relation` column of a WordNet collection."""
    return (*SUSPICIOUS, *INVERSE.values())
