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
    limits = {section.train_split: section.train_anchors, section.test_split: section.test_queries}
    task = restrict(collection, limits, seed)
    judged = task.qrels[section.test_split]
    answered = len(judged.filter(pc.field("grade") > 0)["query"].unique())
    if answered < 2:
        raise ValueError(
            f"the split {section.test_split!r} of {task.name!r} must have at least 2 queries with a positive, to be "
            f"measured with an interval; got {answered}"
        )
    return task


def restrict(collection: Collection, limits: dict[str, int | None], seed: int = 0) -> Collection:
    """The collection with only the splits of `limits`, each cut to its first queries in a drawn order; corpus whole.

    The order is a hash of (seed, query id), so a smaller limit gives a subset of what a larger one gives. Queries of no
    remaining split are left out, and so are their related pairs.

    Raises:
        ValueError: the collection has no such split.
    """
    qrels = {}
    for split, limit in limits.items():
        judged = _split(collection, split)
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

    return read_collection(section.source).collection


def _split(collection: Collection, split: str) -> pa.Table:
    if split not in collection.qrels:
        raise ValueError(f"the collection {collection.name!r} has no split {split!r}; it has {collection.splits}")
    return collection.qrels[split]


def _draw(name: str, seed: int) -> bytes:
    return hashlib.blake2b(name.encode(), digest_size=8, key=str(seed).encode()).digest()
