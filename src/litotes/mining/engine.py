"""mine and vet: a collection becomes evidence, block by block, and can be stopped at any point."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from litotes.cluster import Cluster
from litotes.data.anchors import Anchors
from litotes.data.collection import Collection
from litotes.data.encoder import Encoder
from litotes.evidence import Evidence, doubt_entries
from litotes.memory import PeakMemory, held_bytes, parse_bytes, release_freed
from litotes.mining.blocks import Blocks, LexicalScorer, Scorer, SpaceScorer, joined
from litotes.mining.budget import budget_of, data_bytes, parts_of, warm_up
from litotes.mining.changed import Changed, Record
from litotes.mining.place import AddPiece, Place, added
from litotes.mining.refound import Refound, can_extend
from litotes.mining.report import Mining
from litotes.mining.vectors import space_in
from litotes.progress import progress
from litotes.search.space import Space
from litotes.sources.found import Found, Source
from litotes.sources.mined.bm25 import Bm25
from litotes.sources.mined.dense import Mined
from litotes.vetting.guide import space_of
from litotes.vetting.relative_margin import RelativeMargin

_LEXICAL = ("k1", "b", "method", "stemmer", "stopwords")
Vetter = Callable[..., pa.Table]
Finder = Callable[[Anchors], Found]
Change = Callable[[pa.Table], pa.Table]


def mine(
    collection: Collection,
    split: str = "train",
    *,
    model: str | Path | Encoder | None = None,
    space: Space | None = None,
    sources: Sequence[Source] = (Mined(),),
    vetters: Sequence[Vetter] = (RelativeMargin(0.05),),
    out: str | Path | None = None,
    block: int = 2048,
    cache: str | Path | None = None,
    query_vectors: np.ndarray | None = None,
    corpus_vectors: np.ndarray | None = None,
    memory: int | str | None = None,
    cluster: Cluster | None = None,
) -> Mining:
    """Find candidates for every anchor of a split, score them with the positives by one scorer, and vet them.

    Written are all positives (sign +1) and all judged negatives (sign -1) with their grades, and all found candidates
    (sign -1), each with the score of the one scorer: of the model's vectors, or of BM25 where there is no model, space
    or vectors. What a vetter doubts stays, with weight 0. Judgements of a grade below 0 are not written.
    An anchor without positives or without candidates is kept and counted. Negatives that meet by chance in a batch are
    not written: a batch brings them by itself.

    A folder that holds finished blocks of the same collection, split, model, sources, vetters and block size is gone on
    with, to the same bytes as an uninterrupted run; a finished one is returned as it is. A folder made by the same
    settings from an earlier state of the collection is updated to what mining the new state gives: texts that are new
    or changed are encoded, exact dense lists are extended by the new documents or, where that cannot be exact,
    searched anew (`Refound`), and all other sources run again.

    Args:
        collection: what to mine in; `split`: whose anchors.
        model: folder or name of a sentence-transformers model, or an Encoder. Give one of model, space and the vectors,
            or none of them for BM25.
        space: vectors of all queries and documents, in row order.
        query_vectors, corpus_vectors: the same as float32 arrays, compared by the model's similarity if there is a
            model besides, else by cosine.
        sources: who proposes; with none, only what people judged is written. A pair that several propose is one row
            with several finders.
        vetters: who doubts; each only lowers belief, so their order does not matter.
        out: folder, or a file ending in `.parquet`, or None for a table in memory. `<out>.mining` stands beside it
            while it is made.
        block: anchors in a part, >= 1.
        cache: folder for vectors, so that no text is encoded twice, and for approximate indices of them. None =
            `<out>.vectors`, with indices in `<out>.mining`; without `out` memory.
        memory: bytes, or a text like "2GB", that the process may hold in all, imports and model included. It decides
            how many anchors are searched at a time, and nothing that is written. None = as many as `block`.
        cluster: entered; its workers encode and search, this process scores, vets and writes. Nothing that is written
            depends on it. Not together with `memory`, which speaks of one machine's process.
    Raises:
        ValueError: an argument is out of range; more than one kind of vectors; a source that compares vectors without
            any; `out` holds other evidence, or evidence of an earlier state that was changed after it was mined.
        BadInput: vectors that do not fit the collection.
        MemoryError: `memory` cannot be kept; nothing has been encoded or written.
    """
    if not (isinstance(block, (int, np.integer)) and block >= 1):
        raise ValueError(f"mine: block must be a whole number >= 1, got {block!r}")
    total = None if memory is None else parse_bytes(memory)
    if cluster is not None and memory is not None:
        raise ValueError("mine: memory bounds one process; with a cluster it has no meaning")
    encoder = Encoder(model, cache=cache) if isinstance(model, (str, Path)) else model
    with PeakMemory() as watch, ExitStack() as held:
        if cluster is not None and encoder is not None:
            from litotes.data.on_ray import RayEncoder

            encoder = RayEncoder(encoder, cluster)
            held.callback(encoder.close)
        made = _mined(
            _Task(collection, split, tuple(sources), tuple(vetters), int(block), total, cluster, held),
            encoder,
            space,
            (query_vectors, corpus_vectors),
            None if out is None else Path(out),
            None if cache is None else Path(cache),
        )
    if watch.peak is None:
        return made
    return replace(made, memory={**made.memory, "peak": watch.peak})


@dataclass(frozen=True, eq=False)
class _Task:
    """What is mined, whatever with and wherever to. `held`: closes what workers hold for the run."""

    collection: Collection
    split: str
    sources: tuple[Source, ...]
    vetters: tuple[Vetter, ...]
    block: int
    memory: int | None
    cluster: Cluster | None
    held: ExitStack


def _mined(
    task: _Task,
    encoder: Encoder | None,
    space: Space | None,
    vectors: tuple[np.ndarray | None, np.ndarray | None],
    out: Path | None,
    cache: Path | None,
) -> Mining:
    seconds: dict[str, float] = dict.fromkeys(("encode", "search", "score", "vet", "write"), 0.0)
    collection, block = task.collection, task.block
    space = _given(collection, encoder, space, *vectors)
    about = _about(collection, encoder if space is None else None, space, task.sources)
    follows = about["similarity"] == "bm25" or (space is not None and not space.checksum)
    anchors = Anchors.of(collection, task.split)

    recipe = f"split={task.split} sources={[str(s) for s in task.sources]} vetters={[str(v) for v in task.vetters]}"
    prints = {
        "collection": collection.fingerprint(),
        "model": about["checksum"],
        "recipe": hashlib.sha256(recipe.encode()).hexdigest(),
        "block": str(block),
    }
    step, used = _budgeted(task, encoder, space, anchors)
    place = None if out is None else Place(out, prints, about, follows)
    start = 0 if place is None else place.done(anchors, block)
    if place is not None and start >= len(anchors):  # nothing is left to do: no model needs to run
        return _report(place.close(), anchors, len(anchors), place.counts, seconds, used)

    store = cache if cache is not None or out is None else out.with_name(f"{out.name}.vectors")
    with _timed(seconds, "encode"):
        if space is None and encoder is not None:
            if place is None or store is None:
                space = space_of(encoder, collection.query_texts(), collection.document_texts(), cache)
            else:
                space = space_in(encoder, collection, place.work, store)
        release_freed()
        if space is not None:
            space = space.kept_in(cache if cache is not None or place is None else place.work)
        if task.cluster is not None and space is not None:
            from litotes.search.on_ray import RaySpace

            space = cast(Space, task.held.enter_context(RaySpace(space, task.cluster)))  # the same methods, elsewhere
    with _timed(seconds, "search"):
        scorer: Scorer = SpaceScorer(space, about) if space is not None else _lexical(collection, task.sources, about)
        changed = None if place is None or place.old is None else _changed(place, place.old, anchors, space)
        finders = [_finder(source, collection, space, place, changed) for source in task.sources]
        for find in finders:
            task.held.callback(getattr(find, "close", lambda: None))
    with _timed(seconds, "vet"):
        change = _joined(task.vetters, collection, store)
    blocks = Blocks(collection, task.split, scorer)
    counts = {low: made for low, made in (place.counts if place else {}).items() if low < start}
    if place is not None:
        place.counts = counts
    tables: list[pa.Table] = []
    add: AddPiece | None = None
    with (
        progress(total=len(anchors), what="mining", unit="anchors") as bar,
        ExitStack() as open_part,
        ThreadPoolExecutor(1) as behind,
    ):
        bar.update(start)

        def finish(low: int, first: bool, last: bool, part: Anchors, found: Found) -> None:
            """Score, vet and write what was found, while the next anchors are searched."""
            nonlocal add
            with _timed(seconds, "score"):
                table = blocks.table(part, found)
            with _timed(seconds, "vet"):
                table = change(table)
            with _timed(seconds, "write"):
                if place is None:
                    tables.append(table)
                    counts[low] = added(counts.get(low), _counts(table, part, found))
                else:
                    add = open_part.enter_context(place.part(low)) if first or add is None else add
                    add(table, _counts(table, part, found))
                if last:
                    open_part.close()
                release_freed()
            bar.update(len(part))

        waiting: Future[None] | None = None
        if place is not None and Record.read(place.folder) is None:
            waiting = behind.submit(lambda: Record.of(collection, anchors, space).write(place.folder))
        for low in range(start, len(anchors), block):
            end = min(low + block, len(anchors))
            for first in range(low, end, step):
                part = anchors[first : min(first + step, end)]
                with _timed(seconds, "search"):
                    found = Found.joined(find(part) for find in finders)
                if waiting is not None:
                    waiting.result()
                waiting = behind.submit(finish, low, first == low, first + step >= end, part, found)
                del found
        if waiting is not None:
            waiting.result()
    updated = _account(changed, finders, task.sources) if place is not None and place.old is not None else {}
    with _timed(seconds, "write"):
        made = joined(tables, about) if place is None else place.close()
    notes = {str(source): dict(getattr(find, "notes", {})) for source, find in zip(task.sources, finders, strict=True)}
    searches = {name: seen for find in finders for name, seen in getattr(find, "searches", {}).items()}
    return replace(_report(made, anchors, start, counts, seconds, used, updated, notes), searches=searches)


def vet(
    evidence: Evidence | str | Path,
    vetters: Sequence[Vetter],
    collection: Collection | None = None,
    *,
    cache: str | Path | None = None,
) -> dict[str, int]:
    """Let vetters doubt evidence on disk; one pass, streaming.

    Args:
        evidence: folder or file; changed in place (a folder gains parts with the changed rows only).
        vetters: who doubts. Asked again, a vetter changes nothing.
        collection: for vetters that read texts or columns.
        cache: folder for the vectors of a guide.
    Out:  spelling of each vetter -> number of rows it doubts now.
    Raises:
        ValueError: the evidence was made from another collection, or a vetter lacks what it needs.
    """
    if not isinstance(evidence, Evidence):
        known = {"collection": collection.fingerprint()} if collection is not None else {}
        evidence = Evidence.open(evidence, fingerprints=known)
    change = _joined(vetters, collection, cache)
    doubted = Counter({str(vetter): 0 for vetter in vetters})
    with progress(total=sum(part.rows for part in evidence.parts), what="vetting", unit="rows") as bar:

        def counted(table: pa.Table) -> pa.Table:
            made = change(table)
            parts = _doubted(made)
            doubted.update({name: parts.get(name, 0) for name in doubted})
            bar.update(len(table))
            return made

        evidence.apply(counted)
    return dict(doubted)


def _budgeted(
    task: _Task, encoder: Encoder | None, space: Space | None, anchors: Anchors
) -> tuple[int, dict[str, int]]:
    """Anchors at a time, and what is known about memory before the start."""
    collection = task.collection
    width = space.corpus.shape[1] if space is not None else (0 if encoder is None else encoder.width)
    encoder = None if space is not None else encoder
    if task.memory is not None:
        warm_up(encoder, width)
    held = held_bytes()
    used = {} if held is None else {"imports_and_model": max(0, held - data_bytes(collection))}
    if task.memory is None:
        return task.block, used
    if held is None:
        raise OSError("mine: memory cannot be bounded here: this system does not say how much a process holds")
    budget = budget_of(collection, task.sources, encoder, width, total=task.memory, held=held)
    return budget.anchors(min(task.block, max(1, len(anchors)))), used | {"budget": task.memory}


def _changed(place: Place, old: Evidence, anchors: Anchors, space: Space | None) -> Changed | None:
    """How the collection differs from that of the old evidence; None where the old evidence kept no record."""
    now = Record.of(anchors.collection, anchors, space)
    now.write(place.folder)
    before = Record.read(old.path)
    return None if before is None else Changed.between(before, now, anchors)


def _finder(
    source: Source, collection: Collection, space: Space | None, place: Place | None, changed: Changed | None
) -> Finder:
    if place is None or place.old is None or changed is None or space is None:
        return source.prepare(collection, space)
    if isinstance(source, Mined) and can_extend(source, space, changed):
        return Refound(source, collection, space, place.old, changed, place.work)
    return source.prepare(collection, space)


def _account(changed: Changed | None, finders: Sequence[Finder], sources: Sequence[Source]) -> dict[str, Any]:
    """What an update found different, and what it did about it."""
    counts: Counter[str] = Counter(changed.counts if changed is not None else {})
    for find in finders:
        if isinstance(find, Refound):
            counts.update(find.counts)
    again = [str(source) for source, find in zip(sources, finders, strict=True) if not isinstance(find, Refound)]
    return {**counts, "sources run again in full": again}


def _given(
    collection: Collection,
    encoder: Encoder | None,
    space: Space | None,
    query_vectors: np.ndarray | None,
    corpus_vectors: np.ndarray | None,
) -> Space | None:
    """The space that the caller brings, checked against the collection; None where it brings none."""
    if (query_vectors is None) != (corpus_vectors is None):
        raise ValueError("mine: query_vectors and corpus_vectors belong together, got one of them")
    if space is not None and (query_vectors is not None or encoder is not None):
        raise ValueError("mine: give a space, or a model, or vectors, not several of them")
    if query_vectors is not None and corpus_vectors is not None:
        similarity, name = ("cosine", "") if encoder is None else (encoder.similarity, encoder.name)
        space = Space(query_vectors, corpus_vectors, similarity, name)
    if space is not None:
        for what, vectors, rows in (
            ("query", space.queries, len(collection.queries)),
            ("corpus", space.corpus, len(collection.corpus)),
        ):
            if len(vectors) != rows:
                expected = f"{rows} {what} vectors, one per row of {collection.name!r}"
                raise ValueError(f"mine: expected {expected}, got {len(vectors)}")
    return space


def _about(
    collection: Collection, encoder: Encoder | None, space: Space | None, sources: Sequence[Source]
) -> dict[str, str]:
    """The scorer as evidence names it: name, checksum, similarity."""
    if space is not None:
        checksum = space.checksum or _checksum(space)
        return {"name": space.name or "vectors", "checksum": checksum, "similarity": space.similarity}
    if encoder is not None:
        return {"name": encoder.name, "checksum": encoder.checksum, "similarity": encoder.similarity}
    first = _lexical_parts(sources)[0]
    arguments = ((name, getattr(first, name)) for name in _LEXICAL)
    settings = f"bm25({', '.join(f'{name}={value}' for name, value in arguments)})"
    checksum = hashlib.sha256(f"{settings} {collection.fingerprint()}".encode()).hexdigest()
    return {"name": settings, "checksum": checksum, "similarity": "bm25"}


def _lexical(collection: Collection, sources: Sequence[Source], about: dict[str, str]) -> LexicalScorer:
    """BM25 as the scorer, where there is no model: that of the first lexical source, or the default."""
    parts = _lexical_parts(sources)
    one = len({tuple(getattr(part, name) for name in _LEXICAL) for part in parts}) == 1
    return LexicalScorer(parts[0].index(collection), collection.query_texts(), about, (Bm25.name,) if one else ())


def _lexical_parts(sources: Sequence[Source]) -> list[Bm25]:
    return [part for part in parts_of(sources) if isinstance(part, Bm25)] or [Bm25()]


def _checksum(space: Space) -> str:
    digest = hashlib.sha256(space.similarity.encode())
    for vectors in (space.queries, space.corpus):
        digest.update(str(vectors.shape).encode())
        for low in range(0, len(vectors), 1 << 16):
            digest.update(np.ascontiguousarray(vectors[low : low + (1 << 16)]).tobytes())
    return digest.hexdigest()


def _joined(vetters: Sequence[Vetter], collection: Collection | None, cache: str | Path | None) -> Change:
    """All vetters as one change of a table; those that can be prepared for a collection are, once."""
    changes: list[Change] = [
        vetter.prepare(collection, cache) if hasattr(vetter, "prepare") else partial(vetter, collection=collection)
        for vetter in vetters
    ]

    def change(table: pa.Table) -> pa.Table:
        for each in changes:
            table = each(table)
        return table

    return change


def _counts(table: pa.Table, anchors: Anchors, found: Found) -> dict[str, Any]:
    return {
        "rows": len(table),
        "positives": len(anchors.positives.items),
        "judged": len(anchors.judged.items),
        "duplicates": len(anchors.excluded.items) - len(anchors.positives.items),
        "short": dict(found.short),
        "doubted": _doubted(table),
    }


def _doubted(table: pa.Table) -> dict[str, int]:
    entries = pc.value_counts(doubt_entries(table)["part"].combine_chunks()).to_pylist()
    return {entry["values"]: entry["counts"] for entry in entries}


def _report(
    evidence: Evidence | pa.Table,
    anchors: Anchors,
    resumed: int,
    counts: dict[int, dict[str, Any]],
    seconds: dict[str, float],
    memory: dict[str, int],
    changed: Mapping[str, Any] | None = None,
    notes: Mapping[str, Mapping[str, str | float]] | None = None,
) -> Mining:
    if not counts and isinstance(evidence, Evidence):
        seen = evidence.describe()
        duplicates = len(anchors.excluded.items) - len(anchors.positives.items)
        people = {"positives": seen.positives, "judged": seen.judged - seen.positives}
        counts = {0: {"rows": seen.rows, **people, "duplicates": duplicates, "short": {}, "doubted": dict(seen.parts)}}
    totals: Counter[str] = Counter(rows=0, positives=0, judged=0, duplicates=0)
    short: Counter[str] = Counter()
    doubted: Counter[str] = Counter()
    for made in counts.values():
        totals.update({name: made[name] for name in totals})
        short.update(made["short"])
        doubted.update(made["doubted"])
    return Mining(
        evidence,
        anchors=len(anchors),
        resumed=resumed,
        rows=totals["rows"],
        positives=totals["positives"],
        judged=totals["judged"],
        candidates=totals["rows"] - totals["positives"] - totals["judged"],
        duplicates=totals["duplicates"],
        short=dict(short),
        doubted=dict(doubted),
        seconds=dict(seconds),
        memory=memory,
        changed=changed or {},
        notes={source: said for source, said in (notes or {}).items() if said},
    )


@contextmanager
def _timed(seconds: dict[str, float], step: str) -> Iterator[None]:
    start = time.perf_counter()
    try:
        yield
    finally:
        seconds[step] += time.perf_counter() - start
