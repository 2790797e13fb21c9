"""mine and vet: a collection becomes evidence, block by block, and can be stopped at any point."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from litotes.atomic import read_json, write_json
from litotes.data.anchors import Anchors
from litotes.data.collection import Collection
from litotes.data.encoder import Encoder
from litotes.evidence import Evidence, doubt_entries
from litotes.memory import release_freed
from litotes.mining.blocks import Blocks, LexicalScorer, Scorer, SpaceScorer, joined
from litotes.mining.report import Mining
from litotes.progress import progress
from litotes.search.space import Space
from litotes.sources.found import Found, Source
from litotes.sources.mined.bm25 import Bm25
from litotes.sources.mined.dense import Mined
from litotes.vetting.guide import space_of
from litotes.vetting.relative_margin import RelativeMargin

COUNTS = "mining.json"
_LEXICAL = ("k1", "b", "method", "stemmer", "stopwords")
Vetter = Callable[..., pa.Table]
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
) -> Mining:
    """Find candidates for every anchor of a split, score them with the positives by one scorer, and vet them.

    Written are all positives (sign +1) and all judged negatives (sign -1) with their grades, and all found candidates
    (sign -1), each with the score of the one scorer: of the model's vectors, or of BM25 where there is no model, space
    or vectors. What a vetter doubts stays, with weight 0. Judgements of a grade below 0 are not written.
    An anchor without positives or without candidates is kept and counted. Negatives that meet by chance in a batch are
    not written: a batch brings them by itself.

    A folder that holds finished blocks of the same collection, split, model, sources, vetters and block size is gone on
    with, to the same bytes as an uninterrupted run; a finished one is returned as it is.

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
        out: folder, or a file ending in `.parquet` (a folder `<out>.mining` stands beside it till it is done), or None
            for a table in memory.
        block: anchors at a time, >= 1. Memory is O(block x depth).
        cache: folder for vectors, so that no text is encoded twice.
    Raises:
        ValueError: an argument is out of range; more than one kind of vectors; a source that compares vectors without
            any; `out` holds other evidence.
        BadInput: vectors that do not fit the collection.
    """
    if not block >= 1:
        raise ValueError(f"mine: block must be >= 1, got {block!r}")
    seconds: dict[str, float] = dict.fromkeys(("encode", "search", "score", "vet", "write"), 0.0)
    encoder = Encoder(model, cache=cache) if isinstance(model, (str, Path)) else model
    space = _given(collection, encoder, space, query_vectors, corpus_vectors)
    about = _about(collection, encoder, space, sources)
    anchors = Anchors.of(collection, split)

    recipe = f"split={split} sources={[str(s) for s in sources]} vetters={[str(v) for v in vetters]}"
    prints = {
        "collection": collection.fingerprint(),
        "model": about["checksum"],
        "recipe": hashlib.sha256(recipe.encode()).hexdigest(),
        "block": str(block),
    }
    place = None if out is None else _Place(Path(out), prints, about)
    start = 0 if place is None else place.done(anchors, block)
    if place is not None and start >= len(anchors):  # nothing is left to do: no model needs to run
        return _report(place.close(), anchors, len(anchors), place.counts, seconds)

    with _timed(seconds, "encode"):
        if space is None and encoder is not None:
            space = space_of(encoder, collection.query_texts(), collection.document_texts(), cache)
    with _timed(seconds, "search"):
        scorer: Scorer = SpaceScorer(space, about) if space is not None else _lexical(collection, sources, about)
        finders = [source.prepare(collection, space) for source in sources]
    with _timed(seconds, "vet"):
        change = _joined(vetters, collection, cache)
    blocks = Blocks(collection, split, scorer)
    counts = {low: made for low, made in (place.counts if place else {}).items() if low < start}
    tables: list[pa.Table] = []
    with progress(total=len(anchors), what="mining", unit="anchors") as bar:
        bar.update(start)
        for low in range(start, len(anchors), block):
            part = anchors[low : low + block]
            with _timed(seconds, "search"):
                found = Found.joined(find(part) for find in finders)
            with _timed(seconds, "score"):
                table = blocks.table(part, found)
            with _timed(seconds, "vet"):
                table = change(table)
            with _timed(seconds, "write"):
                counts[low] = _counts(table, part, found)
                if place is not None:
                    place.add(table, counts)
                else:
                    tables.append(table)
            release_freed()
            bar.update(len(part))
    with _timed(seconds, "write"):
        made = joined(tables, about) if place is None else place.close()
    return _report(made, anchors, start, counts, seconds)


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


class _Place:
    """Where evidence is written, and what is there already."""

    def __init__(self, out: Path, prints: dict[str, str], about: dict[str, str]):
        self.out = out
        self.folder = out.with_name(f"{out.name}.mining") if out.suffix == ".parquet" else out
        self.finished = out.suffix == ".parquet" and out.exists()
        if self.finished:
            self.evidence = _same(Evidence.open(out), prints)
        elif (self.folder / "manifest.json").exists():
            self.evidence = _same(Evidence.open(self.folder), prints)
        else:
            self.evidence = Evidence.create(self.folder, fingerprints=prints, scorer=about)
        self.counts = _stored(self.folder / COUNTS)

    def done(self, anchors: Anchors, block: int) -> int:
        """Anchors that need not be mined again: whole blocks."""
        if self.finished or not self.evidence.parts:
            return len(anchors) if self.finished else 0
        last = max(part.last.encode() for part in self.evidence.parts)
        ids = anchors.collection.queries["id"].take(anchors.query).to_pylist()
        place = next((i for i, name in enumerate(ids) if name.encode() == last), None)
        if place is None:
            expected = f"the anchors of the split {anchors.split!r}"
            raise ValueError(f"mine: {self.folder} holds the anchor {last.decode()!r}, expected only {expected}")
        return min((place // block + 1) * block, len(anchors))

    def add(self, table: pa.Table, counts: dict[int, dict[str, Any]]) -> None:
        # the counts go first: a run killed between the two mines the block again and counts it again, once
        write_json(self.folder / COUNTS, {str(low): made for low, made in counts.items()})
        self.evidence.append(table)

    def close(self) -> Evidence:
        if self.out.suffix == ".parquet" and not self.finished:
            self.evidence = self.evidence.export(self.out)
            shutil.rmtree(self.folder)
        return self.evidence


def _same(evidence: Evidence, prints: dict[str, str]) -> Evidence:
    """Refuse to go on with evidence that was made from something else."""
    for name, value in prints.items():
        there = evidence.fingerprints.get(name, "nothing")
        if there != value:
            raise ValueError(
                f"mine: {evidence.path} holds evidence of another {name} (found {there[:12]}, expected {value[:12]}); "
                "choose another place, or delete it"
            )
    return evidence


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
    parts = [part for source in sources for part in getattr(source, "parts", (source,))]
    return [part for part in parts if isinstance(part, Bm25)] or [Bm25()]


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


def _stored(file: Path) -> dict[int, dict[str, Any]]:
    return {int(low): made for low, made in read_json(file).items()} if file.exists() else {}


def _report(
    evidence: Evidence | pa.Table,
    anchors: Anchors,
    resumed: int,
    counts: dict[int, dict[str, Any]],
    seconds: dict[str, float],
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
    )


@contextmanager
def _timed(seconds: dict[str, float], step: str) -> Iterator[None]:
    start = time.perf_counter()
    try:
        yield
    finally:
        seconds[step] += time.perf_counter() - start
