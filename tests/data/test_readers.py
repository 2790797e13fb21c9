import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litotes.data.readers import read_collection
from litotes.data.readers.hf import hub_name
from litotes.errors import BadInput

CORPUS = [{"_id": "d1", "title": "One", "text": "first"}, {"_id": "d2", "text": "second"}]
QUERIES = [{"_id": "q1", "text": "which is first"}, {"_id": "q2", "text": "which is second"}]
QRELS = ["query-id\tcorpus-id\tscore", "q1\td1\t2", "q1\td2\t0", "q2\td2\t1"]


def beir(folder, corpus=CORPUS, queries=QUERIES, qrels=QRELS, split="test"):
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    for name, rows in (("corpus", corpus), ("queries", queries)):
        lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "qrels" / f"{split}.tsv").write_text("\n".join(qrels) + "\n", encoding="utf-8")
    return folder


def fault(source, **arguments):
    with pytest.raises(BadInput) as caught:
        read_collection(source, **arguments)
    return caught.value


def test_a_beir_folder_is_read_with_titles_and_grades(tmp_path):
    read = read_collection(beir(tmp_path))
    collection, bad = read.collection, read.bad
    assert collection.corpus.to_pylist() == [
        {"title": "One", "id": "d1", "text": "first"},
        {"title": "", "id": "d2", "text": "second"},
    ]
    assert collection.queries.to_pylist() == [{"id": row["_id"], "text": row["text"]} for row in QUERIES]
    assert [tuple(row.values()) for row in collection.qrels["test"].to_pylist()] == [
        ("q1", "d1", 2.0), ("q1", "d2", 0.0), ("q2", "d2", 1.0),
    ]  # fmt: skip
    assert collection.document_texts() == ["One first", "second"] and bad.total == 0 and bad.summary() == ""


def test_gzipped_and_given_apart_and_as_parquet_they_are_the_same(tmp_path):
    plain = read_collection(beir(tmp_path / "plain")).collection
    packed = tmp_path / "packed"
    beir(packed)
    for path in [*packed.glob("*.jsonl"), *packed.glob("qrels/*.tsv")]:
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    folder = tmp_path / "plain"
    apart = {"queries": folder / "queries.jsonl", "corpus": folder / "corpus.jsonl"}
    pq.write_table(pa.Table.from_pylist(QUERIES), tmp_path / "q.parquet")
    judged = [dict(zip(("query-id", "corpus-id", "score"), row.split("\t"), strict=True)) for row in QRELS[1:]]
    pq.write_table(
        pa.Table.from_pylist([row | {"score": int(row["score"])} for row in judged]), tmp_path / "test.parquet"
    )
    for read in (
        read_collection(packed),
        read_collection(**apart, qrels=folder / "qrels" / "test.tsv"),
        read_collection(**apart, qrels=folder / "qrels", split="test"),
        read_collection(**apart | {"queries": tmp_path / "q.parquet"}, qrels=tmp_path / "test.parquet"),
    ):
        assert read.collection.fingerprint() == plain.fingerprint()
    assert read_collection(**apart).collection.splits == []
    assert read_collection(**apart, qrels=folder / "qrels" / "test.tsv", split="dev").collection.splits == ["dev"]


def test_extra_columns_are_kept_also_from_metadata_and_unknown_ones_are_named(tmp_path):
    corpus = [
        {"_id": "d1", "text": "a", "group": "g", "date": 1999, "url": "x"},
        {"_id": "d2", "text": "b", "metadata": {"group": "h", "taxonomy": "t/u", "lang": "en"}},
    ]
    read = read_collection(beir(tmp_path, corpus=corpus))
    assert read.collection.corpus.select(["id", "group", "date", "taxonomy"]).to_pylist() == [
        {"id": "d1", "group": "g", "date": "1999", "taxonomy": None},
        {"id": "d2", "group": "h", "date": None, "taxonomy": "t/u"},
    ]
    assert read.notes == {"corpus: field 'url' not read": 1, "corpus: field 'metadata.lang' not read": 1}


def test_a_document_that_has_only_a_title_is_its_title(tmp_path):
    corpus = [{"_id": "d1", "title": "only", "text": ""}, {"_id": "d2", "title": "", "text": "b"}]
    collection = read_collection(beir(tmp_path, corpus=corpus)).collection
    assert collection.document_texts() == ["only", "b"]


