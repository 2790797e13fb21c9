"""litotes: learning from negatives."""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

# Looked up on first use, so that `import litotes` stays light: neither torch nor Arrow is loaded by it.
_SHELF = {
    "Chain": "litotes.chain",
    "Collection": "litotes.data.collection",
    "Encoder": "litotes.data.encoder",
    "Evidence": "litotes.evidence",
    "SignedBatch": "litotes.batch",
    "Space": "litotes.search.space",
    "load_wordnet": "litotes.data.wordnet",
    "mine": "litotes.mining",
    "read_collection": "litotes.data.readers",
    "train_retriever": "litotes.training.retriever",
}

__all__ = [*_SHELF, "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _SHELF:
        raise AttributeError(f"module 'litotes' has no attribute {name!r}")
    return getattr(importlib.import_module(_SHELF[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
