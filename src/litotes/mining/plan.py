"""What a mining run will take, before it starts: counted where it can be, measured for two seconds where it must be."""

from __future__ import annotations

import io
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from litotes.data.anchors import Anchors
from litotes.data.collection import Collection
from litotes.data.encoder import Encoder
from litotes.data.vector_store import SHARD, digest
from litotes.memory import held_bytes
from litotes.mining.budget import budget_of, depth_of
from litotes.mining.engine import Vetter, mine
from litotes.search.exact import top_k
from litotes.search.norms import norms
from litotes.search.space import Space
from litotes.sources.found import Source
from litotes.sources.mined.dense import Mined

WORKERS = (1, 2, 4, 8, 16)
_QUERIES = 1024  # of the probe of the search
_MOST = 1 << 16  # documents of that probe
_ANCHORS = 256  # of the probe of all that comes behind the search
_EVEN = "work divides evenly over workers with processors like these; starting and scoring do not divide"


@dataclass(frozen=True)
class Share:
    """The same run on some workers: seconds to encode, to search and in all, bytes over the network in all."""

    encode: float
    search: float
    total: float
    network: int


@dataclass(frozen=True)
class Plan:
    """What `mine` will take.

    Counted: `queries`, `documents`, `anchors`; `texts` to encode (each once, stored ones not again) and their
    `text_bytes`; `dimensions`; `depth` (candidates per anchor); `vector_bytes` of all vectors in float32; `disk_bytes`
    that the run writes beside the evidence (the store of vectors, and the same in row order); `search_flops`.
    From a sample: `tokens` (padding included), `encode_flops`, `evidence_bytes`.
    Reckoned: `memory_bytes`, the most this process will hold, as `--memory` would reckon it; `worker_bytes`, what each
    worker holds besides mapped files.
    Measured: `rates`, per second on this machine; `seconds`, of this machine alone: encode, search, behind (scoring,
    vetting, writing, beside the search) and total.
    `workers`: number of workers -> Share. `assumed`: what was taken for granted, and what is not in the figures.
    """

    queries: int
    documents: int
    anchors: int
    texts: int
    text_bytes: int
    tokens: int
    dimensions: int
    depth: int
    vector_bytes: int
    disk_bytes: int
    evidence_bytes: int
    memory_bytes: int
    worker_bytes: int
    encode_flops: float
    search_flops: float
    rates: Mapping[str, float]
    seconds: Mapping[str, float]
    workers: Mapping[int, Share]
    assumed: tuple[str, ...]


def plan(
    collection: Collection,
    split: str = "train",
    *,
    encoder: Encoder | None = None,
    space: Space | None = None,
    sources: Sequence[Source] = (Mined(),),
    vetters: Sequence[Vetter] = (),
    block: int = 2048,
    workers: Sequence[int] = WORKERS,
    probe: float = 1.0,
    seed: int = 0,
) -> Plan:
    """Reckon a run of `mine` with the same arguments. Nothing is written and nothing is started.

        seconds = encode + max(search + behind / threads, behind)
        seconds on W workers = encode / W + max(search / W, behind)
        network on W workers = text bytes + 4 texts D + 4 anchors D W + 8 anchors depth W

    `encode` extrapolates a sample of the texts, as many as about `probe` seconds are enough for; `search` a search of
    random unit vectors at two corpus sizes, which tells what a query costs from what a query and a document cost; and
    `behind` the mining of a few hundred anchors in memory.

    Args:
        encoder, space: as for `mine`, one of the two.
        workers: numbers of workers to reckon for, each >= 1.
        probe: seconds of each of the two measurements, > 0.
        seed: of the samples.
    Raises:
        ValueError: an argument is out of range, or there is neither encoder nor space, or both.
    """
    if not (0 < probe < float("inf")):
        raise ValueError(f"plan: probe must be > 0 and finite, got {probe!r}")
    if any(not (isinstance(count, int) and count >= 1) for count in workers):
        raise ValueError(f"plan: workers must be whole numbers >= 1, got {list(workers)!r}")
    if (encoder is None) == (space is None):
        raise ValueError("plan: reckons with vectors; give an encoder or a space, one of them")
    import torch

    anchors = Anchors.of(collection, split)
    depth = depth_of(sources)
    width = encoder.width if encoder is not None else space.corpus.shape[1] if space is not None else 0
    rows = len(collection.queries), len(collection.corpus)
    draw = np.random.default_rng(seed)
    similarity = encoder.similarity if encoder is not None else space.similarity if space is not None else "cosine"

    texts = _unknown(collection, encoder) if encoder is not None else pa.array([], pa.string())
    text_bytes = pc.sum(pc.binary_length(texts)).as_py() or 0
    tokens, flops, per_text = (0.0, 0.0, 0.0)
    if encoder is not None and len(texts):
        tokens, flops, per_text = _encoding(encoder, texts, probe, draw)
    per_query, per_pair, per_document = _searching(
        width, similarity, min(len(anchors), _QUERIES), rows[1], depth, probe, draw
    )
    behind, row_bytes = _behind(collection, split, anchors, sources, vetters, width, similarity, draw)

    encode = per_text * len(texts)
    search = len(anchors) * (per_query + per_pair * rows[1]) + per_document * sum(rows)
    after = behind * len(anchors)
    threads = torch.get_num_threads()
    vector_bytes = 4 * width * sum(rows)
    budget = budget_of(collection, sources, encoder, width, total=sys.maxsize, held=held_bytes() or 0)
    memory = budget.need(min(block, max(1, len(anchors))))
    shares = {}
    for count in workers:
        network = text_bytes + 4 * width * len(texts) + (4 * width + 8 * depth) * len(anchors) * count
        share = encode / count, search / count
        shares[count] = Share(*share, share[0] + max(share[1], after), network)
    search_flops = 2.0 * width * len(anchors) * rows[1]
    return Plan(
        *rows,
        len(anchors),
        len(texts),
        text_bytes,
        round(tokens * len(texts)),
        width,
        depth,
        vector_bytes,
        4 * width * (len(texts) + sum(rows)) if encoder is not None else 0,
        round(row_bytes * len(anchors)),
        memory,
        memory - budget.collection,
        flops * len(texts),
        search_flops,
        {
            "texts": 1 / per_text if per_text else 0.0,
            "encode_gflops": flops / per_text / 1e9 if per_text else 0.0,
            "search_gflops": search_flops / search / 1e9 if search else 0.0,
            "anchors_behind_the_search": 1 / behind if behind else 0.0,
        },
        {
            "encode": encode,
            "search": search,
            "behind": after,
            "total": encode + max(search + after / threads, after),
        },
        shares,
        _assumed(sources, vetters),
    )