def test_splits_are_read_all_or_one(tmp_path):
    beir(tmp_path), beir(tmp_path, split="dev", qrels=QRELS[:2])
    assert read_collection(tmp_path).collection.splits == ["dev", "test"]
    assert len(read_collection(tmp_path, split="dev").collection.qrels["dev"]) == 1
    assert str(fault(tmp_path, split="train")).endswith("found the splits ['dev', 'test'], expected qrels/train.tsv")


def test_lines_of_white_space_a_byte_order_mark_and_dos_line_ends_are_harmless(tmp_path):
    clean = read_collection(beir(tmp_path)).collection.fingerprint()
    for path in [*tmp_path.glob("*.jsonl"), *tmp_path.glob("qrels/*.tsv")]:
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n") + b"\r\n")
    assert read_collection(tmp_path).collection.fingerprint() == clean


CORPUS_FAULTS = [
    ('{"_id": "d3", "text": ', None, "broken JSON"),
    ('["d3"]', None, "found a list of 1, expected a JSON object"),
    ({"text": "x"}, "_id", r"found the fields \['text'\], expected a field '_id'"),
    ({"_id": 3, "text": "x"}, "_id", r"found 3 \(int\), expected a string"),
    ({"_id": "", "text": "x"}, "_id", "found empty text ''"),
    ({"_id": "d3"}, "text", r"found the fields \['_id'\], expected a field 'text'"),
    ({"_id": "d3", "text": 7.5}, "text", r"found 7.5 \(float\), expected a string"),
    ({"_id": "d3", "text": ["x", "y"]}, "text", "found a list of 2, expected a string"),
    ({"_id": "d3", "text": " \t"}, "text", "found empty text"),
    ({"_id": "d3", "text": None}, "text", "found null"),
    ({"_id": "d3", "text": "x", "title": {}}, "title", "found an object, expected a string"),
    ({"_id": "d3", "text": "x", "metadata": "m"}, "metadata", r"found 'm' \(text\), expected an object"),
    ({"_id": "d3", "text": "x", "metadata": {"group": True}}, "group", r"found True \(bool\), expected a string"),
    ({"_id": "d1", "text": "x"}, "_id", "found id 'd1' a second time, first on line 1, expected each id once"),
    ('{"_id": "d3", "text": "\\ud800"}', None, "half a surrogate pair"),
]


@pytest.mark.parametrize("row, field, message", CORPUS_FAULTS)
def test_a_bad_row_is_named_with_file_line_and_field_or_counted(tmp_path, row, field, message):
    corpus = [CORPUS[0], row, CORPUS[1]]
    error = fault(beir(tmp_path, corpus=corpus))
    assert (error.file, error.line, error.field) == (tmp_path / "corpus.jsonl", 2, field)
    where = f"corpus.jsonl:2: field '{field}': " if field else "corpus.jsonl:2: "
    assert where in str(error)
    with pytest.raises(BadInput, match=message):
        raise error
    read = read_collection(tmp_path, skip_bad=True)
    assert read.collection.fingerprint() == read_collection(beir(tmp_path / "good")).collection.fingerprint()
    assert read.bad.total == 1 and str(read.bad.first[0]) == str(error)


QRELS_FAULTS = [
    ("q1\td1\thigh", "score", r"found 'high' \(text\), expected a number"),
    ("q1\td1\tnan", "score", "found nan, expected a finite number"),
    ("q1\td1\t1e39", "score", "found inf, expected a finite number"),
    ("q1\td1\t1_0", "score", r"found '1_0' \(text\), expected a number"),
    ("q1\td1", None, r"found 2 columns, expected 3 \(query-id, corpus-id, score\) between tabs"),
    ("q1 d1 1", None, "found 1 column, expected 3"),
    ("q1\t0\td1\t1", None, "found 4 columns, expected 3"),
    ("q9\td1\t1", "query-id", "found the unknown id 'q9', expected an id of the queries"),
    ("q1\td9\t1", "corpus-id", "found the unknown id 'd9', expected an id of the corpus"),
    ("\t\t", "score", "expected a number"),
    ("q1\td1\t1", None, r"found the pair \('q1', 'd1'\) a second time, first on line 2"),
]


@pytest.mark.parametrize("line, field, message", QRELS_FAULTS)
def test_a_bad_judgement_is_named_with_file_line_and_field_or_counted(tmp_path, line, field, message):
    error = fault(beir(tmp_path, qrels=[*QRELS[:2], line, *QRELS[2:]]))
    assert (error.file, error.line, error.field) == (tmp_path / "qrels" / "test.tsv", 3, field)
    with pytest.raises(BadInput, match=message):
        raise error
    read = read_collection(tmp_path, skip_bad=True)
    assert read.bad.total == 1
    assert read.collection.fingerprint() == read_collection(beir(tmp_path / "good")).collection.fingerprint()


