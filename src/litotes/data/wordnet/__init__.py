"""WordNet 3.0 as a reverse dictionary: given a definition, find the word.

A real collection that ships with the package (licence beside it), with something that no scraped collection has: its
relations say which unjudged pairs are suspicious as negatives, so that mining and vetting can be scored against truth.
"""

from __future__ import annotations

import hashlib
from importlib.resources import as_file, files
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from litotes.data.collection import Collection
from litotes.data.wordnet.relations import KINDS, both_ways, relation_names

SYNSETS = 117_659
SPLITS = {"train": (0, 80), "dev": (80, 85), "test": (85, 100)}


class Synsets(NamedTuple):
    """A nested subset of WordNet: its first rows in the order of `place`, and what points where among them.

    `table`: key, file, lemmas, definition, examples, same (int32: the first row with the same definition).
    `source`, `target` int32 [R], `kind` int8 [R] (into `relations.KINDS`): as the archive keeps relations.
    """

    table: pa.Table
    source: np.ndarray
    target: np.ndarray
    kind: np.ndarray


def load_wordnet(
    size: int | Literal["all"] = 20_000,
    field: Literal["text", "lemmas"] = "text",
    train: int | None = None,
    test: int | None = None,
    seed: int = 0,
) -> Collection:
    """WordNet 3.0 with definitions as queries and synsets as documents.

    A query is the definition of a synset (its gloss before the first example), its positive the synset's document.
    Ids are synset keys: part of speech and offset in the data file, `n00001740`.

    What stands twice: documents of the same text are one document, under the key (and with the group and taxonomy)
    that comes first in the order of `place`, positive for all of its synsets. Queries of the same text (`normalise`)
    are all kept, share all their positives and all their relations, and lie in one split.

    Splits: train 80 %, dev 5 %, test 15 % by a hash of the key, so they depend on neither size nor field. Subsets are
    nested: every query and every synset of a smaller size is in a larger one; documents then keep their ids.

    Out:  Collection. Queries and corpus have `group` (part of speech: noun, verb, adj, adv) and `taxonomy` (part of
          speech / lexicographer file: "noun/animal") besides `id` and `text`. `related` holds (query, document,
          relation) for every document that is no positive of the query and holds a synset related to one that the
          query defines. The relation is what the document is to the query: similar_to, hypernym, hyponym,
          instance_hypernym, instance_hyponym, derivation, shared_lemma, verb_group, also_see, pertainym, pertainym_of.
          A pair related in two ways has two rows.
    Cost: about 0.2 s for 10,000 synsets, 2 s for all (standard seed).

    Args:
        size: number of synsets, 2 to 117,659, or "all".
        field: "text" = lemmas and usage examples, "lemmas" = lemmas only, joined by ", ".
        train, test: keep at most so many queries of that split (the first in the order of `place`); None keeps all. The
            corpus stays whole.
        seed: 0 is the standard order and split; any other draws subset and splits anew.
    Raises:
        ValueError: an argument is out of range.
    Source: WordNet: a lexical database for English (Miller, 1995); data of release 3.0.
    """
    if field not in ("text", "lemmas"):
        raise ValueError(f"load_wordnet: field must be 'text' or 'lemmas', got {field!r}")
    for name, limit in (("train", train), ("test", test)):
        if limit is not None and not limit >= 1:
            raise ValueError(f"load_wordnet: {name} must be >= 1 or None, got {limit!r}")
    synsets = load_synsets(size, seed)
    texts = _document_texts(synsets.table, field)
    first: dict[str, int] = {}
    document_of = np.array([first.setdefault(text, row) for row, text in enumerate(texts)], np.int32)
    split = _splits(synsets.table, seed)
    kept = _kept_queries(split, {"train": train, "test": test})
    members = _members(synsets.table["same"].to_numpy())

    queries = _table(synsets.table.take(pa.array(np.flatnonzero(kept))), "definition")
    documents = synsets.table.append_column("text", pa.array(texts, pa.string()))
    corpus = _table(documents.take(pa.array(np.unique(document_of))), "text")
    query, positive = _expand(np.arange(len(texts), dtype=np.int32), document_of, members)
    positives = np.unique(query[kept[query]].astype(np.int64) << 32 | positive[kept[query]])
    keys = synsets.table["key"].combine_chunks()
    qrels = {name: _qrels(keys, positives[split[positives >> 32] == i]) for i, name in enumerate(SPLITS)}
    related = _related(synsets, keys, document_of, members, kept, positives)
    name = f"wordnet-{size}" + (f"-{field}" if field != "text" else "") + (f"-seed{seed}" if seed else "")
    return Collection(name, queries, corpus, qrels, related)


