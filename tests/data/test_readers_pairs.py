import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from litotes.data.readers import read_collection
from litotes.errors import BadInput

ROWS = [("what", "this"), ("what", "that"), ("who", "this")]


def jsonl(path, rows):
    path.write_text(
        "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), encoding="utf-8"
    )
    return path


def shape(collection, split="train"):
    """Texts instead of ids: what does not depend on how ids are made."""
    query, document, grade = collection.judgements(split)
    queries, documents = collection.query_texts(), collection.document_texts()
    return [(queries[q], documents[d], float(g)) for q, d, g in zip(query, document, grade, strict=True)]


@pytest.mark.parametrize(
    "names", [("anchor", "positive"), ("Question", "Answer"), ("sentence1", "sentence2"), ("query", "passage")]
)
def test_every_form_gives_the_same_collection(tmp_path, names):
    table = [dict(zip(names, row, strict=True)) for row in ROWS]
    jsonl(tmp_path / "a.jsonl", table)
    (tmp_path / "a.csv").write_text(",".join(names) + '\n"what",this\r\nwhat,that\n\nwho,"this"\n')
    (tmp_path / "a.tsv").write_text("\t".join(names) + "\n" + "\n".join("\t".join(row) for row in ROWS))
    pq.write_table(pa.Table.from_pylist(table), tmp_path / "a.parquet")
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress((tmp_path / "a.jsonl").read_bytes()))
    read = [read_collection(path).collection for path in sorted(tmp_path.iterdir())]
    assert len(read) == 5 and len({collection.fingerprint() for collection in read}) == 1
    assert shape(read[0]) == [(*row, 1.0) for row in ROWS]
    assert read[0].query_texts() == ["what", "who"] and read[0].document_texts() == ["this", "that"]


def test_ids_follow_the_text_not_the_file(tmp_path):
    one = read_collection(jsonl(tmp_path / "a.jsonl", [{"anchor": "x", "positive": "y"}])).collection
    two = read_collection(
        jsonl(tmp_path / "b.jsonl", [{"query": "z", "answer": "w"}, {"query": "x", "answer": "y"}])
    ).collection
    assert one.queries["id"][0].as_py() == two.queries["id"][1].as_py() != two.queries["id"][0].as_py()
    assert one.corpus["id"][0].as_py() == two.corpus["id"][1].as_py() and one.corpus["id"][0].as_py().startswith("d-")


def test_id_columns_lists_and_grades_are_used(tmp_path):
    rows = [
        {"query_id": 7, "query": "x", "document_id": ["a", "b"], "positive": ["one", "two"], "grade": 2},
        {"query_id": 8, "query": "x", "document_id": ["c"], "positive": ["one"], "grade": 0},
    ]
    collection = read_collection(jsonl(tmp_path / "a.jsonl", rows)).collection
    assert collection.queries["id"].to_pylist() == ["7", "8"] and collection.corpus["id"].to_pylist() == ["a", "b", "c"]
    assert collection.qrels["train"]["grade"].to_pylist() == [2.0, 2.0, 0.0]


def test_columns_are_named_by_the_user_and_splits_too(tmp_path):
    path = jsonl(tmp_path / "a.jsonl", [{"left": "x", "right": "y", "anchor": "z"}])
    read = read_collection(path, anchor="left", positive="right", split="dev")
    assert shape(read.collection, "dev") == [("x", "y", 1.0)] and read.notes == {"pairs: column 'anchor' not read": 1}
    for arguments, message in (
        (
            {"anchor": "up", "positive": "right"},
            r"found the columns \['left', 'right', 'anchor'\], expected the column 'up'",
        ),
        ({"anchor": "left"}, "expected a column for the positive: positive, pos, answer"),
        ({"anchor": "left", "positive": "left"}, "expected the column 'left' asked for as positive"),
    ):
        with pytest.raises(BadInput, match=message):
            read_collection(path, **arguments)


def test_a_positive_that_is_a_document_of_the_corpus_is_that_document(tmp_path):
    pairs = jsonl(tmp_path / "a.jsonl", [{"anchor": "x", "positive": "T one"}, {"anchor": "x", "positive": "new"}])
    corpus = [{"_id": "k1", "title": "T", "text": "one"}, {"_id": "k2", "text": "two"}]
    collection = read_collection(pairs, corpus=jsonl(tmp_path / "c.jsonl", corpus)).collection
    assert collection.corpus["id"].to_pylist()[:2] == ["k1", "k2"] and len(collection.corpus) == 3
    assert collection.qrels["train"]["document"].to_pylist()[0] == "k1"
    assert shape(collection) == [("x", "T one", 1.0), ("x", "new", 1.0)]
    assert collection.corpus["title"].to_pylist() == ["T", "", ""]