def _unknown(collection: Collection, encoder: Encoder) -> pa.Array:
    """The texts that will be encoded: each once, and not those that the cache holds."""
    sides = {"query": collection.queries["text"], "document": pa.chunked_array([collection.document_texts()])}
    stores = {kind: encoder.store(kind) for kind in sides}
    both = [store.folder for store in stores.values() if store is not None]
    parts = []
    for kind, column in sides.items():
        unique = pc.unique(column.cast(pa.string()))
        store = stores[kind]
        if store is not None and len(store):
            known = store.rows([digest(text) for text in unique.to_pylist()]) >= 0
            unique = unique.filter(pa.array(~known))
        parts.append(unique)
    whole = pa.concat_arrays([part.cast(pa.large_string()) for part in parts])
    return pc.unique(whole) if len(set(both)) == 1 and len(both) == 2 else whole


def _encoding(encoder: Encoder, texts: pa.Array, probe: float, draw: np.random.Generator) -> tuple[float, float, float]:
    """Per text: padded tokens, floating-point operations, seconds."""
    sample = texts.take(pa.array(draw.permutation(len(texts))[: 2 * SHARD])).to_pylist()
    most = min(len(sample), SHARD)
    begun, best = time.perf_counter(), float("inf")
    batches: list[list[int]] = []
    count, following = 0, min(8, most)
    # ever more texts, for the first runs choose kernels, and small ones pad more than whole shards do; the last twice
    while following:
        again, count, start = following == count, following, time.perf_counter()
        _, batches = encoder.compute_shard(sample[:count], "document")
        now = time.perf_counter()
        best = min(best, (now - start) / count)
        if again or now - begun > 3 * probe:
            break
        if now - start < 0.4 * probe:
            following = min(most, count * (4 if now - start < 0.1 * probe else 2))
    per_token, per_pair = encoder.products
    padded = sum(rows * length for rows, length in batches)
    pairs = sum(rows * length * length for rows, length in batches)
    return padded / count, 2.0 * (per_token * padded + per_pair * pairs) / count, best


