"""The vectors of a mining run: encoded once into a store, laid out in row order in a file that the search maps."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np

from litotes.data.collection import Collection
from litotes.data.encoder import Encoder
from litotes.data.texts import Texts
from litotes.search.space import Space


def space_in(encoder: Encoder, collection: Collection, work: Path, store: Path) -> Space:
    """The space of a collection, with both sides memory-mapped.

    What the encoder computes goes to its own cache, or to `store` where it has none, shard by shard; a killed run
    leaves the finished shards, and what is stored is never computed again. In the store texts stand in order of
    arrival, each once; the search wants rows, so they are laid out once more in `work` as `queries-*.npy` and
    `corpus-*.npy`: one pass of writing for sequential reads in every later one. These two files may be deleted at any
    time.

    Out:  Space whose arrays are read-only maps of files in `work`.
    """
    if encoder.cache is None:
        encoder = copy.copy(encoder)  # the caller's goes on without a cache
        encoder.cache = store
    name = f"{encoder.checksum[:16]}-{collection.fingerprint()[:16]}.npy"
    queries = _side(encoder, Texts(collection.queries["text"]), "query", work / f"queries-{name}")
    corpus = _side(encoder, Texts(collection.document_column()), "document", work / f"corpus-{name}")
    return Space(queries, corpus, encoder.similarity, encoder.name, encoder.checksum)


def _side(encoder: Encoder, texts: Texts, kind: str, out: Path) -> np.ndarray:
    if out.exists():
        return np.load(out, mmap_mode="r", allow_pickle=False)
    return encoder.encode(texts, kind, out=out)
