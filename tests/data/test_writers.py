import json
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litotes.data.collection import Collection, judgements_table
from litotes.data.readers import read_collection
from litotes.data.wordnet import load_wordnet
from litotes.data.writers import write_beir, write_hf, write_hf_pairs, write_pairs, write_parquet
from litotes.errors import BadInput

signs = st.characters(exclude_categories=["Cs"]) | st.sampled_from('\t\n\r"\\,\u2028\ufeff\0 ')
plain = st.text(signs, min_size=1, max_size=8).filter(str.strip)
unbroken = plain.map(lambda text: "".join(c for c in text if c not in "\t\n\r")).filter(str.strip)
optional = st.none() | plain


@st.composite
def collections(draw, ids=plain, texts=plain, related=False, splits=0):
    def table(columns):
        names = draw(st.lists(ids, min_size=1, max_size=4, unique=True))
        made = {"id": names, "text": [draw(texts) for _ in names]}
        for name in columns:
            values = [draw(optional) for _ in names]
            if any(value is not None and value.strip() for value in values):
                made[name] = values
        return pa.table(made, schema=pa.schema([(name, pa.string()) for name in made]))

    queries, corpus = table(["group", "date", "taxonomy"]), table(["title", "group", "taxonomy"])
    grade = st.sampled_from([-1.0, 0.0, 1.0, 2.0, 0.5]) | st.floats(-(2.0**100), 2.0**100, width=32)
    qrels = {}
    for split in draw(st.lists(st.sampled_from(["test", "dev", "übung 1"]), min_size=splits, max_size=2, unique=True)):
        pairs = [(q, d) for q in queries["id"].to_pylist() for d in corpus["id"].to_pylist()]
        chosen = draw(st.lists(st.sampled_from(pairs), min_size=splits, max_size=4, unique=True))
        qrels[split] = judgements_table([q for q, _ in chosen], [d for _, d in chosen], [draw(grade) for _ in chosen])
    suspects = None
    if related:
        one = {"query": queries["id"][0].as_py(), "document": corpus["id"][0].as_py(), "relation": "r"}
        suspects = pa.Table.from_pylist([one])
    return Collection("drawn", queries, corpus, qrels, suspects)


def content(collection):
    """What a collection says: a title that is null or "" says the same, an absent column the same as one of nulls."""
    side = lambda table: [
        {name: value for name, value in row.items() if value is not None and (name != "title" or value)}
        for row in table.to_pylist()
    ]
    judged = {split: table.to_pylist() for split, table in sorted(collection.qrels.items())}
    related = collection.related.to_pylist() if collection.related is not None else None
    return side(collection.queries), side(collection.corpus), judged, related


@given(collections(ids=unbroken))
def test_a_beir_folder_comes_back_as_it_was(tmp_path_factory, collection):
    folder = tmp_path_factory.mktemp("out") / "beir"
    lost = write_beir(collection, folder)
    assert content(read_collection(folder).collection) == content(collection)
    grades = np.concatenate([np.zeros(0), *(table["grade"].to_numpy() for table in collection.qrels.values())])
    odd = int((grades != np.floor(grades)).sum())
    assert lost == ({"grades that are not whole": odd} if odd else {})


@given(collections(related=True))
def test_a_parquet_folder_comes_back_as_it_was(tmp_path_factory, collection):
    folder = tmp_path_factory.mktemp("out") / "parquet"
    assert write_parquet(collection, folder) == {}
    assert content(read_collection(folder).collection) == content(collection)


@given(st.booleans().flatmap(lambda related: collections(related=related)))
def test_a_saved_dataset_comes_back_as_it_was(tmp_path_factory, collection):
    folder = tmp_path_factory.mktemp("out") / "hf"
    lost = write_hf(collection, folder)
    empty = sum(len(table) == 0 for table in collection.qrels.values())
    assert lost == +Counter(
        {"rows of related": int(collection.related is not None), "splits without a judgement": empty}
    )
    queries, corpus, judged, _ = content(collection)
    there = {split: rows for split, rows in judged.items() if rows}
    assert content(read_collection(folder).collection)[:3] == (queries, corpus, there)


