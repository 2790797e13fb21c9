"""Evidence on disk: one row per (anchor, candidate) with sign, belief, score, finders and doubts."""

from litotes.evidence.store import Evidence
from litotes.evidence.table import (
    SCHEMA,
    VERSION,
    check,
    check_keys,
    doubt,
    doubt_entries,
    empty,
    found_entries,
    make,
    reason,
    rescore,
    scorer_of,
    source,
    undoubt,
    with_scorer,
)
from litotes.evidence.views import Summary, add, describe, order, select, with_texts

__all__ = [
    "SCHEMA",
    "VERSION",
    "Evidence",
    "Summary",
    "add",
    "check",
    "check_keys",
    "describe",
    "doubt",
    "doubt_entries",
    "empty",
    "found_entries",
    "make",
    "order",
    "reason",
    "rescore",
    "scorer_of",
    "select",
    "source",
    "undoubt",
    "with_scorer",
    "with_texts",
]