def test_a_missing_header_is_said_and_a_skipped_document_takes_its_judgements_along(tmp_path):
    error = fault(beir(tmp_path, qrels=QRELS[1:]))
    assert (
        error.line == 1
        and r"found the first line 'q1\td1\t2', expected the header query-id<tab>corpus-id<tab>score" in str(error)
    )
    read = read_collection(beir(tmp_path, corpus=[CORPUS[0], {"_id": "d2", "text": ""}]), skip_bad=True)
    assert [(bad.line, bad.field) for bad in read.bad.first] == [(2, "text"), (3, "corpus-id"), (4, "corpus-id")]
    assert "skipped 3 bad rows:" in read.bad.summary() and len(read.collection.qrels["test"]) == 1


def test_of_two_rows_with_one_id_the_first_good_one_stays(tmp_path):
    corpus = [
        {"_id": "d1", "text": ""},
        {"_id": "d1", "text": "one"},
        {"_id": "d2", "text": "two"},
        {"_id": "d1", "text": "x"},
    ]
    read = read_collection(beir(tmp_path, corpus=corpus), skip_bad=True)
    assert read.collection.document_texts() == ["one", "two"]
    assert [(bad.line, bad.found) for bad in read.bad.first] == [
        (1, "empty text ''"),
        (4, "id 'd1' a second time, first on line 2"),
    ]


def test_what_is_no_text_file_is_said(tmp_path):
    beir(tmp_path)
    apart = {"queries": tmp_path / "queries.jsonl", "corpus": tmp_path / "corpus.jsonl"}
    whole = (tmp_path / "corpus.jsonl").read_bytes()
    (tmp_path / "corpus.jsonl").write_bytes(whole + b'{"_id": "d\xff"}\n')
    assert "corpus.jsonl:3: found the byte 0xff at position 11 of the line, expected UTF-8" in str(fault(tmp_path))
    (tmp_path / "corpus.jsonl").unlink()
    assert "corpus.jsonl: found no such file" in str(fault(None, **apart))
    (tmp_path / "corpus.jsonl.gz").write_bytes(gzip.compress(whole)[:-9])
    assert "found a broken gzip stream" in str(fault(tmp_path))
    (tmp_path / "corpus.jsonl.gz").write_bytes(whole)
    assert "found a broken gzip stream" in str(fault(tmp_path))
    (tmp_path / "corpus.jsonl").write_text("\n")
    assert "corpus.jsonl: found no good row, expected at least one" in str(fault(tmp_path))


rows = st.lists(
    st.sampled_from(["good", "good", "empty", "number", "json", "again"]), min_size=1, max_size=12
)  # fmt: skip


@given(kinds=rows)
def test_skipping_keeps_exactly_the_good_rows_and_counts_the_rest(tmp_path_factory, kinds):
    folder = tmp_path_factory.mktemp("beir")
    lines, good = [json.dumps({"_id": "base", "text": "base"})], ["base"]
    for i, kind in enumerate(kinds):
        identity = "base" if kind == "again" else f"d{i}"
        text = {"empty": " ", "number": 5}.get(kind, f"text {i}")
        lines.append("{" if kind == "json" else json.dumps({"_id": identity, "text": text}))
        good += [identity] if kind == "good" else []
    read = read_collection(beir(folder, corpus=lines, qrels=QRELS[:1]), skip_bad=True)
    assert read.collection.corpus["id"].to_pylist() == good
    assert read.bad.total == len(kinds) + 1 - len(good) == sum(read.bad.by_reason.values())
    if read.bad.total:
        assert fault(folder).line == min(bad.line for bad in read.bad.first if str(bad) == str(fault(folder)))


