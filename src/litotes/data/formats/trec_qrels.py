"""TREC qrels: `query 0 document grade`, four columns between white space."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from litotes import evidence as ev
from litotes.data.collection import Collection
from litotes.data.formats.choose import evidence_of
from litotes.data.formats.containers import text_file
from litotes.data.formats.fields import Place
from litotes.data.formats.interchange import Exchange, Format, Written
from litotes.data.readers.lines import read_lines
from litotes.errors import BadInput, BadRows

HOLDS = frozenset({"ids", "positives", "grades", "ragged", "bare"})


def read(path: str | Path, *, collection: Collection | None = None, skip_bad: bool = False) -> Exchange:
    """Judgements as evidence: grade above 0 is sign +1, 0 is -1 (somebody looked and said no), below 0 is 0.

    Args:
        collection: texts of the ids; ids that it does not hold are faults.
        skip_bad: leave bad rows out and count them; default: stop at the first.
    Raises:
        BadInput: not four columns, a grade that is no whole number, a pair twice, an unknown id.
    """
    path, bad = Path(path), BadRows(skip=skip_bad)
    grade_of: dict[tuple[str, str], int] = {}
    known = known_ids(collection)
    for number, line in read_lines(path, bad):
        columns = line.split()
        if not columns:
            continue
        place = Place(path, number)
        with bad:
            if len(columns) != 4:
                raise place.fault(f"{len(columns)} columns", "4 (query, iteration, document, grade)")
            query, _, document, grade = columns
            refuse_unknown(query, document, known, place)
            if (query, document) in grade_of:
                raise place.fault(f"the pair ({query!r}, {document!r}) a second time", "each pair judged once")
            grade_of[query, document] = whole(grade, "grade", place)
    grades = np.fromiter(grade_of.values(), np.float32, len(grade_of))
    sign = np.where(grades > 0, 1, np.where(grades == 0, -1, 0)).astype(np.int8)
    ids = [pa.array([pair[side] for pair in grade_of], pa.string()) for side in (0, 1)]
    table = ev.make(ids[0], ids[1], pa.array(sign), grade=pa.array(grades), source="qrels")
    return Exchange(collection, ev.order(table), bad, lent=collection)


def write(exchange: Exchange, path: str | Path, *, split: str = "train") -> Written:
    """Every pair with a grade, and every believed positive without one as grade 1; nothing else is a judgement.

    Raises:
        BadInput: an id holds white space, or a grade is not whole (trec_eval reads whole numbers).
    """
    path = Path(path)
    lost: Counter[str] = Counter()
    table = ev.order(evidence_of(exchange, split, lost))
    sign, weight, grade = (table[name].to_numpy() for name in ("sign", "weight", "grade"))
    bare = np.isnan(grade)
    kept = ~bare | ((sign > 0) & (weight > 0))
    lost["negatives that nobody judged"] += int((bare & (sign < 0)).sum())
    lost["pairs of sign 0 (nothing is known of them)"] += int((bare & (sign == 0)).sum())
    lost["doubted positives (weight 0)"] += int((bare & (sign > 0) & (weight == 0)).sum())
    table, grade = table.filter(pa.array(kept)), np.where(bare, 1, grade)[kept]
    lost["scores"] += len(table) - table["score"].null_count
    lost["weights between 0 and 1"] += int((table["weight"].to_numpy() < 1).sum())
    for name in ("anchor", "candidate"):
        refuse_spaces(table[name], name)
    if (grade != np.round(grade)).any():
        row = int(np.flatnonzero(grade != np.round(grade))[0])
        raise BadInput(f"{grade[row]:g}", "a whole number (trec_eval reads no other)", line=row + 1, field="grade")
    with text_file(path) as file:
        pairs = zip(table["anchor"].to_pylist(), table["candidate"].to_pylist(), grade.tolist(), strict=True)
        file.writelines(f"{query} 0 {document} {int(value)}\n" for query, document, value in pairs)
    return Written(len(table), +lost, files=(path,))


def whole(value: str, name: str, place: Place) -> int:
    """A whole number."""
    try:
        if "_" in value:
            raise ValueError
        return int(value)
    except ValueError:
        raise place.fault(repr(value), "a whole number", name) from None


def known_ids(collection: Collection | None) -> tuple[frozenset[str], frozenset[str]] | None:
    """Ids of queries and documents, where there is a collection."""
    if collection is None:
        return None
    return frozenset(collection.queries["id"].to_pylist()), frozenset(collection.corpus["id"].to_pylist())


def refuse_unknown(
    query: str, document: str, known: tuple[frozenset[str], frozenset[str]] | None, place: Place
) -> None:
    """Raises BadInput for an id that the collection does not hold."""
    if known is not None and query not in known[0]:
        raise place.fault(f"the unknown id {query!r}", "an id of the queries", "query")
    if known is not None and document not in known[1]:
        raise place.fault(f"the unknown id {document!r}", "an id of the corpus", "document")


def refuse_spaces(ids: pa.ChunkedArray, name: str) -> None:
    """Raises BadInput for an empty id or one with white space, which would make more columns."""
    bad = pc.or_(pc.match_substring_regex(ids, r"[\s\pZ]"), pc.equal(ids, ""))
    if pc.any(bad).as_py():
        row = pc.index(bad, True).as_py()
        raise BadInput(
            repr(ids[row].as_py()), "an id without white space (columns are parted by it)", line=row + 1, field=name
        )


FORMAT = Format("trec-qrels", "TREC judgements: query 0 document grade", HOLDS, (".qrels", ".txt"), read, write)
