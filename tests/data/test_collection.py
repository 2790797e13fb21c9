import time

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litotes.data.collection import RELATED, Collection, judgements_table
from litotes.errors import BadInput


def texts(ids, **more):
    return pa.table(
        {"id": pa.array(ids, pa.string()), "text": pa.array([f"text {i}" for i in ids], pa.string()), **more}
    )


def related(query, document):
    return pa.table({"query": query, "document": document, "relation": ["near"] * len(query)}, schema=RELATED)


def small(**change):
    given = {
        "name": "small", "queries": texts(["q2", "q1"]), "corpus": texts(["d3", "d1", "d2"]),
        "qrels": {"train": judgements_table(["q1", "q2", "q1"], ["d1", "d1", "d3"], [1, 0, 2]),
                  "test": judgements_table(["q2"], ["d2"], [1])},
    }  # fmt: skip
    return Collection(**given | change)


def test_ids_become_rows():
    collection = small()
    assert collection.query_rows(["q1", "q1", "q2"]).tolist() == [1, 1, 0]
    rows = collection.document_rows(pa.chunked_array([["d2"], ["d3", "d1"]]))
    assert rows.tolist() == [2, 0, 1] and rows.dtype == np.int32
    assert collection.document_rows([]).dtype == np.int32 and collection.splits == ["train", "test"]
    judged = collection.judgements("train")
    assert [x.tolist() for x in judged] == [[1, 0, 1], [1, 1, 0], [1, 0, 2]]
    assert [x.dtype for x in judged] == [np.int32, np.int32, np.float32]


def test_unknown_ids_and_splits_are_named():
    with pytest.raises(
        BadInput, match=r"small/queries: found the unknown id 'x' \(2 such\), expected ids of small/queries"
    ):
        small().query_rows(["q1", "x", "y"])
    with pytest.raises(BadInput, match="small/corpus: found the unknown id None"):
        small().document_rows(pa.array([None, "d1"]))
    with pytest.raises(ValueError, match=r"Collection 'small' has no split 'dev'; it has \['train', 'test'\]"):
        small().judgements("dev")


def test_an_encoder_reads_the_title_first_where_there_is_one():
    assert small().document_texts() == ["text d3", "text d1", "text d2"]
    titled = small(corpus=texts(["d3", "d1", "d2"], title=pa.array(["T", None, ""])))
    assert titled.document_texts() == ["T text d3", "text d1", "text d2"]
    assert titled.query_texts() == ["text q2", "text q1"]


def ones(query, document, grade):
    return {"train": judgements_table(query, document, grade)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"queries": pa.table({"text": ["a"]})},
            r"small/queries: found the columns \['text'\], expected a column 'id'",
        ),
        ({"corpus": pa.table({"id": ["a"]})}, r"small/corpus: found the columns \['id'\], expected a column 'text'"),
        (
            {"queries": pa.table({"id": [1], "text": ["a"]})},
            "small/queries: field 'id': found the type int64, expected string",
        ),
        (
            {"queries": pa.table({"id": ["q1", None], "text": ["a", "b"]})},
            "small/queries:2: field 'id': found an empty id",
        ),
        (
            {"queries": pa.table({"id": ["q1", " "], "text": ["a", "b"]})},
            "small/queries:2: field 'id': found an empty id",
        ),
        (
            {"queries": pa.table({"id": ["q1", "q2"], "text": ["a", None]})},
            "small/queries:2: field 'text': found an empty text",
        ),
        (
            {"corpus": pa.table({"id": ["q1", "q2"], "text": ["a", "\t\n\u3000"]})},
            "small/corpus:2: field 'text': found an empty",
        ),
        (
            {"corpus": texts(["d1", "d2", "d3", "d2"])},
            "small/corpus:4: field 'id': found id 'd2' a second time, first on row 2",
        ),
        (
            {"qrels": {"train": pa.table({"query": ["q1"]})}},
            "small/qrels/train: field 'document': found no such column",
        ),
        (
            {"qrels": {"train": pa.table({"query": ["q1"], "document": ["d1"], "grade": [1.0]})}},
            "small/qrels/train: field 'grade': found double, expected a column of type float",
        ),
        (
            {"qrels": ones(["q1", "qx"], ["d1", "d1"], [1, 1])},
            "small/qrels/train:2: field 'query': found the unknown id 'qx', expected an id of the queries",
        ),
        (
            {"qrels": ones(["q1"], ["dx"], [1])},
            "small/qrels/train:1: field 'document': found the unknown id 'dx', expected an id of the corpus",
        ),
        ({"qrels": ones(["q1"], [None], [1])}, "small/qrels/train:1: field 'document': found the unknown id None"),
        (
            {"qrels": ones(["q1", "q1"], ["d1", "d2"], [1, float("nan")])},
            "small/qrels/train:2: field 'grade': found nan, expected a finite number",
        ),
        ({"qrels": ones(["q1"], ["d1"], [None])}, "small/qrels/train:1: field 'grade': found nan"),
        ({"qrels": ones(["q1"], ["d1"], [float("inf")])}, "small/qrels/train:1: field 'grade': found inf"),
        (
            {"qrels": ones(["q1", "q2", "q1"], ["d1", "d1", "d1"], [1, 1, 2])},
            r"small/qrels/train:3: found the pair \('q1', 'd1'\) a second time, expected each pair judged once",
        ),
        ({"related": pa.table({"query": ["q1"]})}, "small/related: field 'document': found no such column"),
        ({"related": related(["q1", "qx"], ["d1", "d1"])}, "small/related:2: field 'query': found the unknown id 'qx'"),
    ],
)
def test_the_gate_names_table_row_and_column(change, message):
    with pytest.raises(BadInput, match=message):
        small(**change)


