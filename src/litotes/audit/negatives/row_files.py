"""Files of rows: read record by record, and written again with some records changed and all others as they were."""

from __future__ import annotations

import csv
import gzip
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import pyarrow as pa

from litotes.atomic import atomic_path
from litotes.audit.negatives.layouts import Layout
from litotes.audit.negatives.recorder import Recorder
from litotes.data.formats import flagembedding, nemo, tevatron_ids
from litotes.data.formats import sentence_transformers as st
from litotes.data.formats.containers import text_file, write_rows
from litotes.data.formats.fields import Place, listed
from litotes.data.formats.gather import Gatherer
from litotes.data.readers.lines import read_lines, read_objects
from litotes.data.writers.folder import fresh_folder
from litotes.errors import BadRows

Change = Callable[[int, dict[str, Any], Place], "dict[str, Any] | None"]
"""(record, row, place) -> the row as it shall stand (the same object: unchanged), or None: it goes."""


class RowFiles:
    """The records of a set at `path`. Record numbers count every record that could be parsed, from 0."""

    def __init__(self, path: Path, layout: Layout, split: str | None = None):
        self.path, self.layout, self.split = path, layout, split
        self.fillable = bytearray()  # per row that was taken: may it be given a new negative?

    def read(self, recorder: Recorder) -> None:
        """Give every row to the recorder; faulty rows go where its `bad` says."""
        if self.layout.name == "tevatron-ids" and self.path.is_dir():
            corpus = self.path / tevatron_ids.CORPUS
            for line, row in read_objects(corpus, recorder.bad):
                tevatron_ids.read_document(row, Place(corpus, line), recorder)
            recorder.documents.closed = True
        if self.layout.name == "nemo" and not recorder.documents.closed:
            content = nemo.load(self.path)["corpus"]
            for entry in [content] if isinstance(content, dict) else listed(content, "corpus", Place(self.path, None)):
                nemo.read_corpus(entry, self.path, recorder)
        for at, place, row in self.records(recorder.bad):
            recorder.at = at
            with recorder.bad:
                self.layout.read(row, place, recorder)
                self.fillable.append(self.layout.fillable(row))

    def records(self, bad: BadRows) -> Iterator[tuple[int, Place, dict[str, Any]]]:
        """(record, place, row) of every record that can be parsed."""
        return ((at, place, row) for at, (place, row) in enumerate(self._parsed(bad)))

    def _parsed(self, bad: BadRows) -> Iterator[tuple[Place, dict[str, Any]]]:
        name = self.layout.name
        if name in ("flagembedding", "tevatron", "tevatron-ids"):
            for file in self._files():
                for line, row in read_objects(file, bad):
                    yield Place(file, line), row
        elif name == "nemo":
            for i, row in enumerate(listed(nemo.load(self.path)["data"], "data", Place(self.path, None), "rows")):
                yield Place(self.path, None, f"data[{i}]."), row
        else:
            yield from st.checked_rows(self.path, Gatherer(st.TOOL, bad), self.split)

    def _files(self) -> list[Path]:
        if self.layout.name == "flagembedding":
            return flagembedding.files_of(self.path)
        return [self.path / tevatron_ids.ROWS if self.path.is_dir() else self.path]

    def check_target(self, target: Path) -> None:
        """Refuse a place for the repaired set that cannot hold its form. Raises ValueError or FileExistsError."""
        if target.resolve() == self.path.resolve():
            raise ValueError(f"the repaired set needs another place than {self.path}")
        if self.path.is_dir() != (target.suffix == ""):
            kind = "a folder" if self.path.is_dir() else f"a file that ends in {self.path.suffix}"
            raise ValueError(f"the repaired set is {kind}, as {self.path} is, got {target}")
        if not self.path.is_dir() and _ending(target) != _ending(self.path):
            raise ValueError(
                f"the repaired set must end in {_ending(self.path)}, as {self.path.name} does, got {target}"
            )

    def copy(self, target: Path) -> None:
        """The set as it is, byte for byte."""
        if self.path.is_dir():
            with fresh_folder(target) as folder:
                shutil.copytree(self.path, folder, dirs_exist_ok=True)
            return
        with atomic_path(target) as temporary:
            shutil.copyfile(self.path, temporary)
        if self.layout.name == "nemo":
            self._copy_corpora(target)

    def write(self, target: Path, change: Change) -> None:
        """The set with every record put through `change`; a JSONL or TSV record that is not changed keeps its bytes."""
        name = self.layout.name
        if name == "nemo":
            self._write_nemo(target, change)
        elif self.path.is_dir() and name in ("flagembedding", "tevatron-ids"):
            with fresh_folder(target) as folder:
                shutil.copytree(self.path, folder, dirs_exist_ok=True)
                at = 0
                for file in self._files():
                    at = self._write_lines(file, folder / file.name, change, at)
        elif _ending(self.path).startswith((".jsonl", ".json", ".tsv")):
            self._write_lines(self.path, target, change, 0)
        elif _ending(self.path).startswith(".csv"):
            self._write_csv(target, change)
        else:
            write_rows(self._changed(change), _schema(self.path, self.split), target)

    def _changed(self, change: Change) -> Iterator[dict[str, Any]]:
        for at, place, row in self.records(BadRows(skip=True)):
            made = change(at, row, place)
            if made is not None:
                yield made

    def _write_lines(self, source: Path, target: Path, change: Change, at: int) -> int:
        """One record a line: a header, empty lines and unchanged records are copied as they stand."""
        part = RowFiles(source, self.layout, self.split)
        records = part.records(BadRows(skip=True))
        following = next(records, None)
        table = _ending(source).startswith(".tsv")
        with _text(target) as out:
            for number, line in read_lines(source, BadRows(skip=True)):
                if following is None or following[1].line != number:
                    if line.isspace() or (table and number == 1):
                        out.write(line)
                    continue
                made = change(at, following[2], following[1])
                if made is following[2]:
                    out.write(line)
                elif made is not None:
                    out.write(_as_tsv(made) if table else json.dumps(made, ensure_ascii=False) + "\n")
                at += 1
                following = next(records, None)
        return at

    def _write_csv(self, target: Path, change: Change) -> None:
        first = next(iter(read_lines(self.path, BadRows(skip=True))))[1]
        quoted = first.lstrip("\ufeff").startswith('"')
        out = None
        with _text(target) as file:
            for made in self._changed(change):
                if out is None:
                    out = csv.writer(
                        file,
                        quoting=csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL,
                        lineterminator="\r\n" if first.endswith("\r\n") else "\n",
                    )
                    out.writerow(made)
                out.writerow(
                    json.dumps(value, ensure_ascii=False) if isinstance(value, list) else value
                    for value in made.values()
                )
            if out is None:
                file.write(first)

    def _write_nemo(self, target: Path, change: Change) -> None:
        content = nemo.load(self.path)
        content["data"] = list(self._changed(change))
        with text_file(target) as file:
            json.dump(content, file, ensure_ascii=False, indent=1)
            file.write("\n")
        self._copy_corpora(target)

    def _copy_corpora(self, target: Path) -> None:
        if target.parent.resolve() == self.path.parent.resolve():
            return
        corpora = nemo.load(self.path)["corpus"]
        for entry in [corpora] if isinstance(corpora, dict) else corpora:
            place = target.parent / entry["path"]
            if not place.exists():
                shutil.copytree(self.path.parent / entry["path"], place)


@contextmanager
def _text(path: Path) -> Iterator[TextIO]:
    if path.suffix != ".gz":
        with text_file(path) as file:
            yield file
        return
    with atomic_path(path) as temporary, gzip.open(temporary, "wt", encoding="utf-8", newline="") as file:
        yield file


def _ending(path: Path) -> str:
    packed = ".gz" if path.name.endswith(".gz") else ""
    return Path(path.name.removesuffix(".gz")).suffix + packed


def _as_tsv(row: dict[str, Any]) -> str:
    cells = [json.dumps(value, ensure_ascii=False) if isinstance(value, list) else str(value) for value in row.values()]
    return "\t".join(" ".join(cell.splitlines()).replace("\t", " ") for cell in cells) + "\n"


def _schema(path: Path, split: str | None) -> pa.Schema:
    if path.is_dir():
        import datasets

        loaded = datasets.load_from_disk(str(path))
        if isinstance(loaded, dict):
            loaded = loaded[split or next(iter(loaded))]
        return loaded.features.arrow_schema
    import pyarrow.parquet as pq

    return pq.read_schema(path)
