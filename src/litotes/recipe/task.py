"""The task of a recipe: its collection, cut to the anchors and queries that the recipe asks for."""

from __future__ import annotations

import hashlib

import pyarrow as pa
import pyarrow.compute as pc

from litotes.data.collection import Collection
from litotes.recipe.schema import CollectionSection, Recipe


def load_task(recipe: Recipe, seed: int) -> Collection:
    """The collection of a recipe under a seed: its two splits, each with so many queries as asked for.

    A seed draws the queries anew; on WordNet, whose splits are drawn by us, it redraws documents and splits as well.
    """
    section = recipe.collection
    collection = _read(section, seed)
    for split in (section.train_split, section.test_split):
        if split not in collection.qrels:
            raise ValueError(f"the collection {collection.name!r} has no split {split!r}; it has {collection.splits}")
    limits = {section.train_split: section.train_anchors, section.test_split: section.test_queries}
    return restrict(collection, limits, seed)


def restrict(collection: Collection, limits: dict[str, int | None], seed: int = 0) -> Collection:
    """The collection with only the splits of `limits`, each cut to its first queries in a drawn order; corpus whole.

    The order is a hash of (seed, query id), so a smaller limit gives a subset of what a larger one gives. Queries of no
    remaining split are left out.
    """
    qrels = {}
    for split, limit in limits.items():
        judged = collection.qrels[split]
        ids = judged["query"].unique().to_pylist()
        kept = sorted(ids, key=lambda name: _draw(name, seed))[:limit]
        qrels[split] = judged.filter(pc.is_in(judged["query"], value_set=pa.array(kept, pa.string())))
    used = pa.concat_arrays([table["query"].combine_chunks() for table in qrels.values()]).unique()
    queries = collection.queries.filter(pc.is_in(collection.queries["id"], value_set=used))
    related = collection.related
    if related is not None:
        related = related.filter(pc.is_in(related["query"], value_set=used))
    return Collection(collection.name, queries, collection.corpus, qrels, related)


def _read(section: CollectionSection, seed: int) -> Collection:
    if section.source == "wordnet":
        from litotes.data.wordnet import load_wordnet

        return load_wordnet(section.documents or "all", section.field, seed=seed)
    from litotes.data.readers import read_collection

    if section.documents is not None:
        raise ValueError(f"collection.documents is for wordnet only, got source={section.source!r}")
    return read_collection(section.source).collection


def _draw(name: str, seed: int) -> bytes:
    return hashlib.blake2b(name.encode(), digest_size=8, key=str(seed).encode()).digest()