def load_synsets(size: int | Literal["all"] = "all", seed: int = 0) -> Synsets:
    """The synsets themselves with all stored relations, for graphs and taxonomies. Arguments as in `load_wordnet`."""
    if size == "all":
        size = SYNSETS
    if not (isinstance(size, int) and 2 <= size <= SYNSETS):
        raise ValueError(f"load_wordnet: size must be in [2, {SYNSETS}] or 'all', got {size!r}")
    table, relations = _read("synsets.parquet", size if seed == 0 else None), _read("relations.parquet")
    source, target = relations["source"].to_numpy(), relations["target"].to_numpy()
    if seed:
        order = np.argsort([place(key, seed) for key in table["key"].to_pylist()], kind="stable")
        row = np.empty(SYNSETS, np.int32)
        row[order] = np.arange(SYNSETS, dtype=np.int32)
        source, target, same = row[source], row[target], table["same"].to_numpy()
        head = np.full(SYNSETS, SYNSETS, np.int32)
        np.minimum.at(head, same, row)
        table = table.set_column(table.schema.get_field_index("same"), "same", pa.array(head[same])).take(
            pa.array(order[:size])
        )
    inside = np.maximum(source, target) < size
    return Synsets(table, source[inside], target[inside], relations["kind"].to_numpy()[inside])


def place(key: str, seed: int = 0) -> int:
    """Where a synset stands in the nested order: 64 bits of BLAKE2b of its key, keyed by a seed other than 0."""
    keyed = str(seed).encode() if seed else b""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8, key=keyed).digest(), "big")


def relation_table(synsets: Synsets) -> pa.Table:
    """The stored relations by name: source, target (keys), relation ("target is relation of source"); one way each."""
    keys = synsets.table["key"].combine_chunks()
    names = pa.array(KINDS, pa.string())
    return pa.table(
        {
            "source": keys.take(pa.array(synsets.source)),
            "target": keys.take(pa.array(synsets.target)),
            "relation": names.take(pa.array(synsets.kind)),
        }
    )


def _read(name: str, rows: int | None = None) -> pa.Table:
    import pyarrow.parquet as pq

    with as_file(files(__package__) / name) as path, pq.ParquetFile(path) as file:
        if rows is None:
            return file.read()
        groups: list[int] = []
        held = 0
        while held < rows:
            held += file.metadata.row_group(len(groups)).num_rows
            groups.append(len(groups))
        return file.read_row_groups(groups).slice(0, rows)


def _document_texts(table: pa.Table, field: str) -> list[str]:
    lemmas = pc.binary_join(table["lemmas"], ", ").to_pylist()
    if field == "lemmas":
        return lemmas
    examples = pc.binary_join(table["examples"], "; ").to_pylist()
    return [f"{words}. {used}" if used else words for words, used in zip(lemmas, examples, strict=True)]


def _splits(table: pa.Table, seed: int) -> np.ndarray:
    """Number of the split of every row, by the key of the first synset with its definition."""
    share = np.array([place(key, seed) % 100 for key in table["key"].to_pylist()])
    return np.searchsorted([high for _, high in SPLITS.values()], share, side="right")[table["same"].to_numpy()]


def _kept_queries(split: np.ndarray, limits: dict[str, int | None]) -> np.ndarray:
    kept = np.ones(len(split), bool)
    for i, name in enumerate(SPLITS):
        limit = limits.get(name)
        if limit is not None:
            kept[np.flatnonzero(split == i)[limit:]] = False
    return kept


def _members(same: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows sorted by the group they belong to, and the group of each."""
    rows = np.argsort(same, kind="stable").astype(np.int32)
    return rows, same[rows]


def _expand(
    query: np.ndarray, item: np.ndarray, members: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """What is said of one query holds for all queries of the same text."""
    rows, group = members
    group_of = np.empty(len(rows), np.int32)
    group_of[rows] = group
    low, high = (np.searchsorted(group, group_of[query], side=side) for side in ("left", "right"))
    sizes = high - low
    within = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return rows[np.repeat(low, sizes) + within], np.repeat(item, sizes)


def _qrels(keys: pa.Array, pairs: np.ndarray) -> pa.Table:
    return pa.table(
        {
            "query": keys.take(pa.array(pairs >> 32)),
            "document": keys.take(pa.array(pairs & 0xFFFFFFFF)),
            "grade": np.ones(len(pairs), np.float32),
        }
    )


def _related(
    synsets: Synsets,
    keys: pa.Array,
    document_of: np.ndarray,
    members: tuple[np.ndarray, np.ndarray],
    kept: np.ndarray,
    positives: np.ndarray,
) -> pa.Table:
    query, document, relation = both_ways(synsets.source, synsets.target, synsets.kind)
    names, bits = relation_names(), 5
    query, coded = _expand(query, document_of[document].astype(np.int64) << bits | relation, members)
    asked = kept[query]
    triples = np.unique(query[asked].astype(np.int64) << 32 | coded[asked])
    pairs = triples >> 32 << 32 | (triples & 0xFFFFFFFF) >> bits
    triples = triples[~np.isin(pairs, positives)]
    return pa.table(
        {
            "query": keys.take(pa.array(triples >> 32)),
            "document": keys.take(pa.array((triples & 0xFFFFFFFF) >> bits)),
            "relation": pa.array(names, pa.string()).take(pa.array(triples & (1 << bits) - 1)),
        }
    )


def _table(synsets: pa.Table, text: str) -> pa.Table:
    file = synsets["file"].cast(pa.string())
    return pa.table(
        {
            "id": synsets["key"],
            "text": synsets[text],
            "group": pc.replace_substring_regex(file, r"\..*", ""),
            "taxonomy": pc.replace_substring(file, ".", "/"),
        }
    )
