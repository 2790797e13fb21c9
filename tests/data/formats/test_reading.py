"""Lines as other tools write them, read; and what is wrong with a line, said with file, line and field."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from litotes import evidence as ev
from litotes.data.collection import Collection, judgements_table
from litotes.data.formats import FORMATS, detect
from litotes.data.formats.gather import BOTH, text_id
from litotes.data.readers import read_pairs
from litotes.errors import BadInput

READ = {name: one.reader for name, one in FORMATS.items()}


def lines(path, *rows):
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def told(exchange):
    """anchor text -> [(sign, candidate text, score)] in stored order."""
    table = ev.with_texts(exchange.evidence, exchange.collection).to_pylist()
    found = {}
    for row in table:
        score = None if row["score"] is None else round(row["score"], 4)
        found.setdefault(row["anchor_text"], []).append((row["sign"], row["candidate_text"], score))
    return found


def sources(exchange):
    return {row["found"][0]["source"] for row in exchange.evidence.to_pylist()}


def small():
    """Two queries, three documents with titles, judgements of two splits."""
    queries = pa.table({"id": ["q1", "q2"], "text": ["who?", "why?"]})
    corpus = pa.table({"id": ["d1", "d2", "d3"], "title": ["A", "", "C"], "text": ["one", "two", "three"]})
    train = judgements_table(["q1", "q1", "q2"], ["d1", "d2", "d3"], [1, 0, -1])
    return Collection("small", queries, corpus, {"train": train, "test": judgements_table(["q2"], ["d1"], [2])})


# -- sentence-transformers, both generations ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "row",
    [
        {"anchor": "a", "positive": "p", "negative": "n", "scores": [0.9, 0.5]},
        {"query": "a", "answer": "p", "negative": "n", "positive_score": 0.9, "negative_score": 0.5},
        {"query": "a", "answer": "p", "negative": "n", "score": [0.9, 0.5]},
    ],
)
def test_triplets_of_both_generations_say_the_same(tmp_path, row):
    read = READ["triplets"](lines(tmp_path / "x.jsonl", row), scorer="ce")
    assert told(read) == {"a": [(1, "p", 0.9), (-1, "n", 0.5)]}
    assert sources(read) == {"teacher:ce"} and ev.scorer_of(read.evidence)["name"] == "ce"
    bare = READ["triplets"](lines(tmp_path / "y.jsonl", {key: row[key] for key in list(row)[:3]}))
    assert told(bare) == {"a": [(1, "p", None), (-1, "n", None)]} and ev.scorer_of(bare.evidence) is None
    assert sources(bare) == {"given:sentence-transformers", "mined:sentence-transformers"}


@pytest.mark.parametrize("scores, expected", [([0.9, 0.5, 0.25], [0.9, 0.5, 0.25]), ([0.4, 0.65], [None, None, None])])
def test_margins_are_no_scores(tmp_path, scores, expected):
    row = {"anchor": "a", "positive": "p", "negative_1": "m", "negative_2": "n", "score": scores}
    read = READ["n-tuples"](lines(tmp_path / "x.jsonl", row))
    by_text = {text: score for _, text, score in told(read)["a"]}
    assert [by_text[text] for text in "pmn"] == expected
    assert sum(read.notes.values()) == (expected[0] is None)


def test_rows_of_one_anchor_join_and_a_positive_elsewhere_is_a_positive(tmp_path):
    rows = [{"anchor": "a", "positive": "p", "negative": "x"}, {"anchor": "a", "positive": "x", "negative": "y"}]
    for order in (rows, rows[::-1]):
        read = READ["triplets"](lines(tmp_path / "x.jsonl", *order))
        assert sorted(told(read)["a"]) == [(-1, "y", None), (1, "p", None), (1, "x", None)]
        assert read.notes == {BOTH: 1}


def test_labelled_pairs_need_labels_or_a_threshold(tmp_path):
    both = lines(
        tmp_path / "x.jsonl",
        {"s1": "a", "s2": "p", "label": 1, "score": 0.1},
        {"s1": "a", "s2": "n", "label": 0, "score": 0.2},
    )
    assert told(READ["labelled-pairs"](both)) == {"a": [(1, "p", 0.1), (-1, "n", 0.2)]}
    with pytest.raises(ValueError, match="threshold has no meaning"):
        READ["labelled-pairs"](both, threshold=0.5)
    scores = lines(tmp_path / "y.jsonl", {"s1": "a", "s2": "p", "score": 0.5}, {"s1": "a", "s2": "n", "score": 0.4})
    assert told(READ["labelled-pairs"](scores, threshold=0.5)) == {"a": [(1, "p", 0.5), (-1, "n", 0.4)]}
    with pytest.raises(
        BadInput, match=r"y.jsonl:1: field 'score': found scores without labels, expected a label, or a threshold"
    ):
        READ["labelled-pairs"](scores, skip_bad=True)  # no row is bad: the file does not say what it means
    bad = lines(tmp_path / "z.jsonl", {"s1": "a", "s2": "p", "label": 2}, {"s1": "a", "s2": "q", "label": True})
    with pytest.raises(BadInput, match=r"z.jsonl:1: field 'label': found 2, expected 0 or 1"):
        READ["labelled-pairs"](bad)
    assert told(READ["labelled-pairs"](bad, skip_bad=True)) == {"a": [(1, "q", None)]}


def test_labelled_lists_of_the_peer_join_their_siblings(tmp_path):
    path = lines(
        tmp_path / "x.jsonl",
        {"q": "a", "docs": ["p", "n"], "labels": [1, 0]},
        {"q": "a", "docs": ["r", "n", "m"], "labels": [3, 0, 0]},
    )
    read = READ["labelled-lists"](path)
    assert set(told(read)["a"]) == {(1, "p", None), (1, "r", None), (-1, "n", None), (-1, "m", None)}
    grades = {row["candidate"]: row["grade"] for row in read.evidence.to_pylist()}
    assert grades[text_id("d", "r")] == 3 and grades[text_id("d", "p")] is None and grades[text_id("d", "n")] is None
    scored = lines(tmp_path / "y.jsonl", {"q": "a", "docs": ["n", "p"], "scores": [0.25, 0.75]})
    assert told(READ["labelled-lists"](scored)) == {"a": [(1, "n", 0.25), (-1, "p", 0.75)]}  # the first is the positive
    assert told(READ["labelled-lists"](scored, threshold=0.5)) == {"a": [(1, "p", 0.75), (-1, "n", 0.25)]}


def test_a_list_in_a_cell_may_be_json_or_python_and_a_text_in_jsonl_is_no_list(tmp_path):
    (tmp_path / "x.csv").write_text('query,docs,labels\na,"[\'p\', \'n\']","[1, 0]"\nb,"[""p""]",[1]\n')
    assert told(READ["labelled-lists"](tmp_path / "x.csv")) == {
        "a": [(1, "p", None), (-1, "n", None)],
        "b": [(1, "p", None)],
    }
    with pytest.raises(
        BadInput, match=r"x.jsonl:1: field 'docs': found '\[\"p\"\]' \(text\), expected a list of texts"
    ):
        READ["labelled-lists"](lines(tmp_path / "x.jsonl", {"query": "a", "docs": '["p"]', "labels": [1]}))


def test_numbers_in_parquet_are_no_texts(tmp_path):
    pq.write_table(pa.table({"anchor": ["a", "b"], "positive": ["p", "p"], "negative": [1, 2]}), tmp_path / "x.parquet")
    with pytest.raises(BadInput, match=r"x.parquet:1: field 'negative': found 1 \(int\), expected a string"):
        READ["triplets"](tmp_path / "x.parquet")


# -- FlagEmbedding ------------------------------------------------------------------------------------------------


def test_flagembedding_rows(tmp_path):
    row = {
        "query": "q",
        "pos": ["a", "b"],
        "neg": ["c", "d"],
        "pos_scores": [0.9, 0.8],
        "neg_scores": [0.1, 0.2],
        "prompt": "P",
        "type": "normal",
    }
    path = lines(tmp_path / "x.jsonl", row, {"query": "r", "pos": ["a"]})
    pool = lines(tmp_path / "pool.jsonl", {"text": "c"}, {"text": "e"})
    read = READ["flagembedding"](path, pool=pool)
    assert told(read) == {"q": [(1, "a", 0.9), (1, "b", 0.8), (-1, "d", 0.2), (-1, "c", 0.1)], "r": [(1, "a", None)]}
    assert ev.scorer_of(read.evidence) == {"name": "flagembedding:scores", "checksum": "", "similarity": ""}
    assert read.notes == {"fields 'prompt' that were not read": 1, "fields 'type' that were not read": 1}
    assert sorted(read.collection.document_texts()) == ["a", "b", "c", "d", "e"]
    assert (read.evidence["weight"].to_numpy() == 1).all()
    folder = tmp_path / "folder"
    folder.mkdir()
    lines(folder / "1.jsonl", row)
    lines(folder / "2.json", {"query": "r", "pos": ["a"], "neg": []})
    assert told(READ["flagembedding"](folder)) == told(read) and detect(folder) == "flagembedding"


FLAG = {"query": "q", "pos": ["p"], "neg": ["n"]}
FAULTS = [
    (FLAG | {"pos": "text"}, "field 'pos': found 'text' (text), expected a list of texts"),
    (FLAG | {"neg": ["n", 3]}, "field 'neg[1]': found 3 (int), expected a string"),
    (FLAG | {"neg": ["n", " "]}, "field 'neg[1]': found empty text ' ', expected text that is not only white space"),
    (FLAG | {"query": None}, "field 'query': found null, expected a string"),
    (FLAG | {"pos": []}, "field 'pos': found an empty list, expected at least one positive"),
    ({"query": "q", "neg": ["n"]}, "field 'pos': found the fields ['neg', 'query'], expected a field 'pos'"),
    (FLAG | {"neg_scores": [1, 2]}, "field 'neg_scores': found 2 numbers, expected 1, one per text of 'neg'"),
    (FLAG | {"neg_scores": [True]}, "field 'neg_scores[0]': found True (bool), expected a number"),
    (FLAG | {"neg_scores": [1e300]}, "field 'neg_scores[0]': found 1e+300, expected a finite number"),
    (FLAG | {"neg": ["n", "n"], "neg_scores": [1, 2]},
     "field 'neg[1]': found the scores 1 and 2 for one pair, expected one score per pair"),
    ("[1]", "found a list of 1, expected a JSON object"),
    ('{"query": "q", "pos": ["p"', "found broken JSON"),
]  # fmt: skip


@pytest.mark.parametrize("row, message", FAULTS)
def test_a_bad_row_is_named_and_can_be_skipped(tmp_path, row, message):
    path = lines(tmp_path / "x.jsonl", FLAG, row, {"query": "z", "pos": ["p"], "neg": []})
    with pytest.raises(BadInput) as caught:
        READ["flagembedding"](path)
    assert str(caught.value).startswith(f"{path}:2: {message}")
    read = READ["flagembedding"](path, skip_bad=True)
    assert told(read) == {"q": [(1, "p", None), (-1, "n", None)], "z": [(1, "p", None)]}
    assert read.bad.total == 1 and len(read.collection.corpus) == 2  # nothing of the bad row was taken


def test_a_later_row_may_not_score_a_pair_otherwise(tmp_path):
    rows = [
        FLAG | {"neg_scores": [0.3], "pos_scores": [0.9]},
        FLAG | {"pos": ["p"], "neg": ["m", "n"], "neg_scores": [0.1, 0.4]},
    ]
    with pytest.raises(BadInput, match=r"x.jsonl:2: field 'neg\[1\]': found the scores 0.3 and 0.4 for one pair"):
        READ["flagembedding"](lines(tmp_path / "x.jsonl", *rows))


# -- Tevatron -----------------------------------------------------------------------------------------------------

PASSAGE = {"docid": "d1", "title": "t", "text": "one"}
TEVATRON = {
    "query_id": "q1",
    "query": "who?",
    "positive_passages": [PASSAGE],
    "negative_passages": [{"docid": 2, "title": "", "text": "two"}],
}


def test_tevatron_texts(tmp_path):
    read = READ["tevatron"](
        lines(tmp_path / "x.jsonl", TEVATRON | {"answers": ["x"]}, TEVATRON | {"query_id": 7, "query": "why?"})
    )
    assert told(read) == {
        "who?": [(1, "t one", None), (-1, "two", None)],
        "why?": [(1, "t one", None), (-1, "two", None)],
    }
    assert set(read.evidence["anchor"].to_pylist()) == {"q1", "7"}
    assert set(read.evidence["candidate"].to_pylist()) == {"d1", "2"} and read.notes == {
        "fields 'answers' that were not read": 1
    }


@pytest.mark.parametrize(
    "row, message",
    [
        (TEVATRON | {"positive_passages": [PASSAGE | {"title": None}]},
         "field 'positive_passages[0].title': found null, expected a string"),
        (TEVATRON | {"negative_passages": ["text"]},
         "field 'negative_passages[0]': found 'text' (text), expected an object with docid, title and text"),
        (TEVATRON | {"query": "another"},
         "field 'query_id': found id 'q1' for the text 'another', elsewhere for 'who?', expected one text per id"),
        (TEVATRON | {"positive_passages": [PASSAGE, PASSAGE | {"text": "x"}], "query_id": "q9"},
         "field 'positive_passages[1]': found id 'd1' for the text 't x'"),
        (TEVATRON | {"positive_passages": []},
         "field 'positive_passages': found an empty list, expected at least one positive"),
    ],
)  # fmt: skip
def test_bad_tevatron_rows(tmp_path, row, message):
    with pytest.raises(BadInput) as caught:
        READ["tevatron"](lines(tmp_path / "x.jsonl", TEVATRON, row))
    assert str(caught.value).startswith(f"{tmp_path / 'x.jsonl'}:2: {message}")


def test_one_row_may_not_give_one_id_two_texts(tmp_path):
    row = TEVATRON | {"negative_passages": [PASSAGE | {"docid": "n"}, PASSAGE | {"docid": "n", "text": "other"}]}
    with pytest.raises(BadInput, match=r"x.jsonl:1: field 'negative_passages\[1\]': found id 'n' for two texts"):
        READ["tevatron"](lines(tmp_path / "x.jsonl", row))


def test_tevatron_ids(tmp_path):
    row = {
        "query_id": "q1",
        "query_text": "who?",
        "query_image": None,
        "positive_document_ids": ["d1"],
        "negative_document_ids": ["d2"],
        "answer": None,
    }
    lines(tmp_path / "train.jsonl", row)
    lines(
        tmp_path / "corpus.jsonl",
        {"docid": "d1", "text": "one", "image": None},
        {"docid": "d2", "text": "two"},
        {"docid": "d3", "text": "three"},
    )
    assert detect(tmp_path) == "tevatron-ids" and detect(tmp_path / "train.jsonl") == "tevatron-ids"
    read = READ["tevatron-ids"](tmp_path)
    assert (
        told(read) == {"who?": [(1, "one", None), (-1, "two", None)]}
        and len(read.collection.corpus) == 3
        and not read.notes
    )
    assert told(READ["tevatron-ids"](tmp_path / "train.jsonl", collection=small())) == {
        "who?": [(1, "A one", None), (-1, "two", None)]
    }
    with pytest.raises(BadInput, match="expected a folder with corpus.jsonl besides, or a collection"):
        READ["tevatron-ids"](tmp_path / "train.jsonl")
    lines(tmp_path / "train.jsonl", row, row | {"negative_document_ids": ["d2", "d8"]})
    with pytest.raises(
        BadInput,
        match=r"train.jsonl:2: field 'negative_document_ids\[1\]': found the unknown id 'd8', expected an id of",
    ):
        READ["tevatron-ids"](tmp_path)


# -- NeMo ---------------------------------------------------------------------------------------------------------


def nemo(folder, *rows):
    (folder / "wiki").mkdir(exist_ok=True)
    (folder / "wiki" / "merlin_metadata.json").write_text('{"class": "TextQADataset", "corpus_id": "wiki"}')
    lines(
        folder / "wiki" / "part.jsonl",
        {"id": "d1", "text": "one"},
        {"id": 2, "text": "two"},
        {"id": "d3", "text": "three"},
    )
    path = folder / "qa.json"
    path.write_text(json.dumps({"corpus": [{"path": "wiki"}], "data": rows, "mining": {"args": {}}}, indent=1))
    return path


NEMO = {
    "question_id": "q1",
    "question": "who?",
    "corpus_id": "wiki",
    "pos_doc": [{"id": "d1", "score": 0.75}],
    "neg_doc": [{"id": 2, "score": 0.5}],
}


def test_nemo_scores_that_are_no_scores(tmp_path):
    other = NEMO | {
        "question_id": "q2",
        "question": "why?",
        "pos_doc": ["d1", {"id": "d3", "score": float("-inf")}],
        "neg_doc": [{"id": "2", "score": -1}],
    }
    masked = NEMO | {"question_id": "q3", "question": "how?", "neg_doc": [{"id": "d3", "score": float("-inf")}]}
    path = nemo(tmp_path, NEMO, other, masked)
    assert "-Infinity" in path.read_text() and detect(path) == "nemo"
    read = READ["nemo"](path)
    assert told(read) == {
        "who?": [(1, "one", 0.75), (-1, "two", 0.5)],
        "why?": [(1, "one", None), (1, "three", None), (-1, "two", None)],
        "how?": [(1, "one", 0.75)],
    }
    assert list(read.notes.values()) == [2] and len(read.collection.corpus) == 3
    assert told(
        READ["nemo"](
            path, collection=Collection("c", pa.table({"id": ["q1"], "text": ["who?"]}), read.collection.corpus)
        )
    ) == told(read)


@pytest.mark.parametrize(
    "row, message",
    [
        (NEMO | {"pos_doc": []}, "field 'data[1].pos_doc': found an empty list, expected at least one positive"),
        (NEMO | {"neg_doc": [{"id": "d9"}]},
         "field 'data[1].neg_doc[0]': found the unknown id 'd9', expected an id of the corpus"),
        (NEMO | {"neg_doc": [{"id": "d3", "score": "high"}]},
         "field 'data[1].neg_doc[0].score': found 'high' (text), expected a number"),
        (NEMO | {"neg_doc": [{"id": "d3", "score": float("nan")}]},
         "field 'data[1].neg_doc[0].score': found nan, expected a finite number"),
        ({key: NEMO[key] for key in NEMO if key != "neg_doc"}, "field 'data[1].neg_doc': found the fields"),
        ("row", "field 'data[1]': found 'row' (text), expected an object"),
    ],
)  # fmt: skip
def test_bad_nemo_rows(tmp_path, row, message):
    path = nemo(tmp_path, NEMO, row)
    with pytest.raises(BadInput) as caught:
        READ["nemo"](path)
    assert str(caught.value).startswith(f"{path}: {message}")
    assert READ["nemo"](path, skip_bad=True).bad.total == 1


def test_a_nemo_corpus_that_is_not_there(tmp_path):
    path = nemo(tmp_path, NEMO)
    (tmp_path / "wiki" / "merlin_metadata.json").unlink()
    with pytest.raises(BadInput, match="the corpus 'wiki', expected a folder with merlin_metadata.json"):
        READ["nemo"](path)
    with pytest.raises(BadInput, match=r"y.json:3: found broken JSON"):
        READ["nemo"](lines(tmp_path / "y.json", "{", '"corpus": 3'))


# -- TREC ---------------------------------------------------------------------------------------------------------


def ranked(exchange):
    return [(r["anchor"], r["candidate"], r["found"][0]["rank"], r["score"]) for r in exchange.evidence.to_pylist()]


def test_a_run_is_known_by_its_columns(tmp_path):
    trec = lines(tmp_path / "a.run", "q1 Q0 d1 1 2.5 bm25", "q1\tQ0\td2  2 1.5 bm25", "", "q2 Q0 d1 1 1.0 bm25")
    expected = [("q1", "d1", 0, 2.5), ("q1", "d2", 1, 1.5), ("q2", "d1", 0, 1.0)]
    read = READ["trec-run"](trec)
    assert (
        ranked(read) == expected
        and ev.scorer_of(read.evidence)["name"] == "run:bm25"
        and sources(read) == {"mined:bm25"}
    )
    assert set(read.evidence["sign"].to_pylist()) == {0} and read.evidence["weight"].to_pylist() == [1, 1, 1]
    ranks = lines(tmp_path / "b.tsv", "q1\td1\t1", "q1\td2\t2", "q2\td1\t1")
    assert ranked(READ["trec-run"](ranks)) == [(q, d, rank, None) for q, d, rank, _ in expected]
    forced = READ["trec-run"](ranks, shape="scores")
    assert sorted(ranked(forced)) == [("q1", "d1", 0, 1.0), ("q1", "d2", 1, 2.0), ("q2", "d1", 0, 1.0)]
    scores = lines(tmp_path / "c.tsv", "q1\td1\t7", "q1\td2\t5", "q2\td1\t1")
    assert ranked(READ["trec-run"](scores)) == [("q1", "d1", 0, 7), ("q1", "d2", 1, 5), ("q2", "d1", 0, 1)]
    assert [detect(path) for path in (trec, ranks, scores)] == ["trec-run"] * 3
    zero = lines(tmp_path / "d.run", "q1 Q0 d1 0 2.5 x", "q1 Q0 d2 1 1.5 x")
    assert ranked(READ["trec-run"](zero)) == expected[:2]


def test_a_run_meets_the_judgements_of_its_collection(tmp_path):
    path = lines(
        tmp_path / "a.run",
        "q1 Q0 d3 1 2.5 bm25",
        "q1 Q0 d1 2 1.5 bm25",
        "q1 Q0 d2 3 1 bm25",
        "q2 Q0 d3 1 1 bm25",
        "q2 Q0 d2 2 0.5 bm25",
    )
    read = READ["trec-run"](path, collection=small())
    rows = {
        (r["anchor"], r["candidate"]): (r["sign"], r["grade"], [f["source"] for f in r["found"]])
        for r in read.evidence.to_pylist()
    }
    assert rows == {
        ("q1", "d1"): (1, 1, ["qrels", "mined:bm25"]),
        ("q1", "d2"): (-1, 0, ["qrels", "mined:bm25"]),
        ("q1", "d3"): (-1, None, ["mined:bm25"]),
        ("q2", "d3"): (0, -1, ["qrels", "mined:bm25"]),
        ("q2", "d2"): (-1, None, ["mined:bm25"]),
    }
    two = lines(tmp_path / "b.run", "q1 Q0 d3 1 2.5 bm25", "q1 Q0 d1 2 1.5 dense")
    mixed = READ["trec-run"](two)
    assert mixed.evidence["score"].null_count == 2 and [r["found"][0]["score"] for r in mixed.evidence.to_pylist()] == [
        1.5,
        2.5,
    ]


@pytest.mark.parametrize(
    "line, message",
    [
        ("q1 Q0 d2 2 x t", "field 'score': found 'x', expected a number"),
        ("q1 Q0 d2 2 nan t", "field 'score': found nan, expected a finite number"),
        ("q1 Q0 d2 1.5 1 t", "field 'rank': found '1.5', expected a whole number"),
        ("q1 Q0 d2 -1 1 t", "field 'rank': found -1, expected a rank from 0 or 1 on"),
        ("q1 Q0 d2 2 1", "found 5 columns, expected 6 (query, Q0, document, rank, score, tag)"),
        ("q1 Q0 d1 2 1 t", "found document 'd1' a second time for query 'q1', expected each document once per query"),
        ("q9 Q0 d2 2 1 t", "field 'query': found the unknown id 'q9', expected an id of the queries"),
    ],
)  # fmt: skip
def test_bad_lines_of_a_run(tmp_path, line, message):
    path = lines(tmp_path / "a.run", "q1 Q0 d1 1 2.5 t", line)
    with pytest.raises(BadInput) as caught:
        READ["trec-run"](path, collection=small(), split="none")
    assert str(caught.value) == f"{path}:2: {message}"
    assert READ["trec-run"](path, collection=small(), split="none", skip_bad=True).bad.total == 1


def test_judgements(tmp_path):
    path = lines(tmp_path / "a.qrels", "q1 0 d1 2", "q1 0 d2 0", "q2 0 d1 -1")
    rows = [(r["anchor"], r["candidate"], r["sign"], r["grade"]) for r in READ["trec-qrels"](path).evidence.to_pylist()]
    assert rows == [("q1", "d1", 1, 2), ("q1", "d2", -1, 0), ("q2", "d1", 0, -1)] and detect(path) == "trec-qrels"
    for line, message in [
        ("q1 0 d3 x", "field 'grade': found 'x'"),
        ("q1 0 d1 1", r"found the pair \('q1', 'd1'\) a second time"),
        ("q1 d3 1", "found 3 columns, expected 4"),
    ]:
        with pytest.raises(BadInput, match=f"a.qrels:2: {message}"):
            READ["trec-qrels"](lines(tmp_path / "a.qrels", "q1 0 d1 2", line))


# -- ids ----------------------------------------------------------------------------------------------------------


def test_the_same_text_has_the_same_id_in_every_reader(tmp_path):
    pairs = read_pairs(lines(tmp_path / "p.jsonl", {"anchor": "q", "positive": "p"})).collection
    read = READ["flagembedding"](lines(tmp_path / "x.jsonl", FLAG)).collection
    assert pairs.queries.equals(read.queries) and pairs.corpus["id"][0].as_py() in read.corpus["id"].to_pylist()


def test_texts_that_a_collection_holds_have_their_ids_from_it(tmp_path):
    path = lines(tmp_path / "x.jsonl", {"query": "who?", "pos": ["A one"], "neg": ["two", "new"]})
    read = READ["flagembedding"](path, collection=small())
    assert [(r["anchor"], r["candidate"]) for r in read.evidence.to_pylist()] == [
        ("q1", "d1"),
        ("q1", text_id("d", "new")),
        ("q1", "d2"),
    ]
    assert len(read.collection.corpus) == 4 and read.notes == {"documents that the collection did not hold": 1}
    assert read.collection.qrels.keys() == {"train", "test"}