def test_the_same_pair_may_be_judged_in_two_splits_and_a_collection_may_be_empty():
    both = {name: judgements_table(["q1"], ["d1"], [1]) for name in ("train", "test")}
    assert small(qrels=both).splits == ["train", "test"]
    nothing = Collection("nothing", texts([]), texts([]), {"train": judgements_table([], [], [])})
    assert len(nothing.judgements("train").query) == 0 and nothing.document_texts() == []
    assert small().with_qrels(both).fingerprint() == small(qrels=both).fingerprint()


words = st.text(max_size=3) | st.sampled_from(["a", "ab", "b", "", "é"])
column = st.lists(words | st.none(), min_size=3, max_size=3)


@given(column, column, st.integers(0, 3), st.booleans())
def test_the_fingerprint_is_that_of_the_content_however_it_is_cut(one, other, cut, encoded):
    make = lambda values: small(corpus=texts(["d3", "d1", "d2"], group=pa.array(values, pa.string())))
    assert (make(one).fingerprint() == make(other).fingerprint()) == (one == other)
    whole = make(one).corpus
    pieces = pa.concat_tables([whole.slice(0, cut), whole.slice(cut)])  # slices keep the bytes around them
    if encoded:
        pieces = pieces.set_column(2, "group", pieces["group"].dictionary_encode())
    assert small(corpus=pieces).fingerprint() == make(one).fingerprint()


def test_every_part_of_the_content_counts():
    made = {
        "as it is": small(),
        "a text": small(queries=pa.table({"id": ["q2", "q1"], "text": ["text q2", "text q1 "]})),
        "the order of rows": small(corpus=texts(["d1", "d3", "d2"])),
        "a bound between texts": small(corpus=texts(["d3", "d1", "d2"], title=["ab", "c", ""])),
        "another bound": small(corpus=texts(["d3", "d1", "d2"], title=["a", "bc", ""])),
        "null for empty": small(corpus=texts(["d3", "d1", "d2"], title=["a", "bc", None])),
        "the name of a column": small(corpus=texts(["d3", "d1", "d2"], group=["a", "bc", None])),
        "a grade": small().with_qrels(small().qrels | {"test": judgements_table(["q2"], ["d2"], [2])}),
        "the name of a split": small(qrels={"train": small().qrels["train"], "dev": small().qrels["test"]}),
        "a split less": small(qrels={"train": small().qrels["train"]}),
        "a list": small(corpus=texts(["d3", "d1", "d2"], taxonomy=pa.array([["a", "b"], [], None]))),
        "another list": small(corpus=texts(["d3", "d1", "d2"], taxonomy=pa.array([["a"], ["b"], None]))),
    }
    prints = {name: collection.fingerprint() for name, collection in made.items()}
    assert len(set(prints.values())) == len(prints)
    assert all(len(value) == 64 for value in prints.values())
    # neither the name nor the truth about suspicious pairs changes what can be mined
    assert small(name="other", related=related(["q1"], ["d2"])).fingerprint() == prints["as it is"]
    backwards = small(qrels=dict(reversed(small().qrels.items())))
    assert backwards.fingerprint() == prints["as it is"]


def test_a_hundred_thousand_documents_have_their_fingerprint_within_a_second():
    ids = [f"d{i}" for i in range(117_000)]
    body = ["so many words of one text " * (1 + i % 9) for i in range(117_000)]
    corpus = pa.table({"id": ids, "text": body, "title": ids})
    collection = Collection("big", texts(["q"]), corpus)
    start = time.perf_counter()
    collection.fingerprint()
    assert time.perf_counter() - start < 1
