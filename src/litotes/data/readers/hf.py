"""Hugging Face datasets: saved on disk, or by name from the hub; as pairs or as queries, corpus and judgements."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from litotes.data.collection import Collection
from litotes.data.readers.gate import ReadCollection
from litotes.data.readers.pairs import gather_pairs, read_documents
from litotes.data.readers.rows import table_rows
from litotes.data.readers.tables import judgements_of, texts_of
from litotes.errors import BadInput, BadRows

SCHEME = "hf://"
SAVED = ("dataset_dict.json", "state.json")
"""One of these files stands in a folder that `save_to_disk` wrote."""


class HubName(NamedTuple):
    """`hf://owner/name` or `hf://owner/name:config`."""

    name: str
    config: str | None


def hub_name(source: str) -> HubName:
    """Read `hf://owner/name[:config]`. Raises ValueError for anything else."""
    name, colon, config = source.removeprefix(SCHEME).partition(":")
    parts = name.split("/")
    if not source.startswith(SCHEME) or len(parts) > 2 or not all(parts) or (colon and not config):
        raise ValueError(f"cannot read {source!r}: expected hf://owner/name or hf://owner/name:config")
    return HubName(name, config or None)


def read_hf_disk(
    folder: str | Path,
    *,
    corpus: str | Path | None = None,
    anchor: str | None = None,
    positive: str | None = None,
    split: str | None = None,
    skip_bad: bool = False,
) -> ReadCollection:
    """A dataset that `datasets` saved to disk.

    Pair form: a Dataset (its split is called "train" unless `split` says otherwise) or a DatasetDict of splits, with
    the columns of `read_pairs`. BEIR form: subfolders `corpus` and `queries` (each a Dataset) and `qrels` (a Dataset,
    or a DatasetDict of splits), as `write_hf` writes them; or one DatasetDict with `corpus`, `queries` and judgements,
    where every other split is one of judgements.

    Args: as in `read_pairs`; `corpus`, `anchor` and `positive` are for the pair form only.
    Raises:
        BadInput: as `read_beir` and `read_pairs`; the lines in messages are rows, from 1.
    """
    folder = Path(folder)
    import datasets

    if not (folder / SAVED[0]).exists() and (folder / "corpus").is_dir() and (folder / "queries").is_dir():
        tables = {kind: _splits(_load(datasets, folder / kind), kind) for kind in ("corpus", "queries")}
        single = {kind: next(iter(found.values())) for kind, found in tables.items()}
        qrels = _splits(_load(datasets, folder / "qrels"), split or "train") if (folder / "qrels").is_dir() else {}
        return beir_form(single["queries"], single["corpus"], _chosen(qrels, split, folder), folder, skip_bad=skip_bad)
    splits = _splits(_load(datasets, folder), split or "train")
    return from_splits(splits, folder, extra=corpus, anchor=anchor, positive=positive, split=split, skip_bad=skip_bad)


def read_hf_hub(
    source: str,
    *,
    corpus: str | Path | None = None,
    anchor: str | None = None,
    positive: str | None = None,
    split: str | None = None,
    skip_bad: bool = False,
) -> ReadCollection:
    """A dataset by name, `hf://owner/name[:config]`, from the hub or from the local cache of `datasets`.

    Without a config, a dataset that has the configs `corpus` and `queries` is read in BEIR form: judgements come from
    its config `qrels` or `default`, or else from the dataset `<name>-qrels`. Everything else is as in `read_hf_disk`.

    Raises:
        ValueError: the name is not of that form.
        BadInput: the dataset cannot be loaded (no network, no such name), or what `read_hf_disk` raises.
    """
    name, config = hub_name(source)
    import datasets

    place = Path(name)
    try:
        configs = datasets.get_dataset_config_names(name) if config is None else []
        if {"corpus", "queries"} <= set(configs):
            queries, documents = (_only(datasets.load_dataset(name, kind), kind) for kind in ("queries", "corpus"))
            judged = next((kind for kind in ("qrels", "default") if kind in configs), None)
            loaded = datasets.load_dataset(name, judged) if judged else datasets.load_dataset(f"{name}-qrels")
            qrels = _chosen(_splits(loaded, "test"), split, place)
            return beir_form(queries, documents, qrels, place, skip_bad=skip_bad)
        splits = _splits(datasets.load_dataset(name, config), "train")
    except (OSError, ValueError) as error:
        if isinstance(error, BadInput):
            raise
        found = f"no way to load {name!r} ({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''})"
        expected = "a dataset on the Hugging Face hub (is there a network?) or in the local cache"
        raise BadInput(found, expected) from error
    return from_splits(splits, place, extra=corpus, anchor=anchor, positive=positive, split=split, skip_bad=skip_bad)


def from_splits(
    splits: Mapping[str, pa.Table],
    place: Path,
    *,
    extra: str | Path | None,
    anchor: str | None,
    positive: str | None,
    split: str | None,
    skip_bad: bool,
) -> ReadCollection:
    """A dict of splits as a collection: BEIR form where `corpus` and `queries` are among them, else pairs."""
    if {"corpus", "queries"} <= splits.keys():
        qrels = {name: table for name, table in splits.items() if name not in ("corpus", "queries")}
        return beir_form(splits["queries"], splits["corpus"], _chosen(qrels, split, place), place, skip_bad=skip_bad)
    bad, notes = BadRows(skip=skip_bad), Counter[str]()
    documents = read_documents(Path(extra), bad, notes) if extra is not None else None
    sources = {name: (place / name, table_rows(table)) for name, table in _chosen(splits, split, place).items()}
    return gather_pairs(sources, bad, notes, extra=documents, anchor=anchor, positive=positive, name=place.name)


def beir_form(
    queries: pa.Table, corpus: pa.Table, qrels: Mapping[str, pa.Table], place: Path, *, skip_bad: bool
) -> ReadCollection:
    """Three kinds of tables as a collection."""
    bad, notes = BadRows(skip=skip_bad), Counter[str]()
    asked = texts_of(queries, place / "queries", bad, notes, kind="queries")
    documents = texts_of(corpus, place / "corpus", bad, notes, kind="corpus")
    judged = {
        name: judgements_of(table, place / "qrels" / name, bad, asked, documents) for name, table in qrels.items()
    }
    return ReadCollection(Collection(place.name, asked, documents, judged), bad, +notes)


def _load(datasets: Any, folder: Path) -> Any:
    try:
        return datasets.load_from_disk(str(folder))
    except FileNotFoundError as error:
        raise BadInput(f"no saved dataset ({error})", "a folder that save_to_disk wrote", file=folder) from None


def _splits(loaded: Any, name: str) -> dict[str, pa.Table]:
    """A DatasetDict by split, or a Dataset under `name`, as Arrow tables."""
    found = dict(loaded.items()) if isinstance(loaded, dict) else {name: loaded}
    return {split: dataset.with_format("arrow")[:] for split, dataset in found.items()}


def _only(loaded: Any, kind: str) -> pa.Table:
    tables = _splits(loaded, kind)
    if len(tables) != 1:
        raise BadInput(f"the splits {sorted(tables)} in the config {kind!r}", "one split")
    return next(iter(tables.values()))


def _chosen(splits: Mapping[str, pa.Table], split: str | None, place: Path) -> Mapping[str, pa.Table]:
    if split is None:
        return splits
    if split not in splits:
        raise BadInput(f"the splits {sorted(splits)}", f"the split {split!r}", file=place)
    return {split: splits[split]}
