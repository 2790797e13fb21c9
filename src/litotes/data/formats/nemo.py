"""NeMo Automodel: one JSON object of questions with ids and scores of documents, and a corpus folder beside it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from litotes.atomic import write_json
from litotes.data.collection import Collection
from litotes.data.formats.choose import Candidate, Chosen, choose
from litotes.data.formats.containers import rows_of, text_file
from litotes.data.formats.fields import Place, identity, listed, number, present, text
from litotes.data.formats.gather import Gatherer, Given
from litotes.data.formats.interchange import Exchange, Format, How, Written
from litotes.data.readers.lines import spoken
from litotes.data.writers.folder import fresh_folder
from litotes.errors import BadInput, BadRows

TOOL = "nemo"
HOLDS = frozenset({"texts", "ids", "corpus", "positives", "negatives", "scores", "ragged", "bare"})
METADATA = "merlin_metadata.json"
UNSCORED = -1
REQUIRED = ("question_id", "question", "corpus_id", "pos_doc", "neg_doc")


def read(
    path: str | Path,
    *,
    collection: Collection | None = None,
    scorer: str | None = None,
    skip_bad: bool = False,
) -> Exchange:
    """The JSON file and the corpus folders it names (relative to it): Parquet, JSONL or CSV with `id` and `text`.

    Documents are `{"id", "score"}` or bare ids. A score of -1 means "supplied, not scored" and is no score. A negative
    of score -Infinity was masked by the miner and is left out, a positive keeps its place without a score; both are
    counted. The arguments of the mining run are not read.

    Args: as in `litotes.data.formats.n_tuples.read`; with a `collection` the corpus folders are not needed nor read.
    Raises:
        BadInput: the file is no such object, a corpus folder is missing, two corpora hold one id, or a row is bad (no
            positive, an unknown id, a score that is NaN); the field is named with its place, `data[3].pos_doc[0].id`.
    """
    path = Path(path)
    gatherer = Gatherer(TOOL, BadRows(skip=skip_bad), collection=collection, scorer=scorer)
    content = load(path)
    if collection is None:
        corpora = content["corpus"]
        for entry in (
            [corpora] if isinstance(corpora, dict) else listed(corpora, "corpus", Place(path, None), "corpora")
        ):
            read_corpus(entry, path, gatherer)
    gatherer.documents.closed = True
    for i, row in enumerate(listed(content["data"], "data", Place(path, None), "rows")):
        place = Place(path, None, f"data[{i}].")
        with gatherer.bad:
            read_row(row, place, gatherer)
    return gatherer.exchange(path.stem)


def write(
    exchange: Exchange,
    path: str | Path,
    *,
    split: str = "train",
    negatives: int | None = None,
    how: How = "top",
    seed: int = 0,
    scores: bool | None = None,
) -> Written:
    """`<name>.json` and the folder `<name>_corpus` with `merlin_metadata.json` and the whole corpus in `train.parquet`.

    Anchors without a negative are written (`neg_doc` may be empty). Titles become the head of the text.

    Args:
        scores: True or None: a document without a score is written with -1, as the format has it (and a real score of
            exactly -1 is counted as lost); False: all with -1.
    Raises:
        FileExistsError: the corpus folder is there and not empty.
    """
    path = Path(path)
    if path.suffix != ".json":
        raise ValueError(f"nemo: the file must end in .json, got {path.name!r}")
    chosen = choose(exchange, HOLDS, split=split, negatives=negatives, how=how, seed=seed, scores=False)
    assert chosen.collection is not None
    if scores is not False:
        given = chosen.table["score"].to_numpy()
        chosen.lost["scores"] = int((given == UNSCORED).sum())
    folder = path.with_name(f"{path.stem}_corpus")
    with fresh_folder(folder) as place:
        _write_corpus(chosen.collection, place, path.stem)
        with text_file(path) as file:
            file.write(f'{{"corpus": [{json.dumps({"path": folder.name})}],\n "data": [')
            rows = 0
            for row in _rows(chosen, path.stem, scores is not False):
                file.write(("," if rows else "") + "\n  " + json.dumps(row, ensure_ascii=False, allow_nan=False))
                rows += 1
            file.write("\n ]}\n")
    return Written(rows, +chosen.lost, files=(path, folder))


def load(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise BadInput("no such file", "a JSON file", file=path) from None
    except UnicodeDecodeError as error:
        raise BadInput(f"the byte 0x{error.object[error.start]:02x}", "UTF-8", file=path) from None
    except json.JSONDecodeError as error:
        raise BadInput(f"broken JSON ({error.msg})", "one JSON object", file=path, line=error.lineno) from None
    if not isinstance(content, dict) or "corpus" not in content or "data" not in content:
        found = f"the fields {sorted(content)}" if isinstance(content, dict) else spoken(content)
        raise BadInput(found, "one object with the fields 'corpus' and 'data'", file=path)
    return content


def read_corpus(entry: Any, path: Path, gatherer: Gatherer) -> None:
    if not isinstance(entry, dict) or not isinstance(entry.get("path"), str):
        raise BadInput(spoken(entry), 'an object like {"path": "folder"}', file=path, field="corpus")
    folder = path.parent / entry["path"]
    if not (folder / METADATA).exists():
        expected = f"a folder with {METADATA}, or a collection given with the file"
        raise BadInput(f"the corpus {entry['path']!r}", expected, file=path, field="corpus")
    found = [file for ending in ("*.parquet", "*.jsonl", "*.csv") for file in sorted(folder.rglob(ending))]
    if not found:
        raise BadInput("no Parquet, JSONL or CSV file", "a data set with id and text", file=folder)
    for file in [one for one in found if one.suffix == found[0].suffix]:
        for line, row in rows_of(file, gatherer.bad):
            place = Place(file, line)
            try:
                docid = identity(present(row, "id", place), "id", place)
                given = Given(text(present(row, "text", place), "text", place), docid, field="id")
            except BadInput as fault:
                gatherer.bad.add(fault)
            else:
                gatherer.document(given, place)


def read_row(row: Any, place: Place, gatherer: Gatherer) -> None:
    if not isinstance(row, dict):
        raise place.fault(spoken(row), "an object")
    for name in REQUIRED:
        present(row, name, place)
    question = Given(
        text(row["question"], "question", place),
        identity(row["question_id"], "question_id", place),
        field="question_id",
    )
    if not listed(row["pos_doc"], "pos_doc", place, "documents"):
        raise place.fault("an empty list", "at least one positive", "pos_doc")
    given: list[Given] = []
    masked = 0
    for name, sign in (("pos_doc", 1), ("neg_doc", -1)):
        for i, one in enumerate(listed(row[name], name, place, "documents")):
            field = f"{name}[{i}]"
            score = _score(one, field, place)
            if score == -math.inf:
                masked += 1
                if sign < 0:
                    continue
                score = None
            identifier = present(one, "id", place) if isinstance(one, dict) else one
            given.append(Given(id=identity(identifier, f"{field}.id", place), sign=sign, score=score, field=field))
    gatherer.row(place, question, given)
    if masked:
        gatherer.notes["documents of score -Infinity (a negative is left out, a positive has no score)"] += masked


def _score(document: Any, field: str, place: Place) -> float | None:
    value = document.get("score") if isinstance(document, dict) else None
    if value is None or value == UNSCORED:
        return None
    if value == -math.inf:
        return value
    return number(value, f"{field}.score", place)


def _write_corpus(collection: Collection, folder: Path, name: str) -> None:
    import pyarrow.parquet as pq

    write_json(folder / METADATA, {"class": "TextQADataset", "corpus_id": name})
    texts = pa.array(collection.document_texts(), pa.string())
    table = pa.table({"id": collection.corpus["id"], "text": texts})
    pq.write_table(table, folder / "train.parquet", compression="zstd")


def _rows(chosen: Chosen, corpus: str, scored: bool) -> Iterator[dict[str, Any]]:
    def document(one: Candidate) -> dict[str, Any]:
        return {"id": one.id, "score": one.score if scored and one.score is not None else UNSCORED}

    for group in chosen.groups():
        yield {
            "question_id": group.anchor,
            "question": group.query,
            "corpus_id": corpus,
            "pos_doc": [document(one) for one in group.positives],
            "neg_doc": [document(one) for one in group.negatives],
        }


FORMAT = Format(
    "nemo",
    "NeMo Automodel QA JSON with a corpus folder (merlin_metadata.json)",
    HOLDS,
    (".json",),
    read,
    write,
)
