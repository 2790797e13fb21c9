"""Queries, corpus and judgements in files that do not lie in one folder."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from litotes.data.collection import Collection
from litotes.data.readers.beir import read_qrels, read_texts
from litotes.data.readers.gate import ReadCollection
from litotes.data.readers.pairs import read_documents
from litotes.data.readers.parquet import parquet_table
from litotes.data.readers.tables import judgements_of, texts_of
from litotes.errors import BadInput, BadRows

QRELS_ENDINGS = (".tsv", ".tsv.gz", ".parquet")


def read_apart(
    queries: str | Path,
    corpus: str | Path,
    qrels: str | Path | None = None,
    *,
    split: str | None = None,
    skip_bad: bool = False,
) -> ReadCollection:
    """The three files of BEIR given apart, each in its BEIR form or as Parquet (by its ending).

    Args:
        qrels: one file (`.tsv`, `.tsv.gz`, `.parquet`), a folder of them, or None for no judgements.
        split: for a file, what to call the split (default: the name of the file); for a folder, the only one to read.
        skip_bad: leave bad rows out and count them; default: stop at the first.
    Raises:
        BadInput: as `read_beir`.
    """
    queries, corpus = Path(queries), Path(corpus)
    bad, notes = BadRows(skip=skip_bad), Counter[str]()
    if queries.suffix == ".parquet":
        asked = texts_of(parquet_table(queries), queries, bad, notes, kind="queries")
    else:
        asked = read_texts(queries, bad, notes, kind="queries")
    documents = read_documents(corpus, bad, notes)
    judged = {}
    for name, path in _qrels_files(Path(qrels) if qrels is not None else None, split).items():
        if path.suffix == ".parquet":
            judged[name] = judgements_of(parquet_table(path), path, bad, asked, documents)
        else:
            judged[name] = read_qrels(path, bad, asked, documents)
    name = corpus.resolve().parent.name or "collection"
    return ReadCollection(Collection(name, asked, documents, judged), bad, +notes)


def _qrels_files(place: Path | None, split: str | None) -> dict[str, Path]:
    if place is None:
        return {}
    if not place.is_dir():
        return {split if split is not None else _split_name(place): place}
    found = {_split_name(path): path for path in sorted(place.iterdir()) if path.name.endswith(QRELS_ENDINGS)}
    if not found or (split is not None and split not in found):
        wanted = f"{split}.tsv" if split is not None else f"files ending in {', '.join(QRELS_ENDINGS)}"
        raise BadInput(f"the splits {sorted(found)}", wanted, file=place)
    return found if split is None else {split: found[split]}


def _split_name(path: Path) -> str:
    for ending in QRELS_ENDINGS:
        if path.name.endswith(ending):
            return path.name.removesuffix(ending)
    return path.stem