def _searching(
    width: int, similarity: str, queries: int, documents: int, depth: int, probe: float, draw: np.random.Generator
) -> tuple[float, float, float]:
    """Seconds per query, per query and document, and per vector once (its norm)."""
    if not queries or not documents:
        return 0.0, 0.0, 0.0
    count = min(documents, _MOST)
    vectors = draw.standard_normal((queries + count, width), np.float32)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    asked, corpus = vectors[:queries], vectors[queries:]
    start = time.perf_counter()
    lengths = norms(corpus)
    per_document = (time.perf_counter() - start) / count
    of_queries = norms(asked)

    def run(among: int) -> float:
        k = min(depth, among)
        start = time.perf_counter()
        top_k(asked, corpus[:among], k, similarity=similarity, query_norms=of_queries, corpus_norms=lengths[:among])
        return time.perf_counter() - start

    small = max(1, min(count // 4, max(4 * depth, 4096)))
    run(small)  # what happens once
    first = run(small)
    if count == documents and count <= 2 * small:
        return run(count) / queries, 0.0, per_document  # so few that the probe is the run
    # as many as fit into the time that is left, from how long the few took
    large = int(min(count, max(4 * small, small * (probe - first) / max(first, 1e-4))))
    second = min(run(large) for _ in range(2))
    per_pair = max(second - first, 0.1 * second) / (queries * max(large - small, 1))
    return max(0.0, second / queries - per_pair * large), per_pair, per_document


def _behind(
    collection: Collection,
    split: str,
    anchors: Anchors,
    sources: Sequence[Source],
    vetters: Sequence[Vetter],
    width: int,
    similarity: str,
    draw: np.random.Generator,
) -> tuple[float, float]:
    """Seconds of scoring, vetting and writing per anchor, and bytes of evidence, from mining a few in memory."""
    import pyarrow.parquet as pq

    if not len(anchors):
        return 0.0, 0.0
    asked = np.sort(draw.permutation(anchors.query)[:_ANCHORS])
    query, document, _ = collection.judgements(split)
    judged = np.unique(document[np.isin(query, asked)])
    more = draw.permutation(len(collection.corpus))[: 8 * depth_of(sources)]
    rows = np.unique(np.concatenate([judged, more]))
    queries, corpus = collection.queries.take(pa.array(asked)), collection.corpus.take(pa.array(rows))
    qrels = collection.qrels[split]
    known = pc.and_(
        pc.is_in(qrels["query"], queries["id"].combine_chunks()),
        pc.is_in(qrels["document"], corpus["id"].combine_chunks()),
    )
    part = Collection("plan", queries, corpus, {split: qrels.filter(known)})
    # queries lie near their positives, or every candidate would be doubted and the evidence twice as large
    vectors = draw.standard_normal((len(rows), width), np.float32)
    near = 0.5 * draw.standard_normal((len(asked), width), np.float32)
    mine_too = np.isin(query, asked)
    near[np.searchsorted(asked, query[mine_too])] += vectors[np.searchsorted(rows, document[mine_too])]
    space = Space(near, vectors, similarity, checksum="plan")
    light = [vetter for vetter in vetters if not hasattr(vetter, "prepare")]
    # how they search is not what is measured here, and few documents may be too few for an index
    dense = [replace(source, search="exact") for source in sources if isinstance(source, Mined)]
    dense = dense or [Mined(depth_of(sources))]

    def run() -> tuple[float, pa.Table]:
        made = mine(part, split, space=space, sources=dense, vetters=light)
        table = made.evidence if isinstance(made.evidence, pa.Table) else made.evidence.read()
        return sum(made.seconds[step] for step in ("score", "vet", "write")), table

    quietly: Callable[[], tuple[float, pa.Table]] = lambda: _quiet(run)
    quietly()
    seconds, table = quietly()
    sink = io.BytesIO()
    start = time.perf_counter()
    pq.write_table(
        table,
        sink,
        compression="zstd",
        use_dictionary=["anchor", "candidate", "found.list.element.source", "doubts.list.element.part"],
    )
    seconds += time.perf_counter() - start
    return seconds / len(asked), sink.getbuffer().nbytes / len(asked)


def _assumed(sources: Sequence[Source], vetters: Sequence[Vetter]) -> tuple[str, ...]:
    notes = [
        _EVEN,
        "vectors reach workers as mapped files on a shared disk; that traffic is vector bytes once, not in the network",
        "the machine stays as busy as it was during the probe; loading the model and reading the input are not counted",
    ]
    other = [str(source) for source in sources if not isinstance(source, Mined)]
    approximate = [str(source) for source in sources if isinstance(source, Mined) and source.search != "exact"]
    heavy = [str(vetter) for vetter in vetters if hasattr(vetter, "prepare")]
    if other:
        notes.append(f"not counted, sources other than dense: {', '.join(other)}")
    if approximate:
        notes.append(f"reckoned as if exact, with the memory of their indices: {', '.join(approximate)}")
    if heavy:
        notes.append(f"not counted, vetters that prepare for the whole collection: {', '.join(heavy)}")
    return tuple(notes)


def _quiet(run: Callable[[], Any]) -> Any:
    """Without progress bars: they are of the probe, not of the run."""
    before = os.environ.get("LITOTES_QUIET")
    os.environ["LITOTES_QUIET"] = "1"
    try:
        return run()
    finally:
        if before is None:
            del os.environ["LITOTES_QUIET"]
        else:
            os.environ["LITOTES_QUIET"] = before