def positives(collection, split):
    query, document, grade = collection.judgements(split)
    names = collection.queries["id"].to_pylist(), collection.corpus["id"].to_pylist()
    texts = collection.query_texts(), collection.document_texts()
    pairs = [(int(q), int(d)) for q, d, g in zip(query, document, grade, strict=True) if g > 0]
    return [(names[0][q], texts[0][q], names[1][d], texts[1][d]) for q, d in pairs]


@given(st.data(), st.sampled_from([".csv", ".tsv", ".jsonl", ".parquet", "hf"]))
def test_pairs_come_back_with_their_ids(tmp_path_factory, data, form):
    words = unbroken if form == ".tsv" else plain
    collection = data.draw(collections(ids=words, texts=words, splits=1))
    if form == ".tsv" and "title" in collection.corpus.column_names:
        corpus = collection.corpus.drop_columns("title")
        collection = Collection("untitled", collection.queries, corpus, collection.qrels)
    for split in collection.splits[:1]:
        path = tmp_path_factory.mktemp("out") / f"pairs{form}"
        write = write_hf_pairs if form == "hf" else write_pairs
        wanted = positives(collection, split)
        if not wanted:
            with pytest.raises(BadInput, match="found no judgement above 0, expected at least one positive"):
                write(collection, path, split, ids=True)
            assert not path.exists()
            continue
        lost = write(collection, path, split, ids=True)
        back = read_collection(path).collection
        assert positives(back, "train") == wanted
        grade = collection.judgements(split).grade
        expected = Counter(
            {
                "judged negatives": (grade == 0).sum(),
                "judgements below 0": (grade < 0).sum(),
                "grades other than 1": (grade > 0).sum() - (grade == 1).sum(),
                "queries without a positive": len(collection.queries) - len({row[0] for row in wanted}),
                "documents that are no positive": len(collection.corpus) - len({row[2] for row in wanted}),
                "judgements of other splits": sum(len(t) for name, t in collection.qrels.items() if name != split),
            }
        )
        assert {name: count for name, count in lost.items() if ":" not in name and "titles" not in name} == +expected


def small(**changed):
    tables = {
        "queries": pa.table({"id": ["q"], "text": ["ask"], "mood": ["good"]}),
        "corpus": pa.table({"id": ["d", "e"], "text": ["one", "two"], "title": ["T", ""], "rank": [1, None]}),
    }
    qrels = {"test": judgements_table(["q"], ["d"], [1.0])}
    return Collection("small", **(tables | {"qrels": qrels} | changed))


def test_what_is_lost_is_counted(tmp_path):
    related = pa.table({"query": ["q"], "document": ["e"], "relation": ["r"]})
    columns = {"queries: column 'mood'": 1, "corpus: column 'rank'": 1}
    assert write_beir(small(related=related), tmp_path / "b") == columns | {"rows of related": 1}
    assert write_parquet(small(related=related), tmp_path / "p") == columns
    assert write_hf(small(related=related), tmp_path / "h") == columns | {"rows of related": 1}
    assert write_pairs(small(related=related), tmp_path / "a.csv", "test") == columns | {
        "rows of related": 1, "ids of queries": 1, "ids of documents": 2, "documents that are no positive": 1,
        "titles that became the head of the text": 1,
    }  # fmt: skip
    assert (tmp_path / "a.csv").read_text() == '"anchor","positive"\n"ask","T one"\n'


def test_the_files_are_beirs_own_form(tmp_path):
    collection = small(corpus=pa.table({"id": ["d", "é"], "text": ["one", "zwei\nü"], "group": ["g", None]}))
    write_beir(collection, tmp_path / "b")
    lines = (tmp_path / "b" / "corpus.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == [
        {"_id": "d", "title": "", "text": "one", "metadata": {"group": "g"}},
        {"_id": "é", "title": "", "text": "zwei\nü"},
    ]
    assert (tmp_path / "b" / "qrels" / "test.tsv").read_text() == "query-id\tcorpus-id\tscore\nq\td\t1\n"