def test_a_parquet_folder_names_rows_and_types(tmp_path):
    (tmp_path / "qrels").mkdir()
    good = {
        "queries": pa.table({"id": pa.array([1, 2]), "text": ["a", "b"], "date": pa.array([0, None], pa.date32())}),
        "corpus": pa.table(
            {"id": ["x", "y"], "text": pa.array(["one", "two"]).dictionary_encode(), "rank": [1.5, 2.5]}
        ),
        "qrels/train": pa.table({"query": [1, 2], "document": ["x", "y"], "grade": [1, 0]}),
    }

    def write(**changed):
        for name, table in (good | changed).items():
            pq.write_table(table, tmp_path / f"{name}.parquet")
        return tmp_path

    read = read_collection(write())
    assert read.collection.queries.to_pylist()[0] == {"id": "1", "text": "a", "date": "1970-01-01"}
    assert read.collection.qrels["train"].to_pylist()[1] == {"query": "2", "document": "y", "grade": 0.0}
    assert read.notes == {"corpus: field 'rank' not read": 2}
    for table, message in (
        (pa.table({"id": ["x", None], "text": ["one", "two"]}), r"corpus.parquet:2: field 'id': found null"),
        (pa.table({"id": ["x", "y"], "text": ["one", None]}), r"corpus.parquet:2: field 'text': found null"),
        (
            pa.table({"id": ["x", "x"], "text": ["one", "two"]}),
            r":2: field 'id': found id 'x' a second time, first on line 1",
        ),
        (
            pa.table({"id": ["x", "y"], "text": [1, 2]}),
            r"corpus.parquet: field 'text': found the type int64, expected string",
        ),
        (pa.table({"id": ["x", "y"]}), r"found the columns \['id'\], expected a column 'text'"),
        (pa.table({"name": ["x", "y"], "text": ["a", "b"]}), "expected a column 'id' or '_id'"),
    ):
        with pytest.raises(BadInput, match=message):
            read_collection(write(corpus=table))
    write()
    unknown = pa.table({"query": [1], "document": ["z"], "grade": [1.0]})
    nothing = pa.table({"query": [1], "document": ["x"], "grade": pa.array([None], pa.float64())})
    worded = pa.table({"query": [1], "document": ["x"], "grade": ["1"]})
    for table, message in (
        (unknown, r"train.parquet:1: field 'document': found the unknown id 'z'"),
        (nothing, r"train.parquet:1: field 'grade': found nan, expected a finite number"),
        (worded, "field 'grade': found the type string, expected a number"),
    ):
        with pytest.raises(BadInput, match=message):
            read_collection(write(**{"qrels/train": table}))
    write(related=pa.table({"query": ["1", "2", "3"], "document": ["y", "z", "x"], "relation": ["r", "s", "t"]}))
    error = fault(tmp_path)
    assert (error.file.name, error.line, error.field) == ("related.parquet", 2, "document")
    read = read_collection(tmp_path, skip_bad=True)
    assert read.bad.total == 2 and read.collection.related["relation"].to_pylist() == ["r"]
    (tmp_path / "queries.parquet").write_bytes(b"no")
    assert "found a broken file" in str(fault(tmp_path))


def test_the_embedded_collection_answers_to_its_name():
    read = read_collection("wordnet:200")
    assert len(read.collection.queries) == 200 and read.collection.related is not None and read.bad.total == 0
    assert read_collection("wordnet:200", split="test").collection.splits == ["test"]
    for name in ("wordnet:", "wordnet:some", "wordnet:-3"):
        with pytest.raises(ValueError, match="expected wordnet, wordnet:2000 or wordnet:all"):
            read_collection(name)


def test_names_on_the_hub_are_read_and_without_a_network_the_error_says_so():
    assert hub_name("hf://owner/name") == ("owner/name", None)
    assert hub_name("hf://owner/name:part") == ("owner/name", "part")
    for bad in ("hf://", "hf://a/b/c", "hf://owner/", "hf://owner/name:", "owner/name"):
        with pytest.raises(ValueError, match="expected hf://owner/name or hf://owner/name:config"):
            hub_name(bad)
    assert "no way to load 'nobody/nothing'" in str(fault("hf://nobody/nothing:x"))


def test_sources_that_are_nothing_and_arguments_that_do_not_fit_are_refused(tmp_path):
    assert "found no such file or folder" in str(fault(tmp_path / "absent"))
    (tmp_path / "a.txt").write_text("x")
    assert "found the ending '.txt', expected one of .csv, .tsv, .jsonl, .parquet" in str(fault(tmp_path / "a.txt"))
    assert "found a folder of ['a.txt']" in str(fault(tmp_path))
    beir(tmp_path)
    for arguments, message in (
        ({}, "give a source, or both queries and corpus"),
        ({"queries": "q"}, "give a source, or both"),
        ({"queries": "q", "corpus": "c", "anchor": "a"}, "anchor and positive are columns of pairs"),
        ({"source": tmp_path, "qrels": "x"}, "without a source"),
        ({"source": tmp_path, "anchor": "a"}, "anchor belong to pairs, but the source is a BEIR folder"),
        ({"source": "wordnet", "corpus": "a"}, "corpus belong to pairs, but the source is the embedded"),
    ):
        with pytest.raises(ValueError, match=message):
            read_collection(**arguments)