def test_csv_keeps_quotes_line_breaks_and_long_documents_and_counts_lines(tmp_path):
    text = 'he said "no",\nand\r\nleft'
    quoted = '"' + text.replace('"', '""') + '"'
    long = "word " * 100_000
    path = tmp_path / "a.csv"
    path.write_bytes(f"anchor,positive\n{quoted},b\nc,{long}\nd\n".encode())
    with pytest.raises(BadInput, match=r"a\.csv:6: found 1 field, expected 2, as in the header"):
        read_collection(path)
    read = read_collection(path, skip_bad=True)
    assert read.bad.total == 1 and shape(read.collection) == [(text, "b", 1.0), ("c", long, 1.0)]
    path.write_bytes(f'anchor,positive\n{quoted},b\n"x\ny", \n'.encode())
    with pytest.raises(BadInput, match=r"a\.csv:5: field 'positive': found empty text"):
        read_collection(path)
    path.write_text('anchor,positive\na,"b\n')
    with pytest.raises(BadInput, match=r"a\.csv:2: found broken CSV"):
        read_collection(path)


def test_tsv_knows_no_quotes(tmp_path):
    (tmp_path / "a.tsv").write_text('anchor\tpositive\n"a\tb"\n')
    assert shape(read_collection(tmp_path / "a.tsv").collection) == [('"a', 'b"', 1.0)]


@pytest.mark.parametrize(
    "row, field, message",
    [
        ({"anchor": "", "positive": "b"}, "anchor", "found empty text"),
        ({"anchor": "a"}, "positive", "found null, expected a string"),
        ({"anchor": 4, "positive": "b"}, "anchor", r"found 4 \(int\), expected a string"),
        ({"anchor": "a", "positive": ["b", 3]}, "positive", r"found 3 \(int\), expected a string"),
        ({"anchor": "a", "positive": []}, "positive", "found an empty list, expected text"),
        ({"anchor": "o", "positive": "b", "query_id": "1"}, "query_id", "found id '1' for the text 'o', before"),
        ({"anchor": "x", "positive": "y", "query_id": "1", "label": 0}, "label", "found 0, and 1 on line 1, expected"),
        ({"anchor": "x", "positive": "z", "query_id": "1", "label": 2}, "label", "found 2, expected 0 or 1"),
        ({"anchor": "x", "positive": "z", "query_id": "1", "label": "yes"}, "label", r"found 'yes' \(text\)"),
        ({"anchor": "x", "positive": "z", "query_id": None}, "query_id", "found null"),
        ("{", None, "broken JSON"),
    ],
)  # fmt: skip
def test_a_bad_row_is_named_or_leaves_no_trace(tmp_path, row, field, message):
    good = {"anchor": "x", "positive": "y", "query_id": "1", "label": 1}
    if isinstance(row, dict):
        row = {"query_id": "9", "label": 1} | row
    path = jsonl(tmp_path / "a.jsonl", [good, row])
    with pytest.raises(BadInput, match=message) as caught:
        read_collection(path)
    assert (caught.value.file, caught.value.line, caught.value.field) == (path, 2, field)
    read = read_collection(path, skip_bad=True)
    assert read.bad.total == 1 and shape(read.collection) == [("x", "y", 1.0)]
    assert read.collection.query_texts() == ["x"] and read.collection.document_texts() == ["y"]


def test_a_repeated_pair_counts_once_and_is_noted(tmp_path):
    read = read_collection(jsonl(tmp_path / "a.jsonl", [{"anchor": "x", "positive": "y"}] * 3))
    assert shape(read.collection) == [("x", "y", 1.0)] and read.notes == {"pairs: repeated pair": 2}


def test_files_without_rows_and_headers_with_two_of_a_name_are_refused(tmp_path):
    for name, content, message in (
        ("a.csv", "", "found an empty file, expected a header"),
        ("a.tsv", "", "found an empty file, expected a header"),
        ("b.csv", "anchor,anchor\n", "each name once"),
        ("a.jsonl", "", "found no good row"),
        ("c.csv", "anchor,positive\n", "found no good row"),
    ):
        (tmp_path / name).write_text(content)
        with pytest.raises(BadInput, match=message):
            read_collection(tmp_path / name)
