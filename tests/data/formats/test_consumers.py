"""What we write is what the training tools take: the real library where it is installed, else its reading rules."""

from __future__ import annotations

import csv
import json
import random

import pyarrow as pa
import pytest

from litotes import evidence as ev
from litotes.data.collection import Collection
from litotes.data.formats import FORMATS, Exchange, detect

SCORER = {"name": "m", "checksum": "c", "similarity": "cosine"}


@pytest.fixture
def exchange():
    """Three anchors: two positives and three negatives, one and two, one and none; titles; a score for every pair."""
    queries = pa.table({"id": ["q1", "q2", "q3"], "text": ["who, then?", "why?", "how?"]})
    corpus = pa.table(
        {
            "id": [f"d{i}" for i in range(7)],
            "title": ["", "B"] + [""] * 5,
            "text": [f'the "text" {i}' for i in range(7)],
        }
    )
    rows = [
        ("q1", "d0", 1, 0.9), ("q1", "d1", 1, 0.8), ("q1", "d4", -1, 0.7), ("q1", "d5", -1, 0.6), ("q1", "d6", -1, 0.5),
        ("q2", "d2", 1, 0.9), ("q2", "d5", -1, 0.3), ("q2", "d6", -1, 0.1), ("q3", "d3", 1, 0.4),
    ]  # fmt: skip
    anchor, candidate, sign, score = (list(column) for column in zip(*rows, strict=True))
    return Exchange(
        Collection("world", queries, corpus),
        ev.make(anchor, candidate, sign, score=score, source="bm25", scorer=SCORER),
    )


def write(name, exchange, path, **options):
    return FORMATS[name].writer(exchange, path, **options)


# -- FlagEmbedding: its training set as formats are documented, one row at a time -----------------------------------


