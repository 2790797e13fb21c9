"""Readers: what people have, as a checked Collection. Every fault is named with file, line and field."""

from __future__ import annotations

from pathlib import Path

from litotes.data.readers.apart import read_apart
from litotes.data.readers.beir import read_beir
from litotes.data.readers.gate import ReadCollection
from litotes.data.readers.hf import SAVED, SCHEME, read_hf_disk, read_hf_hub
from litotes.data.readers.pairs import read_pairs
from litotes.data.readers.parquet import read_parquet
from litotes.data.readers.rows import SUFFIXES
from litotes.data.readers.vectors import Vectors, read_vector_pair, read_vectors
from litotes.errors import BadInput, BadRows

__all__ = [
    "ReadCollection",
    "Vectors",
    "read_apart",
    "read_beir",
    "read_collection",
    "read_hf_disk",
    "read_hf_hub",
    "read_pairs",
    "read_parquet",
    "read_vector_pair",
    "read_vectors",
]

EMBEDDED = "wordnet"


def read_collection(
    source: str | Path | None = None,
    *,
    queries: str | Path | None = None,
    corpus: str | Path | None = None,
    qrels: str | Path | None = None,
    anchor: str | None = None,
    positive: str | None = None,
    split: str | None = None,
    skip_bad: bool = False,
) -> ReadCollection:
    """Read whatever `source` is:

        wordnet, wordnet:2000, wordnet:all      the embedded collection (`load_wordnet`)
        hf://owner/name[:config]                a dataset of the Hugging Face hub
        folder with corpus.jsonl[.gz]           BEIR
        folder with corpus.parquet              Parquet
        folder that `datasets` saved            pairs or BEIR form
        .csv .tsv .jsonl (also .gz) .parquet    pairs
        None, and `queries` and `corpus`        BEIR's files given apart (.jsonl[.gz] or .parquet; qrels .tsv[.gz] or
                                                .parquet, or a folder of them)

    Args:
        queries, corpus, qrels: the files, without `source`. With pairs, `corpus` alone adds documents.
        anchor, positive: names of the columns of pairs, where they are not among the usual ones.
        split: of a source with several splits, the one to read; else what to call the only one. Default: all of them;
            "train" for a file of pairs, the name of the file for judgements given apart.
        skip_bad: leave bad rows out and count them in `.bad`; default: stop at the first.
    Raises:
        BadInput: the source is not there or of no known kind, or a row is bad.
        ValueError: the arguments do not go together.
    """
    if source is None:
        if queries is None or corpus is None:
            raise ValueError("read_collection: give a source, or both queries and corpus")
        if anchor is not None or positive is not None:
            raise ValueError("read_collection: anchor and positive are columns of pairs; queries and corpus have none")
        return read_apart(queries, corpus, qrels, split=split, skip_bad=skip_bad)
    if queries is not None or qrels is not None:
        raise ValueError("read_collection: queries and qrels are given without a source, or not at all")
    pairs = {"corpus": corpus, "anchor": anchor, "positive": positive}
    text = str(source)
    if text.startswith(SCHEME):
        return read_hf_hub(text, corpus=corpus, anchor=anchor, positive=positive, split=split, skip_bad=skip_bad)
    if text == EMBEDDED or text.startswith(f"{EMBEDDED}:"):
        _refuse(pairs, "the embedded collection")
        return _embedded(text, split)
    path = Path(source)
    if path.is_dir():
        if any((path / name).exists() for name in ("corpus.jsonl", "corpus.jsonl.gz")):
            _refuse(pairs, "a BEIR folder")
            return read_beir(path, split=split, skip_bad=skip_bad)
        if (path / "corpus.parquet").exists():
            _refuse(pairs, "a Parquet folder")
            return read_parquet(path, split=split, skip_bad=skip_bad)
        if any((place / name).exists() for place in (path, path / "corpus") for name in SAVED):
            return read_hf_disk(path, corpus=corpus, anchor=anchor, positive=positive, split=split, skip_bad=skip_bad)
        there = sorted(entry.name for entry in path.iterdir())[:8]
        raise BadInput(f"a folder of {there}", "corpus.jsonl, corpus.parquet or a saved dataset in it", file=path)
    if not path.exists():
        expected = "a file, a folder, 'wordnet' or hf://owner/name"
        raise BadInput("no such file or folder", expected, file=path)
    if not path.name.removesuffix(".gz").endswith(SUFFIXES):
        raise BadInput(f"the ending {path.suffix!r}", f"one of {', '.join(SUFFIXES)}", file=path)
    name = "train" if split is None else split
    return read_pairs(path, corpus=corpus, anchor=anchor, positive=positive, split=name, skip_bad=skip_bad)


def _refuse(pairs: dict[str, str | Path | None], what: str) -> None:
    given = [name for name, value in pairs.items() if value is not None]
    if given:
        raise ValueError(f"read_collection: {', '.join(given)} belong to pairs, but the source is {what}")


def _embedded(name: str, split: str | None) -> ReadCollection:
    from litotes.data.wordnet import load_wordnet

    size = name.partition(":")[2]
    if ":" not in name:
        collection = load_wordnet()
    elif size == "all":
        collection = load_wordnet("all")
    elif size.isdecimal() and size.isascii():
        collection = load_wordnet(int(size))
    else:
        raise ValueError(f"read_collection: cannot read {name!r}: expected wordnet, wordnet:2000 or wordnet:all")
    if split is not None:
        if split not in collection.qrels:
            raise BadInput(f"the splits {collection.splits}", f"the split {split!r}", file=name)
        collection = collection.with_qrels({split: collection.qrels[split]})
    return ReadCollection(collection, BadRows())
