"""convert: from one format to another, with everything that the way costs counted."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from litotes.data.collection import Collection
from litotes.data.formats.detection import detect
from litotes.data.formats.evidence_files import WITH_TEXTS
from litotes.data.formats.interchange import Exchange, Format, How, Short, Written
from litotes.data.formats.registry import FORMATS
from litotes.data.formats.trec_run import Shape

BY_ENDING = {".run": "trec-run", ".trec": "trec-run", ".qrels": "trec-qrels", ".json": "nemo"}


def convert(
    source: str | Path,
    target: str | Path,
    *,
    source_format: str | None = None,
    target_format: str | None = None,
    collection: Collection | str | Path | None = None,
    split: str = "train",
    negatives: int | None = None,
    how: How = "top",
    seed: int = 0,
    short: Short | None = None,
    scores: bool | None = None,
    scorer: str | None = None,
    threshold: float | None = None,
    shape: Shape | None = None,
    read_split: str | None = None,
    pool: str | Path | None = None,
    ids: bool = False,
    collection_out: str | Path | None = None,
    skip_bad: bool = False,
    overwrite: bool = False,
) -> Written:
    """Read `source`, write `target`, and say what was lost.

    Args:
        source_format: a name in FORMATS; None looks into the source (`detect`).
        target_format: a name in FORMATS; None goes by the ending of `target` where that decides.
        collection: where the texts of ids are, a Collection or anything `read_collection` reads. Texts of the source
            that stand in it have their ids from it.
        split: the split whose judgements are written, where the source is a collection; the one that evidence becomes,
            where the target is.
        negatives, how, seed: believed negatives per anchor, None = all (`litotes.evidence.select`).
        short: what happens to an anchor with too few negatives for the target: "drop" (left out and counted; the
            default), "refuse", "keep", "repeat"; each target says which it takes.
        scores: write scores; None writes them where every row has one (labelled pairs and lists: not).
        scorer: name of the model behind the scores of the source.
        threshold: where positives begin in labelled pairs or lists that have scores and no labels.
        shape: "trec", "ranks" or "scores": what the columns of a run are.
        read_split: the one split to read of a source that has several.
        pool: FlagEmbedding's candidate pool: read with such a source, written with such a target.
        ids: pairs with their ids.
        collection_out: also write the texts of the source there, as a Parquet folder, for a target that holds ids only.
        skip_bad: leave bad rows of the source out and count them; default: stop at the first.
        overwrite: replace a file that is there. Folders are never replaced.
    Out:  rows written, what was lost, notes and skipped rows (`Written.summary()` says it all).
    Raises:
        BadInput: a row of the source is bad. ValueError: the format cannot be told, an option has no meaning for source
            and target, or a policy refuses. FileExistsError: the target is there.
    """
    source, target = Path(source), Path(target)
    given = {
        "split": split if split != "train" else None,
        "negatives": negatives,
        "how": how if how != "top" else None,
        "seed": _number("seed", seed, int) or None,
        "short": short,
        "scores": scores,
        "scorer": scorer,
        "threshold": _number("threshold", threshold, float),
        "shape": shape,
        "read_split": read_split,
        "pool": pool,
        "ids": ids or None,
        "skip_bad": skip_bad or None,
    }
    if source.resolve() == target.resolve():
        raise ValueError(f"convert: source and target are both {source}")
    if target.is_file() and not overwrite:
        raise FileExistsError(f"{target} exists; choose another place or overwrite it on purpose")
    reads = format_named(source_format or detect(source), "reader")
    writes = format_named(target_format or _by_ending(target), "writer")
    _refuse_meaningless(given, reads, writes)

    lent, remarks = _collection(collection, skip_bad)
    taken = {"split": split, "collection": lent, **{name: value for name, value in given.items() if value is not None}}
    exchange = _read(reads, source, taken, lent)
    assert writes.writer is not None
    written = writes.writer(exchange, target, **_only(taken, writes, "writer"))
    files = written.files
    if collection_out is not None:
        files += _write_collection(exchange, Path(collection_out))
        for reason in [reason for reason in written.lost if reason.endswith(WITH_TEXTS)]:
            del written.lost[reason]
    return replace(written, notes=written.notes + exchange.notes + remarks, bad=exchange.bad, files=files)


def format_named(name: str, side: str = "reader") -> Format:
    """A format by name. Raises ValueError where there is none, or it has no reader or writer."""
    if name not in FORMATS:
        raise ValueError(f"convert: there is no format {name!r}; there are {', '.join(FORMATS)}")
    if getattr(FORMATS[name], side) is None:
        raise ValueError(f"convert: the format {name!r} has no {side}")
    return FORMATS[name]


def _read(reads: Format, source: Path, taken: Mapping[str, Any], lent: Collection | None) -> Exchange:
    assert reads.reader is not None
    exchange = reads.reader(source, **_only(taken, reads, "reader"))
    if lent is not None and "collection" not in reads.options("reader"):
        raise ValueError(f"convert: the source is a collection itself ({reads.name}); a second one has no meaning")
    return exchange


def _only(taken: Mapping[str, Any], chosen: Format, side: Any) -> dict[str, Any]:
    return {name: value for name, value in taken.items() if name in chosen.options(side)}


def _refuse_meaningless(given: Mapping[str, Any], reads: Format, writes: Format) -> None:
    known = reads.options("reader") | writes.options("writer")
    if reads.name == "evidence":
        known |= {"skip_bad"}  # evidence has no bad rows: it was checked when it was written
    for name, value in given.items():
        if value is not None and name not in known:
            raise ValueError(f"convert: {name}={value!r} has no meaning from {reads.name} to {writes.name}")


def _number(name: str, value: Any, kind: type[int] | type[float]) -> Any:
    """A finite number, also where a command line brings it as text."""
    if value is None:
        return None
    try:
        number = kind(value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"convert: {name} must be a number, got {value!r}") from None
    if not math.isfinite(number):
        raise ValueError(f"convert: {name} must be finite, got {value!r}")
    return number


def _collection(given: Collection | str | Path | None, skip_bad: bool) -> tuple[Collection | None, Counter[str]]:
    """The collection that was given, and what its reader skipped."""
    if given is None or isinstance(given, Collection):
        return given, Counter()
    from litotes.data.readers import read_collection

    read = read_collection(given, skip_bad=skip_bad)
    return read.collection, +Counter({"bad rows of the collection that were skipped": read.bad.total})


def _by_ending(target: Path) -> str:
    name = BY_ENDING.get(target.suffix)
    if name is None:
        ending = target.suffix or "/"
        likely = [one.name for one in FORMATS.values() if one.writer is not None and ending in one.extensions]
        raise ValueError(
            f"convert: {target.name!r} may be {', '.join(likely) or 'nothing that is known'}: give target_format"
        )
    return name


def _write_collection(exchange: Exchange, folder: Path) -> tuple[Path, ...]:
    from litotes.data.writers import write_parquet

    if exchange.collection is None:
        raise ValueError("convert: collection_out was given, but the source has no texts")
    write_parquet(exchange.collection, folder)
    return (folder,)