@pytest.mark.parametrize("sign", ["\t", "\n", "\r"])
def test_tsv_refuses_what_it_cannot_hold_and_writes_nothing(tmp_path, sign):
    odd = pa.table({"id": ["d", f"e{sign}f"], "text": ["one", "two"]})
    with pytest.raises(
        BadInput, match=r"small/corpus:2: field 'id': found 'e\\[tnr]f', expected no tab and no line break"
    ):
        write_beir(small(corpus=odd), tmp_path / "b")
    texts = pa.table({"id": ["d"], "text": [f"one{sign}two"]})
    with pytest.raises(BadInput, match=r"small/test:1: field 'positive': found 'one\\[tnr]two'"):
        write_pairs(small(corpus=texts), tmp_path / "a.tsv", "test")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("write", [write_beir, write_parquet, write_hf])
def test_a_folder_is_whole_or_absent_and_nothing_is_overwritten(tmp_path, write):
    broken = small(qrels={"a": judgements_table(["q"], ["d"], [1.0]), "a/b": judgements_table([], [], [])})
    with pytest.raises(BadInput, match="found the split 'a/b', expected a name that can name a file"):
        write(broken, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "out").mkdir()
    write(small(), tmp_path / "out")
    held = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    with pytest.raises(FileExistsError, match="exists and is not an empty folder"):
        write(small(), tmp_path / "out")
    assert held and held == {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_dataset_dict_of_pairs_and_one_of_tables_are_read(tmp_path):
    datasets = pytest.importorskip("datasets")
    pairs = {"train": {"query": ["x", "x"], "answer": ["one", "two"]}, "test": {"query": ["y"], "answer": ["one"]}}
    datasets.DatasetDict({k: datasets.Dataset.from_dict(v) for k, v in pairs.items()}).save_to_disk(
        str(tmp_path / "pairs")
    )
    collection = read_collection(tmp_path / "pairs").collection
    assert collection.splits == ["train", "test"] and len(collection.corpus) == 2 and len(collection.queries) == 2
    assert read_collection(tmp_path / "pairs", split="test").collection.query_texts() == ["y"]
    with pytest.raises(BadInput, match=r"found the splits \['test', 'train'\], expected the split 'dev'"):
        read_collection(tmp_path / "pairs", split="dev")
    shuffled = datasets.Dataset.from_dict({"query": ["a", "b", "c"], "answer": ["1", "2", "3"]}).select([2, 0])
    shuffled.save_to_disk(str(tmp_path / "chosen"))
    assert read_collection(tmp_path / "chosen").collection.query_texts() == ["c", "a"]
    bad = datasets.Dataset.from_dict({"query": ["a", None], "answer": ["1", "2"]})
    bad.save_to_disk(str(tmp_path / "bad"))
    with pytest.raises(BadInput, match=r"bad/train:2: field 'query': found null, expected a string"):
        read_collection(tmp_path / "bad")
    assert read_collection(tmp_path / "bad", skip_bad=True).bad.total == 1
    three = {
        "corpus": {"_id": ["d"], "text": ["one"]},
        "queries": {"_id": [5], "text": ["ask"]},
        "test": {"query-id": [5], "corpus-id": ["d"], "score": [1]},
    }
    datasets.DatasetDict({k: datasets.Dataset.from_dict(v) for k, v in three.items()}).save_to_disk(
        str(tmp_path / "three")
    )
    collection = read_collection(tmp_path / "three").collection
    assert collection.qrels["test"].to_pylist() == [{"query": "5", "document": "d", "grade": 1.0}]


def test_wordnet_comes_back_from_every_folder(tmp_path):
    collection = load_wordnet(500)
    (
        write_parquet(collection, tmp_path / "p"),
        write_beir(collection, tmp_path / "b"),
        write_hf(collection, tmp_path / "h"),
    )
    assert content(read_collection(tmp_path / "p").collection) == content(collection)
    for folder in ("b", "h"):
        assert content(read_collection(tmp_path / folder).collection)[:3] == content(collection)[:3]
