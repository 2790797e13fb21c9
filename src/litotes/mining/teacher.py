"""rescore: every score of evidence, positives included, becomes that of a teacher."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from litotes.atomic import read_json, write_json
from litotes.data.collection import Collection
from litotes.data.encoder import Encoder
from litotes.data.fingerprint import settings_checksum
from litotes.data.pair_scorer import PairScorer
from litotes.evidence import Evidence, order
from litotes.evidence import rescore as with_scores
from litotes.evidence.layers import byte_key
from litotes.mining.vectors import space_in
from litotes.progress import progress

_ROWS = 4096  # of a piece that is written as a whole: a killed run loses no more
_RUN = "run.json"
Kind = Literal["auto", "cross-encoder", "encoder"]
Scores = Callable[[pa.Table], np.ndarray]


@dataclass(frozen=True)
class Rescored:
    """The outcome of `rescore`.

    `evidence`: where the scores are. `rows`: all of them, of which `resumed` were scored by an earlier call. `scorer`:
    {"name", "checksum", "similarity"} of the teacher. `outranked`: believed negatives that the teacher scores at least
    as high as the lowest positive of their anchor; `believed`: all believed negatives of anchors with a positive.
    `seconds`: time of this call.
    """

    evidence: Evidence
    rows: int
    resumed: int
    scorer: Mapping[str, Any]
    outranked: int
    believed: int
    seconds: float


def rescore(
    evidence: Evidence | str | Path,
    collection: Collection,
    model: Any,
    *,
    kind: Kind = "auto",
    out: str | Path | None = None,
    cache: str | Path | None = None,
) -> Rescored:
    """Let a teacher score every pair of evidence, so that a student can learn from it.

    A batch then carries the scores as `pairs["teacher"]`, which `MarginMSE`, `TeacherTarget` and other parts of
    distillation read. Signs, priors, finders and doubts stay as they are: a threshold vetter's doubt still says what it
    saw, and is renewed by asking the vetter again. The teacher's name and checksum stand in the metadata.

    Streams in pieces of whole anchors and writes each as it is scored, to `<out>.rescoring`; a call that was stopped is
    gone on with by the same call, to the same scores. The evidence changes once, when all is scored. What was scored
    by this teacher already is left as it is.

    Args:
        evidence: folder or file.
        collection: holds the texts.
        model: folder or name of a CrossEncoder or of a sentence-transformers encoder, or a PairScorer or Encoder with
            settings of its own.
        kind: what a name means: "cross-encoder", "encoder", or "auto": a cross-encoder if its configuration names a
            head for sequence classification.
        out: a new folder or file; None = the evidence itself is changed.
        cache: folder for the vectors of an encoder; None = beside the unfinished run, and deleted with it.
    Raises:
        ValueError: an argument is out of range, or `<out>.rescoring` belongs to other arguments.
        FileExistsError: there is something else at `out`.
        BadInput: an id is not in the collection, or a score is not finite.
        OSError: the model cannot be loaded.
    """
    clock = time.perf_counter()
    store = evidence if isinstance(evidence, Evidence) else Evidence.open(evidence)
    teacher = _teacher(model, kind)
    about = _about(teacher)
    target = store.path if out is None else Path(out)
    work = target.with_name(f"{target.name}.rescoring")
    origin = {part.file: part.sha256 or f"{part.rows} {part.first} {part.last}" for part in store.parts}
    mark = {"from": settings_checksum({"parts": origin, "scorer": store.scorer}), "scorer": about["checksum"]}

    if out is None and store.scorer == about and not store.describe().unscored:
        return _told(store, work, about, clock)
    if out is not None and target.exists():
        return _finished(target, mark, about, clock)

    made = _begun(work, mark, store, about)
    resumed, outranked, believed = _scored(store, made, _scores(teacher, store, collection, work, cache))
    if out is None:
        _put_in_place(store, made, about)
        done = store
    elif target.suffix == ".parquet":
        made.fingerprints["rescored"] = mark["from"]
        done = made.export(target)
    else:
        made.fingerprints["rescored"] = mark["from"]
        made.compact()
        os.replace(made.path, target)
        done = Evidence.open(target)
    shutil.rmtree(work)
    return Rescored(done, len(done), resumed, about, outranked, believed, time.perf_counter() - clock)


def _scored(store: Evidence, made: Evidence, scores: Callable[[], Scores]) -> tuple[int, int, int]:
    """Score what is not scored yet, piece by piece; rows that were there, and two counts over all rows."""
    last = max((byte_key(part.last) for part in made.parts), default=None)
    resumed = outranked = believed = 0
    score: Scores | None = None
    with progress(total=sum(part.rows for part in store.parts), what="rescoring", unit="rows") as bar:
        for table in store.tables(_ROWS):
            if last is not None and byte_key(table["anchor"][-1].as_py()) <= last:
                done = made.of_anchors(table["anchor"].combine_chunks().unique())
                resumed += len(table)
            else:
                score = score or scores()
                done = order(with_scores(table, score(table), made.scorer or {}))
                made.extend(done)
            more = _counts(done)
            outranked, believed = outranked + more[0], believed + more[1]
            bar.update(len(table))
    return resumed, outranked, believed


def _put_in_place(store: Evidence, made: Evidence, about: Mapping[str, Any]) -> None:
    """Give the evidence the scores that were made, in one commit."""
    store.fingerprints["model"] = about["checksum"]  # it is no longer what mining with another model made

    def change(table: pa.Table) -> pa.Table:
        scored = made.of_anchors(table["anchor"].combine_chunks().unique())
        keys = [
            pc.binary_join_element_wise(t["anchor"], t["candidate"], "\0").combine_chunks() for t in (table, scored)
        ]
        return with_scores(table, scored["score"].take(pc.index_in(keys[0], value_set=keys[1])).to_numpy(), about)

    store.apply(change)
    store.compact()


def _begun(work: Path, mark: dict[str, str], store: Evidence, about: dict[str, Any]) -> Evidence:
    """The unfinished evidence in the working folder: new, or what an earlier call left."""
    inside = work / "evidence"
    if (work / _RUN).exists():
        unlike = [name for name, value in mark.items() if read_json(work / _RUN).get(name) != value]
        if unlike:
            what = " and ".join({"from": "evidence", "scorer": "teacher"}[name] for name in unlike)
            raise ValueError(f"rescore: {work} holds an unfinished run with another {what}; delete it or finish it")
        made = Evidence.open(inside)
        made.sweep()
        return made
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    prints = {**store.fingerprints, "model": about["checksum"]}
    made = Evidence.create(inside, fingerprints=prints, scorer=about)
    write_json(work / _RUN, mark)
    return made


def _finished(target: Path, mark: dict[str, str], about: dict[str, Any], clock: float) -> Rescored:
    try:
        done = Evidence.open(target)
    except (ValueError, FileNotFoundError):
        done = None
    if done is None or done.scorer != about or done.fingerprints.get("rescored") != mark["from"]:
        raise FileExistsError(f"{target} exists and is no result of these arguments; choose another place or remove it")
    return _told(done, target.with_name(f"{target.name}.rescoring"), about, clock)


def _told(done: Evidence, work: Path, about: dict[str, Any], clock: float) -> Rescored:
    """What can be said of evidence that an earlier call has scored."""
    shutil.rmtree(work, ignore_errors=True)
    counts = [_counts(table) for table in done.tables()]
    outranked, believed, rows = sum(c[0] for c in counts), sum(c[1] for c in counts), len(done)
    return Rescored(done, rows, rows, about, outranked, believed, time.perf_counter() - clock)


def _teacher(model: Any, kind: str) -> PairScorer | Encoder:
    if kind not in ("auto", "cross-encoder", "encoder"):
        raise ValueError(f"rescore: kind must be 'auto', 'cross-encoder' or 'encoder', got {kind!r}")
    if isinstance(model, (PairScorer, Encoder)):
        return model
    if not isinstance(model, (str, Path)):
        from sentence_transformers import CrossEncoder

        return PairScorer(model) if isinstance(model, CrossEncoder) else Encoder(model)
    if kind == "auto":
        kind = "cross-encoder" if is_cross_encoder(model) else "encoder"
    return PairScorer(model) if kind == "cross-encoder" else Encoder(model)


def is_cross_encoder(model: str | Path) -> bool:
    """Whether the configuration of a model names a head that scores sequences."""
    from transformers import AutoConfig

    from litotes.data.models import resolve_model

    try:
        architectures = AutoConfig.from_pretrained(resolve_model(model)).architectures
    except (OSError, ValueError):  # a static encoder has none; what cannot be loaded is told where it is loaded
        return False
    return any(name.endswith("ForSequenceClassification") for name in architectures or ())


def _about(teacher: PairScorer | Encoder) -> dict[str, Any]:
    if isinstance(teacher, PairScorer):
        return dict(teacher.about)
    return {"name": teacher.name, "checksum": teacher.checksum, "similarity": teacher.similarity}


def _scores(
    teacher: PairScorer | Encoder, store: Evidence, collection: Collection, work: Path, cache: str | Path | None
) -> Callable[[], Scores]:
    """What makes the function that scores a table; called where there is something to score."""

    def pairwise() -> Scores:
        assert isinstance(teacher, PairScorer)
        queries, documents = collection.queries["text"], collection.document_column()

        def score(table: pa.Table) -> np.ndarray:
            asked = queries.take(pa.array(collection.query_rows(table["anchor"]))).to_pylist()
            offered = documents.take(pa.array(collection.document_rows(table["candidate"]))).to_pylist()
            return teacher(asked, offered)

        return score

    def by_vectors() -> Scores:
        assert isinstance(teacher, Encoder)
        asked, offered = pa.array([], pa.string()), pa.array([], pa.string())
        for table in store.tables():
            asked = pa.concat_arrays([asked, table["anchor"].combine_chunks()]).unique()
            offered = pa.concat_arrays([offered, table["candidate"].combine_chunks()]).unique()
        rows = collection.query_rows(asked), collection.document_rows(offered)
        part = Collection(
            collection.name,
            collection.queries.take(pa.array(np.sort(rows[0]))),
            collection.corpus.take(pa.array(np.sort(rows[1]))),
        )
        space = space_in(teacher, part, work, work / "vectors" if cache is None else Path(cache))
        return lambda table: space.pairs(part.query_rows(table["anchor"]), part.document_rows(table["candidate"]))

    return pairwise if isinstance(teacher, PairScorer) else by_vectors


def _counts(table: pa.Table) -> tuple[int, int]:
    """Believed negatives at or above the lowest positive of their anchor, and all of anchors that have one."""
    positives = table.filter(pc.equal(table["sign"], 1)).select(["anchor", "score"])
    lowest = positives.group_by("anchor").aggregate([("score", "min")])
    negatives = table.filter(pc.and_(pc.equal(table["sign"], -1), pc.greater(table["weight"], 0)))
    line = lowest["score_min"].take(pc.index_in(negatives["anchor"], value_set=lowest["anchor"].combine_chunks()))
    above = pc.greater_equal(negatives["score"], line)
    return int(pc.sum(above).as_py() or 0), len(line) - line.null_count