def flagembedding_item(row, group_size, seed):
    """One positive and group_size - 1 negatives, repeating a list that is too short; scores alongside."""
    draw = random.Random(seed)
    assert isinstance(row["query"], str) and isinstance(row["pos"], list) and isinstance(row["neg"], list)
    positive = draw.choice(range(len(row["pos"])))
    negatives = list(range(len(row["neg"])))
    if len(negatives) < group_size - 1:
        negatives = draw.sample(negatives * -(-(group_size - 1) // len(negatives)), group_size - 1)
    else:
        negatives = draw.sample(negatives, group_size - 1)
    passages = [row["pos"][positive]] + [row["neg"][i] for i in negatives]
    return passages, [row["pos_scores"][positive]] + [row["neg_scores"][i] for i in negatives]


def test_flagembedding_can_train_on_every_row(tmp_path, exchange):
    write("flagembedding", exchange, tmp_path / "x.jsonl", pool=tmp_path / "pool.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "x.jsonl").read_text().splitlines()]
    assert len(rows) == 2
    for row in rows:
        passages, scores = flagembedding_item(row, 8, 0)
        assert len(passages) == len(scores) == 8 and all(isinstance(one, str) for one in passages)
        assert passages[0] in row["pos"] and not set(passages[1:]) & set(row["pos"]) and max(scores) == scores[0]
    pool = [json.loads(line)["text"] for line in (tmp_path / "pool.jsonl").read_text().splitlines()]
    assert pool == exchange.collection.document_texts()
    write("flagembedding", exchange, tmp_path / "y.jsonl", short="keep")
    last = json.loads((tmp_path / "y.jsonl").read_text().splitlines()[-1])
    with pytest.raises(ZeroDivisionError):
        flagembedding_item(last, 8, 0)


# -- Tevatron -------------------------------------------------------------------------------------------------------


def tevatron_item(row, corpus, group_size):
    """Query and passages as the collator gets them: old form by its passages, new form by ids from the corpus."""
    if "positive_passages" in row:
        text = lambda one: one["title"] + " " + one["text"] if "title" in one else one["text"]
        query, positives, negatives = row["query"], row["positive_passages"], row["negative_passages"]
    else:
        text = lambda docid: corpus[docid]["text"]
        query, positives, negatives = row["query_text"], row["positive_document_ids"], row["negative_document_ids"]
    drawn = negatives[: group_size - 1]
    if len(negatives) < group_size - 1:
        drawn = random.Random(0).choices(negatives, k=group_size - 1)
    return query, [text(one) for one in [positives[0], *drawn]]


@pytest.mark.parametrize("name", ["tevatron", "tevatron-ids"])
def test_tevatron_reads_the_same_words_from_both_forms(tmp_path, name, exchange):
    target = tmp_path / ("x.jsonl" if name == "tevatron" else "x")
    write(name, exchange, target)
    rows_file = target if name == "tevatron" else target / "train.jsonl"
    rows = [json.loads(line) for line in rows_file.read_text().splitlines()]
    corpus = {}
    if name == "tevatron-ids":
        documents = [json.loads(line) for line in (target / "corpus.jsonl").read_text().splitlines()]
        corpus = {row["docid"]: row for row in documents}
        assert all(not row.get("title") for row in documents)  # encoding would put it in front a second time
    query, passages = tevatron_item(rows[0], corpus, 4)
    texts = exchange.collection.document_texts()
    assert query == "who, then?" and [p.strip() for p in passages] == [texts[i] for i in (0, 4, 5, 6)]
    swapped = rows[0] | {key: rows[0][key][::-1] for key in rows[0] if key.startswith("positive")}
    assert tevatron_item(swapped, corpus, 2)[1][0] == 'B the "text" 1'
    assert len(tevatron_item(rows[1], corpus, 8)[1]) == 8


# -- NeMo -----------------------------------------------------------------------------------------------------------


def nemo_rows(path, load_corpus):
    """(question, positive texts, negative texts) as the loader resolves them."""
    content = json.loads(path.read_text(), parse_constant=lambda text: pytest.fail(f"{text} is not JSON"))
    corpora = {}
    for entry in content["corpus"]:
        folder = path.parent / entry["path"]
        metadata = json.loads((folder / "merlin_metadata.json").read_text())
        assert metadata["class"] == "TextQADataset"
        corpora[metadata["corpus_id"]] = load_corpus(folder)
    for row in content["data"]:
        assert {"question_id", "question", "corpus_id", "pos_doc", "neg_doc"} <= row.keys() and row["pos_doc"]
        texts = corpora[row["corpus_id"]]
        yield row["question"], *([texts[one["id"]] for one in row[side]] for side in ("pos_doc", "neg_doc"))


def nemo_expected(exchange):
    texts = exchange.collection.document_texts()
    signs = {"who, then?": ([0, 1], [4, 5, 6]), "why?": ([2], [5, 6]), "how?": ([3], [])}
    return [(question, [texts[i] for i in up], [texts[i] for i in down]) for question, (up, down) in signs.items()]


def test_nemo_resolves_every_document(tmp_path, exchange):
    import pyarrow.parquet as pq

    def load(folder):
        return {row["id"]: row["text"] for row in pq.read_table(folder / "train.parquet").to_pylist()}

    write("nemo", exchange, tmp_path / "x.json")
    assert list(nemo_rows(tmp_path / "x.json", load)) == nemo_expected(exchange)


@pytest.mark.slow
def test_nemo_loads_the_corpus_folder_with_datasets(tmp_path, exchange):
    import datasets

    def load(folder):
        loaded = datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))["train"]
        return {str(row["id"]): row["text"] for row in loaded}

    write("nemo", exchange, tmp_path / "x.json")
    assert list(nemo_rows(tmp_path / "x.json", load)) == nemo_expected(exchange)


# -- sentence-transformers ------------------------------------------------------------------------------------------


def test_saved_datasets_load_and_hold_only_what_training_reads(tmp_path, exchange):
    import datasets

    forms = {
        "triplets": ({}, ["anchor", "positive", "negative", "scores"], 8),
        "n-tuples": ({"negatives": 2}, ["anchor", "positive", "negative_1", "negative_2", "scores"], 3),
        "labelled-pairs": ({}, ["text1", "text2", "label"], 9),
        "labelled-lists": ({}, ["query", "docs", "labels"], 3),
    }
    for name, (options, columns, rows) in forms.items():
        written = write(name, exchange, tmp_path / name, **options)
        loaded = datasets.load_from_disk(str(tmp_path / name))
        assert loaded.column_names == columns and len(loaded) == rows == written.rows
        read = FORMATS[name].reader(tmp_path / name)
        assert detect(tmp_path / name) == name
        assert len(read.evidence) == {"triplets": 8, "n-tuples": 7}.get(name, 9)
    split = datasets.DatasetDict({"train": loaded, "dev": loaded})
    split.save_to_disk(str(tmp_path / "splits"))
    with pytest.raises(ValueError, match=r"found the splits \['dev', 'train'\], expected one split, or its name"):
        FORMATS["labelled-lists"].reader(tmp_path / "splits")
    assert len(FORMATS["labelled-lists"].reader(tmp_path / "splits", read_split="dev").evidence) == 9


def test_csv_is_plain_csv(tmp_path, exchange):
    write("triplets", exchange, tmp_path / "x.csv")
    with open(tmp_path / "x.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert rows[0] == {
        "anchor": "who, then?",
        "positive": 'the "text" 0',
        "negative": 'the "text" 4',
        "scores": "[0.9, 0.7]",
    }


@pytest.mark.slow
def test_the_collator_finds_texts_and_labels(tmp_path, exchange):
    import datasets
    import torch
    from sentence_transformers.base.data_collator import BaseDataCollator

    seen = []

    def preprocess(texts, *rest, **named):
        seen.append(list(texts))
        return {"input_ids": torch.zeros(len(texts), 1)}

    expected = {
        "triplets": ({}, 3, [[0.9, 0.7], [0.9, 0.6]]),
        "n-tuples": ({"negatives": 2}, 4, [[0.9, 0.7, 0.6], [0.8, 0.7, 0.6]]),
        "labelled-pairs": ({}, 2, [1, 1]),
        "labelled-pairs scored": ({"scores": True}, 2, [0.9, 0.8]),
    }
    for name, (options, inputs, labels) in expected.items():
        path = tmp_path / name.replace(" ", "-")
        write(name.split()[0], exchange, path, **options)
        rows = [datasets.load_from_disk(str(path))[i] for i in range(2)]
        seen.clear()
        batch = BaseDataCollator(preprocess_fn=preprocess)(rows)
        assert torch.allclose(batch["label"].float(), torch.tensor(labels, dtype=torch.float32))
        assert len(seen) == inputs and all(isinstance(text, str) for texts in seen for text in texts)
        assert seen[0] == ["who, then?"] * 2


@pytest.mark.slow
@pytest.mark.parametrize("output", ["triplet", "n-tuple", "labeled-pair", "labeled-list"])
@pytest.mark.parametrize("scores", [False, True])
def test_what_its_miner_writes_is_read(tmp_path, output, scores):
    import datasets
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.util import mine_hard_negatives
    from tokenizers import Tokenizer, models, pre_tokenizers

    try:
        from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    except ImportError:
        from sentence_transformers.models import StaticEmbedding

    texts = [f"w{i} w{i + 1} w{i + 2}" for i in range(12)]
    tokenizer = Tokenizer(models.WordLevel({f"w{i}": i for i in range(14)} | {"[UNK]": 14}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    weights = torch.randn(15, 8, generator=torch.Generator().manual_seed(0)).numpy()
    model = SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_weights=weights)], device="cpu")
    pairs = datasets.Dataset.from_dict({"query": ["w0 w1", "w0 w1", "w5 w6"], "answer": [texts[0], texts[1], texts[5]]})
    mined = mine_hard_negatives(
        pairs, model, corpus=texts, num_negatives=2, output_format=output, output_scores=scores, verbose=False
    )
    mined.save_to_disk(str(tmp_path / "x"))
    name = {
        "triplet": "triplets",
        "n-tuple": "n-tuples",
        "labeled-pair": "labelled-pairs",
        "labeled-list": "labelled-lists",
    }[output]
    assert detect(tmp_path / "x") == name
    options = {"threshold": -2.0} if name == "labelled-pairs" and scores else {}
    read = FORMATS[name].reader(tmp_path / "x", **options)
    table = ev.with_texts(read.evidence, read.collection).to_pylist()
    positives = {(row["anchor_text"], row["candidate_text"]) for row in table if row["sign"] > 0}
    assert bool(ev.scorer_of(read.evidence)) == scores
    assert all(row["score"] is not None for row in table) == scores
    if not options:  # with scores its labelled pairs no longer say what is positive
        assert positives == set(zip(pairs["query"], pairs["answer"], strict=True))
        assert all(
            sum(row["anchor_text"] == one for row in table if row["sign"] < 0) >= 2 for one in ("w0 w1", "w5 w6")
        )
    cosine = lambda a, b: float(torch.cosine_similarity(*(torch.tensor(model.encode([t])) for t in (a, b))))
    for row in table:
        if row["score"] is not None:
            assert row["score"] == pytest.approx(cosine(row["anchor_text"], row["candidate_text"]), abs=1e-4)
